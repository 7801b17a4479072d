"""`assets.extra/saved_model_config.pb`: what a version says about its own session. No TensorFlow.

Looked for in every version directory. One that cannot be read is logged and ignored, as in TensorFlow Serving
(servables/tensorflow/saved_model_config_util.cc). Of what it can say only `disable_meta_optimizer` has a meaning
here; the rest needs graph rewriters that the TensorFlow wheel does not have.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError

from pyserve.config import TensorFlowOptions
from pyserve.errors import Code, Status, file_error
from pyserve.protos import tf, tfs

_log = logging.getLogger(__name__)

FILE_NAME = "assets.extra/saved_model_config.pb"


def options_of_version(directory: Path, options: TensorFlowOptions) -> TensorFlowOptions:
    """The options with what the version's own file overrides; the same without such a file. Never raises."""
    path = directory / FILE_NAME
    try:
        config = tfs.SavedModelConfig.FromString(path.read_bytes())
    except FileNotFoundError:
        return options
    except OSError as error:
        _log.error("Failed to load saved model config: %s", file_error(error))
        return options
    except DecodeError:
        status = Status(Code.DATA_LOSS, f"Can't parse {path} as binary proto")
        _log.error("Failed to load saved model config: %s", status)
        return options
    for name in ignored_fields(config):
        _log.warning("%s of %s is ignored: not supported", name, path)
    return with_overrides(options, config)


def ignored_fields(config: tfs.SavedModelConfig) -> list[str]:
    """Fields that are set and do nothing here; `critical` does nothing in TensorFlow Serving either."""
    overrides = config.session_overrides
    fields = [f"session_overrides.{field.name}" for field, _ in overrides.ListFields()]
    if config.HasField("tfrt_runtime_config"):
        fields.append("tfrt_runtime_config")
    return [name for name in fields if name != "session_overrides.disable_meta_optimizer"]


def with_overrides(options: TensorFlowOptions, config: tfs.SavedModelConfig) -> TensorFlowOptions:
    """The options with `disable_meta_optimizer` as the version has it, true or false, if it has it at all."""
    overrides = config.session_overrides
    if not overrides.HasField("disable_meta_optimizer"):
        return options
    session = tf.ConfigProto.FromString(options.session_config)
    session.graph_options.rewrite_options.disable_meta_optimizer = overrides.disable_meta_optimizer
    return replace(options, session_config=session.SerializeToString(deterministic=True))

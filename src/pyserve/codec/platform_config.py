"""`PlatformConfigMap` of `--platform_config_file`: the names that `model_platform` may be, and what each means.

Only platforms that load SavedModels can be described. Every field of their configuration is honoured, has no
meaning here, is named in a warning, or is refused by name; the table below says which.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping

from google.protobuf.message import DecodeError, Message

from pyserve.codec.batching_parameters import batching_parameters
from pyserve.codec.session_config import OVERWRITTEN, checked_session_config
from pyserve.codec.text_file import parse_file
from pyserve.config import PlatformOptions, TensorFlowOptions, TfLiteOptions
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.protos import tf, tfs

logger = logging.getLogger(__name__)

_ADAPTER = "tensorflow.serving.SavedModelBundleSourceAdapterConfig"


class Use(enum.Enum):
    """What becomes of a field that is set."""

    HONOURED = "honoured"
    WITHOUT_MEANING = "without meaning here"
    WARNED = "ignored with a warning"
    REFUSED = "refused"


FIELDS: Mapping[str, Use] = {
    "session_target": Use.REFUSED,
    "session_config": Use.HONOURED,
    "batching_parameters": Use.HONOURED,
    "session_run_load_threadpool_index": Use.WARNED,
    "experimental_transient_ram_bytes_during_load": Use.WITHOUT_MEANING,
    "saved_model_tags": Use.HONOURED,
    "in_graph_batching_parameters": Use.WARNED,
    "experimental_fixed_input_tensors": Use.WARNED,
    "enable_model_warmup": Use.HONOURED,
    "model_warmup_options": Use.HONOURED,
    "enable_session_metadata": Use.WARNED,
    "remove_unused_fields_from_bundle_metagraph": Use.WITHOUT_MEANING,
    "prefer_tflite_model": Use.HONOURED,
    "resource_estimation_uses_validation_result": Use.WITHOUT_MEANING,
    "num_tflite_interpreters": Use.WARNED,
    "num_tflite_interpreters_per_pool": Use.HONOURED,
    "num_tflite_pools": Use.HONOURED,
    "wrap_session_with_no_threading_params": Use.HONOURED,
    "enable_per_model_batching_params": Use.HONOURED,
    "enable_saved_model_config": Use.REFUSED,
    "mixed_precision": Use.HONOURED,
}
"""Every field of SessionBundleConfig."""

WARMUP_FIELDS: Mapping[str, Use] = {
    "num_request_iterations": Use.HONOURED,
    "num_model_warmup_threads": Use.WARNED,
    "model_name": Use.WITHOUT_MEANING,
    "model_version": Use.WITHOUT_MEANING,
    "enable_all_batch_sizes_warmup": Use.WARNED,
}
"""Every field of ModelWarmupOptions, in `model_warmup_options`."""


def parse_platform_config(text: str, path: str) -> Mapping[str, PlatformOptions]:
    """What each platform of the file is told, by its name.

    Args:
        text: Text format of `PlatformConfigMap`.
        path: Where it came from, for messages.

    Raises:
        InvalidArgumentError: The text cannot be parsed, or a platform is not one of SavedModels.
        UnimplementedError: A field is set that pyserve refuses.
    """
    message = parse_file(text, path, tfs.PlatformConfigMap())
    return {name: _options(name, config, path) for name, config in sorted(message.platform_configs.items())}


def _options(name: str, config: tfs.PlatformConfig, path: str) -> PlatformOptions:
    packed = config.source_adapter_config
    kind = packed.type_url.rpartition("/")[2]
    if kind != _ADAPTER:
        raise InvalidArgumentError(
            f"Platform {name} in '{path}' is configured by {kind or 'nothing'}; only {_ADAPTER} is supported"
        )
    try:
        bundle = tfs.SavedModelBundleSourceAdapterConfig.FromString(packed.value).legacy_config
    except DecodeError as error:
        raise InvalidArgumentError(f"Platform {name} in '{path}' holds a damaged {_ADAPTER}") from error
    _check_fields(bundle, FIELDS, name, path)
    _check_fields(bundle.model_warmup_options, WARMUP_FIELDS, name, path)
    batched = bundle.HasField("batching_parameters") and not bundle.wrap_session_with_no_threading_params
    return PlatformOptions(
        tensorflow=_tensorflow_options(bundle, path),
        tflite=TfLiteOptions(
            prefer_tflite_model=bundle.prefer_tflite_model,
            num_tflite_pools=bundle.num_tflite_pools,
            num_tflite_interpreters_per_pool=bundle.num_tflite_interpreters_per_pool,
        ),
        enable_model_warmup=bundle.enable_model_warmup,
        num_request_iterations_for_warmup=bundle.model_warmup_options.num_request_iterations.value,
        batching=batching_parameters(bundle.batching_parameters) if batched else None,
        enable_per_model_batching_parameters=bundle.enable_per_model_batching_params,
    )


def _check_fields(message: Message, uses: Mapping[str, Use], platform: str, path: str) -> None:
    for descriptor, _ in message.ListFields():
        field, use = descriptor.name, uses.get(descriptor.name, Use.REFUSED)
        if use is Use.REFUSED:
            raise UnimplementedError(
                f"Platform {platform} in '{path}' sets {field}, which is not supported. Remove it"
            )
        if use is Use.WARNED:
            logger.warning("%s of platform %s in '%s' is ignored: not supported", field, platform, path)


def _tensorflow_options(bundle: tfs.SessionBundleConfig, path: str) -> TensorFlowOptions:
    """The fields for SavedModels. No flag overwrites thread counts and GPU share here, so those of the file count.

    Raises:
        InvalidArgumentError: `session_config` sets fields that are not supported.
    """
    session = tf.ConfigProto()
    session.CopyFrom(bundle.session_config)
    intra, inter = session.intra_op_parallelism_threads, session.inter_op_parallelism_threads
    gpu_share = session.gpu_options.per_process_gpu_memory_fraction
    for field in OVERWRITTEN:
        _clear(session, field)
    if bundle.mixed_precision not in ("", "bfloat16"):
        logger.warning(
            "%s auto mixed precision is not supported. Valid option: bfloat16", bundle.mixed_precision
        )
    return TensorFlowOptions(
        saved_model_tags=frozenset(bundle.saved_model_tags) or frozenset({"serve"}),
        intra_op_parallelism=max(0, intra),
        inter_op_parallelism=max(0, inter),
        session_config=checked_session_config(session, path),
        per_process_gpu_memory_fraction=gpu_share,
        bfloat16_mixed_precision=bundle.mixed_precision == "bfloat16",
    )


def _clear(session: tf.ConfigProto, field: str) -> None:
    head, _, tail = field.partition(".")
    if tail == "":
        session.ClearField(head)  # type: ignore[arg-type]
    elif session.HasField("gpu_options"):
        session.gpu_options.ClearField(tail)  # type: ignore[arg-type]

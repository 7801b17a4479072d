"""TensorFlow itself: imported once, late and quietly, and told its process-wide options.

Nothing else in pyserve says `import tensorflow`. The import takes seconds and 650 MB, so it happens in the
first load, not when this module is imported.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from pyserve.config import TensorFlowOptions
from pyserve.errors import FailedPreconditionError

_log = logging.getLogger(__name__)

_lock = threading.Lock()
_module: Any = None  # guarded by _lock while it is None
_threads: tuple[int, int] | None = None  # guarded by _lock: (intra, inter) that the process got

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}
"""Environment for the import unless the user said otherwise: no hints about CPU features and missing GPUs.
A few lines that TensorFlow 2.21 writes before it looks at any setting remain."""


def tensorflow() -> Any:
    """The module `tensorflow`. The first call imports it; any thread may call.

    Raises:
        FailedPreconditionError: It is not installed, or its import fails.
    """
    global _module
    if _module is not None:
        return _module
    with _lock:
        if _module is None:
            _module = _import()
        return _module


def _import() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import tensorflow
    except ModuleNotFoundError as error:
        if error.name == "tensorflow":
            raise FailedPreconditionError(
                "Serving a SavedModel needs TensorFlow, which is not installed: "
                "pip install 'pyserve[tensorflow]'"
            ) from error
        raise FailedPreconditionError(f"TensorFlow cannot be imported: {error}") from error
    except ImportError as error:
        raise FailedPreconditionError(f"TensorFlow cannot be imported: {error}") from error
    return tensorflow


def session_config(options: TensorFlowOptions) -> Any:
    """The `tf.compat.v1.ConfigProto` for a session, after the process was given its thread counts.

    Devices named in a graph are wishes (soft placement): a model exported on a GPU machine is served without
    one.
    """
    tf = tensorflow()
    intra, inter = _claim_threads(options.intra_op_parallelism, options.inter_op_parallelism)
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=intra,
        inter_op_parallelism_threads=inter,
        allow_soft_placement=True,
    )


def _claim_threads(intra: int, inter: int) -> tuple[int, int]:
    """The thread counts that the process has, which are those of its first session.

    TensorFlow makes its pools once per process. Somebody else's eager code in this process may have made them
    already; then `tf.config.threading` refuses, nothing is changed, and the log says so.
    """
    global _threads
    tf = tensorflow()
    with _lock:
        if _threads is None:
            _threads = (intra, inter)
            try:
                if intra > 0:
                    tf.config.threading.set_intra_op_parallelism_threads(intra)
                if inter > 0:
                    tf.config.threading.set_inter_op_parallelism_threads(inter)
            except RuntimeError:
                _log.warning(
                    "TensorFlow is already running in this process: %s intra-op and %s inter-op threads "
                    "cannot be set any more",
                    intra,
                    inter,
                )
        elif _threads != (intra, inter):
            _log.warning(
                "TensorFlow's threads are set once per process: intra-op and inter-op stay at %s and %s "
                "(0: chosen by TensorFlow), %s and %s are ignored",
                *_threads,
                intra,
                inter,
            )
        return _threads


def is_stateful(op: str) -> bool:
    """Whether an op keeps or changes state; True for one that TensorFlow does not know.

    TensorFlow marks such ops, except those that write through a reference (`Assign` of TensorFlow 1), which
    are told by their inputs. The registry is internal to TensorFlow: where it cannot be reached,
    every op counts as stateful, so that nothing runs unasked.
    """
    tensorflow()
    try:
        from tensorflow.python.framework import op_def_registry

        definition = op_def_registry.get(op)
        return (
            definition is None
            or bool(definition.is_stateful)
            or any(argument.is_ref for argument in definition.input_arg)
        )
    except (ImportError, AttributeError):
        return True

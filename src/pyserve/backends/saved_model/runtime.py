"""TensorFlow itself: imported once, late and quietly, and told its process-wide options.

Nothing else in pyserve says `import tensorflow`. The import takes seconds and 650 MB, so it happens in the
first load, not when this module is imported.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyserve.backends.saved_model import garbage
from pyserve.backends.saved_model.session_options import config_proto
from pyserve.config import TensorFlowOptions
from pyserve.dtypes import BY_NAME
from pyserve.errors import FailedPreconditionError
from pyserve.protos.tf import GPUOptions, RewriterConfig

_log = logging.getLogger(__name__)

_lock = threading.Lock()
_module: Any = None  # guarded by _lock while it is None
_freeze = False  # whether the import ends with a freeze; only ever set
_threads: tuple[int, int] | None = None  # guarded by _lock: (intra, inter) that the process got
_gpu_options: bytes | None = None  # guarded by _lock: serialized GPUOptions that the process got
_warned: set[str] = set()  # guarded by _lock: what is said once per process

_thread_lock = threading.Lock()  # not _lock, which an import holds for seconds
_thread: threading.Thread | None = None  # guarded by _thread_lock: imports ahead of the first load

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}
"""Environment for the import unless the user said otherwise: no hints about CPU features and missing GPUs.
TensorFlow reads it once, so it need not stay. A few lines that TensorFlow 2.21 writes before it looks at any
setting remain."""

_NO_TEMPORARY_DIRECTORY = {"TEST_TMPDIR": "/tmp"}
"""Environment for the import where nothing is writable: TensorFlow imports a test library, which asks Python for a
temporary directory unless this names one. None is needed for serving."""


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
            imported = _import()
            if _freeze:
                garbage.freeze_imported()  # inside the lock: no load may begin before it
            _module = imported
        return _module


def begin_import() -> None:
    """Import TensorFlow ahead of the first load. Returns at once; any thread may call, as often as it likes.

    There is one thread for it per process, a daemon: servers that start while it is at work share it, and it
    outlives them, since an import cannot be stopped half-way. After an import that failed the next call tries again.
    """
    global _thread
    with _thread_lock:
        if _module is None and (_thread is None or not _thread.is_alive()):
            _thread = threading.Thread(target=_import_ahead, name="pyserve-import", daemon=True)
            _thread.start()


def _import_ahead() -> None:
    with suppress(FailedPreconditionError):  # the first load reports it
        tensorflow()


def own_process() -> None:
    """Say, before the first import, that this process is pyserve's: its imports may be frozen (see `garbage`)."""
    global _freeze
    _freeze = True  # without _lock, which an import holds for seconds: whoever says so does not wait


def _import() -> Any:
    try:
        with _environment():
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


@contextmanager
def _environment() -> Iterator[None]:
    """The process's environment fits the import inside, and is as it was afterwards; what the user set stays."""
    wanted = dict(_QUIET)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        wanted |= _NO_TEMPORARY_DIRECTORY
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in added.items():
            if os.environ.get(name) == value:
                del os.environ[name]


def session_config(options: TensorFlowOptions) -> Any:
    """The `tf.compat.v1.ConfigProto` for a session, after the process was given its thread counts.

    Threads and GPU options are those of the process's first session: TensorFlow's thread pools and GPU allocators
    are made once.
    """
    tf = tensorflow()
    config = config_proto(options)
    intra, inter = _claim_threads(config.intra_op_parallelism_threads, config.inter_op_parallelism_threads)
    config.intra_op_parallelism_threads, config.inter_op_parallelism_threads = intra, inter
    gpu_options = _claim_gpu_options(config.gpu_options.SerializeToString(deterministic=True))
    config.gpu_options.CopyFrom(GPUOptions.FromString(gpu_options))
    return tf.compat.v1.ConfigProto.FromString(config.SerializeToString())


def warn_of_idle_options(options: TensorFlowOptions, device_types: Collection[str]) -> None:
    """Log, once per process, which options have no effect on this machine.

    Args:
        options: Of a session that was opened.
        device_types: Of the session's devices, e.g. `CPU`, `GPU`.
    """
    config = config_proto(options)
    accelerators = config.gpu_options.ByteSize() or config.pluggable_device_options.ByteSize()
    if accelerators and set(device_types) <= {"CPU", "XLA_CPU"}:
        _warn_once("GPU options have no effect: TensorFlow sees no GPU here")
    if config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == RewriterConfig.ON:
        obstacle = bfloat16_obstacle()
        if obstacle is not None:
            _warn_once(f"bfloat16 mixed precision has no effect: {obstacle}")


def _warn_once(text: str) -> None:
    with _lock:
        if text in _warned:
            return
        _warned.add(text)
    _log.warning("%s", text)


def bfloat16_obstacle() -> str | None:
    """Why graphs are not rewritten to bfloat16 on this machine; None when they are, or when nobody can tell.

    The questions are those of TensorFlow's own optimizer. They are internal to TensorFlow: where they cannot be
    asked, nothing is said.
    """
    tensorflow()
    try:
        from tensorflow.python.util import _pywrap_util_port, _pywrap_utils

        if not _pywrap_util_port.IsMklEnabled():
            return "this TensorFlow runs without oneDNN (TF_ENABLE_ONEDNN_OPTS)"
        if not _pywrap_utils.IsDataTypeSupportedByOneDNNOnThisCPU(BY_NAME["bfloat16"].number):
            return "oneDNN has no bfloat16 on this processor"
    except (ImportError, AttributeError, TypeError):
        pass
    return None


def eager_context_is_live() -> bool:
    """Whether somebody's eager code has already made devices in this process; pyserve's own never does.

    Internal to TensorFlow: False where it cannot be asked.
    """
    tensorflow()
    try:
        from tensorflow.python.eager import context

        return bool(context.context()._initialized)
    except (ImportError, AttributeError):
        return False


def _claim_gpu_options(wanted: bytes) -> bytes:
    """The GPU options that the process has, serialized: those of its first session.

    An eager context that was there before has its own; TensorFlow then goes on with them, and the log says so.
    """
    global _gpu_options
    live = bool(wanted) and eager_context_is_live()
    with _lock:
        if _gpu_options is None:
            _gpu_options = wanted
            if live:
                _log.warning("TensorFlow is already running in this process: GPU options may come too late")
        elif _gpu_options != wanted:
            _log.warning(
                "TensorFlow's GPU options are set once per process: those of the first server stay, others are ignored"
            )
        return _gpu_options


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

"""A TensorFlow session on a MetaGraph: opened, restored and initialised as the C++ server does; run; closed.

`loader` opens it, `program` runs it. Names of tensors and files go in; numpy arrays and TensorFlow's own
exceptions come out. `_direct_run` is the only place that touches private parts of TensorFlow's session; a
test watches them, and without them everything still works through the public `Session.run`, slower and with a
check of declared shapes that TensorFlow Serving does not make.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserve.backends.saved_model import meta_graph as meta
from pyserve.backends.saved_model.placement import place
from pyserve.backends.saved_model.runtime import session_config, tensorflow, warn_of_idle_options
from pyserve.config import TensorFlowOptions
from pyserve.dtypes import Array
from pyserve.errors import NotFoundError
from pyserve.protos import tf

_log = logging.getLogger(__name__)

_CALLER_THREAD = -1
"""RunOptions.inter_op_thread_pool: no hop to the session's threads."""
_MAX_TIMEOUT_MS = 2**31 - 1

Run = Callable[[Mapping[Any, Any], Sequence[Any], Sequence[Any], bytes], Sequence[Any]]
"""(arrays by endpoint, endpoints to fetch, ops to run, serialized RunOptions) → fetched values."""


class GraphSession:
    """A live session. Any thread may call `run`, several at once; `close` comes after the last run."""

    def __init__(self, graph: Any, session: Any) -> None:
        direct = _direct_run(graph, session)
        if direct is None:
            _log.warning(
                "This TensorFlow's sessions have changed inside: requests take the slow public way, which "
                "also refuses shapes that differ from the declared ones"
            )
        self.direct = direct is not None
        self._run: Run | None = direct or _public_run(session)
        self._graph = graph
        self._session = session

    def element_type(self, tensor: str) -> int:
        """TensorFlow's number of a tensor's dtype in the graph.

        Raises:
            KeyError, ValueError: The graph has no tensor of this name.
        """
        return int(self._graph.get_tensor_by_name(meta.full_name(tensor)).dtype.base_dtype.as_datatype_enum)

    def endpoint(self, tensor: str) -> Any:
        """What `run` takes for a tensor, looked up once.

        Raises:
            KeyError, ValueError: The graph has no tensor of this name.
        """
        found = self._graph.get_tensor_by_name(meta.full_name(tensor))
        return found._as_tf_output() if self.direct else found

    def operation(self, name: str) -> Any:
        """What `run` takes for an operation.

        Raises:
            KeyError, ValueError: The graph has none of this name.
        """
        found = self._graph.get_operation_by_name(name)
        return found._c_op if self.direct else found

    def run_op(self, op: str, feeds: Mapping[str, object]) -> None:
        """Run an operation of the graph for its effect."""
        target = self.operation(op.partition(":")[0])
        self.run({self.endpoint(name): value for name, value in feeds.items()}, (), targets=(target,))

    def run(
        self,
        feeds: Mapping[Any, Any],
        fetches: Sequence[Any],
        *,
        targets: Sequence[Any] = (),
        timeout_ms: int = 0,
        on_caller_thread: bool = False,
    ) -> Sequence[Any]:
        """Feed, run, fetch. Scalars come as numpy scalars or `bytes`, everything else as arrays.

        Args:
            timeout_ms: Limit of the run; <= 0 means none. Not kept on the caller's thread.
            on_caller_thread: Run on this thread instead of the session's.

        Raises:
            tf.errors.OpError, TypeError, ValueError: As TensorFlow raises them.
        """
        run = self._run
        if run is None:
            raise tensorflow().errors.CancelledError(None, None, "Session has been closed.")
        return run(feeds, fetches, targets, _run_options(timeout_ms, on_caller_thread))

    def close(self) -> None:
        """Free the session with its variables, tables and kernels. A second call does nothing."""
        session, self._session, self._graph, self._run = self._session, None, None, None
        if session is not None:
            session.close()


def device_names(options: TensorFlowOptions) -> list[str]:
    """The devices that a session with these options has, e.g. `CPU:0`, sorted.

    Raises:
        tf.errors.OpError: As TensorFlow raises it.
    """
    tensorflow_ = tensorflow()
    with tensorflow_.compat.v1.Session(graph=tensorflow_.Graph(), config=session_config(options)) as session:
        return sorted(device.name.partition("/device:")[2] for device in session.list_devices())


def open_session(
    graph: tf.MetaGraphDef, directory: Path, options: TensorFlowOptions, device: str = ""
) -> GraphSession:
    """A session on the graph with its variables restored and its init op run. Empties `graph.graph_def`.

    Args:
        graph: The MetaGraph to serve.
        directory: Of the version.
        options: Of the session.
        device: Where operations run that name no device, e.g. `GPU:1`; empty: TensorFlow chooses.

    Source: TensorFlow, cc/saved_model/loader.cc: restore and init ops run by name; asset paths are fed to
    both. There a model without `variables.index` goes on without a restore, so one that was copied by half would
    replace a good version and then fail every request; here it is refused if the graph has variables.

    Raises:
        tf.errors.OpError, ValueError, KeyError: As TensorFlow raises them; nothing stays open.
        NotFoundError: The graph has variables to restore and `variables.index` is missing.
        ServingError: The MetaGraph contradicts itself.
    """
    tensorflow_ = tensorflow()
    has_checkpoint = _has_checkpoint(graph, directory)
    config = session_config(options)
    if device:
        kept = place(graph.graph_def, device)
        if kept:
            _log.warning(
                "%s: operations that were exported for %s stay there, not on %s",
                directory,
                ", ".join(sorted(kept)),
                device,
            )
    serialized = graph.graph_def.SerializeToString()
    graph.ClearField("graph_def")  # large graphs hold their weights; one copy at a time is enough
    definition = tensorflow_.compat.v1.GraphDef.FromString(serialized)
    del serialized
    known_ops = _op_list(graph)
    target = tensorflow_.Graph()
    with target.as_default():
        tensorflow_.graph_util.import_graph_def(definition, name="", producer_op_list=known_ops)
    del definition
    opened = tensorflow_.compat.v1.Session(graph=target, config=config)
    session = GraphSession(target, opened)
    try:
        warn_of_idle_options(options, {device.device_type for device in opened.list_devices()})
        _initialise(session, graph, directory, has_checkpoint)
    except BaseException:
        session.close()
        raise
    return session


def _has_checkpoint(graph: tf.MetaGraphDef, directory: Path) -> bool:
    if (directory / meta.VARIABLES_INDEX).is_file():
        return True
    if meta.needs_checkpoint(graph):
        raise NotFoundError(
            f"{directory / meta.VARIABLES_INDEX} is missing, but the graph has variables to restore from it"
        )
    return False


def _initialise(session: GraphSession, graph: tf.MetaGraphDef, directory: Path, has_checkpoint: bool) -> None:
    # Files that a newer writer may have put elsewhere are TensorFlow's to complain about.
    assets: dict[str, object] = {
        tensor: _string(directory / "assets" / name) for tensor, name in meta.asset_files(graph).items()
    }
    saver = graph.saver_def
    if saver.restore_op_name and has_checkpoint:
        prefix = _string(directory / "variables" / "variables")
        session.run_op(saver.restore_op_name, {**assets, saver.filename_tensor_name: prefix})
    init_op = meta.init_op(graph)
    if init_op is not None:
        session.run_op(init_op, assets)


def _op_list(graph: tf.MetaGraphDef) -> Any:
    """The ops as the exporter knew them, which lets TensorFlow drop attributes newer than itself."""
    ops = graph.meta_info_def.stripped_op_list
    if not ops.op:
        return None
    from tensorflow.core.framework import op_def_pb2

    return op_def_pb2.OpList.FromString(ops.SerializeToString())


def _string(path: Path) -> Array:
    return np.array(str(path).encode(), dtype=object)


def _run_options(timeout_ms: int, on_caller_thread: bool) -> bytes:
    if on_caller_thread:
        return _ON_CALLER_THREAD
    if timeout_ms <= 0:
        return b""
    return tf.RunOptions(timeout_in_ms=min(timeout_ms, _MAX_TIMEOUT_MS)).SerializeToString()


def _direct_run(graph: Any, session: Any) -> Run | None:
    """The session's own entry into C++, which checks no declared shapes; None where it has changed.

    Private: `_call_tf_sessionrun`, `_as_tf_output`, `_c_op`, `_extend_graph`, and buffers of
    `pywrap_tf_session`. The trial run of a constant proves them all.
    """
    try:
        from tensorflow.python.client import pywrap_tf_session as c_api

        new_buffer, delete_buffer = c_api.TF_NewBufferFromString, c_api.TF_DeleteBuffer
        call = session._call_tf_sessionrun

        def run(
            feeds: Mapping[Any, Any], fetches: Sequence[Any], targets: Sequence[Any], options: bytes
        ) -> Sequence[Any]:
            if not options:
                return call(None, feeds, fetches, targets, None)  # type: ignore[no-any-return]
            buffer = new_buffer(options)
            try:
                return call(buffer, feeds, fetches, targets, None)  # type: ignore[no-any-return]
            finally:
                delete_buffer(buffer)

        with graph.as_default():
            trial = tensorflow().constant(7, name="pyserve_trial")
        session._extend_graph()
        if list(run({}, [trial._as_tf_output()], [trial.op._c_op], _ON_CALLER_THREAD)) != [7]:
            return None
        return run
    except (ImportError, AttributeError, TypeError):
        return None


def _public_run(session: Any) -> Run:
    def run(
        feeds: Mapping[Any, Any], fetches: Sequence[Any], targets: Sequence[Any], options: bytes
    ) -> Sequence[Any]:
        parsed = tensorflow().compat.v1.RunOptions.FromString(options)
        values: Sequence[Any] = session.run([*fetches, *targets], feed_dict=feeds, options=parsed)
        return values[: len(fetches)]

    return run


_ON_CALLER_THREAD = tf.RunOptions(inter_op_thread_pool=_CALLER_THREAD).SerializeToString()

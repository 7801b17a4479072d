"""A server: core and front end on an event loop, as a process (`run`) or embedded (`start`).

    starting ──► serving ──► draining ──► stopped
        └──────────────────────┴──► (a failed start, or a stop before it was over)

The admin port is open from the first second; gRPC and REST open when the models have their first results, as in
TensorFlow Serving. A stop goes front to back: readiness first, then new requests, those in flight, the models.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from pyserve.config import PYTHON_PLATFORM, ModelConfig, PlatformOptions, ServerConfig
from pyserve.errors import CancelledError, DeadlineExceededError, FailedPreconditionError, ServingError
from pyserve.lifecycle.base_path import ListChildren, children_on_disk
from pyserve.lifecycle.monitor import Monitor
from pyserve.lifecycle.startup import result_of
from pyserve.server.core import AVAILABLE, Backend, Core
from pyserve.server.front_end import FrontEnd
from pyserve.transport.admin import Readiness
from pyserve.transport.tap import Tap

logger = logging.getLogger(__name__)

# After the drain nobody waits for an answer any more. A process ends soon, whatever a model or a load is still
# doing; an embedded server gives them time, because its threads would stay behind.
_STOP_TIMEOUT_S = {True: 0.5, False: 10.0}


class Phase(enum.Enum):
    NEW = "not started"
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class Server:
    """A model server. Making one does nothing; `start` and `stop`, or `run`, do the work. It is started once.

        with Server(ServerConfig(models=(...,), port=0, rest_api_port=0)) as server:
            server.wait_until_available("my_model")
            ...  # server.grpc_port, server.rest_port

    An embedded server runs on threads of its own and leaves signals and logging alone. Loading a SavedModel touches the
    process, for TensorFlow has one of everything in it: threads are configured by its first session, and automatic
    garbage collection is off while a model loads.

    Args:
        config: What to serve and how. Port 0 takes a free port.
        backend: What loads models; by default the SavedModel backend, which imports TensorFlow when it starts.
        list_children: Where versions are found; by default on disk.
        tap: Sees the requests for models.
    """

    def __init__(
        self,
        config: ServerConfig,
        backend: Backend | None = None,
        *,
        list_children: ListChildren = children_on_disk,
        tap: Tap | None = None,
    ) -> None:
        self._config = config
        self._backend = backend
        self._list_children = list_children
        self._tap = tap
        self.monitor = Monitor()  # states of all versions; live while the server runs
        self._core: Core | None = None
        self._front_end: FrontEnd | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_requested = threading.Event()
        self._stopping: asyncio.Event | None = None  # the same for the loop
        self._settled = threading.Event()  # ports are open, or the start is over without
        self._failure: BaseException | None = None
        self.phase = Phase.NEW

    @property
    def grpc_port(self) -> int | None:
        """Where gRPC listens; None while it does not."""
        return self._front_end.grpc_port if self._front_end else None

    @property
    def rest_port(self) -> int | None:
        """Where REST listens; None while it does not."""
        return self._front_end.rest_port if self._front_end else None

    @property
    def admin_port(self) -> int | None:
        """Where health and readiness are answered; None while they are not."""
        return self._front_end.admin_port if self._front_end else None

    def readiness(self) -> Readiness:
        """Whether requests are welcome, and what each model is up to. From any thread."""
        models = self._core.model_states() if self._core else {}
        if self.phase is Phase.SERVING:
            if models and not any(state.startswith(AVAILABLE) for state in models.values()):
                return Readiness(False, "no model is available", models)
            return Readiness(True, "", models)
        waiting = sorted(name for name, state in models.items() if state != "available")
        reason = f"the server is {self.phase.value}"
        if self.phase is Phase.STARTING and waiting:
            reason += "; waiting for " + ", ".join(waiting)
        return Readiness(False, reason, models)

    # --- for a process -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve on the calling thread until `request_stop`, as the owner of the process, which is to end then.

        Raises:
            ServingError: The start failed.
        """
        self._run(own_process=True)

    def request_stop(self) -> None:
        """Ask the server to stop, and return at once. From any thread or signal handler, any number of times."""
        self._stop_requested.set()
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                return  # the loop has just been closed: it has stopped already
        if self._core is not None:
            # On another thread: a signal handler may have interrupted the holder of the monitor's lock.
            threading.Thread(target=self.monitor.wake, daemon=True).start()

    # --- embedded ------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float | None = None) -> None:
        """Serve on a thread of its own; returns when the ports are open.

        Raises:
            ServingError: The start failed. DEADLINE_EXCEEDED when it took longer than `timeout_s` seconds.
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a server is started once")
        self._thread = threading.Thread(target=self._run_thread, name="pyserve-server", daemon=True)
        self._thread.start()
        if not self._settled.wait(timeout_s):
            self.stop()
            raise DeadlineExceededError(f"The server did not start within {timeout_s} s")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        if self._stop_requested.is_set():
            raise CancelledError("The server was stopped before it had started")

    def stop(self) -> None:
        """Stop and wait until everything is given back. Does nothing on a server that was never started."""
        if self.phase is Phase.NEW and self._thread is None:
            return
        self.request_stop()
        if self._thread is not None:
            self._thread.join()

    def wait_until_available(self, name: str, timeout_s: float | None = None) -> None:
        """Block until a version of a model can be called.

        Raises:
            DeadlineExceededError: None was within `timeout_s` seconds.
            FailedPreconditionError: The server is not running, or has stopped meanwhile; or every version of the
                model has failed, and with what.
        """
        core = self._running_core()

        def failed() -> bool:
            result = result_of(self.monitor.versions(name))
            return result is not None and not result.status.ok

        def over() -> bool:
            return self._has_stopped() or failed() or bool(core.manager.available_versions(name))

        if not self.monitor.wait(over, timeout_s):
            raise DeadlineExceededError(f"No version of model {name} became available within {timeout_s} s")
        if core.manager.available_versions(name):
            return
        self._running_core()
        newest = self.monitor.versions(name)[0]
        raise FailedPreconditionError(
            f"Model {name} cannot be loaded: version {newest.id.version}: {newest.status}"
        )

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The models configured now.

        Raises:
            FailedPreconditionError: The server is not running.
        """
        return self._running_core().configuration.in_force.listed

    def look_for_versions(self) -> None:
        """Have the base paths looked at now, without waiting for the next poll. Returns at once.

        Raises:
            FailedPreconditionError: The server is not running.
        """
        self._running_core().look_for_versions()

    def reload(self, models: Sequence[ModelConfig], timeout_s: float | None = None) -> None:
        """Serve these models from now on, by the rules of a reload; returns when those that are new are available.

        Raises:
            ServingError: The list was refused, and nothing has changed; or a new model, or the version of a new
                label, did not become available.
            DeadlineExceededError: It took longer than `timeout_s` seconds; the list is in force nevertheless.
            FailedPreconditionError: The server is not running.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._running_core().configuration.apply(tuple(models), deadline).wait(deadline):
            raise DeadlineExceededError(f"The models did not become available within {timeout_s} s")

    def _running_core(self) -> Core:
        core = self._core
        if core is None or self._has_stopped():
            raise FailedPreconditionError("The server is not running")
        return core

    def _has_stopped(self) -> bool:
        return self.phase is Phase.STOPPED

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run_thread(self) -> None:
        try:
            self._run(own_process=False)
        except ServingError as error:
            # start() raises it on the caller's thread. Without its traceback, whose frames hold everything that was
            # made for the start, grpcio's poller thread included.
            self._failure = error.with_traceback(None)
        except BaseException as error:
            self._failure = error
        finally:
            self._settled.set()

    # --- the order of things -------------------------------------------------------------------------------------

    def _run(self, *, own_process: bool) -> None:
        runner = asyncio.Runner(loop_factory=_loop_factory())
        try:
            runner.run(self._main(own_process))
        finally:
            # Closing the loop joins grpcio's poller, which waits up to 20 s for connections that never said a word. A
            # process that is about to end anyway does not.
            if not own_process:
                runner.close()

    async def _main(self, own_process: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        config = self._config
        core = Core(
            config,
            self._backend or _backend(config, config.platform(None)),
            self.monitor,
            {} if self._backend else _platforms(config),
            self._list_children,
        )
        front_end = FrontEnd(config, core, self.readiness, lambda: self.phase is Phase.SERVING, self._tap)
        self._core, self._front_end = core, front_end
        self.phase = Phase.STARTING
        try:
            await front_end.open_admin()
            if config.load_op_library or config.import_modules:
                await asyncio.to_thread(_load_extensions, config, own_process)
            core.start(own_process=own_process)
            await asyncio.to_thread(core.wait_for_first_results, self._stop_requested.is_set)
            if not self._stop_requested.is_set():
                await front_end.open()
                self.phase = Phase.SERVING
                front_end.health_changed()
                self._settled.set()
                await self._stopping.wait()
        finally:
            await self._shut_down(core, front_end, own_process)

    async def _shut_down(self, core: Core, front_end: FrontEnd, own_process: bool) -> None:
        config = self._config
        was_serving = self.phase is Phase.SERVING
        self.phase = Phase.DRAINING
        front_end.health_changed()
        if was_serving:
            logger.info("Stopping: requests in flight may take %g s to finish", config.drain_timeout_s)
            if config.drain_delay_s > 0:
                # Load balancers need a moment to notice that the server is not ready any more.
                await asyncio.sleep(config.drain_delay_s)
        core.stop_reloads()  # they may wait for ever, and would hold up the drain
        await front_end.close(config.drain_timeout_s if was_serving else 0.0)
        await asyncio.to_thread(core.stop, _STOP_TIMEOUT_S[own_process])
        self.phase = Phase.STOPPED
        self.monitor.wake()  # whoever waits for a model waits in vain
        logger.info("Stopped")


def _backend(config: ServerConfig, options: PlatformOptions) -> Backend:
    # Late: a server over callables never needs it.
    from pyserve.backends.python import HandlerBackend
    from pyserve.backends.saved_model import SavedModelBackend
    from pyserve.backends.tflite import TfLiteBackend

    models: Backend = SavedModelBackend(options.tensorflow, config.device_map)
    if options.tflite.prefer_tflite_model:
        models = TfLiteBackend(options.tflite, options.tensorflow, config.device_map)
    return HandlerBackend(models, enabled=config.allow_python_models)


def _platforms(config: ServerConfig) -> dict[str, Backend]:
    """The backends of platforms that a file describes, and of our own."""
    platforms = {name: _backend(config, options) for name, options in (config.platforms or {}).items()}
    if config.allow_python_models:
        from pyserve.backends.python import PythonBackend

        platforms[PYTHON_PLATFORM] = PythonBackend()
    return platforms


def _load_extensions(config: ServerConfig, own_process: bool) -> None:
    from pyserve.backends.saved_model import load_extensions

    load_extensions(config.load_op_library, config.import_modules, own_process=own_process)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

"""The composition root: everything is made here, wired here, started and stopped here, in order.

    files ─► source ─► manager ─► loader ─► servable ◄─ router ◄─ handlers ◄─ gRPC, HTTP
                          │                                │
                          └──► monitor ◄───────────────────┘ status

One event loop carries both protocols: in the main thread when pyserve is a process (`run`), in a thread of its
own when it is embedded (`start`). Models run on the scheduler's threads, loads on the manager's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, TracebackType
from typing import Protocol, Self

from pyserve.batching.scheduler import Scheduler
from pyserve.config import ServerConfig
from pyserve.errors import DeadlineExceededError, UnavailableError
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.inference.warmup import warm_up
from pyserve.lifecycle.loader import Loader
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor
from pyserve.lifecycle.source import FileSystemSource
from pyserve.lifecycle.startup import Outcome, Verdict, judge
from pyserve.servable import ServableId
from pyserve.transport import tfs_methods
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.grpc_server import GrpcServer
from pyserve.transport.http_server import HttpServer
from pyserve.transport.rest import RestApi

logger = logging.getLogger(__name__)

# What TensorFlow Serving binds for gRPC; REST takes all addresses, IPv6 included.
_GRPC_HOST = "0.0.0.0"
# Large bodies are decoded and answers encoded here; more threads would only compete for Python's lock.
_CODEC_THREADS = 2
# After the drain, models get this long to be unloaded; nobody waits for their answers any more.
_UNLOAD_TIMEOUT_S = 5.0


class Backend(Protocol):
    """What knows how to turn a path into a servable."""

    def make_loader(self, id: ServableId, path: str) -> Loader:
        """A loader for one version; does no work yet. Called on the manager's thread."""
        ...

    def incomplete_reason(self, path: str) -> str | None:
        """Why a version's files are not all there yet; None when they are. Never raises."""
        ...

    def loads_changed(self) -> None:
        """Loads or unloads have just finished: the moment to tidy up memory."""
        ...


class Server:
    """A model server. Making one does nothing; `start` and `stop`, or `run`, do the work.

        with Server(ServerConfig(models=(...,), port=0, rest_api_port=0)) as server:
            server.wait_until_available("my_model")
            ...  # server.grpc_port, server.rest_port

    Args:
        config: What to serve and how. Port 0 takes a free port.
        backend: What loads models; by default the SavedModel backend, which imports TensorFlow at the first load.
    """

    def __init__(self, config: ServerConfig, backend: Backend | None = None) -> None:
        self._config = config
        self._backend = backend
        self.monitor = Monitor()
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_requested = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._open = threading.Event()  # ports are open, or the start is over without
        self._failure: BaseException | None = None

    # --- for a process -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve on the calling thread until `request_stop`.

        Raises:
            ServingError: The start failed.
        """
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            runner.run(self._main())

    def request_stop(self) -> None:
        """Ask the server to stop, and return at once. From any thread or signal handler, any number of times."""
        self._stop_requested.set()
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                return  # the loop has just been closed: it has stopped already
        self.monitor.wake()

    # --- embedded ------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float | None = None) -> None:
        """Serve on a thread of its own; returns when the ports are open.

        Raises:
            ServingError: The start failed. DEADLINE_EXCEEDED when it took longer than `timeout_s` seconds.
        """
        if self._thread is not None:
            raise RuntimeError("a server is started once")
        self._thread = threading.Thread(target=self._run_thread, name="pyserve-server", daemon=True)
        self._thread.start()
        if not self._open.wait(timeout_s):
            self.stop()
            raise DeadlineExceededError(f"The server did not start within {timeout_s} s")
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Stop and wait until everything is given back. Does nothing on a server that is not running."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join()

    def wait_until_available(self, name: str, timeout_s: float | None = None) -> None:
        """Block until a version of a model can be called.

        Raises:
            DeadlineExceededError: None was within `timeout_s` seconds.
        """
        manager = self._manager
        if not self.monitor.wait(lambda: bool(manager.available_versions(name)), timeout_s):
            raise DeadlineExceededError(f"No version of model {name} became available within {timeout_s} s")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:  # start() raises it on the caller's thread
            self._failure = error
        finally:
            self._open.set()

    # --- the order of things -------------------------------------------------------------------------------------

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._stop_requested.is_set():
            return
        self._compose()
        self._start_control()
        try:
            await self._first_results()
            if self._stop_requested.is_set():
                return
            await self._open_ports()
            self._open.set()
            await self._stopping.wait()
        finally:
            await self._shut_down()

    def _compose(self) -> None:
        config = self._config
        backend = self._backend or _default_backend(config)
        self._manager = Manager(
            backend.make_loader,
            self.monitor,
            config.load,
            prepare=warm_up if config.warmup_from_signature else None,
        )
        self._source = FileSystemSource(
            self._manager.aspire, backend.incomplete_reason, config.load, on_poll=self.monitor.wake
        )
        labels = MappingProxyType({model.name: model.version_labels for model in config.models})
        router = Router(self._manager.acquire, lambda: labels)
        self._scheduler = Scheduler(config.num_run_threads or _default_run_threads())
        self._codec_threads = ThreadPoolExecutor(_CODEC_THREADS, "pyserve-codec")
        prediction = PredictionService(router, check_method_name=config.enable_signature_method_name_check)
        models = ModelService(self.monitor, router)
        dispatcher = Dispatcher(self._scheduler.submit, self._codec_threads)
        handlers = tfs_methods.handlers(
            prediction, models, as_content=config.enable_serialization_as_tensor_content
        )
        timeout_ms = config.rest_api_timeout_in_ms
        rest = RestApi(
            prediction,
            models,
            timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
            cors=config.rest_api_enable_cors_support,
        )
        self._grpc = GrpcServer(handlers, dispatcher)
        self._http = HttpServer(rest, dispatcher)

    def _start_control(self) -> None:
        self._scheduler.start()
        self._manager.start()
        logger.info("Adding/updating models.")
        for model in self._config.models:
            logger.info(" (Re-)adding model: %s", model.name)
        self._source.set_models(self._config.models)
        self._source.start()

    async def _first_results(self) -> None:
        """Wait until the models have their first results; no port is open before."""
        names = [model.name for model in self._config.models]

        def verdict() -> Verdict:
            states = {name: self.monitor.versions(name) for name in names}
            return judge(names, states, self._source.findings, self._config.load.fail_on_initial_load_error)

        def over() -> bool:
            return self._stop_requested.is_set() or verdict().outcome is not Outcome.WAITING

        await asyncio.to_thread(self.monitor.wait, over)
        if (error := verdict().error) is not None and not self._stop_requested.is_set():
            raise error
        self._manager.end_initial_load()
        logger.info("Finished adding/updating models")

    async def _open_ports(self) -> None:
        config = self._config
        if config.port is not None:
            logger.info("Using InsecureServerCredentials")
            host = config.host or _GRPC_HOST
            self.grpc_port = await self._grpc.start(host, config.port)
            logger.info("Running gRPC ModelServer at %s:%d ...", host, self.grpc_port)
        if config.rest_api_port is None:
            return
        if config.rest_api_port == config.port != 0:
            logger.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST "
                "API. Skipped exporting HTTP/REST API."
            )
            return
        try:
            self.rest_port = await self._http.start(config.host, config.rest_api_port)
        except UnavailableError as error:
            # As in TensorFlow Serving, gRPC goes on without it.
            logger.error("%s", error.message)
            return
        logger.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)

    async def _shut_down(self) -> None:
        """Front to back: no new requests, those in flight finish, then the models go."""
        grace_s = self._config.drain_timeout_s
        await asyncio.gather(self._grpc.stop(grace_s), self._http.stop(grace_s))
        await asyncio.to_thread(self._stop_control)

    def _stop_control(self) -> None:
        self._source.stop()
        self._scheduler.stop(_UNLOAD_TIMEOUT_S)
        self._manager.stop(_UNLOAD_TIMEOUT_S)
        self._codec_threads.shutdown(wait=False, cancel_futures=True)


def _default_backend(config: ServerConfig) -> Backend:
    # Late: the backend imports TensorFlow's neighbourhood, which a server over callables never needs.
    from pyserve.backends.saved_model import SavedModelBackend

    return SavedModelBackend(config.tensorflow)


def _default_run_threads() -> int:
    """One model run per core, and one more so that a core is not idle while a thread hands over its results."""
    return (os.cpu_count() or 1) + 1


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

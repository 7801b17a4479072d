"""The ports of a server: gRPC and REST over one core, and the admin port. Lives on one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pyserve.config import ServerConfig
from pyserve.errors import UnavailableError
from pyserve.lifecycle.monitor import ServableState
from pyserve.observe import prometheus
from pyserve.server.core import Core
from pyserve.transport import profiler, tfs_methods
from pyserve.transport.admin import AdminApi, Readiness
from pyserve.transport.budget import ByteBudget, default_max_connections, memory_bytes
from pyserve.transport.dispatch import Dispatcher
from pyserve.transport.eas import EasApi
from pyserve.transport.grpc_arguments import MAX_CONNECTIONS
from pyserve.transport.grpc_native import NativeGrpcServer
from pyserve.transport.grpc_server import GrpcServer
from pyserve.transport.health import HealthService
from pyserve.transport.http import HttpApi
from pyserve.transport.http_server import HttpServer
from pyserve.transport.metering import EAS, REST, MeteredHttp, Metering
from pyserve.transport.metrics_page import WithMetricsPage
from pyserve.transport.reload_method import reload_handler
from pyserve.transport.rest import RestApi
from pyserve.transport.tap import Tap

logger = logging.getLogger(__name__)

# What TensorFlow Serving binds for gRPC; REST takes all addresses, IPv6 included.
_GRPC_HOST = "0.0.0.0"
# Large bodies are decoded and answers encoded here; more threads would only compete for Python's lock.
_CODEC_THREADS = 2


class FrontEnd:
    """Opens and closes the ports. Every method is called on the running event loop.

    Args:
        config: Ports and limits.
        core: Answers for the models.
        readiness: For `/readyz`.
        welcome: Whether requests are welcome, for the health service.
        tap: Sees the requests for models.

    Attributes:
        grpc_port, rest_port, admin_port: Where it listens; None while it does not.
    """

    def __init__(
        self,
        config: ServerConfig,
        core: Core,
        readiness: Callable[[], Readiness],
        welcome: Callable[[], bool],
        tap: Tap | None = None,
    ) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        limits = config.limits
        self._codec_threads = ThreadPoolExecutor(_CODEC_THREADS, "pyserve-codec")
        dispatcher = Dispatcher(core.scheduler.submit, self._codec_threads)
        handlers = tfs_methods.handlers(
            core.prediction,
            core.models,
            as_content=config.enable_serialization_as_tensor_content,
            session_run=config.enable_session_run,
            expansion_limit=limits.max_tensor_expansion_bytes,
        )
        metering = Metering(core.metrics, core.is_model)
        self._profiler = _profiler(config) if config.enable_profiler else None
        handlers = {
            **metering.handlers(handlers),
            **(self._profiler.handlers() if self._profiler else profiler.refusals()),
        }
        handlers[tfs_methods.RELOAD_CONFIG] = reload_handler(
            core.configuration, core.monitor, config.platform_names, read_metric=core.metrics.registry.read
        )
        if tap is not None:
            handlers = tap.handlers(handlers)
        self._health: HealthService | None = None
        self._forget_states: Callable[[], None] = lambda: None
        if config.enable_grpc_healthcheck_service:
            self._health = HealthService(welcome, core.model_names, core.serves)
            handlers |= self._health.handlers()
            self._forget_states = core.monitor.subscribe(self._state_changed)
        quarter = memory_bytes() // 4
        timeout_ms = config.rest_api_timeout_in_ms
        admin = AdminApi(readiness, core.batching_of)
        rest = RestApi(
            core.prediction,
            core.models,
            admin,
            timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
            cors=config.rest_api_enable_cors_support,
            inflated_limit=limits.rest_api_max_inflated_bytes,
            json_limit=limits.rest_api_max_json_bytes or quarter,
        )
        budget = ByteBudget(limits.max_inflight_bytes or quarter)
        max_connections = limits.max_connections or default_max_connections()
        engine = NativeGrpcServer if config.grpc_engine == "native" else GrpcServer
        self._grpc: GrpcServer | NativeGrpcServer = engine(
            handlers,
            dispatcher,
            budget,
            streams=self._health.streams() if self._health else {},
            arguments={MAX_CONNECTIONS: max_connections, **config.grpc_channel_arguments},
        )

        registry = core.metrics.registry

        def http_server(api: HttpApi) -> HttpServer:
            if config.metrics_path is not None:
                api = WithMetricsPage(api, config.metrics_path, lambda: prometheus.page(registry.metrics()))
            return HttpServer(
                api,
                dispatcher,
                budget,
                max_body_bytes=limits.rest_api_max_body_bytes,
                max_connections=max_connections,
                idle_timeout_s=limits.rest_api_idle_timeout_s,
            )

        metered = self._metered(rest, metering, core)
        self._rest = http_server(metered if tap is None else tap.rest(metered))
        self._admin = http_server(admin)
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        self.admin_port: int | None = None

    def _metered(self, rest: HttpApi, metering: Metering, core: Core) -> HttpApi:
        """What the REST port answers, counted."""
        options = self._config.eas
        if options is None:
            return MeteredHttp(rest, metering)
        eas = EasApi(
            rest,
            core.prediction,
            options,
            is_model=core.is_model,
            knows=core.knows,
            runs_of_a_service=core.rows_at_once,
            inflated_limit=self._config.limits.rest_api_max_inflated_bytes,
        )
        return MeteredHttp(eas, metering, (REST, EAS))

    def health_changed(self) -> None:
        """Let the health service look again whether requests are welcome."""
        if self._health is not None:
            self._health.changed()

    def _state_changed(self, state: ServableState) -> None:
        """On the manager's thread: a model's version has another state."""
        del state
        with suppress(RuntimeError):  # the loop is closed: nobody watches any more
            self._loop.call_soon_threadsafe(self.health_changed)

    async def open_admin(self) -> None:
        """Open the admin port, if there is to be one: the only one that is open while models load.

        Raises:
            UnavailableError: It cannot be bound.
        """
        if self._config.admin_port is not None:
            self.admin_port = await self._admin.start(self._config.host, self._config.admin_port)
            logger.info("Exporting health and readiness at:localhost:%d ...", self.admin_port)

    async def open(self) -> None:
        """Open gRPC and REST. REST may fail, which is logged, and gRPC goes on, as in TensorFlow Serving.

        Raises:
            InvalidArgumentError: gRPC cannot be bound.
        """
        config = self._config
        logger.info("Using InsecureServerCredentials")
        if config.enable_session_run:
            logger.warning("SessionRun is enabled: callers may run every operation of the models' graphs")
        if config.enable_profiler:
            logger.info("Profiler service is enabled")
        if config.enable_profiler and not config.profile_dir:
            logger.warning("The profiler service can record nothing without --profile_dir")
        host = config.host or _GRPC_HOST
        self.grpc_port = await self._grpc.start(host, config.port, config.grpc_socket_path)
        if self.grpc_port is not None:
            logger.info("Running gRPC ModelServer at %s:%d ...", host, self.grpc_port)
        if config.grpc_socket_path:
            logger.info("Running gRPC ModelServer at UNIX socket %s ...", config.grpc_socket_path)
        if config.rest_api_port is None:
            return
        if config.rest_api_port == config.port != 0:
            logger.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST "
                "API. Skipped exporting HTTP/REST API."
            )
            return
        try:
            self.rest_port = await self._rest.start(config.host, config.rest_api_port)
        except UnavailableError as error:
            logger.error(
                "Failed to start HTTP Server at localhost:%d: %s", config.rest_api_port, error.message
            )
            return
        logger.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)

    async def close(self, grace_s: float) -> None:
        """Accept no connection any more, let requests in flight finish within `grace_s` seconds, close the rest.

        The admin port answers until the end, so that probes see why the server is not ready.
        """
        self._forget_states()
        if self._profiler is not None:
            self._profiler.stop()
        await asyncio.gather(self._grpc.stop(grace_s), self._rest.stop(grace_s))
        await self._admin.stop(0.0)
        self._codec_threads.shutdown(wait=False, cancel_futures=True)
        self.grpc_port = self.rest_port = self.admin_port = None


def _profiler(config: ServerConfig) -> profiler.ProfilerService:
    # Late: a server over callables does not need it before somebody asks for a profile.
    from pyserve.backends.saved_model.profile import record

    return profiler.ProfilerService(config.profile_dir, record)

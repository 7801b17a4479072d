"""The standard gRPC health service, which tells the truth: about the server, and about each model.

    ""                                             the server: SERVING from its start until it drains
    ModelService, PredictionService                the same; TensorFlow Serving's names, and the full ones
    tensorflow.serving.ModelService, …
    <model>                                        SERVING while a version of it can be called

Anything else is unknown: NOT_FOUND from Check, SERVICE_UNKNOWN from Watch, which goes on in case it appears.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

from pyserve.codec.message import parse_message
from pyserve.errors import NotFoundError, ResourceExhaustedError
from pyserve.inference.call import Handler, StreamHandler
from pyserve.protos import health

_HEALTH = "/grpc.health.v1.Health/"
_SERVICES = ("ModelService", "PredictionService")
SERVER_NAMES = ("", *_SERVICES, *(f"tensorflow.serving.{name}" for name in _SERVICES))
"""The names under which the server itself is asked for."""

_SERVING = health.HealthCheckResponse.SERVING
_NOT_SERVING = health.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health.HealthCheckResponse.SERVICE_UNKNOWN

# A watch costs a task and a stream for as long as its caller likes.
_MAX_WATCHES = 10_000
# More names than this do not fit a caller's patience; the protocol says RESOURCE_EXHAUSTED.
_MAX_LISTED = 1_000


class HealthService:
    """Check, List and Watch. Belongs to one event loop.

    Args:
        welcome: Whether the server takes requests.
        models: The names of all models.
        model_serves: Whether a model can be called; None when it is no model.
    """

    def __init__(
        self,
        welcome: Callable[[], bool],
        models: Callable[[], Iterable[str]],
        model_serves: Callable[[str], bool | None],
    ) -> None:
        self._welcome = welcome
        self._models = models
        self._model_serves = model_serves
        self._watches = 0
        self._changed = asyncio.Event()

    def handlers(self) -> Mapping[str, Handler]:
        """Full method name → unary handler."""
        return {_HEALTH + "Check": self._check, _HEALTH + "List": self._list}

    def streams(self) -> Mapping[str, StreamHandler]:
        """Full method name → server-streaming handler."""
        return {_HEALTH + "Watch": self._watch}

    def changed(self) -> None:
        """Let every watch look again: the server's or a model's state may have changed. On the event loop."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def status(self, service: str) -> int:
        """A `ServingStatus`."""
        if service in SERVER_NAMES:
            return _SERVING if self._welcome() else _NOT_SERVING
        serves = self._model_serves(service)
        if serves is None:
            return _SERVICE_UNKNOWN
        return _SERVING if serves and self._welcome() else _NOT_SERVING

    def _check(self, data: bytes, deadline: float | None) -> bytes:
        del deadline
        service = _service(data)
        status = self.status(service)
        if status == _SERVICE_UNKNOWN:
            raise NotFoundError(f"No service and no model is called {service[:256]}")
        return _response(status)

    def _list(self, data: bytes, deadline: float | None) -> bytes:
        del data, deadline
        names = [*SERVER_NAMES, *self._models()]
        if len(names) > _MAX_LISTED:
            raise ResourceExhaustedError(
                f"{len(names)} services and models are more than the {_MAX_LISTED} that List answers; use Check"
            )
        response = health.HealthListResponse()
        for name in names:
            response.statuses[name].status = self.status(name)
        return response.SerializeToString()

    async def _watch(self, data: bytes) -> AsyncGenerator[bytes, None]:
        service = _service(data)
        if self._watches >= _MAX_WATCHES:
            raise ResourceExhaustedError(f"More than {_MAX_WATCHES} watches")
        self._watches += 1
        try:
            last: int | None = None
            while True:
                changed = self._changed  # taken before the look, so that no change falls between the two
                status = self.status(service)
                if status != last:
                    last = status
                    yield _response(status)
                else:
                    await changed.wait()
        finally:
            self._watches -= 1


def _service(data: bytes) -> str:
    return parse_message(health.HealthCheckRequest, data).service


def _response(status: int) -> bytes:
    return health.HealthCheckResponse(status=status).SerializeToString()

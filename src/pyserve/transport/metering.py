"""Counts requests the way TensorFlow Serving does, around handlers that know nothing about it.

    gRPC    Predict, Classify, Regress: one count per call under the model's name, and its latency when it succeeded
            MultiInference: the number of its examples, when it succeeded; its calls are not counted
            every other method: nothing
    REST    every request under `/v1/`, status and metadata included, with the verb as the API (empty without one)
    EAS     every request for a service, with `predict` as the API (empty for a model's structure)

A name that is no model's, and never was one, is counted under `UNKNOWN_MODEL`, so that nobody can make the page grow
by asking for names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyserve.batching.task import Task
from pyserve.codec.requested_model import requested_model
from pyserve.errors import Code, ServingError, Status
from pyserve.inference.call import Blocking, Call, Handler, Work
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.transport import eas_url, rest_url
from pyserve.transport.http import HttpApi, HttpRequest, HttpResponse
from pyserve.transport.rest import is_api_request

UNKNOWN_MODEL = "_unknown_"
"""What requests are counted under whose model does not exist."""

_PREDICTION = "/tensorflow.serving.PredictionService/"
_COUNTED = ("Predict", "Classify", "Regress")
_MULTI_INFERENCE = "MultiInference"

# REST verb → the API's name in runtime_latency, which is that of the gRPC method.
_RUNTIME_API = {name.lower(): name for name in _COUNTED}
_MICROSECONDS = 1e6


class Metering:
    """Records requests. Thread-safe.

    Args:
        metrics: Where they are recorded.
        is_model: Whether a name is, or ever was, that of a model; asked about names of refused requests.
        clock: `time.perf_counter`.
    """

    def __init__(
        self,
        metrics: ServingMetrics,
        is_model: Callable[[str], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._metrics = metrics
        self._is_model = is_model
        self.clock = clock

    def handlers(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The same gRPC handlers, counted."""
        counted = dict(handlers)
        for method, handler in handlers.items():
            name = method.removeprefix(_PREDICTION)
            if name in _COUNTED:
                counted[method] = self._counted(name, handler)
            elif name == _MULTI_INFERENCE:
                counted[method] = self._examples_counted(handler)
        return counted

    def _counted(self, api: str, handler: Handler) -> Handler:
        def begin(data: bytes, deadline: float | None) -> bytes | Call[bytes] | Blocking[bytes]:
            started = self.clock()
            try:
                begun = handler(data, deadline)
            except Exception as error:
                self.count(self.known(requested_model(data)), Status.of(error).code)
                raise
            if not isinstance(begun, Call):
                self.ended(self.known(requested_model(data)), api, "GRPC", started, Code.OK)
                return begun
            task, name = begun.task, begun.task.handle.id.name

            def done(code: Code) -> None:
                self.ended(name, api, "GRPC", started, code)
                self.ran(task, name, api)

            return Call(task, begun.finish, done)

        return begin

    def _examples_counted(self, handler: Handler) -> Handler:
        def begin(data: bytes, deadline: float | None) -> bytes | Call[bytes] | Blocking[bytes]:
            begun = handler(data, deadline)
            if not isinstance(begun, Call):
                return begun
            name = begun.task.handle.id.name
            # Every task of the request gets the same examples; the inputs are gone when it ends.
            examples = next((len(array) for array in begun.task.inputs.values() if array.ndim), 0)

            def done(code: Code) -> None:
                if code is Code.OK:
                    self._metrics.request_example_counts.observe((name,), examples)
                    self._metrics.request_example_count_total.add((name,), examples)

            return Call(begun.task, begun.finish, done)

        return begin

    def known(self, name: str) -> str:
        """The label for a model name of a request that may not have reached a model."""
        return name if not name or self._is_model(name) else UNKNOWN_MODEL

    def count(self, name: str, code: Code) -> None:
        self._metrics.request_count.add((name, code.name))

    def ended(self, name: str, api: str, entrypoint: str, started: float, code: Code) -> None:
        """A request is over."""
        self.count(name, code)
        if code is Code.OK:
            micros = (self.clock() - started) * _MICROSECONDS
            self._metrics.request_latency.observe((name, api, entrypoint), micros)

    def ran(self, task: Task, name: str, api: str) -> None:
        """The time that the model took, its wait for a thread or a batch included, if it succeeded."""
        if task.result is not None and task.error is None:
            self._metrics.model_ran(name, api, task.answered_at - task.submitted_at)


@dataclass(frozen=True, slots=True)
class Surface:
    """One of the APIs that an HTTP server serves, as it is counted.

    Attributes:
        entrypoint: Its name in the metrics.
        covers: Whether a request belongs to it.
        model: The model that a request names; empty: none.
        verb: What the API is called of a request that runs a model.
    """

    entrypoint: str
    covers: Callable[[HttpRequest], bool]
    model: Callable[[HttpRequest], str]
    verb: Callable[[HttpRequest], str]


REST = Surface(
    "REST",
    is_api_request,
    lambda request: rest_url.requested_model(request.method, request.target),
    lambda request: request.target.rpartition(":")[2],
)
EAS = Surface(
    "EAS",
    lambda request: eas_url.is_service(request.target),
    lambda request: eas_url.requested_model(request.target),
    lambda request: "predict",
)


class MeteredHttp:
    """An HTTP API, counted. Same interface, same answers.

    Args:
        api: Answers.
        metering: Counts.
        surfaces: What of it is counted, and how.
    """

    def __init__(self, api: HttpApi, metering: Metering, surfaces: Sequence[Surface] = (REST,)) -> None:
        self._api = api
        self._metering = metering
        self._surfaces = surfaces

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse] | Work[HttpResponse]:
        surface = self._surface(request)
        if surface is None:
            return self._api.begin(request)
        metering = self._metering
        started = metering.clock()
        try:
            begun = self._api.begin(request)
        except Exception as error:
            metering.count(metering.known(surface.model(request)), Status.of(error).code)
            raise
        if isinstance(begun, Call):
            task, name, inner = begun.task, begun.task.handle.id.name, begun.done
            verb = surface.verb(request)

            def done(code: Code) -> None:
                if inner is not None:
                    inner(code)
                metering.ended(name, verb, surface.entrypoint, started, code)
                metering.ran(task, name, _RUNTIME_API.get(verb, verb))

            return Call(task, begun.finish, done)
        # Nothing ran: status, metadata, OPTIONS, the structure of a model.
        metering.ended(metering.known(surface.model(request)), "", surface.entrypoint, started, Code.OK)
        return begun

    def deadline(self, request: HttpRequest) -> float | None:
        return self._api.deadline(request)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        if (surface := self._surface(request)) is not None:
            self._metering.count(self._metering.known(surface.model(request)), error.code)
        return self._api.refuse(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return self._api.error(request, error)

    def _surface(self, request: HttpRequest) -> Surface | None:
        return next((surface for surface in self._surfaces if surface.covers(request)), None)

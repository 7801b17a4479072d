"""What is counted for which request, under which labels; and the page in front of the API."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pyserve.batching.task import Task
from pyserve.errors import (
    Code,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServingError,
)
from pyserve.inference.call import Call, Work
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.protos import tfs
from pyserve.servable import ServableHandle, ServableId
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.metering import UNKNOWN_MODEL, MeteredHttp, Metering
from pyserve.transport.metrics_page import WithMetricsPage

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def request(name: str) -> bytes:
    return tfs.PredictRequest(model_spec=tfs.ModelSpec(name=name)).SerializeToString()


def task(name: str = "m", rows: int = 3) -> Task:
    handle = ServableHandle(ServableId(name, 1), None, lambda: None)  # type: ignore[arg-type]
    return Task(handle, "s", {"x": np.zeros(rows)}, ["y"])


def end(call: Call[bytes] | Call[HttpResponse], code: Code, *, ran: bool = True) -> None:
    """What a dispatcher does, with a run of 250 µs."""
    call.task.answer({} if ran else None, None if ran else InternalError("x"))
    call.task.submitted_at = call.task.answered_at - 250e-6
    assert call.done is not None
    call.done(code)


class House:
    """Metering over a clock that ticks a millisecond at each look, and the model `m`."""

    def __init__(self) -> None:
        self.metrics = ServingMetrics()
        ticks = itertools.count()
        self.metering = Metering(self.metrics, lambda name: name == "m", lambda: next(ticks) / 1000)

    def counts(self) -> dict[tuple[str, ...], int]:
        return dict(self.metrics.request_count.values())

    def latencies(self) -> dict[tuple[str, ...], float]:
        return {labels: round(seen.sum) for labels, seen in self.metrics.request_latency.values().items()}

    def runtimes(self) -> dict[tuple[str, ...], float]:
        return {labels: round(seen.sum) for labels, seen in self.metrics.runtime_latency.values().items()}


@pytest.mark.parametrize("api", ["Predict", "Classify", "Regress"])
def test_grpc_success(api: str) -> None:
    """A call that succeeded is counted, with its own latency and the model's."""
    house = House()
    method = f"/tensorflow.serving.PredictionService/{api}"
    handler = house.metering.handlers({method: lambda data, deadline: Call(task(), lambda out: b"")})[method]
    call = handler(request("m"), None)
    assert isinstance(call, Call)
    assert house.counts() == {}
    end(call, Code.OK)
    assert house.counts() == {("m", "OK"): 1}
    assert house.latencies() == {("m", api, "GRPC"): 1000}
    assert house.runtimes() == {("m", api, "TF1"): 250}


@pytest.mark.parametrize(
    ("code", "ran", "runtimes"),
    [
        (Code.INTERNAL, False, {}),
        (Code.RESOURCE_EXHAUSTED, True, {("m", "Predict", "TF1"): 250}),
        (Code.CANCELLED, False, {}),
    ],
)
def test_grpc_failure_of_a_run(code: Code, ran: bool, runtimes: dict[tuple[str, ...], float]) -> None:
    """A failure has its code and no latency; the model's time counts if it is the encoding that failed."""
    house = House()
    handler = house.metering.handlers({PREDICT: lambda data, deadline: Call(task(), lambda out: b"")})[
        PREDICT
    ]
    call = handler(request("m"), None)
    assert isinstance(call, Call)
    end(call, code, ran=ran)
    assert house.counts() == {("m", code.name): 1}
    assert (house.latencies(), house.runtimes()) == ({}, runtimes)


@pytest.mark.parametrize(
    ("data", "error", "labels"),
    [
        (request("m"), InvalidArgumentError("x"), ("m", "INVALID_ARGUMENT")),
        (request("bogus"), NotFoundError("x"), (UNKNOWN_MODEL, "NOT_FOUND")),
        (request(""), InvalidArgumentError("x"), ("", "INVALID_ARGUMENT")),
        (b"\xff", InvalidArgumentError("x"), ("", "INVALID_ARGUMENT")),
        (request("m"), KeyError("x"), ("m", "INTERNAL")),
    ],
)
def test_grpc_refusals(data: bytes, error: Exception, labels: tuple[str, str]) -> None:
    """A refused request counts under its model, and names of no model under one label."""
    house = House()

    def refuse(data: bytes, deadline: float | None) -> bytes:
        raise error

    with pytest.raises(type(error)):
        house.metering.handlers({PREDICT: refuse})[PREDICT](data, None)
    assert house.counts() == {labels: 1}
    assert house.latencies() == {}


def test_a_thousand_bogus_names_are_one_label() -> None:
    """Nobody can make the page grow by asking for names."""
    house = House()

    def refuse(data: bytes, deadline: float | None) -> bytes:
        raise NotFoundError("x")

    handler = house.metering.handlers({PREDICT: refuse})[PREDICT]
    for number in range(1000):
        with pytest.raises(ServingError):
            handler(request(f"bogus{number}"), None)
    assert house.counts() == {(UNKNOWN_MODEL, "NOT_FOUND"): 1000}


def test_methods_that_are_not_counted() -> None:
    """MultiInference counts its examples only; status, metadata and reload nothing."""
    house = House()
    multi = "/tensorflow.serving.PredictionService/MultiInference"
    metadata = "/tensorflow.serving.PredictionService/GetModelMetadata"
    status = "/tensorflow.serving.ModelService/GetModelStatus"

    def answer(data: bytes, deadline: float | None) -> bytes:
        return b""

    handlers = house.metering.handlers(
        {metadata: answer, status: answer, multi: lambda data, deadline: Call(task(rows=7), lambda out: b"")}
    )
    assert handlers[metadata] is answer
    assert handlers[status] is answer
    for code in (Code.OK, Code.INTERNAL):
        call = handlers[multi](b"", None)
        assert isinstance(call, Call)
        call.task.inputs = {}  # it ended
        assert call.done is not None
        call.done(code)
    assert (house.counts(), house.latencies(), house.runtimes()) == ({}, {}, {})
    assert dict(house.metrics.request_example_count_total.values()) == {("m",): 7}
    assert house.metrics.request_example_counts.values()[("m",)].sum == 7


class Api:
    """Answers what a test says."""

    def __init__(self, answer: HttpResponse | Call[HttpResponse] | ServingError) -> None:
        self.answer = answer

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse]:
        if isinstance(self.answer, ServingError):
            raise self.answer
        return self.answer

    def deadline(self, request: HttpRequest) -> float | None:
        return None

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return html_error(413)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return html_error(500)


OK = HttpResponse(200, b"{}")


@pytest.mark.parametrize(
    ("method", "target", "answer", "counts", "latencies"),
    [
        ("GET", "/v1/models/m", OK, {("m", "OK"): 1}, {("m", "", "REST"): 1000}),
        ("GET", "/V1/models/m/metadata", OK, {("m", "OK"): 1}, {("m", "", "REST"): 1000}),
        ("OPTIONS", "/v1/models/m", OK, {("", "OK"): 1}, {("", "", "REST"): 1000}),
        ("GET", "/v1/models/bogus", NotFoundError("x"), {(UNKNOWN_MODEL, "NOT_FOUND"): 1}, {}),
        ("GET", "/v1/models/%6d", InvalidArgumentError("x"), {("m", "INVALID_ARGUMENT"): 1}, {}),
        ("POST", "/v1/models/m:predict", InvalidArgumentError("x"), {("m", "INVALID_ARGUMENT"): 1}, {}),
        ("POST", "/v1/models/m:PREDICT", InvalidArgumentError("x"), {("m", "INVALID_ARGUMENT"): 1}, {}),
        ("POST", "/v1/nonsense", InvalidArgumentError("x"), {("", "INVALID_ARGUMENT"): 1}, {}),
        ("PUT", "/v1/models/m", InvalidArgumentError("x"), {("", "INVALID_ARGUMENT"): 1}, {}),
        ("GET", "/v1/models", InvalidArgumentError("x"), {("", "INVALID_ARGUMENT"): 1}, {}),
        ("GET", "/healthz", OK, {}, {}),
        ("GET", "/v2/models/m", html_error(404), {}, {}),
        ("TRACE", "/v1/models/m", html_error(501), {}, {}),
    ],
)
def test_rest(
    method: str,
    target: str,
    answer: HttpResponse | ServingError,
    counts: dict[tuple[str, ...], int],
    latencies: dict[tuple[str, ...], float],
) -> None:
    """Everything under /v1/ is counted, with an empty API where there is no verb; pages are not."""
    house = House()
    rest = MeteredHttp(Api(answer), house.metering)
    if isinstance(answer, ServingError):
        with pytest.raises(ServingError):
            rest.begin(HttpRequest(method, target, {}, b""))
    else:
        assert rest.begin(HttpRequest(method, target, {}, b"")) is answer
    assert (house.counts(), house.latencies()) == (counts, latencies)


def test_rest_calls() -> None:
    """A verb is the API in lower case; the model's own time has the name of the gRPC method."""
    house = House()
    for verb in ("predict", "classify", "regress"):
        rest = MeteredHttp(Api(Call(task(), lambda out: OK)), house.metering)
        call = rest.begin(HttpRequest("POST", f"/v1/models/m:{verb}", {}, b""))
        assert isinstance(call, Call)
        end(call, Code.OK)
    assert house.counts() == {("m", "OK"): 3}
    assert set(house.latencies()) == {("m", verb, "REST") for verb in ("predict", "classify", "regress")}
    assert set(house.runtimes()) == {("m", api, "TF1") for api in ("Predict", "Classify", "Regress")}


def test_bodies_that_were_not_taken_in() -> None:
    """They are counted under their model, and answered by the API."""
    house = House()
    rest = MeteredHttp(Api(OK), house.metering)
    error = ResourceExhaustedError("x")
    assert rest.refuse(HttpRequest("POST", "/v1/models/m:predict", {}, b""), error).status == 413
    rest.refuse(HttpRequest("POST", "/other", {}, b""), error)
    assert house.counts() == {("m", "RESOURCE_EXHAUSTED"): 1}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_page_answers_any_method(method: str) -> None:
    """The exact path is the page, made on another thread; a query is refused."""
    api = WithMetricsPage(Api(OK), "/v1/models/m", lambda: "text")
    work = api.begin(HttpRequest(method, "/v1/models/m", {}, b""))
    assert isinstance(work, Work)
    answer = work.make()
    assert (answer.status, answer.body, answer.content_type) == (200, b"text", "text/plain")
    refused = api.begin(HttpRequest(method, "/v1/models/m?a=b", {}, b""))
    assert isinstance(refused, HttpResponse)
    assert (refused.status, refused.content_type) == (400, "text/plain")
    assert refused.body == b"Unexpected path: /v1/models/m?a=b. Should be /v1/models/m"


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/M"), ("GET", "/m/"), ("GET", "/"), ("GET", "/mm"), ("TRACE", "/m"), ("BREW", "/m?x")],
)
def test_what_is_not_the_page(method: str, target: str) -> None:
    """Other paths, another case, and verbs that are not let in, go to the API."""
    assert WithMetricsPage(Api(OK), "/m", lambda: "text").begin(HttpRequest(method, target, {}, b"")) is OK

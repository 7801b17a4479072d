"""EAS's HTTP protocol without a socket: URLs, order of checks, statuses, codings, discovery."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pyserve import dtypes, errors
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.codec.inflate import InflatedTooLargeError, UnsupportedCodingError
from pyserve.config import EasOptions, EasService
from pyserve.dtypes import Array
from pyserve.errors import Code, NotFoundError, QueueFullError, ServingError, error_for
from pyserve.inference.call import Call
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.protos import eas
from pyserve.security.tokens import signature
from pyserve.servable import ServableHandle, ServableId, TensorSpec
from pyserve.transport.eas import EasApi
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.status import BodyTooLargeError, MethodNotAllowedError, eas_status

OTHER = html_error(404)


class Rest:
    """The API behind: it says of everything that it is not found."""

    def begin(self, request: HttpRequest) -> HttpResponse:
        return OTHER

    def deadline(self, request: HttpRequest) -> float | None:
        return None

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return OTHER

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return OTHER


class House:
    """The API over one callable model `m` in version 1; `known` has none that is available.

    Attributes:
        now: The clock.
        handles: Handles that were taken and not given back.
    """

    def __init__(self, service: EasService | None = None, **options: Any) -> None:
        x, y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))

        def run(x: Array) -> Mapping[str, Array]:
            return {"y": x / 2 + 2}

        self.now = 100.0
        self.handles = 0
        self.servable = FunctionServable(
            [(predict_signature([x], [y]), run), (predict_signature([x], [y], "other"), run)]
        )
        prediction = PredictionService(Router(self._acquire, lambda: {"m": {"stable": 1}}))
        self.api = EasApi(
            Rest(),
            prediction,
            EasOptions({"m": service or EasService()}, **options),
            is_model=lambda name: name in ("m", "known"),
            knows=lambda name, version: version in (None, 1, 2),
            runs_of_a_service=2,
            inflated_limit=1000,
            clock=lambda: self.now,
        )

    def _acquire(self, name: str, version: int | None) -> ServableHandle:
        if name != "m" or version not in (None, 1):
            raise NotFoundError(f"Servable not found for request: {name}")
        self.handles += 1
        return ServableHandle(ServableId("m", 1), self.servable, self._release)

    def _release(self) -> None:
        self.handles -= 1

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse]:
        try:
            return self.api.begin(request)  # type: ignore[return-value]
        except ServingError as error:
            return self.api.error(request, error)

    def ask(
        self, body: bytes = b"", target: str = "/api/predict/m", method: str = "POST", **headers: str
    ) -> HttpResponse:
        """A request to its end, on this thread."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(method, target, headers, body, local_address=lambda: ("10.0.0.1", 8501))
        begun = self.begin(request)
        if isinstance(begun, HttpResponse):
            return begun
        begun.task.run()
        assert begun.done is not None
        begun.done(Code.OK)
        if begun.task.error is not None:
            return self.api.error(request, begun.task.error)
        assert begun.task.result is not None
        return begun.finish(begun.task.result)


def request_of(*values: float, **fields: Any) -> bytes:
    message = eas.PredictRequest(**fields)
    x = message.inputs["x"]
    x.dtype = 1
    x.array_shape.dim.append(len(values))
    x.float_val.extend(values)
    return message.SerializeToString()


BODY = request_of(1, 2)
ANSWER = [2.5, 3]


def values(response: HttpResponse) -> list[float]:
    assert response.status == 200, response.body
    assert response.content_type == "application/octet-stream"
    return list(eas.PredictResponse.FromString(response.body).outputs["y"].float_val)


@pytest.mark.parametrize(
    "target",
    [
        "/api/predict/m",
        "/api/predict/m/",
        "/api/predict/m//",
        "/api/predict/%6d",
        "/api/predict/m?uid=1",
        "/api/predict/m/versions/1",
        "/api/predict/m/versions/1/?x",
        "/api/predict/m/labels/stable",
    ],
)
def test_predictions(target: str) -> None:
    """A service by any form of its URL, by POST or by GET with a body; the handle is back afterwards."""
    house = House()
    assert values(house.ask(BODY, target)) == ANSWER
    assert values(house.ask(BODY, target, "GET")) == ANSWER
    assert house.handles == 0


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_structure(method: str) -> None:
    """Nothing sent: the model is described, by its default signature or by one that is named."""
    house = House(EasService(default_signature="other"))
    answer = house.ask(method=method)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body)["signature_name"] == "other"
    for name in ("signature_name", "signature"):
        named = house.ask(target=f"/api/predict/m?x=1&{name}=serving_default", method=method)
        assert json.loads(named.body)["signature_name"] == "serving_default"
    assert house.ask(target="/api/predict/m?signature_name=none").status == 400
    assert house.handles == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/predict/", 404),
        ("/api/predict/none", 404),
        ("/api/predict/m/more", 404),
        ("/api/predict/m/versions/x", 404),
        ("/api/predict/m/versions/99999999999999999999", 404),
        ("/api/predict/m/versions/9223372036854775808", 404),
        ("/api/predict/m/versions/3", 404),
        ("/api/predict/m/versions/2", 503),
        ("/api/predict/m/labels/none", 404),
        ("/api/predict/known", 503),
    ],
)
def test_what_is_not_there_or_not_ready(target: str, status: int) -> None:
    """Unknown is 404, known and not available 503; the reason is plain text."""
    answer = House().ask(BODY, target)
    assert (answer.status, answer.content_type) == (status, "text/plain; charset=utf-8")
    assert answer.body


def test_other_requests_are_the_other_api_s() -> None:
    """Whatever is no URL of EAS."""
    house = House()
    request = HttpRequest("POST", "/api/other", {}, b"")
    assert house.ask(target="/api/other") is OTHER
    assert house.api.deadline(request) is None
    assert house.api.error(request, NotFoundError("x")) is OTHER
    assert house.api.refuse(request, NotFoundError("x")) is OTHER


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
@pytest.mark.parametrize("target", ["/api/predict/m", "/api/v1/servicediscovery/upstreams/m"])
def test_methods(method: str, target: str) -> None:
    """Only GET and POST, and HEAD."""
    answer = House().ask(target=target, method=method)
    assert (answer.status, dict(answer.headers)) == (405, {"Allow": "GET, POST"})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 400),
        ({"service": EasService(rate_limit=1)}, 429),
        ({"service": EasService(rate_limit=1), "target": "/api/predict/known"}, 503),
        ({"service": EasService(rate_limit=1, tokens=("t",))}, 401),
        ({"service": EasService(tokens=("t",)), "target": "/api/predict/none"}, 404),
        ({"service": EasService(tokens=("t",)), "method": "PUT", "target": "/api/predict/none"}, 405),
    ],
)
def test_the_order_of_checks(changes: dict[str, Any], status: int) -> None:
    """Method, service, caller, rate, readiness, and the body last."""
    service = changes.pop("service", None)
    house = House(service)
    if service is not None and "target" not in changes:
        assert house.ask(Authorization="t").status == 200  # uses this second's request up
    assert house.ask(b"\xff", **changes).status == status


def test_refused_bodies() -> None:
    """What comes before the body is checked first, without the digest of a body that is not there."""
    error = BodyTooLargeError.of(1)
    request = HttpRequest("POST", "/api/predict/m", {}, b"")
    assert House().api.refuse(request, error).status == 413
    assert House(tokens=("t",)).api.refuse(request, error).status == 401
    named = replace(request, headers={"Authorization": "t"})
    house = House(tokens=("t",))
    assert house.api.refuse(named, error).status == 413
    assert house.api.refuse(replace(named, method="PUT"), error).status == 405
    assert house.api.refuse(replace(named, target="/api/predict/none"), error).status == 404
    made = signature("t", content_md5="0", content_type="", date="", resource=named.target)
    signed = {"Authorization": f"EAS {base64.b64encode(made).decode()}", "Content-MD5": "0"}
    assert house.api.refuse(replace(named, headers=signed), error).status == 413
    assert house.ask(Content_MD5="0", Authorization=signed["Authorization"]).status == 401
    late = house.api.refuse(named, errors.DeadlineExceededError("late"))
    assert (late.status, late.close) == (408, True)
    assert house.handles == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, errors.UnauthenticatedError),
        ({"target": "/api/predict/none"}, NotFoundError),
        ({"target": "/api/predict/known", "Authorization": "t"}, errors.UnavailableError),
        ({"method": "PUT", "Authorization": "t"}, MethodNotAllowedError),
        ({"Authorization": "t"}, None),
    ],
)
@pytest.mark.parametrize("size", [{"Content-Length": "100000"}, {"Transfer-Encoding": "chunked"}])
def test_large_bodies_that_are_not_wanted(
    changes: dict[str, str], error: type[ServingError] | None, size: dict[str, str]
) -> None:
    """Whoever may not ask, or asks for nothing that is there, does not make the server take a large body in."""
    house = House(tokens=("t",))
    rest = dict(changes)
    method, target = rest.pop("method", "POST"), rest.pop("target", "/api/predict/m")
    head = HttpRequest(method, target, rest | size, b"")
    if error is None:
        assert house.api.deadline(head) == 105
    else:
        with pytest.raises(error):
            house.api.deadline(head)
    assert house.api.deadline(replace(head, headers=rest | {"Content-Length": "99999"})) == 105
    assert house.handles == 0


def test_tokens_of_the_server_and_of_the_service() -> None:
    """Either opens."""
    house = House(EasService(tokens=("own",)), tokens=("shared", "second"))
    for token in ("own", "shared", "second"):
        assert values(house.ask(BODY, Authorization=token)) == ANSWER
    answer = house.ask(BODY, Authorization="other")
    assert (answer.status, answer.body) == (401, b"The token is wrong")
    assert house.ask(BODY).body.startswith(b"The service needs a token")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(BODY, mtime=0), {}),
        (zlib.compress(BODY), {}),
        (gzip.compress(BODY, mtime=0), {"Content_Encoding": "gzip"}),
        (BODY, {"Content_Encoding": "identity"}),
    ],
)
def test_compressed_bodies(body: bytes, headers: dict[str, str]) -> None:
    """Recognised by their beginning where nothing is said."""
    assert values(House().ask(body, **headers)) == ANSWER


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BODY, {"Content_Encoding": "br"}, 415),
        (BODY, {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(BODY, mtime=0)[:-9], {}, 400),
        (gzip.compress(bytes(1001), mtime=0), {}, 413),
        (b"\xff", {}, 400),
        (b"{}", {}, 400),
        (gzip.compress(b"\xff", mtime=0), {}, 400),
    ],
)
def test_bodies_that_are_refused(body: bytes, headers: dict[str, str], status: int) -> None:
    """Each with its status; the handle is back and the place in the queue free."""
    house = House(EasService(max_queue_size=-1))  # one place
    for _ in range(3):
        assert house.ask(body, **headers).status == status
    assert house.handles == 0
    assert values(house.ask(BODY)) == ANSWER


def test_the_queue() -> None:
    """As many as run and wait; the next one is told 450, until one is over. The structure needs no place."""
    house = House(EasService(max_queue_size=1))
    request = HttpRequest("POST", "/api/predict/m", {}, BODY)
    calls = [house.begin(request) for _ in range(3)]
    full = house.ask(BODY)
    assert (full.status, full.close) == (450, True)
    assert house.ask().status == 200
    assert isinstance(calls[0], Call)
    assert calls[0].done is not None
    calls[0].done(Code.CANCELLED)
    assert values(house.ask(BODY)) == ANSWER


def test_deadlines() -> None:
    """A service's limit counts from the head of the request, and is the task's; other models have EAS's."""
    house = House(EasService(keepalive_s=0.5))
    request = HttpRequest("POST", "/api/predict/m/versions/1", {}, BODY)
    assert house.api.deadline(request) == 100.5
    assert house.api.deadline(replace(request, target="/api/predict/known")) == 105
    call = house.begin(replace(request, deadline=100.5))
    assert isinstance(call, Call)
    assert call.task.deadline == 100.5


def test_frozen_graphs() -> None:
    """No structure, no signature, a filter that is needed; `x` and `x:0` are one node."""
    house = House(EasService(frozen=True))
    assert house.ask().status == 400
    assert house.ask(BODY).status == 400
    message = eas.PredictRequest.FromString(
        request_of(1, 2, signature_name="no matter", output_filter=["y:0"])
    )
    message.inputs["x:0"].CopyFrom(message.inputs.pop("x"))
    assert values(house.ask(message.SerializeToString())) == ANSWER


@pytest.mark.parametrize(
    "prefix", ["/api/v1/servicediscovery/upstreams/", "/exported/apis/eas.alibaba-inc.k8s.io/v1/upstreams/"]
)
@pytest.mark.parametrize("rest", ["m", "m?internal=true", "m/more?internal=false", "%6d"])
def test_discovery(prefix: str, rest: str) -> None:
    """Where the caller came, or what is configured; without a token."""
    house = House(EasService(tokens=("t",)))
    body = json.loads(house.ask(target=prefix + rest, method="GET").body)
    assert body == {"endpoints": {"items": [{"ip": "10.0.0.1", "port": 8501, "weight": 100}]}}
    told = House(advertised_address=("eas.example", 80)).ask(target=prefix + rest)
    assert json.loads(told.body)["endpoints"]["items"][0] == {"ip": "eas.example", "port": 80, "weight": 100}
    assert house.ask(target=prefix + "none").status == 404


@pytest.mark.parametrize(
    ("address", "ip"),
    [(("::ffff:10.1.2.3", 1, 0, 0), "10.1.2.3"), (("fe80::1", 1, 0, 0), "[fe80::1]"), (None, None)],
)
def test_addresses_in_urls(address: tuple[object, ...] | None, ip: str | None) -> None:
    """As they stand in a URL; a caller over no address is told what to configure."""
    request = HttpRequest(
        "GET", "/api/v1/servicediscovery/upstreams/m", {}, b"", local_address=lambda: address
    )
    answer = House().begin(request)
    assert isinstance(answer, HttpResponse)
    if ip is None:
        assert (answer.status, b"--eas_advertised_address" in answer.body) == (503, True)
    else:
        assert json.loads(answer.body)["endpoints"]["items"][0]["ip"] == ip


STATUSES = {
    "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 408, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 400, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 500, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503,
    "DATA_LOSS": 500, "UNAUTHENTICATED": 401,
}  # fmt: skip


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_statuses(code: Code) -> None:
    """Each code has one; only what may go well the next time is 500, which clients repeat."""
    assert eas_status(error_for(code, "x")) == STATUSES[code.name]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFullError("x"), 450),
        (MethodNotAllowedError("x"), 405),
        (BodyTooLargeError("x"), 413),
        (InflatedTooLargeError("x"), 413),
        (UnsupportedCodingError("x"), 415),
    ],
)
def test_statuses_of_their_own(error: ServingError, status: int) -> None:
    """What HTTP says more exactly than a code."""
    assert eas_status(error) == status
    request = HttpRequest("POST", "/api/predict/m", {}, b"")
    assert House().api.error(request, error).status == status


def test_arrays_do_not_leak_between_requests() -> None:
    """A filter of one request is not that of the next."""
    house = House()
    assert values(house.ask(request_of(1, output_filter=["y", "y"]))) == [2.5]
    assert values(house.ask(request_of(3))) == [3.5]
    assert values(house.ask(request_of(3, signature_name="other"))) == [3.5]

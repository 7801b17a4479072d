"""The REST handler as a pure function: requests in, responses or calls out, handles never lost."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.dtypes import Array
from pyserve.errors import NotFoundError, ServingError
from pyserve.inference.call import Call
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.lifecycle.monitor import Monitor
from pyserve.servable import ServableHandle, ServableId, TensorSpec
from pyserve.transport.admin import AdminApi, Readiness
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.rest import INFLATED_LIMIT_BYTES, JSON_LIMIT_BYTES, RestApi, inflated

OK_BODY = b'{"instances": [1.0, 2.0]}'


def half_plus_two(x: Array) -> Mapping[str, Array]:
    return {"y": x / 2 + 2}


class House:
    """A REST API over one callable, with a count of the handles that are out."""

    def __init__(
        self,
        timeout_s: float | None = 30.0,
        *,
        cors: bool = False,
        inflated_limit: int = INFLATED_LIMIT_BYTES,
        json_limit: int = JSON_LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        spec = TensorSpec("x", dtypes.FLOAT, (None,))
        signature = predict_signature([spec], [TensorSpec("y", dtypes.FLOAT, (None,))])
        self.servable = FunctionServable([(signature, half_plus_two)])
        self.handles = 0
        router = Router(self._acquire, dict)
        self.api = RestApi(
            PredictionService(router),
            ModelService(Monitor(), router),
            AdminApi(lambda: Readiness(True)),
            timeout_s=timeout_s,
            cors=cors,
            inflated_limit=inflated_limit,
            json_limit=json_limit,
            clock=clock,
        )

    def _acquire(self, name: str, version: int | None) -> ServableHandle:
        if name != "m":
            raise NotFoundError(f"Servable not found for request: Latest({name})")
        self.handles += 1
        return ServableHandle(ServableId("m", version or 1), self.servable, self._release)

    def _release(self) -> None:
        self.handles -= 1

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> HttpResponse:
        """A request to its end, on this thread."""
        try:
            begun = self.api.begin(HttpRequest(method, target, headers, body))
            if isinstance(begun, HttpResponse):
                return begun
            begun.task.run()
            if begun.task.error is not None:
                raise begun.task.error
            assert begun.task.result is not None
            return begun.finish(begun.task.result)
        except ServingError as error:
            return self.api.error(HttpRequest(method, target, {}, b""), error)


def test_predict() -> None:
    """A good request is answered, and its handle is back."""
    house = House()
    answer = house.ask("POST", "/v1/models/m:predict", OK_BODY)
    assert (answer.status, json.loads(answer.body)) == (200, {"predictions": [2.5, 3.0]})
    assert house.handles == 0


@pytest.mark.parametrize("timeout_s", [30.0, None])
def test_the_time_limit_becomes_a_deadline(timeout_s: float | None) -> None:
    """The limit counts from now; without one the task has no deadline."""
    begun = House(timeout_s, clock=lambda: 1000.0).api.begin(
        HttpRequest("POST", "/v1/models/m:predict", {}, OK_BODY)
    )
    assert isinstance(begun, Call)
    assert begun.task.deadline == (None if timeout_s is None else 1030.0)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b'{"instances": ["a"]}',
        b'{"instances": [{"q": 1}]}',
        b'{"signature_name": "nope", "inputs": 1}',
        b'{"inputs": {"q": 1}}',
    ],
)
def test_a_refused_request_gives_its_handle_back(body: bytes) -> None:
    """Whatever is wrong with a request, no handle stays out."""
    house = House()
    answer = house.ask("POST", "/v1/models/m:predict", body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]
    assert house.handles == 0


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/V1/models", 400),
        ("GET", "/v1/models/m", 404),
        ("TRACE", "/v1/models/m", 501),
        ("BREW", "/v1/models/m", 501),
        ("POST", "/v1/models/m:classify", 400),
        ("POST", "/v1/models/nope:predict", 404),
        ("DELETE", "/v1/models/m", 400),
    ],
)
def test_statuses(method: str, target: str, status: int) -> None:
    """Routes lead where TensorFlow Serving's do."""
    assert House().ask(method, target, OK_BODY).status == status


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/v1/models/m:predict", 200),
        ("POST", "/v1/models/q:predict", 404),
        ("GET", "/v1/models/m/", 400),
    ],
)
def test_cors(method: str, target: str, status: int) -> None:
    """With the flag every answer of the API carries the three headers, errors included; pages do not."""
    house = House(cors=True)
    answer = house.ask(method, target, OK_BODY)
    assert answer.status == status
    assert dict(answer.headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type",
    }
    assert house.ask("GET", "/elsewhere").headers == ()
    assert House().ask(method, target, OK_BODY).headers == ()


def test_options() -> None:
    """OPTIONS wants an Origin with a scheme; the answer is empty."""
    house = House(cors=True)
    answer = house.ask("OPTIONS", "/v1/models/m", Origin="http://a")
    assert (answer.status, answer.body, answer.content_type) == (200, b"", "")
    assert dict(answer.headers)["Access-Control-Allow-Origin"] == "*"
    assert house.ask("OPTIONS", "/v1/models/m", Origin="null").status == 400


def test_inflating() -> None:
    """Only a body that says it is gzip is inflated."""

    def body(coding: str, data: bytes) -> bytes:
        return inflated(HttpRequest("POST", "/", {"Content-Encoding": coding}, data), 100)

    assert body("", b"x") == b"x"
    assert body("identity", b"x") == b"x"
    assert body("gzip", gzip.compress(b"x")) == b"x"
    assert body("br, x-gzip", gzip.compress(b"x")) == b"x"
    for broken in (b"", b"x", gzip.compress(b"x")[:-1]):
        with pytest.raises(ServingError) as caught:
            body("gzip", broken)
        assert caught.value.message.startswith(
            "JSON Parse error: The document is empty (gzip request body refused:"
        )


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_the_inflated_size_is_limited_for_each_verb(verb: str) -> None:
    """The option holds for every request with a body, and its value is named."""
    body = gzip.compress(b" " * 101)
    answer = House(inflated_limit=100).ask(
        "POST", f"/v1/models/m:{verb}", body, **{"Content-Encoding": "gzip"}
    )
    assert answer.status == 400
    assert "it inflates to more than 100 bytes" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_json_that_would_fill_the_memory(verb: str, coding: str) -> None:
    """Nested lists cost a hundred times their text, also behind gzip; they are refused before they are made."""
    text = b'{"instances": ' + b"[" * 1_000_000
    body = gzip.compress(text) if coding else text
    house = House(json_limit=10_000_000)
    answer = house.ask("POST", f"/v1/models/m:{verb}", body, **{"Content-Encoding": coding})
    assert answer.status == 400
    assert "(--rest_api_max_json_bytes)" in json.loads(answer.body)["error"]


def test_html_pages() -> None:
    """A page names its status, asks for the end of the connection, and quotes nothing of a request."""
    page = html_error(400)
    assert page.body == (
        b"<html><head><title>400 Bad Request</title></head><body><h1>Bad Request</h1></body></html>\n"
    )
    assert page.close
    assert b"<h1>Error</h1>" in html_error(499).body


def test_function_servable_checks_its_function() -> None:
    """A callable that raises, forgets an output, or gives another kind of number is INTERNAL; dtypes are declared."""

    def run(function: Any) -> dict[str, Array]:
        signature = predict_signature(
            [TensorSpec("x", dtypes.FLOAT, None)], [TensorSpec("y", dtypes.INT64, None)]
        )
        return FunctionServable([(signature, function)]).run("serving_default", {"x": np.ones(1)}, ["y"])

    def fail(x: Array) -> Mapping[str, Array]:
        raise ZeroDivisionError("oops")

    assert run(lambda x: {"y": x.astype(np.int8)})["y"].dtype == np.int64
    for function, text in (
        (fail, "ZeroDivisionError: oops"),
        (lambda x: {}, "did not return the output y"),
        (lambda x: {"y": x}, "The output y has the type float64, expected int64"),
    ):
        with pytest.raises(ServingError, match=text):
            run(function)

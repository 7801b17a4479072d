"""Requests as they are written down, shown and compared; driven through the tap without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyserve.codec.predict import ModelSpec, encode_request
from pyserve.errors import Code, NotFoundError, ServingError
from pyserve.inference.call import Blocking, Work
from pyserve.testing.model import Model
from pyserve.testing.recorder import Recorder
from pyserve.testing.requests import Request, difference, shown
from pyserve.testing.script import Script
from pyserve.transport.http import HttpRequest, HttpResponse

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def request(**inputs: Any) -> Request:
    """A Predict that was accepted with these arrays."""
    return Request(
        "gRPC", "Predict", ModelSpec("m"), b"", accepted={a: np.array(v) for a, v in inputs.items()}
    )


def test_a_refused_request_is_written_down(recorder: Recorder) -> None:
    """What the caller asked for, the arrays that can be read, and the refusal."""

    def refuse(data: bytes, deadline: float | None) -> bytes:
        raise NotFoundError("no such model")

    data = encode_request(ModelSpec("m", None, "stable", "sig"), {"x": np.float32([1, 2])}, ["y"])
    with pytest.raises(NotFoundError):
        recorder.handlers({PREDICT: refuse})[PREDICT](data, None)
    (found,) = recorder.requests()
    assert (found.protocol, found.method, found.model) == ("gRPC", "Predict", "m")
    assert (found.version, found.label, found.signature) == (None, "stable", "sig")
    assert found.inputs["x"].tolist() == [1, 2]
    assert found.output_filter == ("y",)
    assert (found.code, found.message, found.served_version) == (Code.NOT_FOUND, "no such model", None)
    assert str(found).startswith(
        "gRPC Predict m label 'stable' signature 'sig': x=float[2] {1.0 2.0} → NOT_FOUND in "
    )


@pytest.mark.parametrize("data", [b"\xff", b""], ids=["no message", "empty"])
def test_what_cannot_be_read(recorder: Recorder, data: bytes) -> None:
    """A request that is no message is written down with what is known of it."""
    recorder.handlers({PREDICT: lambda data, deadline: b"answer"})[PREDICT](data, None)
    (found,) = recorder.requests()
    assert (found.model, found.code, dict(found.inputs)) == ("", Code.OK, {})


@pytest.mark.parametrize("error", [None, NotFoundError("gone")], ids=["ok", "error"])
def test_answers_that_wait(recorder: Recorder, error: ServingError | None) -> None:
    """A request whose answer is work or a wait is under way until that has ended."""

    def make(*_: Any) -> Any:
        if error is not None:
            raise error
        return "made"

    class Api:
        def begin(self, request: HttpRequest) -> Work[HttpResponse]:
            return Work(make)

    waiting = recorder.handlers({STATUS: lambda data, deadline: Blocking(make, lambda: None)})[STATUS](
        b"", None
    )
    working = recorder.rest(Api()).begin(HttpRequest("GET", "/v1/models/m", {}, b""))  # type: ignore[arg-type]
    assert [each.code for each in recorder.requests()] == [None, None]
    assert str(recorder.requests()[0]).endswith("→ under way")
    assert isinstance(waiting, Blocking)
    assert isinstance(working, Work)
    for end in (lambda: waiting.run(lambda: False), working.make):
        if error is None:
            assert end() == "made"
        else:
            with pytest.raises(NotFoundError):
                end()
    expected = Code.OK if error is None else Code.NOT_FOUND
    assert [each.code for each in recorder.requests()] == [expected, expected]


@pytest.mark.parametrize(
    ("method", "target", "body", "asked"),
    [
        ("POST", "/v1/models/m:predict", b'{"signature_name": "s"}', ("Predict", "m", None, None, "s")),
        ("POST", "/v1/models/m/versions/3:classify", b"[1]", ("Classify", "m", 3, None, "")),
        ("POST", "/v1/models/m/labels/a%20b:regress", b"{", ("Regress", "m", None, "a b", "")),
        ("GET", "/v1/models/m", b"", ("GetModelStatus", "m", None, None, "")),
        ("GET", "/v1/models/m/metadata", b"", ("GetModelMetadata", "m", None, None, "")),
        ("PUT", "/v1/models/m", b"", ("PUT /v1/models/m", "", None, None, "")),
    ],
)
def test_rest(recorder: Recorder, method: str, target: str, body: bytes, asked: tuple[Any, ...]) -> None:
    """Requests over REST are named as gRPC names them."""

    class Api:
        def begin(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, b"")

    recorder.rest(Api()).begin(HttpRequest(method, target, {}, body))  # type: ignore[arg-type]
    (found,) = recorder.requests()
    assert (found.method, found.model, found.version, found.label, found.signature) == asked


def test_pages_are_not_written_down(recorder: Recorder) -> None:
    """Health and metrics are asked all the time by others."""

    class Api:
        def begin(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, b"")

    recorder.rest(Api()).begin(HttpRequest("GET", "/healthz", {}, b""))  # type: ignore[arg-type]
    assert recorder.requests() == []


def test_only_the_last_are_kept() -> None:
    """A long run does not fill the memory."""
    recorder = Recorder(kept=3)
    handler = recorder.handlers({PREDICT: lambda data, deadline: b""})[PREDICT]
    for name in "abcde":
        handler(encode_request(ModelSpec(name), {}), None)
    assert [each.model for each in recorder.requests()] == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("sent", "expected", "equal"),
    [
        (np.float32([0.1, np.nan]), [0.1, float("nan")], True),
        (np.float32([0.1]), [0.2], False),
        (np.float32([1]), 1, False),
        (np.int64([[1]]), [[1]], True),
        (np.array([b"a\0", b"b"], object), ["a\0", b"b"], True),
        (np.array([b"a"], object), ["b"], False),
        (np.array([[b"a"]], object), ["a"], False),
        (np.float32([1]), "text", False),
    ],
)
def test_equality(sent: Any, expected: Any, equal: bool) -> None:
    """Values and shapes count; the expectation is read in the dtype that came."""
    assert (difference(request(x=sent), {"x": expected}, {}) is None) == equal


def test_differences_are_named() -> None:
    """The first difference is said with what was found and what was expected."""
    sent = request(x=np.float32([1, 2]))
    assert difference(sent, {"y": 1}, {}) == "inputs are ['x'], expected ['y']"
    assert difference(sent, {"x": [3]}, {}) == "input 'x' is float[2] {1.0 2.0}, expected [3]"
    assert difference(sent, None, {"label": "stable"}) == "label is None, expected 'stable'"
    assert difference(sent, None, {"label": None}) is None


def test_long_arrays_are_cut() -> None:
    """A report shows the first elements."""
    assert shown(np.zeros((10, 10), np.int32)) == "int32[10,10] {0 0 0 0 0 0 0 0 ...}"
    assert len(shown(np.array([b"x" * 10**6], object))) < 400


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_assertions() -> None:
    """Each assertion passes when it is true, and otherwise shows what was asked."""
    requests: list[Request] = []
    model = Model("m", Script(), lambda: requests)
    model.assert_not_called()
    for claim in (
        model.assert_called,
        model.assert_called_once,
        model.assert_called_with,
        model.assert_any_call,
    ):
        with pytest.raises(AssertionError, match="nothing asked for it"):
            claim()
    requests += [
        Request("gRPC", "GetModelStatus", ModelSpec("m"), b""),
        request(x=1),
        Request("gRPC", "Predict", ModelSpec("n"), b""),
    ]
    model.assert_called()
    model.assert_called_once_with({"x": 1}, label=None)
    with pytest.raises(AssertionError, match="was called 1 times\n  gRPC GetModelStatus m"):
        model.assert_not_called()
    requests.append(request(x=2))
    model.assert_called_with({"x": 2})
    model.assert_any_call({"x": 1})
    assert len(model.calls) == 2
    with pytest.raises(
        AssertionError, match=r"the last call of model m: input 'x' is int64\[\] \{2\}, expected 1\n"
    ):
        model.assert_called_with({"x": 1})
    with pytest.raises(AssertionError, match="2 times, expected once"):
        model.assert_called_once()
    with pytest.raises(AssertionError, match="no call of model m was like that"):
        model.assert_any_call({"x": 3})
    with pytest.raises(TypeError, match="lable: expected one of protocol, method"):
        model.assert_called_with(lable="stable")

"""Requests of the load generator: made up, read from files, and encoded so that a server understands them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.predict import ModelSpec, decode_request
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.servable import Signature, TensorSpec
from pyserve.tools.bench.request import arrays_of, made_up, predict, read_input
from pyserve.tools.bench.target import Target

GRPC, REST = Target(True, "localhost", 1), Target(False, "localhost", 1)


def signature(**inputs: tuple[str, tuple[int | None, ...] | None]) -> Signature:
    specs = {alias: TensorSpec(alias, dtypes.BY_NAME[name], shape) for alias, (name, shape) in inputs.items()}
    return Signature("serving_default", "", specs, {})


@pytest.mark.parametrize(
    ("shape", "rows", "made"),
    [((None,), 3, (3,)), ((None, 4), 1, (1, 4)), ((2, None), 5, (2, 1)), ((), 5, ()), (None, 2, (2,))],
)
@pytest.mark.parametrize("name", [d.name for d in dtypes.ALL if d.numpy is not None])
def test_made_up(name: str, shape: tuple[int | None, ...] | None, rows: int, made: tuple[int, ...]) -> None:
    """Every type that a request can carry, in the declared shape, the same each time."""
    declared = signature(x=(name, shape))
    array = made_up(declared, rows)["x"]
    assert array.shape == made
    assert array.dtype == dtypes.BY_NAME[name].numpy
    assert np.array_equal(array, made_up(declared, rows)["x"])
    request = decode_request(predict(GRPC, ModelSpec("m"), {"x": array}).body)
    assert np.array_equal(request.array("x"), array)


def test_nothing_can_be_made_up_for_a_resource() -> None:
    """An input that no request can carry is named."""
    with pytest.raises(InvalidArgumentError, match="input x has the dtype resource"):
        made_up(signature(x=("resource", ())), 1)


@pytest.mark.parametrize(
    ("inputs", "form"),
    [
        ({"x": np.array([[0.5, 0.25]], np.float32)}, b'"instances"'),
        ({"x": np.array([b"a\0", b"\xff"], object)}, b'"b64"'),
        ({"x": np.array(3, np.int64)}, b'"inputs"'),
        ({"x": np.array([1.0], np.float32), "y": np.array([2], np.int64)}, b'"inputs"'),
    ],
    ids=["rows", "bytes", "scalar", "columns"],
)
def test_json_body(inputs: dict[str, Array], form: bytes) -> None:
    """A REST body says to the server's own reader what the arrays hold."""
    request = predict(REST, ModelSpec("m", signature_name="s"), inputs)
    assert form in request.body
    declared = {alias: TensorSpec(alias, dtypes.of_array(array), None) for alias, array in inputs.items()}
    document = PredictDocument.parse(request.body)
    assert document.signature_name == "s"
    read = document.tensors(declared).arrays
    assert {alias: array.tolist() for alias, array in read.items()} == {
        a: v.tolist() for a, v in inputs.items()
    }


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (ModelSpec("m"), "/v1/models/m:predict"),
        (ModelSpec("m", version=3), "/v1/models/m/versions/3:predict"),
        (ModelSpec("a/b", version_label="new one"), "/v1/models/a%2Fb/labels/new%20one:predict"),
    ],
)
def test_which_model(spec: ModelSpec, path: str) -> None:
    """Name, version and label are in the URL for REST, in the message for gRPC."""
    inputs = {"x": np.ones(1, np.float32)}
    assert predict(REST, spec, inputs).path == path
    request = predict(GRPC, spec, inputs)
    assert request.path == "/tensorflow.serving.PredictionService/Predict"
    assert decode_request(request.body).model_spec == spec
    assert request.framed == b"\0" + len(request.body).to_bytes(4, "big") + request.body


def test_http1_request_as_sent() -> None:
    """The whole request of HTTP/1.1, as it goes out again and again."""
    connection = predict(REST, ModelSpec("m"), b"{}").connection(REST)
    connection.begin(0.0)
    head, _, body = b"".join(connection.outbox).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/models/m:predict HTTP/1.1"
    assert {b"Host: localhost:1", b"Content-Length: 2"} <= set(head.split(b"\r\n"))
    assert body == b"{}"


def test_inputs(tmp_path: Path) -> None:
    """JSON written out or in a file, an array, several arrays: each becomes the inputs of the signature."""
    declared = signature(x=("float", (None,)))
    (tmp_path / "a.json").write_text('{"instances": [1, 2]}')
    np.save(tmp_path / "a.npy", np.array([1, 2]))
    np.savez(tmp_path / "a.npz", x=np.array([1.0, 2.0]))
    for text in (' {"inputs": [1, 2]}', *(str(tmp_path / f"a.{end}") for end in ("json", "npy", "npz"))):
        (array,) = arrays_of(read_input(text), declared).values()
        assert array.dtype == np.float32
        assert array.tolist() == [1, 2]


def test_refused_inputs(tmp_path: Path) -> None:
    """What does not fit says what would."""
    two = signature(x=("float", None), y=("int64", None))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "a.txt").touch()
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: read_input(str(tmp_path / "a.txt")), "a file that ends in .json, .npy, .npz"),
        (lambda: read_input(str(tmp_path / "bad.npy")), "bad.npy: "),
        (lambda: arrays_of(np.ones(1), two), "has the inputs x, y; a .npy file holds one"),
        (lambda: arrays_of({"z": np.ones(1)}, two), "no input z; it has x, y"),
        (lambda: arrays_of({"y": np.array(["word"])}, two), "input y, expected int64"),
        (lambda: arrays_of(b'{"inputs": {"x": ["a"], "y": 1}}', two), "not of expected type: float"),
        (lambda: predict(GRPC, ModelSpec("m"), b"{}"), "made of arrays"),
    ]
    for call, text in cases:
        with pytest.raises(InvalidArgumentError) as error:
            call()
        assert text in error.value.message
    with pytest.raises(NotFoundError):
        read_input(str(tmp_path / "none.npy"))

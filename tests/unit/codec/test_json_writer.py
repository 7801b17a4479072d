"""REST responses: exact layout, values that read back, and the failures of the row form."""

from __future__ import annotations

import base64
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyserve.codec.json_writer import error_body, predict_body
from pyserve.errors import InvalidArgumentError


def objects(values: Any) -> Any:
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


@pytest.mark.parametrize(
    ("outputs", "row_format", "text"),
    [
        ({"y": np.array([2.5, 3.0], np.float32)}, True, '{\n    "predictions": [2.5, 3.0\n    ]\n}'),
        (
            {"b": np.array([3], np.int64), "a": np.array([[1.0, 2.0]], np.float32)},
            True,
            '{\n    "predictions": [\n        {\n            "a": [1.0, 2.0],\n            "b": 3\n'
            "        }\n    ]\n}",
        ),
        ({"y": np.array([[1, 2], [3, 4]], np.int8)}, True, '{\n    "predictions": [[1, 2], [3, 4]\n    ]\n}'),
        ({"y": np.zeros((0, 3), np.float32)}, True, '{\n    "predictions": [\n    ]\n}'),
        ({"y": np.array([3.5, 4.0])}, False, '{\n    "outputs": [3.5, 4.0]\n}'),
        ({"y": np.array(7, np.uint8)}, False, '{\n    "outputs": 7\n}'),
        (
            {"b": np.array(True), "a": np.array([1], np.uint64)},
            False,
            '{\n    "outputs": {\n        "a": [1],\n        "b": true\n    }\n}',
        ),
        ({"y": objects([b"a", b'"'])}, False, '{\n    "outputs": ["a", "\\""]\n}'),
        ({"y_bytes": objects([b"hi"])}, True, '{\n    "predictions": [{"b64": "aGk="}\n    ]\n}'),
    ],
)
def test_layout(outputs: dict[str, Any], row_format: bool, text: str) -> None:
    """Row form has TensorFlow Serving's white space, several outputs are sorted, columns are on one line."""
    assert predict_body(outputs, row_format=row_format).decode() == text


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.array(1.0)}, "Tensor name: y has no shape information "),
        (
            {"a": np.zeros(2), "b": np.zeros((3, 2))},
            "Tensor name: b has inconsistent batch size: 3 expecting: 2",
        ),
        ({"y": np.zeros(1, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(1, np.complex128)}, "Failed to write JSON value for tensor type: complex128"),
    ],
)
def test_row_failures(outputs: dict[str, Any], expected: str) -> None:
    """Outputs that are no rows, or no JSON, are refused with TensorFlow Serving's text."""
    with pytest.raises(InvalidArgumentError) as caught:
        predict_body(outputs, row_format=True)
    assert caught.value.message == expected


def test_complex_columns_are_refused() -> None:
    """Complex numbers have no JSON form in column form either."""
    with pytest.raises(InvalidArgumentError, match="complex64"):
        predict_body({"y": np.array(1j, np.complex64)}, row_format=False)


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([0.1, 2], np.float16), [0.0999755859375, 2.0]),
        (np.array([0.1, 2.0**100], ml_dtypes.bfloat16), [0.10009765625, 2.0**100]),
        (np.array([1.5, -2], ml_dtypes.float8_e5m2), [1.5, -2.0]),
        (np.array([65535], np.uint16), [65535]),
        (np.array([-8, 7], ml_dtypes.int4), [-8, 7]),
        (np.array([15], ml_dtypes.uint4), [15]),
        (np.array([(-5,), (5,)], np.dtype([("qint8", "i1")])), [-5, 5]),
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.arange(6, dtype=np.int32).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.array([2**64 - 1], np.uint64), [2**64 - 1]),
        (np.array([-(2**63)], np.int64), [-(2**63)]),
    ],
)
def test_every_number_is_served(array: Any, values: Any) -> None:
    """Dtypes that C++ cannot print, and any layout, give exact numbers."""
    for row_format, key in ((True, "predictions"), (False, "outputs")):
        found = json.loads(predict_body({"y": array}, row_format=row_format))[key]
        exact = np.array(found, np.float32).tolist() if isinstance(values[0], float) else found
        assert exact == values


def test_not_finite() -> None:
    """What is not finite is a bare token at its own place, in nested lists, scalars and small types."""
    array = np.array([[1, np.nan], [-np.inf, np.inf]], np.float32)
    assert (
        predict_body({"y": array}, row_format=False)
        == b'{\n    "outputs": [[1.0, NaN], [-Infinity, Infinity]]\n}'
    )
    assert predict_body({"y": np.array(-np.inf)}, row_format=False) == b'{\n    "outputs": -Infinity\n}'
    half = np.array([np.nan, 1, np.inf], np.float16)
    assert (
        predict_body({"y": half}, row_format=True) == b'{\n    "predictions": [NaN, 1.0, Infinity\n    ]\n}'
    )


@settings(deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3), elements=st.floats(width=32)))
def test_float32_reads_back(array: Any) -> None:
    """Every float32 comes back bit by bit (NaN as NaN), and no float looks like an integer."""
    text = predict_body({"y": array}, row_format=False)
    back = np.array(json.loads(text)["outputs"], np.float64).astype(np.float32)
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.signbit(back[~np.isnan(back)]), np.signbit(array[~np.isnan(array)]))
    assert all(type(value) is float for value in np.array(json.loads(text)["outputs"], object).reshape(-1))


@settings(deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2), elements=st.floats()))
def test_float64_reads_back(array: Any) -> None:
    """Every float64 comes back."""
    text = predict_body({"y": array}, row_format=False)
    np.testing.assert_array_equal(np.array(json.loads(text)["outputs"]), array)


@settings(deadline=None)
@given(
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
def test_rows_of_several_outputs(shape: tuple[int, ...], inner: tuple[int, ...]) -> None:
    """Each row of several outputs is that row of each, whatever their shapes."""
    a = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    b = np.array([b"s%d" % n for n in range(shape[0] * int(np.prod(inner)))], object).reshape(
        shape[0], *inner
    )
    rows = json.loads(predict_body({"a": a, "b": b}, row_format=True))["predictions"]
    assert [row["a"] for row in rows] == a.tolist()
    assert [row["b"] for row in rows] == [row.astype(str).tolist() if inner else row.decode() for row in b]


@settings(deadline=None)
@given(st.lists(st.binary(), min_size=1, max_size=4))
def test_strings_keep_their_bytes(items: list[bytes]) -> None:
    """Any bytes survive as a string, and as a base64 object when the alias ends in _bytes."""
    array = np.empty(len(items), object)
    array[:] = items
    body = predict_body({"y": array}, row_format=True).decode("latin-1")
    assert [item.encode("latin-1") for item in json.loads(body)["predictions"]] == items
    body = predict_body({"y_bytes": array}, row_format=False).decode("ascii")
    assert [base64.b64decode(item["b64"]) for item in json.loads(body)["outputs"]] == items


def test_string_shapes() -> None:
    """Nested and empty string tensors keep their shape."""
    array = np.array([[b"a", b"b"], [b"c", b"d"]], object)
    assert json.loads(predict_body({"y": array}, row_format=True))["predictions"] == [["a", "b"], ["c", "d"]]
    assert json.loads(predict_body({"y": np.empty((2, 0), object)}, row_format=False))["outputs"] == [[], []]
    assert json.loads(predict_body({"y": np.array(b"s", object)}, row_format=False))["outputs"] == "s"


@pytest.mark.parametrize("text", ["", "plain", 'quote " and \\ and \n', "é ☃", "\ud800"])
def test_error_body(text: str) -> None:
    """An error is an object with the one member `error`."""
    body = error_body(text)
    assert body.startswith(b'{\n    "error": "')
    assert body.endswith(b'"\n}')
    assert json.loads(body) == {"error": text.replace("\ud800", "?")}

"""What callers give becomes arrays of the right dtype, or is refused by the input's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtype_samples import SENDABLE, sample
from pyserve import dtypes
from pyserve.client.arrays import as_arrays, says_its_dtype
from pyserve.dtypes import DType
from pyserve.errors import InvalidArgumentError
from pyserve.servable import PREDICT_METHOD, Signature, TensorSpec


def signature(dtype: DType) -> Signature:
    return Signature("serving_default", PREDICT_METHOD, {"x": TensorSpec("x", dtype, (None,))}, {})


def converted(value: Any, name: str) -> Any:
    return as_arrays({"x": value}, signature(dtypes.BY_NAME[name]))["x"]


@pytest.mark.parametrize("dtype", SENDABLE, ids=repr)
def test_arrays_keep_their_dtype(dtype: DType) -> None:
    """No signature is needed, and nothing is copied."""
    array = sample(dtype)
    assert says_its_dtype(array)
    assert as_arrays({"x": array}, None)["x"] is array


@pytest.mark.parametrize(
    "value", [np.float32(1), "text", b"bytes", np.array(["a"]), np.array([b"a"], "S1"), memoryview(b"")]
)
def test_what_says_its_dtype(value: Any) -> None:
    """Scalars of numpy and texts do; a buffer does not."""
    assert says_its_dtype(value) is not isinstance(value, memoryview)


def test_texts_alone_are_scalars() -> None:
    """Zero bytes at the end included."""
    assert as_arrays({"x": b"a\0"}, None)["x"].shape == ()
    assert as_arrays({"x": b"a\0"}, None)["x"].item() == b"a\0"


@pytest.mark.parametrize("dtype", [dtype for dtype in SENDABLE if not dtype.is_string], ids=repr)
def test_lists_take_the_declared_dtype(dtype: DType) -> None:
    """Whatever the dtype; and nested lists their shape."""
    values = [[True, False]] if dtype.name == "bool" else [[1, 0]]
    array = converted(values, dtype.name)
    assert array.dtype == dtype.numpy
    assert array.shape == (1, 2)
    numbers = array[array.dtype.names[0]] if array.dtype.names else array
    assert numbers.astype(np.complex128).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (3, "float", np.float32(3)),
        (1.5, "half", np.float16(1.5)),
        (1 + 2j, "complex64", np.complex64(1 + 2j)),
        (True, "bool", np.True_),
        ([1, 2**63], "uint64", np.array([1, 2**63], np.uint64)),
        ([-(2**63)], "int64", np.array([-(2**63)])),
        ([], "int32", np.empty(0, np.int32)),
        ([[], []], "double", np.empty((2, 0))),
        ([True], "int32", None),
        ([1], "bool", None),
        ([1.0], "int32", None),
        ([1, 2.5], "int64", None),
        ([300], "uint8", None),
        ([-1], "uint32", None),
        ([2**63], "int64", None),
        ([2**64], "uint64", None),
        ([8], "int4", None),
        ([128], "qint8", None),
        (["a"], "float", None),
        ([1j], "float", None),
        ([None], "float", None),
        ([[1], [1, 2]], "float", None),
        ([1], "string", None),
        ([["a"], ["b", "c"]], "string", None),
        (object(), "float", None),
        ([1], "resource", None),
    ],
)
def test_values_of_python(value: Any, name: str, expected: Any) -> None:
    """What would change its meaning is refused; the error names the input."""
    if expected is None:
        with pytest.raises(InvalidArgumentError, match="input 'x': "):
            converted(value, name)
        return
    array = converted(value, name)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert array.tolist() == expected.tolist()


def test_lists_of_texts() -> None:
    """They become object arrays, with every byte."""
    array = converted([[b"a\0", "b"]], "string")
    assert array.dtype == object
    assert array.tolist() == [[b"a\0", "b"]]


@pytest.mark.parametrize(
    "value",
    [
        np.array(["2020-01-01"], "datetime64[D]"),
        np.array([1, None], object),
        np.array([["a"], ["b", 1]], object),
    ],
)
def test_arrays_that_are_no_tensors(value: Any) -> None:
    """Refused here, by the input's name."""
    with pytest.raises(InvalidArgumentError, match="input 'x': "):
        as_arrays({"x": value}, None)


def test_an_input_that_the_signature_has_not() -> None:
    """The message says which there are."""
    with pytest.raises(InvalidArgumentError, match=r"input 'z': .* only \['x'\]"):
        as_arrays({"z": [1]}, signature(dtypes.FLOAT))

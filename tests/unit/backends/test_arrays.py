"""Values that code gives, as arrays of what is declared."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.arrays import as_declared
from pyserve.backends.function import as_outputs, predict_signature
from pyserve.dtypes import Array
from pyserve.errors import InternalError
from pyserve.servable import TensorSpec


def one(value: Any, dtype: str, shape: tuple[int | None, ...] | None = None) -> Array:
    return as_declared({"y": value}, {"y": TensorSpec("y", dtypes.BY_NAME[dtype], shape)}, "predict")["y"]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1.5, 2.5], "float", np.array([1.5, 2.5], np.float32)),
        ([1, 2], "float", np.array([1, 2], np.float32)),
        (3, "int32", np.array(3, np.int32)),
        ([], "int64", np.array([], np.int64)),
        (np.array([200]), "uint8", np.array([200], np.uint8)),
        ([True], "int64", np.array([1])),
        (np.array([1.5]), "half", np.array([1.5], np.float16)),
        (np.array([1.5]), "bfloat16", np.array([1.5], ml_dtypes.bfloat16)),
        (np.array([1.5], ml_dtypes.bfloat16), "float", np.array([1.5], np.float32)),
        ([1e300], "float", np.array([np.inf], np.float32)),
        ([7], "int4", np.array([7], ml_dtypes.int4)),
        (1j, "complex64", np.array(1j, np.complex64)),
        (["ä", b"\xff\x00"], "string", np.array(["ä".encode(), b"\xff\x00"], object)),
        (np.array(["a", "bc"]), "string", np.array([b"a", b"bc"], object)),
        ("word", "string", np.array(b"word", object)),
    ],
)
def test_converted(value: Any, dtype: str, expected: Array) -> None:
    """What keeps its value, but for a float's precision, takes the declared type."""
    found = one(value, dtype)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist()


def test_nothing_is_copied_that_fits() -> None:
    """An array of the declared type is passed on."""
    array = np.ones(3, np.float32)
    assert one(array, "float", (None,)) is array


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "message"),
    [
        ([1.5], "int64", None, '"y" has the type float64, expected int64'),
        ([1.0], "int4", None, '"y" has the type float64, expected int4'),
        ([1], "bool", None, '"y" has the type int64, expected bool'),
        ([1j], "float", None, '"y" has the type complex128, expected float'),
        (["1"], "float", None, '"y" has the type <U1, expected float'),
        ([None], "float", None, '"y" has the type object, expected float'),
        ([300], "uint8", None, '"y" has values beyond uint8'),
        ([-1], "uint64", None, '"y" has values beyond uint64'),
        ([1], "string", None, '"y" holds a int, expected str or bytes'),
        ([[1], [2, 3]], "float", None, '"y" is no array: '),
        ([1.0], "float", (None, 2), '"y" has the shape [1], expected [?, 2]'),
        ([[1.0]], "float", (None, 2), '"y" has the shape [1, 1], expected [?, 2]'),
    ],
)
def test_refused(value: Any, dtype: str, shape: tuple[int | None, ...] | None, message: str) -> None:
    """What would become another value, or is not as declared, is refused by name."""
    with pytest.raises(InternalError) as caught:
        one(value, dtype, shape)
    assert message in caught.value.message
    assert caught.value.message.startswith("predict: ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "predict gave a list, expected a mapping from names to arrays"),
        (None, "predict gave a NoneType, expected a mapping from names to arrays"),
        ({"z": 1}, "predict gave {z}, expected {y}"),
        ({"y": 1, "z": 1}, "predict gave {y, z}, expected {y}"),
        ({}, "predict gave {}, expected {y}"),
    ],
)
def test_wrong_names(values: Any, message: str) -> None:
    """What is missing or undeclared shows beside what was expected."""
    with pytest.raises(InternalError) as caught:
        as_declared(values, {"y": TensorSpec("y", dtypes.FLOAT, None)}, "predict")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"y": [2.7], "s": []}, "The output y has the type float64, expected int8"),
        ({"y": [300], "s": []}, "The output y has values beyond int8"),
        ({"y": [1], "s": [object()]}, "The output s holds a object, expected str or bytes"),
        ({"y": [1]}, "The function did not return the output s"),
        ([1], "The function returned a list, expected a mapping from output to array"),
    ],
)
def test_what_a_function_may_not_give(results: Any, message: str) -> None:
    """A function's outputs are held to the same rules, but for their shape; others beside them are passed over."""
    specs = [TensorSpec("y", dtypes.BY_NAME["int8"], (None, 2)), TensorSpec("s", dtypes.STRING, None)]
    signature = predict_signature([], specs)
    with pytest.raises(InternalError) as caught:
        as_outputs(results, signature, ["y", "s"])
    assert caught.value.message == message
    found = as_outputs({"y": [1], "s": "a\0", "more": 1}, signature, ["s", "y"])
    assert (found["y"].tolist(), found["s"].tolist()) == ([1], b"a\0")

"""What a version's code may declare as its signatures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.python.declaration import declared_signatures
from pyserve.dtypes import DType
from pyserve.errors import InvalidArgumentError, ServingError
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, TensorSpec


def declared(**fields: Any) -> Any:
    return declared_signatures({"s": {"inputs": {}, "outputs": {}, **fields}}, "model.py")["s"]


@pytest.mark.parametrize(
    ("given", "dtype", "shape"),
    [
        ("float", dtypes.FLOAT, None),
        ("float32", dtypes.FLOAT, None),
        ("string", dtypes.STRING, None),
        ("bfloat16", dtypes.BY_NAME["bfloat16"], None),
        (float, dtypes.FLOAT, None),
        (int, dtypes.INT64, None),
        (str, dtypes.STRING, None),
        (np.float64, dtypes.DOUBLE, None),
        (np.dtype("int32"), dtypes.INT32, None),
        (ml_dtypes.bfloat16, dtypes.BY_NAME["bfloat16"], None),
        (dtypes.BOOL, dtypes.BOOL, None),
        (("float", [None, 3]), dtypes.FLOAT, (None, 3)),
        (["float", (-1, 3)], dtypes.FLOAT, (None, 3)),
        ((np.int64, []), dtypes.INT64, ()),
        (("float", None), dtypes.FLOAT, None),
        (TensorSpec("other", dtypes.FLOAT, (2,), "t:0"), dtypes.FLOAT, (2,)),
        (np.zeros((2, 3), np.uint8), dtypes.BY_NAME["uint8"], (2, 3)),
        (SimpleNamespace(dtype=SimpleNamespace(as_numpy_dtype=np.int8), shape=(None,)),
         dtypes.BY_NAME["int8"], (None,)),
        (SimpleNamespace(dtype=SimpleNamespace(as_numpy_dtype=object), shape=SimpleNamespace(rank=None)),
         dtypes.STRING, None),
    ],
)  # fmt: skip
def test_specs(given: Any, dtype: DType, shape: tuple[int | None, ...] | None) -> None:
    """Every form of an element type and a shape."""
    assert declared(inputs={"x": given}).inputs == {"x": TensorSpec("x", dtype, shape, "s_x:0")}


def test_methods_and_defaults() -> None:
    """A method by its short name, and defaults of the declared type."""
    found = declared(
        method="classify", inputs={"x": ("float", [None]), "t": "string"}, defaults={"x": [1, 2], "t": "ä"}
    )
    assert found.method_name == CLASSIFY_METHOD
    assert (found.defaults["x"].dtype, found.defaults["x"].tolist()) == (np.float32, [1, 2])
    assert found.defaults["t"].item() == "ä".encode()
    assert declared().method_name == PREDICT_METHOD


def test_a_signature_is_taken_over() -> None:
    """One of a SavedModel may get another key."""
    given = declared(inputs={"x": "float"})
    found = declared_signatures({"other": given}, "handler.py")["other"]
    assert (found.key, found.inputs) == ("other", given.inputs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "signatures: expected a mapping from signature keys, was None"),
        ({}, "signatures: expected a mapping from signature keys, was {}"),
        ({"s": 3}, "signatures['s']: expected a mapping with inputs and outputs, was 3"),
        ({"s": {"inputs": {}}}, "signatures['s']: expected a mapping with inputs and outputs"),
        (
            {"s": {"inputs": {}, "outputs": {}, "x": 1}},
            "signatures['s']: unknown 'x'; expected one of inputs",
        ),
        ({"s": {"inputs": {}, "outputs": [1]}}, "signatures['s']['outputs']: expected a mapping from names"),
        (
            {"s": {"inputs": {}, "outputs": {}, "method": "guess"}},
            "['method']: expected one of predict, classify",
        ),
        (
            {"s": {"inputs": {}, "outputs": {}, "defaults": {"x": 1}}},
            "['defaults']: expected values by names",
        ),
        (
            {"s": {"inputs": {"x": "flaot"}, "outputs": {}}},
            "['inputs']['x']: expected an element type, was 'flaot'",
        ),
        (
            {"s": {"inputs": {"x": None}, "outputs": {}}},
            "['inputs']['x']: expected an element type, was None",
        ),
        ({"s": {"inputs": {"x": dict}, "outputs": {}}}, "['inputs']['x']: expected an element type"),
        (
            {"s": {"inputs": {"x": "datetime64[s]"}, "outputs": {}}},
            "['inputs']['x']: expected an element type",
        ),
        ({"s": {"inputs": {"x": ("float", 3)}, "outputs": {}}}, "['inputs']['x']: expected a shape"),
    ],
)
def test_refused(given: Any, message: str) -> None:
    """What is wrong is said with its place and what was expected."""
    with pytest.raises(InvalidArgumentError) as caught:
        declared_signatures(given, "/m/1/model.py")
    assert caught.value.message.startswith("/m/1/model.py: signatures")
    assert message in caught.value.message


def test_a_wrong_default() -> None:
    """A default must be what its input is."""
    with pytest.raises(ServingError, match=r"""\['defaults'\]: "x" has the type float64, expected int64"""):
        declared(inputs={"x": "int64"}, defaults={"x": 1.5})

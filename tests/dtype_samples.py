"""A small array of every dtype that has data, with the values where conversions go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.dtypes import Array, DType

SENDABLE = [dtype for dtype in dtypes.ALL if dtype.numpy is not None]
# What a JSON request can carry; the others are refused, in TensorFlow Serving too.
IN_JSON = [
    "float",
    "double",
    "int32",
    "uint8",
    "int16",
    "int8",
    "string",
    "int64",
    "bool",
    "uint32",
    "uint64",
]


def sample(dtype: DType) -> Array:
    """Of shape [2, 2]."""
    form: np.dtype[Any] | None = dtype.numpy
    assert form is not None
    if dtype.is_string:
        values = np.empty(4, np.object_)
        values[:] = [b"", b"a\0b\0", "ü".encode(), b"\xff\xfe"]
        return values.reshape(2, 2)
    if dtype.name == "bool":
        return np.array([[True, False], [False, True]])
    if form.names is not None:
        limits = np.iinfo(form[0])
        return np.array([[0, 1], [limits.min, limits.max]], form[0]).view(form)
    if dtype.name in ("int4", "uint4"):
        return np.array([[0, 1], [7, -8 if dtype.name == "int4" else 15]], np.int8).astype(form)
    if form.kind in "iu":
        whole = np.iinfo(form)
        return np.array([[0, 1], [whole.min, whole.max]], form)
    if form.kind == "c":
        return np.array([[0, 1.5], [1j, -2.25 + 0.1j]], form)
    return np.array([[0.1, -1.5], [0.0, 3.0]], np.float64).astype(form)

"""What people call an element type."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.dtypes import DType, of_element_type


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.numpy is not None], ids=lambda d: d.name)
def test_every_dtype(dtype: DType) -> None:
    """Each is known by itself, by its name, and by numpy's dtype."""
    assert of_element_type(dtype) is of_element_type(dtype.name) is of_element_type(dtype.numpy) is dtype


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (float, "float"),
        (int, "int64"),
        (bool, "bool"),
        (str, "string"),
        (bytes, "string"),
        (object, "string"),
    ],
)
def test_types_of_python(given: type, name: str) -> None:
    """They are what models have, not what numpy would make of them; numpy's names count as well."""
    assert of_element_type(given) is dtypes.BY_NAME[name]
    assert of_element_type("float32") is of_element_type(np.float32) is dtypes.FLOAT


@pytest.mark.parametrize(
    "given", [None, "nonsense", "datetime64[s]", dict, threading, [1], 1.5, np.datetime64]
)
def test_what_says_no_element_type(given: Any) -> None:
    """Other things are none, instead of what numpy would make of them."""
    assert of_element_type(given) is None

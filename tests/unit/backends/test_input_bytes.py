"""How much input a run has, by which its pace is learnt."""

from __future__ import annotations

import numpy as np
import pytest

from pyserve.backends.saved_model.program import _input_bytes
from pyserve.dtypes import Array

POINTER = np.dtype(object).itemsize


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([], 0),
        ([np.zeros((2, 3), np.float32), np.zeros(4, np.int64)], 56),
        ([np.array([[b"a", b"" * 9], [b"c" * 1000, b"dd"]], object)], 1003 + 4 * POINTER),
        ([np.array(b"x" * 70_000, object)], 70_000 + POINTER),
        ([np.array([None, "text", 3], object)], 3 * POINTER),
    ],
)
def test_strings_count_by_their_length(arrays: list[Array], expected: int) -> None:
    """Strings count with their bytes, and what TensorFlow is going to refuse does no harm."""
    assert _input_bytes(arrays) == expected

"""Arrays of tasks become those of a run and back; what cannot be batched is refused in TensorFlow Serving's words."""

from __future__ import annotations

import numpy as np
import pytest

from pyserve.batching.merge import MAX_PADDED_RANK, groups, merge, rejoin, rows_of
from pyserve.dtypes import Array
from pyserve.errors import InternalError, InvalidArgumentError


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(("columns", "rows"), [([ones(3)], 3), ([ones(2, 5), ones(2)], 2), ([ones(0, 4)], 0)])
def test_rows(columns: list[Array], rows: int) -> None:
    """The size of a task is dimension 0 of its inputs."""
    assert rows_of(columns) == rows


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ([], "Batching Run() must have at least one input tensor"),
        ([ones()], "Batching Run() input tensors must have at least one dimension"),
        ([ones(1), ones()], "Batching Run() input tensors must have at least one dimension"),
        ([ones(2), ones(3)], "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_without_common_rows(columns: list[Array], text: str) -> None:
    """What has no rows, or not the same ones, is refused."""
    with pytest.raises(InvalidArgumentError) as caught:
        rows_of(columns)
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("tasks", "pads", "expected"),
    [
        ([[ones(1, 2)], [ones(3, 2)]], False, [[0, 1]]),
        ([[ones(1, 2)], [ones(1, 3)], [ones(2, 2)]], False, [[0, 2], [1]]),
        ([[ones(1)], [ones(1, 1)]], False, [[0], [1]]),
        ([[ones(1), ones(1, 2)], [ones(1), ones(1, 3)]], False, [[0], [1]]),
        ([[ones(1, 2)], [ones(1, 3)], [ones(1, 3, 1)]], True, [[0, 1], [2]]),
        # Nothing to repeat, or more dimensions than are padded: only equal shapes go together.
        ([[ones(1, 2)], [ones(1, 0)], [ones(2, 0)]], True, [[0], [1, 2]]),
        ([[ones(*[1] * 6)], [ones(*[1] * 5, 2)]], True, [[0, 1]]),
        ([[ones(*[1] * 7)], [ones(*[1] * 6, 2)], [ones(*[1] * 7)]], True, [[0, 2], [1]]),
    ],
)
def test_groups(tasks: list[list[Array]], pads: bool, expected: list[list[int]]) -> None:
    """Tasks go together by their inner shapes; with padding, by their ranks."""
    assert groups(tasks, pads=pads) == expected


def test_merge_in_order() -> None:
    """Rows stand in the order of the tasks."""
    assert merge([np.array([1, 2]), np.array([3])], 0).tolist() == [1, 2, 3]


def test_one_array_is_not_copied() -> None:
    """An array that is alone goes through as it is."""
    array = ones(2)
    assert merge([array], 0) is array


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([np.array([1, 2]), np.array([3, 4])], [1, 2, 3, 4, 3, 3]),
        ([np.array([[1, 2]])], [[1, 2], [1, 2], [1, 2]]),
        ([np.array([b"a\x00", b""], object)], [b"a\x00", b"", b"a\x00", b"a\x00"]),
        # The padded row of the last task is repeated.
        ([np.array([[1, 2, 3]]), np.array([[4]])], [[1, 2, 3], [4, 4, 4], [4, 4, 4], [4, 4, 4]]),
    ],
)
def test_rows_to_fill_up(arrays: list[Array], expected: list[object]) -> None:
    """Row 0 of the last task is repeated."""
    merged = merge(arrays, 2)
    assert merged.tolist() == expected
    assert merged.dtype == arrays[0].dtype


@pytest.mark.parametrize("rank", range(2, MAX_PADDED_RANK + 1))
def test_inner_padding_of_every_rank(rank: int) -> None:
    """Each inner dimension grows to the largest, filled with the task's own first element; dimension 0 never does."""
    small = np.arange(1, 3, dtype=np.int64).reshape(2, *[1] * (rank - 1))
    large = np.full((1, *[2] * (rank - 1)), 9, np.int64)
    merged = merge([small, large], 0)
    assert merged.shape == (3, *[2] * (rank - 1))
    assert (merged[2] == 9).all()
    first = (0,) * (rank - 1)
    assert merged[(1, *first)] == 2
    # All but the small one's own elements are its first one.
    assert (merged[:2] == 1).sum() == 2 * 2 ** (rank - 1) - 1


def test_inner_padding_of_strings() -> None:
    """Strings are filled like numbers."""
    merged = merge([np.array([[b"x"]], object), np.array([[b"a", b"b"]], object)], 0)
    assert merged.tolist() == [[b"x", b"x"], [b"a", b"b"]]


def test_rejoin() -> None:
    """Pieces of a task's outputs are put together per name."""
    pieces = [
        {"a": np.array([1]), "b": np.array([b"x"], object)},
        {"a": np.array([2, 3]), "b": np.array([b"y"], object)},
    ]
    joined = rejoin(pieces)
    assert {name: array.tolist() for name, array in joined.items()} == {"a": [1, 2, 3], "b": [b"x", b"y"]}
    with pytest.raises(InternalError, match="do not fit together"):
        rejoin([{"a": ones(1, 2)}, {"a": ones(1, 3)}])

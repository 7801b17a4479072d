"""Arrays of several tasks into those of one run, and back. Pure numpy.

A *column* is one input or output tensor of a batch; each task brings one array per input column, all with its number of
rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError, InternalError, InvalidArgumentError

MAX_PADDED_RANK = 6


def rows_of(columns: Sequence[Array]) -> int:
    """The rows of a task: dimension 0 of its inputs, which they share.

    Raises:
        InvalidArgumentError: It has no inputs, or one of rank 0, or they have different numbers of rows.

    Source: TensorFlow Serving, batching/batching_session.cc (ComputeInputSize).
    """
    if not columns:
        raise InvalidArgumentError("Batching Run() must have at least one input tensor")
    rows = -1
    for array in columns:
        if not array.ndim:
            raise InvalidArgumentError("Batching Run() input tensors must have at least one dimension")
        if rows < 0:
            rows = array.shape[0]
        elif array.shape[0] != rows:
            raise InvalidArgumentError("Batching Run() input tensors must have equal 0th-dimension size")
    return rows


def groups(tasks: Sequence[Sequence[Array]], *, pads: bool) -> list[list[int]]:
    """Which tasks may run together: those of equal inner shapes.

    Args:
        tasks: The columns of each, at least one task.
        pads: Whether inner dimensions may be padded: then equal ranks are enough for arrays of rank 1 to 6 that have
            elements, which padding repeats.

    Returns:
        Indices of tasks, in their order within each group; groups in the order of their first tasks.
    """
    inner = [tuple([array.shape[1:] for array in columns]) for columns in tasks]
    if inner.count(inner[0]) == len(inner):
        return [list(range(len(tasks)))]
    found: dict[Hashable, list[int]] = {}
    for index, columns in enumerate(tasks):
        key = tuple(_likeness(array, pads) for array in columns)
        found.setdefault(key, []).append(index)
    return list(found.values())


def _likeness(array: Array, pads: bool) -> Hashable:
    if pads and array.ndim <= MAX_PADDED_RANK and array.size:
        return array.ndim
    return array.shape[1:]


def merge(arrays: Sequence[Array], padding_rows: int) -> Array:
    """One column of a batch: the tasks' arrays one after another, then row 0 of the last one, repeated.

    Args:
        arrays: Of one group; where inner shapes differ each is padded to the largest.
        padding_rows: Rows to add behind the last.

    Source: TensorFlow Serving, batching/batching_session.cc (MergeInputTensors).
    """
    inner = {array.shape[1:] for array in arrays}
    if len(inner) > 1:
        shape = tuple(max(sizes) for sizes in zip(*inner, strict=True))
        arrays = [_padded(array, shape) for array in arrays]
    if padding_rows:
        last = arrays[-1]
        arrays = [*arrays, np.broadcast_to(last[:1], (padding_rows, *last.shape[1:]))]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(array: Array, inner: tuple[int, ...]) -> Array:
    """The array with its own first element behind the end of each inner dimension.

    Source: TensorFlow Serving, batching/batching_util.cc (AddPadding).
    """
    if array.shape[1:] == inner:
        return array
    padded: Array = np.empty((array.shape[0], *inner), array.dtype)
    padded[...] = array[(0,) * array.ndim]
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def check_rows(column: Array, rows: int) -> None:
    """Refuse an output that cannot be given back row by row.

    Raises:
        FailedPreconditionError: It has no rows, or another number than the inputs.

    Source: TensorFlow Serving, batching/batching_session.cc (SplitOutputTensors).
    """
    if not column.ndim:
        raise FailedPreconditionError("Batched output tensor has 0 dimensions")
    if column.shape[0] != rows:
        raise FailedPreconditionError(
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
            "input tensors"
        )


def rejoin(pieces: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """The outputs of a task that was cut, from those of its pieces in their order.

    Raises:
        InternalError: They do not fit together.
    """
    try:
        return {alias: np.concatenate([piece[alias] for piece in pieces]) for alias in pieces[0]}
    except ValueError as error:
        raise InternalError(f"The pieces of a task that was split do not fit together: {error}") from error

"""What a caller gives as an input → an array; arrays cut by rows, and put together again. Pure.

A numpy array (or a scalar of numpy, or what turns itself into an array, such as a torch tensor) says its dtype
itself. Python's numbers and lists do not: they take the dtype that the signature declares. 1.5 is refused where an
integer is declared, 300 where an int8 is; floats are rounded as numpy does it, to infinity beyond their range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError
from pyserve.servable import Signature

_TEXTS = (bytes, str)


def says_its_dtype(value: object) -> bool:
    """Whether an array can be made of a value without a signature."""
    return hasattr(value, "__array__") or isinstance(value, _TEXTS)


def check_by_alias(inputs: object) -> None:
    """Refuse inputs without their names: a bare array, say, or pairs."""
    if not isinstance(inputs, Mapping):
        raise InvalidArgumentError(
            f'inputs: expected a mapping from aliases to values, such as {{"x": [1.0]}}; was {inputs!r:.100}'
        )


def as_arrays(inputs: Mapping[str, Any], signature: Signature | None) -> dict[str, Array]:
    """The inputs of a call as arrays, by alias.

    Args:
        inputs: By alias: arrays, or Python's scalars and (nested) lists.
        signature: Needed for those that do not say their dtype; None when there is none.

    Raises:
        InvalidArgumentError: A value is no tensor, or not of the declared dtype; the message names the input.
    """
    return {alias: _as_array(alias, value, signature) for alias, value in inputs.items()}


def _as_array(alias: str, value: Any, signature: Signature | None) -> Array:
    if says_its_dtype(value):
        return _checked(
            alias, np.array(value, np.object_) if isinstance(value, _TEXTS) else np.asarray(value)
        )
    assert signature is not None
    spec = signature.inputs.get(alias)
    if spec is None:
        raise InvalidArgumentError(
            f"input {alias!r}: signature {signature.key!r} has no such input, only {sorted(signature.inputs)}"
        )
    dtype = spec.dtype
    if dtype.is_string:
        return _checked(alias, _array(alias, value, np.object_))
    if dtype.numpy is None:
        raise InvalidArgumentError(f"input {alias!r}: {dtype.name} has no data that could be sent")
    natural = _array(alias, value, None)
    if natural.size == 0:
        return np.empty(natural.shape, dtype.numpy)
    return _cast(alias, value, natural, dtype, dtype.numpy)


def _array(alias: str, value: Any, dtype: Any) -> Array:
    try:
        return np.array(value, dtype)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(f"input {alias!r}: {error}") from None


def _checked(alias: str, array: Array) -> Array:
    """An array that is a tensor; of an object array each element must be text."""
    try:
        dtypes.of_array(array)
    except TypeError as error:
        raise InvalidArgumentError(f"input {alias!r}: {error}") from None
    if array.dtype.kind == "O":
        for item in array.reshape(-1).tolist():
            if not isinstance(item, _TEXTS):
                raise InvalidArgumentError(
                    f"input {alias!r}: an element of type {type(item).__name__} among strings, "
                    "expected bytes or str, and lists of equal length"
                )
    return array


def _cast(alias: str, value: Any, natural: Array, dtype: DType, form: np.dtype[Any]) -> Array:
    """Numbers or booleans in the declared dtype, refused where the kind or the range is wrong."""
    quantised = form.names is not None
    target = form[0] if quantised else form
    if dtype.name == "bool":
        if natural.dtype.kind == "b":
            return natural
    elif dtype.field in ("int_val", "int64_val", "uint32_val", "uint64_val"):
        integers = natural if natural.dtype.kind in "iu" else _large_integers(natural, value)
        low, high = _range(dtype, target)
        if integers is not None:
            if low <= int(integers.min()) and int(integers.max()) <= high:
                cast = integers.astype(target)
                return cast.view(form) if quantised else cast
            raise InvalidArgumentError(
                f"input {alias!r}: integers outside of {low} to {high}, which {dtype.name} has"
            )
    elif natural.dtype.kind in ("iufc" if target.kind == "c" else "iuf"):
        with np.errstate(over="ignore"):
            return natural.astype(target)
    raise InvalidArgumentError(f"input {alias!r}: values of {natural.dtype}, expected {dtype.name}")


def _large_integers(natural: Array, value: Any) -> Array | None:
    """numpy makes doubles of integers on both sides of int64's limit, and objects of larger ones: those integers."""
    if natural.dtype.kind not in "fO":
        return None
    exact = np.array(value, np.object_)
    return exact if all(type(item) is int for item in exact.reshape(-1).tolist()) else None


def _range(dtype: DType, target: np.dtype[Any]) -> tuple[int, int]:
    if dtype.name in ("int4", "uint4"):
        return (-8, 7) if dtype.name == "int4" else (0, 15)
    limits = np.iinfo(target)
    return int(limits.min), int(limits.max)


def check_max_rows(max_rows: int) -> None:
    """Refuse a number of rows that no part of a call could have."""
    if max_rows < 1:
        raise InvalidArgumentError(f"max_rows: {max_rows}, expected at least 1")


def split_rows(arrays: Mapping[str, Array], max_rows: int) -> list[dict[str, Array]]:
    """The inputs of one call as those of several, each with at most `max_rows` rows; scalars go with each.

    Raises:
        InvalidArgumentError: `max_rows` is below 1, or two inputs have different numbers of rows.
    """
    check_max_rows(max_rows)
    sizes = {alias: len(array) for alias, array in arrays.items() if array.ndim}
    if len(set(sizes.values())) > 1:
        raise InvalidArgumentError(f"max_rows needs inputs with the same number of rows; these have {sizes}")
    rows = next(iter(sizes.values()), 0)
    if rows <= max_rows:
        return [dict(arrays)]
    return [
        {alias: array[start : start + max_rows] if array.ndim else array for alias, array in arrays.items()}
        for start in range(0, rows, max_rows)
    ]


def join_rows(parts: Sequence[Mapping[str, Array]], rows: Sequence[int]) -> dict[str, Array]:
    """The outputs of several calls as those of one.

    Args:
        parts: The outputs of each, by alias.
        rows: The rows that were sent in each.

    Raises:
        InvalidArgumentError: An output has not a row for each row that was sent, so that it means something else.
    """
    for part, count in zip(parts, rows, strict=True):
        for alias, array in part.items():
            if array.ndim == 0 or len(array) != count:
                raise InvalidArgumentError(
                    f"output {alias!r}: shape {array.shape} for {count} rows; a call whose outputs are not rows "
                    "cannot be split (max_rows)"
                )
    try:
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]}
    except ValueError as error:
        raise InvalidArgumentError(
            f"the outputs of the parts of this call do not fit together: {error}"
        ) from None

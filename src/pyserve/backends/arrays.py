"""What code gives, by alias, as arrays of the types that a signature declares, or an error that names what is wrong.

Pure. Nothing is converted that would change a value beyond the precision of its type: floats become narrower floats,
integers become other numbers that can hold them, texts become UTF-8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from pyserve.dtypes import Array, DType
from pyserve.errors import InternalError
from pyserve.servable import TensorSpec


def as_declared(values: Any, specs: Mapping[str, TensorSpec], who: str) -> dict[str, Array]:
    """The values as arrays of the declared types and shapes.

    Args:
        values: By alias: arrays, or what numpy makes one of.
        specs: What is declared, by alias; all of it, and nothing else, must be there.
        who: Gave the values; begins the messages, e.g. `predict of model.py`.

    Raises:
        InternalError: They are no mapping, one is missing, undeclared, or not as it is declared.
    """
    if not isinstance(values, Mapping):
        raise InternalError(f"{who} gave a {type(values).__name__}, expected a mapping from names to arrays")
    if values.keys() != specs.keys():
        raise InternalError(f"{who} gave {_listed(values)}, expected {_listed(specs)}")
    return {alias: _as_declared(values[alias], spec, f'{who}: "{alias}"') for alias, spec in specs.items()}


def _listed(names: Collection[Any]) -> str:
    return "{" + ", ".join(sorted(str(name) for name in names)) + "}"


def as_tensor(value: Any, dtype: DType, what: str) -> Array:
    """One value as an array of a type, whatever its shape.

    Args:
        value: An array, or what numpy makes one of.
        what: It is; begins the messages.

    Raises:
        InternalError: No such array can be made of it.
    """
    try:
        # Texts as they are: numpy's own strings have no zero byte at their end.
        array = np.asarray(value, np.object_ if dtype.is_string else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise InternalError(f"{what} is no array: {error}") from error
    return _strings(array, what) if dtype.is_string else _numbers(array, dtype, what)


def _as_declared(value: Any, spec: TensorSpec, what: str) -> Array:
    array = as_tensor(value, spec.dtype, what)
    if spec.shape is not None and not _fits(array.shape, spec.shape):
        raise InternalError(f"{what} has the shape {list(array.shape)}, expected {_shown(spec.shape)}")
    return array


def _strings(array: Array, what: str) -> Array:
    found = np.empty(array.size, np.object_)
    for index, item in enumerate(array.flat):
        text = item.encode() if isinstance(item, str) else item
        if not isinstance(text, bytes):
            raise InternalError(f"{what} holds a {type(item).__name__}, expected str or bytes")
        found[index] = text
    return found.reshape(array.shape)


def _numbers(array: Array, dtype: DType, what: str) -> Array:
    wanted = dtype.numpy
    if wanted is None or array.dtype == wanted:
        return array
    integer = dtype.name.startswith(("int", "uint"))
    whole = array.dtype.kind in "iub" or not array.size  # numpy makes floats of an empty list
    if not (whole if integer else np.can_cast(array.dtype, wanted, "same_kind")):
        raise InternalError(f"{what} has the type {array.dtype}, expected {dtype.name}")
    with np.errstate(over="ignore"):  # a float that is too large becomes infinite, without a word in the log
        converted = array.astype(wanted)
    if integer and array.size:
        range_ = ml_dtypes.iinfo(wanted)
        if int(array.min()) < range_.min or int(array.max()) > range_.max:
            raise InternalError(f"{what} has values beyond {dtype.name}")
    return converted


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        size is None or size == actual for actual, size in zip(shape, declared, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"

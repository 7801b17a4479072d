"""One JSON value → one array, by the dtype that the signature declares.

Called by `json_predict` for each input. The declared shape is never checked; a tensor's shape is read off its
first elements (`len(x)`, `len(x[0])`, ...) and everything else must agree with it.

Two ways to the same result: `read_uniform` takes a value level by level at C speed, and gives up (None) at
the first sign of something irregular; `read` then walks it in the order of the text and raises the error that
TensorFlow Serving would. `read` alone decides; neither recurses.

Source: TensorFlow Serving, util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from pyserve.codec.json_value import JsonObject, JsonValue, base64_text, decode_base64, show, type_name
from pyserve.codec.tensor_proto import MAX_RANK
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError, UnimplementedError

_INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What JSON may give a dtype.

    Attributes:
        types: The exact Python types of leaves (`bool` is not an `int` here).
        limits: Least and greatest integer token.
        wide: The numpy dtype that holds every legal leaf; narrowing it to the tensor's dtype wraps integers
            modulo 2^bits and rounds doubles to floats, out of range to infinity.
    """

    types: frozenset[type]
    limits: tuple[int, int] | None
    wide: Any


_RULES: dict[str, _Rule] = {
    "float": _Rule(frozenset({int, float}), None, np.float64),
    "double": _Rule(frozenset({int, float}), None, np.float64),
    "int32": _Rule(frozenset({int}), _INT32, np.int32),
    "int16": _Rule(frozenset({int}), _INT32, np.int32),
    "int8": _Rule(frozenset({int}), _INT32, np.int32),
    "uint8": _Rule(frozenset({int}), _INT32, np.int32),
    "int64": _Rule(frozenset({int}), (-(2**63), 2**63 - 1), np.int64),
    "uint32": _Rule(frozenset({int}), (0, 2**32 - 1), np.uint32),
    "uint64": _Rule(frozenset({int}), (0, 2**64 - 1), np.uint64),
    "bool": _Rule(frozenset({bool}), None, np.bool_),
    "string": _Rule(frozenset({bytes}), None, np.object_),
}
"""Every dtype that a JSON request can carry; the others are refused as TensorFlow Serving does."""

Leaf = bool | int | float | bytes


@dataclass(frozen=True, slots=True)
class Leaves:
    """A checked value taken apart: its shape and its elements in row-major order."""

    shape: tuple[int, ...]
    values: list[Leaf]


def to_array(leaves: Leaves, dtype: DType) -> Array:
    """The array of leaves that `read` or `read_uniform` gave for the same dtype.

    Raises:
        InvalidArgumentError: More dimensions than numpy can have.
    """
    rank = len(leaves.shape)
    if rank > MAX_RANK:
        raise InvalidArgumentError(f"Tensor with {rank} dimensions, expected at most {MAX_RANK}")
    rule = _RULES.get(dtype.name)
    if rule is None or dtype.numpy is None:
        return np.empty(leaves.shape, dtype.numpy or np.dtype(np.object_))  # only an empty list gets here
    array: Array
    if dtype.is_string:
        array = np.empty(len(leaves.values), np.object_)
        array[:] = leaves.values
    else:
        array = np.array(leaves.values, rule.wide)
        if array.dtype != dtype.numpy:
            with np.errstate(over="ignore"):
                array = array.astype(dtype.numpy)
    return array.reshape(leaves.shape)


def read_uniform(value: JsonValue, dtype: DType) -> Leaves | None:
    """The leaves of a value without any irregularity; None for one that `read` must look at."""
    rule = _RULES.get(dtype.name)
    if rule is None:
        return None
    level: list[Any] = [value]
    shape: list[int] = []
    while level and type(level[0]) is list:
        size = len(level[0])
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        shape.append(size)
        level = list(chain.from_iterable(level)) if len(level) > 1 else level[0]
    if not rule.types.issuperset(map(type, level)):
        return None
    if (
        rule.limits is not None
        and level
        and not (rule.limits[0] <= min(level) and max(level) <= rule.limits[1])
    ):
        return None
    return Leaves(tuple(shape), level)


def read(value: JsonValue, dtype: DType) -> Leaves:
    """The leaves of a value, every rule checked in the order of the text.

    Raises:
        InvalidArgumentError: A leaf has the wrong type, or the lists are ragged.
        UnimplementedError: JSON cannot carry the dtype (half, bfloat16, uint16, complex, ...).
    """
    shape = _shape(value)
    rank = len(shape)
    read_leaf = _leaf_reader(dtype)
    values: list[Leaf] = []
    pending = [iter([value])]
    while pending:
        level = len(pending) - 1
        for item in pending[-1]:
            if not isinstance(item, list):
                if level != rank:
                    raise InvalidArgumentError(
                        f"JSON Value: {show(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                        f"Expected at level: {rank}"
                    )
                values.append(read_leaf(item))
                continue
            if level >= rank:
                raise InvalidArgumentError(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(item) != shape[level]:
                raise InvalidArgumentError(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} "
                    f"expected size: {shape[level]}"
                )
            pending.append(iter(item))
            break
        else:
            pending.pop()
    return Leaves(shape, values)


def _shape(value: JsonValue) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _leaf_reader(dtype: DType) -> Callable[[JsonValue], Leaf]:
    rule = _RULES.get(dtype.name)

    def leaf(item: JsonValue) -> Leaf:
        if isinstance(item, JsonObject):
            return _object_leaf(item, dtype)
        if rule is None:
            raise UnimplementedError(f"Conversion of JSON Value: {show(item)} to type: {dtype.name}")
        if type(item) in rule.types:
            assert item is not None
            assert not isinstance(item, list)
            if rule.limits is None or (isinstance(item, int) and rule.limits[0] <= item <= rule.limits[1]):
                return item
        raise _type_error(item, dtype)

    return leaf


def _object_leaf(item: JsonObject, dtype: DType) -> bytes:
    if not dtype.is_string:
        raise _type_error(item, dtype)
    text = base64_text(item)
    if text is None:
        raise InvalidArgumentError(f"JSON Value: {show(item)} not formatted correctly for base64 data")
    return decode_base64(text)


def _type_error(item: JsonValue, dtype: DType) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"JSON Value: {show(item)} Type: {type_name(item)} is not of expected type: {dtype.name}"
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as messages print it, e.g. `[2,3]`, and `[]` for a scalar."""
    return f"[{','.join(map(str, shape))}]"

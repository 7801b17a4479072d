"""How people write down an input or an output of a signature → TensorSpec. Pure.

A *spec* is an element type (see `dtypes.of_element_type`), a pair (element type, shape) with None for what is free, or
anything that has a `dtype` and a `shape`: pyserve's or TensorFlow's TensorSpec, an array.
"""

from __future__ import annotations

from typing import Any

from pyserve import dtypes
from pyserve.servable import TensorSpec


def spec_of(alias: str, given: Any, where: str, tensor_name: str = "") -> TensorSpec:
    """The input or output that a spec describes.

    Args:
        given: The spec.
        where: Where it stands; begins the messages.
        tensor_name: Of the tensor, where a model has none: it shows in messages and metadata.

    Raises:
        TypeError: It is no spec.
    """
    element_type, shape = given, None
    if isinstance(given, tuple | list) and len(given) == 2:
        element_type, shape = given
    elif not isinstance(given, type) and hasattr(given, "dtype") and hasattr(given, "shape"):
        element_type, shape = given.dtype, given.shape
    dtype = dtypes.of_element_type(element_type)
    if dtype is None:
        raise TypeError(f"{where}: expected an element type, was {element_type!r:.100}")
    return TensorSpec(alias, dtype, _shape(shape, where), tensor_name)


def _shape(given: Any, where: str) -> tuple[int | None, ...] | None:
    """A shape as ours; TensorFlow's TensorShape knows no rank where ours is None."""
    if given is None or getattr(given, "rank", 0) is None:
        return None
    try:
        return tuple(None if size is None or int(size) < 0 else int(size) for size in given)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: expected a shape, numbers and None, was {given!r:.100}") from None

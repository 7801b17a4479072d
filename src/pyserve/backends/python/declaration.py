"""What a version's code declares as its `signatures`, as `Signature` values. Pure.

    signatures = {
        "serving_default": {
            "inputs": {"x": ("float", [None, 3])},     element type and shape, None for what is free
            "outputs": {"y": "float"},                 any shape
            "method": "predict",                       or classify, regress; predict when left out
            "defaults": {"x": [[0.0, 0.0, 0.0]]},      for inputs that a request may leave out
        },
    }

An element type is a name of TensorFlow's (`float`, `string`, `bfloat16`) or numpy's (`float32`), a numpy type, or one
of Python's: `float` (32 bits), `int` (64 bits), `bool`, `str`, `bytes`. Anything with a `dtype` and a `shape` may stand
for the pair, and a `Signature` for a declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.backends.python.arrays import as_declared
from pyserve.dtypes import DType
from pyserve.errors import InvalidArgumentError
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, Signature, TensorSpec

_METHODS = {"predict": PREDICT_METHOD, "classify": CLASSIFY_METHOD, "regress": REGRESS_METHOD}
# numpy would make float64 of Python's floats; a model would not.
_PYTHON_TYPES: Mapping[type, DType] = {
    float: dtypes.FLOAT,
    int: dtypes.INT64,
    bool: dtypes.BOOL,
    str: dtypes.STRING,
    bytes: dtypes.STRING,
}
_FIELDS = ("inputs", "outputs", "method", "defaults")


def declared_signatures(given: Any, where: str) -> dict[str, Signature]:
    """The signatures that a version's code declares, by key.

    Args:
        given: What it has under the name `signatures`.
        where: The file, for messages.

    Raises:
        InvalidArgumentError: It is no such declaration; the message says where and what was expected.
        InternalError: A default is not as its input is declared.
    """
    where = f"{where}: signatures"
    if not isinstance(given, Mapping) or not given:
        raise InvalidArgumentError(f"{where}: expected a mapping from signature keys, was {given!r:.100}")
    return {str(key): _signature(str(key), each, f"{where}[{key!r}]") for key, each in given.items()}


def _signature(key: str, given: Any, where: str) -> Signature:
    if isinstance(given, Signature):
        return replace(given, key=key)
    if not isinstance(given, Mapping) or not {"inputs", "outputs"} <= given.keys():
        raise InvalidArgumentError(f"{where}: expected a mapping with inputs and outputs, was {given!r:.100}")
    if unknown := sorted(str(field) for field in given.keys() - set(_FIELDS)):
        raise InvalidArgumentError(f"{where}: unknown {unknown[0]!r}; expected one of {', '.join(_FIELDS)}")
    method = given.get("method", "predict")
    if method not in _METHODS:
        raise InvalidArgumentError(
            f"{where}['method']: expected one of {', '.join(_METHODS)}, was {method!r}"
        )
    inputs = _specs(given["inputs"], f"{where}['inputs']", key)
    defaults = given.get("defaults", {})
    if not isinstance(defaults, Mapping) or not defaults.keys() <= inputs.keys():
        raise InvalidArgumentError(f"{where}['defaults']: expected values by names of inputs")
    return Signature(
        key=key,
        method_name=_METHODS[method],
        inputs=inputs,
        outputs=_specs(given["outputs"], f"{where}['outputs']", key),
        defaults=as_declared(defaults, {alias: inputs[alias] for alias in defaults}, f"{where}['defaults']"),
    )


def _specs(given: Any, where: str, key: str) -> dict[str, TensorSpec]:
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(f"{where}: expected a mapping from names, was {given!r:.100}")
    return {str(alias): _spec(str(alias), each, f"{where}[{alias!r}]", key) for alias, each in given.items()}


def _spec(alias: str, given: Any, where: str, key: str) -> TensorSpec:
    """One input or output. The name of a tensor, which there is none of, shows in messages and metadata."""
    element_type, shape = given, None
    if isinstance(given, tuple | list) and len(given) == 2:
        element_type, shape = given
    elif not isinstance(given, type) and hasattr(given, "dtype") and hasattr(given, "shape"):
        element_type, shape = given.dtype, given.shape
    return TensorSpec(alias, _dtype(element_type, where), _shape(shape, where), f"{key}_{alias}:0")


def _dtype(given: Any, where: str) -> DType:
    if isinstance(given, DType):
        return given
    if isinstance(given, str) and given in dtypes.BY_NAME:
        return dtypes.BY_NAME[given]
    if isinstance(given, type) and given in _PYTHON_TYPES:
        return _PYTHON_TYPES[given]
    given = getattr(given, "as_numpy_dtype", given)  # TensorFlow's own
    if given is np.object_ or given is object:
        return dtypes.STRING
    try:
        # numpy would take None for float64, and any class for an object.
        if given is not None and (not isinstance(given, type) or issubclass(given, np.generic)):
            return dtypes.of_array(np.empty(0, given))
    except TypeError:
        pass
    raise InvalidArgumentError(f"{where}: expected an element type, was {given!r:.100}")


def _shape(given: Any, where: str) -> tuple[int | None, ...] | None:
    """A shape as ours; TensorFlow's TensorShape knows no rank where ours is None."""
    if given is None or getattr(given, "rank", 0) is None:
        return None
    try:
        return tuple(None if size is None or int(size) < 0 else int(size) for size in given)
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"{where}: expected a shape, numbers and None, was {given!r:.100}"
        ) from None

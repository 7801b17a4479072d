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

from pyserve.backends.arrays import as_declared
from pyserve.backends.specs import spec_of
from pyserve.errors import InvalidArgumentError
from pyserve.servable import METHOD_NAMES, Signature, TensorSpec

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
    if method not in METHOD_NAMES:
        raise InvalidArgumentError(
            f"{where}['method']: expected one of {', '.join(METHOD_NAMES)}, was {method!r}"
        )
    inputs = _specs(given["inputs"], f"{where}['inputs']", key)
    defaults = given.get("defaults", {})
    if not isinstance(defaults, Mapping) or not defaults.keys() <= inputs.keys():
        raise InvalidArgumentError(f"{where}['defaults']: expected values by names of inputs")
    return Signature(
        key=key,
        method_name=METHOD_NAMES[method],
        inputs=inputs,
        outputs=_specs(given["outputs"], f"{where}['outputs']", key),
        defaults=as_declared(defaults, {alias: inputs[alias] for alias in defaults}, f"{where}['defaults']"),
    )


def _specs(given: Any, where: str, key: str) -> dict[str, TensorSpec]:
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(f"{where}: expected a mapping from names, was {given!r:.100}")
    try:
        return {
            str(alias): spec_of(str(alias), each, f"{where}[{alias!r}]", f"{key}_{alias}:0")
            for alias, each in given.items()
        }
    except TypeError as error:
        raise InvalidArgumentError(str(error)) from None

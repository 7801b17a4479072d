"""What a callable takes and gives, as a signature: from a decorator, from its annotations, or from one trial run.

    inputs    @signature(inputs=...)   else the parameters: their annotations, and float where there is none
    outputs   @signature(outputs=...)  else a TypedDict as the return annotation, else a run over zeros shows them

What may be written for one of them is in `backends/specs.py`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from pyserve import dtypes
from pyserve.backends.arrays import as_tensor
from pyserve.backends.specs import spec_of
from pyserve.dtypes import Array, DType
from pyserve.errors import InternalError
from pyserve.inference.example_methods import INPUTS
from pyserve.servable import METHOD_NAMES, PREDICT_METHOD, Signature, TensorSpec

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__pyserve_signature__"
_SAYS_NOTHING = (inspect.Parameter.empty, Any, object, np.ndarray)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the decorator was told; None where the callable itself is to be asked."""

    inputs: Mapping[str, TensorSpec] | None = None
    outputs: Mapping[str, TensorSpec] | None = None
    method_name: str = PREDICT_METHOD


def signature(
    *,
    inputs: Mapping[str, Any] | Iterable[TensorSpec] | None = None,
    outputs: Mapping[str, Any] | Iterable[TensorSpec] | None = None,
    method: str = "predict",
) -> Callable[[F], F]:
    """Declare what a callable takes and gives; a decorator that returns the callable itself where it can.

    Args:
        inputs: By alias, a spec each; or TensorSpecs. None: from the parameters.
        outputs: Likewise. None: from the return annotation, or from a trial run.
        method: `predict`, `classify` or `regress`. The latter two take serialized tf.Examples by the one input
            `inputs` unless told otherwise (see `features`), and give `classes` and `scores`, or `outputs`.
    """
    if method not in METHOD_NAMES:
        raise ValueError(f"method: expected one of {sorted(METHOD_NAMES)}, was {method!r}")
    if inputs is None and method != "predict":
        inputs = {INPUTS: (bytes, (None,))}
    declaration = Declaration(_specs("inputs", inputs), _specs("outputs", outputs), METHOD_NAMES[method])

    def declare(function: F) -> F:
        try:
            setattr(function, _ATTRIBUTE, declaration)
        except AttributeError:  # a bound method, or one of C
            wrapped = functools.partial(function)
            setattr(wrapped, _ATTRIBUTE, declaration)
            return typing.cast(F, wrapped)
        return function

    return declare


def signature_of(key: str, function: Callable[..., Any]) -> Signature:
    """The signature of a callable.

    Raises:
        TypeError: It cannot be found out; the message says what to declare.
    """
    declared: Declaration = getattr(function, _ATTRIBUTE, None) or Declaration()
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{_name(function)} is a coroutine function; models are called on threads, without a loop"
        )
    parameters = None if declared.inputs and declared.outputs else _parameters(function)
    defaults: dict[str, Array] = {}
    inputs = declared.inputs
    if inputs is None:
        assert parameters is not None
        inputs, defaults = _inputs_of(function, parameters.parameters.values())
    outputs = declared.outputs
    if outputs is None and parameters is not None and typing.is_typeddict(parameters.return_annotation):
        hints = typing.get_type_hints(parameters.return_annotation, include_extras=True)
        outputs = {
            alias: _annotated(alias, hint, f"output {alias!r} of {_name(function)}")
            for alias, hint in hints.items()
        }
    if outputs is None:
        outputs = _tried(function, {**{a: _zeros(spec) for a, spec in inputs.items()}, **defaults})
    named_inputs = {alias: _named(spec, f"{key}_{alias}:0") for alias, spec in inputs.items()}
    named_outputs = {
        alias: _named(spec, f"StatefulPartitionedCall:{index}")
        for index, (alias, spec) in enumerate(sorted(outputs.items()))
    }
    return Signature(key, declared.method_name, named_inputs, named_outputs, defaults)


# --- what the decorator is told ----------------------------------------------------------------------------------


def _specs(
    which: str, given: Mapping[str, Any] | Iterable[TensorSpec] | None
) -> Mapping[str, TensorSpec] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {alias: spec_of(alias, each, f"{which}[{alias!r}]") for alias, each in given.items()}
    specs = list(given)
    if not all(isinstance(spec, TensorSpec) for spec in specs):
        raise TypeError(f"{which}: expected specs by alias, or pyserve's TensorSpecs; was {given!r:.100}")
    return {spec.alias: spec for spec in specs}


# --- what the callable says of itself ----------------------------------------------------------------------------


def _parameters(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(
            f"{_name(function)} does not say what it takes ({error}); declare it: "
            "signature(inputs=..., outputs=...)(function)"
        ) from error


def _inputs_of(
    function: Callable[..., Any], parameters: Iterable[inspect.Parameter]
) -> tuple[Mapping[str, TensorSpec], dict[str, Array]]:
    inputs: dict[str, TensorSpec] = {}
    defaults: dict[str, Array] = {}
    for parameter in parameters:
        name = parameter.name
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"{_name(function)}: the parameter {parameter} names no input; declare them: "
                "signature(inputs=...)(function)"
            )
        spec = _annotated(name, parameter.annotation, f"parameter {name!r} of {_name(function)}")
        if parameter.default is not parameter.empty:
            if parameter.annotation in _SAYS_NOTHING:
                spec = TensorSpec(name, dtypes.of_array(array_of(parameter.default)), None)
            defaults[name] = array_of(parameter.default, spec.dtype)
        inputs[name] = spec
    return inputs, defaults


def _annotated(alias: str, annotation: Any, where: str) -> TensorSpec:
    """The spec in an annotation: an element type, `NDArray[element type]`, or `Annotated[..., spec]`."""
    if annotation in _SAYS_NOTHING:
        return TensorSpec(alias, dtypes.FLOAT, None)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return spec_of(alias, arguments[1], where)
    if origin is np.ndarray:
        (scalar,) = typing.get_args(arguments[1]) or (Any,)
        return _annotated(alias, scalar, where)
    return spec_of(alias, annotation, where)


def _tried(function: Callable[..., Any], inputs: Mapping[str, Array]) -> Mapping[str, TensorSpec]:
    """The outputs that one run shows; their shapes are left open."""
    how = "declare what it gives: signature(outputs=...)(function)"
    try:
        results = function(**inputs)
    except Exception as error:
        raise TypeError(
            f"{_name(function)} was called with zeros to see what it gives, and raised "
            f"{type(error).__name__}: {error}; {how}"
        ) from error
    if not isinstance(results, Mapping):
        raise TypeError(
            f"{_name(function)} returned a {type(results).__name__}, expected a mapping from output to array"
        )
    try:
        return {
            str(a): TensorSpec(str(a), dtypes.of_array(array_of(each)), None) for a, each in results.items()
        }
    except TypeError as error:
        raise TypeError(f"{_name(function)}: {error}; {how}") from error


def _zeros(spec: TensorSpec) -> Array:
    """A value to try a function with: one row of zeros, or of empty strings."""
    shape = (1,) if spec.shape is None else tuple(1 if size is None else size for size in spec.shape)
    return np.full(shape, b"", np.object_) if spec.dtype.is_string else np.zeros(shape, spec.dtype.numpy)


def _named(spec: TensorSpec, tensor_name: str) -> TensorSpec:
    return TensorSpec(spec.alias, spec.dtype, spec.shape, spec.tensor_name or tensor_name)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def array_of(value: Any, dtype: DType | None = None) -> Array:
    """A value as an array that a tensor can be made of: Python's floats as float32, texts as bytes.

    Args:
        value: An array, or what numpy makes one of.
        dtype: The wanted one; None: what the value is.

    Raises:
        TypeError, ValueError: No tensor can be made of it; the former too where a value would have to change.
    """
    if dtype is None:
        array = np.asarray(value)
        dtype = dtypes.of_array(array)
        if dtype is dtypes.DOUBLE and not hasattr(value, "dtype"):
            dtype = dtypes.FLOAT
    try:
        return as_tensor(value, dtype, "the value")
    except InternalError as error:
        raise TypeError(error.message) from None

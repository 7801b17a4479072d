"""What a request of EAS's TensorFlow processor must satisfy beyond one of TensorFlow Serving. Pure.

Every input of the signature is given, nothing else is, and each has the declared dtype and a shape that fits the
declared one. What is named in the message is what the caller has to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyserve import dtypes
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.servable import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, TensorSpec


def chosen_signature(signatures: Mapping[str, Signature], key: str, configured: str = "") -> Signature:
    """The signature of a request, or the one that describes a model.

    Without a key: the configured one; else `serving_default` if it is for predict; else the first by name that is;
    else `serving_default`, else the first by name. Names that begin with `__` are TensorFlow's own.

    Args:
        key: As the request has it; empty: the default.
        configured: The service's default; empty: none.

    Raises:
        InvalidArgumentError: There is none of this key, or none at all.
    """
    public = {name: found for name, found in sorted(signatures.items()) if not name.startswith("__")}
    if wanted := key or configured:
        if wanted in public:
            return public[wanted]
        raise InvalidArgumentError(f"unknown signature '{wanted}'; expected one of: {_listed(public)}")
    if not public:
        raise InvalidArgumentError("the model has no signature")
    default = public.get(DEFAULT_SIGNATURE)
    if default is not None and default.method_name == PREDICT_METHOD:
        return default
    predicting = (found for found in public.values() if found.method_name == PREDICT_METHOD)
    return next(predicting, None) or default or next(iter(public.values()))


def check_names(signature: Signature, sent: Iterable[str], output_filter: Iterable[str]) -> None:
    """Refuse unknown and missing names.

    Raises:
        InvalidArgumentError: An input is unknown or missing, or an output is unknown.
    """
    names = set(sent)
    for alias in sorted(names - signature.inputs.keys()):
        raise InvalidArgumentError(f"unknown input '{alias}'; expected: {_listed(signature.inputs)}")
    for alias in sorted(signature.inputs.keys() - names - signature.defaults.keys()):
        raise InvalidArgumentError(f"missing input '{alias}'; expected: {_listed(signature.inputs)}")
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgumentError(f"unknown output '{alias}'; expected: {_listed(signature.outputs)}")


def check_array(spec: TensorSpec, array: Array) -> None:
    """Refuse an array that is not what its input declares.

    Raises:
        InvalidArgumentError: Another dtype, rank or fixed dimension.
    """
    dtype = dtypes.of_array(array)
    if dtype is not spec.dtype:
        raise InvalidArgumentError(
            f"input '{spec.alias}': dtype {dtype.enum_name}, expected {spec.dtype.enum_name}"
        )
    shape = spec.shape
    if shape is None:
        return
    fits = len(shape) == array.ndim and all(
        size is None or size == given for size, given in zip(shape, array.shape, strict=True)
    )
    if not fits:
        declared = [-1 if size is None else size for size in shape]
        raise InvalidArgumentError(
            f"input '{spec.alias}': shape {list(array.shape)}, expected {declared} (-1: any size)"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"

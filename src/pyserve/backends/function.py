"""A Python callable as a servable: the same life cycle and wire as a SavedModel, no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pyserve.backends.arrays import as_tensor
from pyserve.codec.signature_def import signature_def_map
from pyserve.dtypes import Array
from pyserve.errors import InternalError, ServingError
from pyserve.servable import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, TensorSpec

Function = Callable[..., Mapping[str, Any]]
"""Keyword arrays → a mapping from alias to array, or to what numpy makes one of."""


class FunctionServable:
    """Serves one or more functions of keyword arrays to a mapping of arrays.

    Args:
        functions: Signature → the function that computes it. It is called with one keyword argument per input
            and returns at least the declared outputs; it may be called from several threads at once.

    An exception of the function becomes INTERNAL with its text; a ServingError passes as it is.
    """

    def __init__(self, functions: Iterable[tuple[Signature, Function]]) -> None:
        pairs = list(functions)
        self.signatures: Mapping[str, Signature] = {signature.key: signature for signature, _ in pairs}
        self._functions = {signature.key: function for signature, function in pairs}
        self.stateless: frozenset[str] = frozenset()  # nobody knows what a callable does
        self.signature_def_map = signature_def_map(self.signatures.values())

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Call the function; `timeout_s` cannot be honoured once it runs."""
        try:
            results = self._functions[signature_key](**inputs)
        except ServingError:
            raise
        except Exception as error:
            raise InternalError(f"{type(error).__name__}: {error}") from error
        return as_outputs(results, self.signatures[signature_key], outputs)

    def unload(self) -> None:
        self._functions = {}


def as_outputs(results: Mapping[str, Any], signature: Signature, wanted: Sequence[str]) -> dict[str, Array]:
    """What a function gave as the arrays that its signature declares.

    Args:
        results: By alias: arrays, or what numpy makes one of; converted as `as_tensor` does. Others than those that
            are wanted are passed over.
        signature: Declares the outputs.
        wanted: Aliases to answer with, each declared.

    Raises:
        InternalError: An output is missing, or cannot be had in its declared dtype.
    """
    if not isinstance(results, Mapping):
        raise InternalError(
            f"The function returned a {type(results).__name__}, expected a mapping from output to array"
        )
    missing = [alias for alias in wanted if alias not in results]
    if missing:
        raise InternalError(f"The function did not return the output {missing[0]}")
    return {
        alias: as_tensor(results[alias], signature.outputs[alias].dtype, f"The output {alias}")
        for alias in wanted
    }


def predict_signature(
    inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], key: str = DEFAULT_SIGNATURE
) -> Signature:
    """A signature of the predict kind from its tensors."""
    return Signature(
        key=key,
        method_name=PREDICT_METHOD,
        inputs={spec.alias: spec for spec in inputs},
        outputs={spec.alias: spec for spec in outputs},
    )

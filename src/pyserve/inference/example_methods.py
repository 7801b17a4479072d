"""The vocabulary of the methods that take tf.Examples: what a method is, and a signature put to use by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyserve.codec.inference_results import Result
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.servable import Signature

INPUTS = "inputs"
"""The alias of the one input of such a signature: a string tensor [examples]."""

Declared = Callable[[], str]
"""The text of a signature's SignatureDef; only asked for by a message that shows it."""


@dataclass(frozen=True, slots=True)
class Method:
    """Classify or Regress.

    Attributes:
        noun: As messages call it.
        method_name: Of signatures made for it.
        outputs: (signature, its text) → the outputs to compute; raises when the signature does not suit.
        result: (those outputs, number of examples) → what they mean; raises when they are not as they must be.
    """

    noun: str
    method_name: str
    outputs: Callable[[Signature, Declared], Sequence[str]]
    result: Callable[[Mapping[str, Array], int], Result]


@dataclass(frozen=True, slots=True)
class Plan:
    """One signature to be run by one method, both found fit for each other."""

    method: Method
    signature: Signature
    outputs: Sequence[str]

    @classmethod
    def of(cls, method: Method, signature: Signature, declared: Declared, *, check_method_name: bool) -> Plan:
        """Put a signature to a method's test.

        Args:
            declared: See `Declared`.
            check_method_name: The signature must also have been made for the method.

        Raises:
            InvalidArgumentError: It does not pass.
        """
        if check_method_name and signature.method_name != method.method_name:
            raise InvalidArgumentError(
                f"Expected {method.noun} signature method_name to be {method.method_name}. "
                f"Was: {signature.method_name}"
            )
        return cls(method, signature, method.outputs(signature, declared))


def shape_text(array: Array) -> str:
    """An array's shape as TensorFlow prints it, e.g. `[2,3]`."""
    return f"[{','.join(map(str, array.shape))}]"

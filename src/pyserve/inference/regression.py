"""Regress: what its signature must look like, and what its output means. Pure.

Order and texts of the refusals are TensorFlow Serving's (servables/tensorflow/regressor.cc).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyserve import dtypes
from pyserve.codec.inference_results import Regressions
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.example_methods import INPUTS, Declared, shape_text
from pyserve.servable import Signature

OUTPUTS = "outputs"


def regression_outputs(signature: Signature, declared: Declared) -> Sequence[str]:
    """The output that a signature gives to Regress.

    Args:
        signature: Of any kind; its shape alone decides.
        declared: Text of its SignatureDef, for the messages that show it.

    Raises:
        InvalidArgumentError: It has not the one input `inputs` and the one output `outputs`.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgumentError("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise InvalidArgumentError("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise InvalidArgumentError(f"No regression inputs found in SignatureDef: {declared()}")
    if OUTPUTS not in signature.outputs:
        raise InvalidArgumentError(f"No regression outputs found in SignatureDef: {declared()}")
    return [OUTPUTS]


def regressions(outputs: Mapping[str, Array], num_examples: int) -> Regressions:
    """What the model said about the examples.

    Raises:
        InvalidArgumentError: Its output is not one float for each example.
    """
    array = outputs[OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise InvalidArgumentError(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {shape_text(array)}"
        )
    if len(array) != num_examples:
        raise InvalidArgumentError(
            f"Input batch size did not match output batch size: {num_examples} vs. {len(array)}"
        )
    dtype = dtypes.of_array(array)
    if dtype is not dtypes.FLOAT:
        raise InvalidArgumentError(f"Expected output Tensor of DT_FLOAT.  Got: {dtype.enum_name}")
    return Regressions(array.reshape(-1))

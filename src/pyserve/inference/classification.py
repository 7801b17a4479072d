"""Classify: what its signature must look like, and what its outputs mean. Pure.

Order and texts of the refusals are TensorFlow Serving's (servables/tensorflow/classifier.cc).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyserve import dtypes
from pyserve.codec.inference_results import Classifications
from pyserve.dtypes import Array, DType
from pyserve.errors import InvalidArgumentError
from pyserve.inference.example_methods import INPUTS, Declared, shape_text
from pyserve.servable import Signature

CLASSES = "classes"
SCORES = "scores"


def classification_outputs(signature: Signature, declared: Declared) -> Sequence[str]:
    """The outputs that a signature gives to Classify.

    Args:
        signature: Of any kind; its shape alone decides.
        declared: Text of its SignatureDef, for the messages that show it.

    Raises:
        InvalidArgumentError: It has not the one input `inputs`, or neither `classes` nor `scores`.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgumentError("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgumentError(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise InvalidArgumentError(f"No classification inputs found in SignatureDef: {declared()}")
    found = [alias for alias in (CLASSES, SCORES) if alias in signature.outputs]
    if not found:
        raise InvalidArgumentError(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {declared()}"
        )
    return found


def classifications(outputs: Mapping[str, Array], num_examples: int) -> Classifications:
    """What the model said about the examples.

    Raises:
        InvalidArgumentError: Its outputs are not [examples, classes] of strings and of floats.
    """
    labels, scores = outputs.get(CLASSES), outputs.get(SCORES)
    if labels is not None:
        _check(CLASSES, labels, dtypes.STRING, num_examples)
    if scores is not None:
        _check(SCORES, scores, dtypes.FLOAT, num_examples)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise InvalidArgumentError(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    return Classifications(labels, scores)


def _check(alias: str, array: Array, wanted: DType, num_examples: int) -> None:
    if array.ndim != 2:
        raise InvalidArgumentError(
            f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array)}"
        )
    dtype = dtypes.of_array(array)
    if dtype is not wanted:
        raise InvalidArgumentError(f"Expected {alias} Tensor of {wanted.enum_name}. Got: {dtype.enum_name}")
    if len(array) != num_examples:
        raise InvalidArgumentError(f"Expected {alias} output batch size of {num_examples}. Got: {len(array)}")

"""What a TensorFlow Lite model declares → signatures. Pure: details as the interpreter lists them come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.dtypes import DType
from pyserve.errors import InternalError
from pyserve.servable import PREDICT_METHOD, Signature, TensorSpec

Details = Mapping[str, Any]
"""One tensor as the interpreter describes it: `name`, `index`, `dtype`, `shape`, `shape_signature`, ..."""


def signature_of(key: str, inputs: Mapping[str, Details], outputs: Mapping[str, Details]) -> Signature:
    """A signature of the predict kind, from the details of its tensors by alias.

    Raises:
        InternalError: A tensor has a type that TensorFlow does not have.
    """
    return Signature(
        key=key,
        method_name=PREDICT_METHOD,
        inputs={alias: _spec(alias, details) for alias, details in inputs.items()},
        outputs={alias: _spec(alias, details) for alias, details in outputs.items()},
    )


def by_tensor_name(tensors: Iterable[Details]) -> dict[str, Details]:
    """Aliases for the tensors of a model without signatures: their names, without `:0`.

    Where names differ only behind the colon they stay whole; TensorFlow Serving would lose all but one.

    Source: TensorFlow Serving, servables/tensorflow/tflite_session.cc.
    """
    named = {str(details["name"]): details for details in tensors}
    short = [name.partition(":")[0] for name in named]
    return {
        alias if short.count(alias) == 1 else name: details
        for alias, (name, details) in zip(short, named.items(), strict=True)
    }


def _spec(alias: str, details: Details) -> TensorSpec:
    # The signature of a shape has -1 where it is free; old models have none.
    shape = details["shape_signature"]
    if len(shape) != len(details["shape"]):
        shape = details["shape"]
    return TensorSpec(
        alias=alias,
        dtype=_dtype(details),
        shape=tuple(None if size < 0 else int(size) for size in shape),
        tensor_name=str(details["name"]),
    )


def _dtype(details: Details) -> DType:
    try:
        return dtypes.of_array(np.empty(0, details["dtype"]))
    except TypeError as error:
        raise InternalError(f"Unknown TfLite type of tensor {details['name']}: {error}") from error

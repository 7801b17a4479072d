"""Run a version before it is AVAILABLE, so that no caller pays for the first run.

TensorFlow builds kernels and optimises graphs at the first call of a function; for a large model that takes
a hundred times a later call. Each stateless signature is run once with one row of zeros. What fails here is logged
and forgotten: zeros may be no legal input of the model, and the version is not worse than without.
"""

from __future__ import annotations

import logging

import numpy as np

from pyserve.dtypes import Array
from pyserve.errors import ServingError
from pyserve.servable import CLASSIFY_METHOD, REGRESS_METHOD, Servable, ServableId, Signature, TensorSpec

logger = logging.getLogger(__name__)

# A declared shape may be anything; a run that only warms up must not need gigabytes.
_MAX_ELEMENTS = 1 << 26


def warm_up(id: ServableId, path: str, servable: Servable) -> None:
    """Run each signature that has no side effects once. Never raises a ServingError."""
    del path
    for key in sorted(servable.stateless):
        signature = servable.signatures[key]
        if signature.method_name in (CLASSIFY_METHOD, REGRESS_METHOD):
            continue  # they take serialized Examples; an empty one only makes TensorFlow complain in the log
        inputs = zeros_for(signature)
        if inputs is None:
            continue
        try:
            servable.run(key, inputs, sorted(signature.outputs))
        except ServingError as error:
            logger.info("Warm-up of signature %s of servable %s with zeros failed: %s", key, id, error)


def zeros_for(signature: Signature) -> dict[str, Array] | None:
    """One row of zeros (empty strings) for each input; None when a shape is unknown or too large.

    Free dimensions become 1. Inputs with a default take it.
    """
    inputs: dict[str, Array] = dict(signature.defaults)
    for alias, spec in signature.inputs.items():
        if alias not in inputs:
            zeros = _zeros(spec)
            if zeros is None:
                return None
            inputs[alias] = zeros
    return inputs


def _zeros(spec: TensorSpec) -> Array | None:
    if spec.shape is None or spec.dtype.numpy is None:
        return None
    shape = [1 if size is None else size for size in spec.shape]
    if int(np.prod(shape, dtype=object)) > _MAX_ELEMENTS:
        return None
    if spec.dtype.is_string:
        return np.full(shape, b"", object)
    return np.zeros(shape, spec.dtype.numpy)

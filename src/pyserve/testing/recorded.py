"""Answers written down: a model that gives for each known request the answer that was given once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pyserve import dtypes
from pyserve.backends.function import Function
from pyserve.codec.predict import decode_request
from pyserve.codec.tensor_proto import decode
from pyserve.codec.tf_record import read_records
from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError
from pyserve.protos import tfs
from pyserve.servable import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, TensorSpec
from pyserve.testing.signatures import array_of

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


class Recorded:
    """Answers a request with the outputs that stand beside equal inputs, and any other with FAILED_PRECONDITION.

    The signature is that of the recordings: their aliases and dtypes, which must all be the same.

    Args:
        pairs: (inputs, outputs) by alias each; Python's floats become float32.
        key: Of the signature.
    """

    def __init__(self, pairs: Iterable[Pair], key: str = DEFAULT_SIGNATURE) -> None:
        self._by_key = {key: [(_arrays(inputs), _arrays(outputs)) for inputs, outputs in pairs]}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What a TFRecord file of `PredictionLog` messages holds, as TensorFlow Serving's request logging writes it.

        Every record with the request and the response of a Predict is taken, under its signature; others are not.

        Raises:
            ValueError: The file holds none.
            DataLossError: It is damaged.
        """
        loaded = cls(())
        loaded._by_key = {}
        with Path(path).open("rb") as file:
            for record in read_records(file):
                log = tfs.PredictionLog.FromString(record)
                if not log.HasField("predict_log") or not log.predict_log.HasField("response"):
                    continue
                request = decode_request(log.predict_log.request.SerializeToString())
                key = (request.model_spec and request.model_spec.signature_name) or DEFAULT_SIGNATURE
                inputs = {alias: request.array(alias) for alias in request.aliases}
                outputs = {
                    alias: decode(tensor) for alias, tensor in log.predict_log.response.outputs.items()
                }
                loaded._by_key.setdefault(key, []).append((inputs, outputs))
        if not loaded._by_key:
            raise ValueError(f"{path}: no record with both the request and the response of a Predict")
        return loaded

    def functions(self) -> list[tuple[Signature, Function]]:
        """The recordings as functions to serve.

        Raises:
            ValueError: There is no recording, or they do not agree on aliases and dtypes.
        """
        return [(_signature(key, pairs), _Answers(pairs)) for key, pairs in self._by_key.items()]


class _Answers:
    def __init__(self, pairs: Sequence[tuple[dict[str, Array], dict[str, Array]]]) -> None:
        self._pairs = pairs

    def __call__(self, **inputs: Array) -> Mapping[str, Array]:
        for known, outputs in self._pairs:
            if all(np.array_equal(known[alias], inputs[alias]) for alias in known):
                return outputs
        raise FailedPreconditionError(f"None of the {len(self._pairs)} recorded requests has these inputs")


def _arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {alias: array_of(value) for alias, value in values.items()}


def _signature(key: str, pairs: Sequence[tuple[dict[str, Array], dict[str, Array]]]) -> Signature:
    if not pairs:
        raise ValueError("nothing is recorded")
    kinds = [
        tuple({alias: dtypes.of_array(array).name for alias, array in arrays.items()} for arrays in pair)
        for pair in pairs
    ]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise ValueError(
                f"recording {number} has other inputs or outputs than the first: {kind}, expected {kinds[0]}"
            )
    inputs, outputs = (
        {
            alias: TensorSpec(alias, dtypes.of_array(a), None, f"{key}_{alias}:0")
            for alias, a in arrays.items()
        }
        for arrays in pairs[0]
    )
    return Signature(key, PREDICT_METHOD, inputs, outputs)

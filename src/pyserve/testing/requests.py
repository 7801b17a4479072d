"""A request that reached the fake, with what became of it; and how it compares to what a test expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from pyserve.codec.predict import ModelSpec, PredictRequest, decode_request
from pyserve.dtypes import Array, of_array
from pyserve.errors import Code, ServingError
from pyserve.testing.features import features

INFERENCE = frozenset({"Predict", "Classify", "Regress", "MultiInference", "SessionRun"})
"""The methods that call a model; the others ask about it."""

_NO_ARRAYS: Mapping[str, Array] = MappingProxyType({})
_SHOWN = 8  # elements of an array in a report


@dataclass(eq=False)
class Request:
    """One request as it came, and its end. Read it from any thread; `code` is set before the caller has the answer.

    Attributes:
        protocol: `gRPC` or `REST`.
        method: As gRPC calls it: `Predict`, `GetModelStatus`, ...
        asked: Model, version, label and signature as the caller named them; each may be missing.
        data: The message of gRPC, or the body of REST.
        served_version: The version that took it; None when none did.
        code: How it ended; None while it is under way.
        message: The error's text.
        duration_s: From its arrival to its end, in seconds.
    """

    protocol: str
    method: str
    asked: ModelSpec
    data: bytes = field(repr=False)
    served_version: int | None = None
    code: Code | None = None
    message: str = ""
    duration_s: float | None = None
    accepted: Mapping[str, Array] | None = field(default=None, repr=False)

    @property
    def model(self) -> str:
        """The model asked for; empty when none was named."""
        return self.asked.name

    @property
    def version(self) -> int | None:
        """The version asked for by number."""
        return self.asked.version

    @property
    def label(self) -> str | None:
        """The label asked for."""
        return self.asked.version_label

    @property
    def signature(self) -> str:
        """The signature asked for; empty when the caller named none."""
        return self.asked.signature_name

    @cached_property
    def inputs(self) -> Mapping[str, Array]:
        """The arrays that came, by alias. Of a Predict over gRPC that was refused what can be read of them."""
        if self.accepted is not None:
            return self.accepted
        if self.protocol != "gRPC" or self.method != "Predict":
            return _NO_ARRAYS
        found = {}
        request = _decoded(self.data)
        for alias in request.aliases:
            try:
                found[alias] = request.array(alias)
            except ServingError:
                continue
        return found

    @cached_property
    def examples(self) -> list[dict[str, Array]]:
        """The features of each tf.Example of a Classify, Regress or MultiInference that was accepted."""
        arrays = list((self.accepted or {}).values())
        return features(arrays[0].flat) if self.method != "Predict" and arrays else []

    @cached_property
    def output_filter(self) -> tuple[str, ...]:
        """The outputs that a Predict over gRPC asked for; empty for all."""
        if self.protocol != "gRPC" or self.method != "Predict":
            return ()
        return _decoded(self.data).output_filter

    def __str__(self) -> str:
        """One line: what was asked, with what, and what became of it."""
        target = self.model or "(no model)"
        if self.version is not None:
            target += f" version {self.version}"
        if self.label is not None:
            target += f" label {self.label!r}"
        if self.signature:
            target += f" signature {self.signature!r}"
        inputs = " ".join(f"{alias}={shown(array)}" for alias, array in self.inputs.items())
        if self.protocol == "REST" and self.accepted is None and self.data:
            inputs = _cut(repr(self.data)[1:])
        return f"{self.protocol} {self.method} {target}{inputs and ': ' + inputs} → {self._end()}"

    def _end(self) -> str:
        if self.code is None:
            return "under way"
        took = f" in {(self.duration_s or 0.0) * 1e3:.1f} ms"
        by = "" if self.served_version is None else f" by version {self.served_version}"
        if self.code is Code.OK:
            return f"OK{by}{took}"
        return f"{self.code.name}{by}{took}: {_cut(self.message)}"


def shown(array: Array) -> str:
    """An array as `float[2,3][1. 2. ...]`: dtype, shape, the first elements."""
    try:
        name = of_array(array).name
    except TypeError:
        name = str(array.dtype)
    elements = " ".join(str(each) for each in array.flat[:_SHOWN])
    more = " ..." if array.size > _SHOWN else ""
    return f"{name}[{','.join(map(str, array.shape))}] {_cut(f'{{{elements}{more}}}')}"


def _cut(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


_NO_REQUEST = PredictRequest(None, (), {})


def _decoded(data: bytes) -> PredictRequest:
    try:
        return decode_request(data)
    except ServingError:
        return _NO_REQUEST


def difference(request: Request, inputs: Mapping[str, Any] | None, where: Mapping[str, Any]) -> str | None:
    """In what a request differs from what was expected; None when in nothing.

    Args:
        inputs: By alias, compared by value; None: any.
        where: Attributes of `Request` and their values.
    """
    for name, expected in where.items():
        if (found := getattr(request, name)) != expected:
            return f"{name} is {found!r}, expected {expected!r}"
    if inputs is None:
        return None
    if request.inputs.keys() != inputs.keys():
        return f"inputs are {sorted(request.inputs)}, expected {sorted(inputs)}"
    for alias, expected in inputs.items():
        if not _equal(request.inputs[alias], expected):
            return f"input {alias!r} is {shown(request.inputs[alias])}, expected {expected!r}"
    return None


def _equal(found: Array, expected: Any) -> bool:
    """Equality by shape and value; the expectation is taken in the dtype that came, NaN equals NaN."""
    if found.dtype == object:
        texts: Sequence[Any] = np.asarray(expected, np.object_).ravel().tolist()
        wanted = [text.encode() if isinstance(text, str) else text for text in texts]
        return found.shape == np.shape(expected) and found.ravel().tolist() == wanted
    try:
        array = np.asarray(expected).astype(found.dtype)
    except (TypeError, ValueError):
        return False
    return np.array_equal(found, array, equal_nan=found.dtype.kind in "fc")

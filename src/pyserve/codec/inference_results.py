"""What Classify and Regress find, and their answers as protobuf messages.

Last step of the gRPC methods; `json_writer` writes the same values for REST. Messages are put together from
bytes: one Python object per class of each example would cost a microsecond each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pyserve.codec.predict import LARGEST_MESSAGE, served_model_spec
from pyserve.codec.tensor_writer import field_tag, varint
from pyserve.dtypes import Array
from pyserve.errors import ResourceExhaustedError

# Field 1 of every message in the way: ClassificationResult.classifications, Classifications.classes, Class.label,
# RegressionResult.regressions, and `result` of both responses.
_FIRST = field_tag(1)
_SECOND = field_tag(2)  # `model_spec` of both responses, InferenceResult.classification_result
_THIRD = field_tag(3)  # InferenceResult.regression_result
_SCORE = b"\x15"  # Class.score: field 2, four bytes
_VALUE = b"\x0d"  # Regression.value: field 1, four bytes


@dataclass(frozen=True, slots=True, eq=False)
class Classifications:
    """Classes with their scores for each example. At least one of the two is there.

    Attributes:
        labels: Object array of `bytes`, [examples, classes]; None: every label is empty.
        scores: float32, [examples, classes]; None: every score is 0.
    """

    labels: Array | None
    scores: Array | None

    def encode(self) -> bytes:
        """A serialized `ClassificationResult`."""
        if self.labels is not None:
            return _labelled(self.labels, self.scores)
        assert self.scores is not None
        rows = len(self.scores)
        classes = _floats(_FIRST + b"\x05" + _SCORE, self.scores)
        if not classes:
            return _field(_FIRST, b"") * rows
        size = len(classes) // rows
        head = _FIRST + varint(size)
        return b"".join([head + classes[n : n + size] for n in range(0, len(classes), size)])


@dataclass(frozen=True, slots=True, eq=False)
class Regressions:
    """A number for each example: float32, [examples]."""

    values: Array

    def encode(self) -> bytes:
        """A serialized `RegressionResult`."""
        return _floats(_FIRST + b"\x05" + _VALUE, self.values)


Result = Classifications | Regressions


@dataclass(frozen=True, slots=True)
class Served:
    """Which model, version and signature gave a result."""

    name: str
    version: int
    signature_name: str

    def encode(self) -> bytes:
        """A serialized `ModelSpec`."""
        return served_model_spec(self.name, self.version, self.signature_name)


def encode_result(result: Result, served: Served) -> bytes:
    """A serialized `ClassificationResponse` or `RegressionResponse`.

    Raises:
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    return _checked(_field(_FIRST, result.encode()) + _field(_SECOND, served.encode()))


def encode_results(results: Iterable[tuple[Result, Served]]) -> bytes:
    """A serialized `MultiInferenceResponse`.

    Raises:
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    parts = []
    for result, served in results:
        tag = _SECOND if isinstance(result, Classifications) else _THIRD
        parts.append(_field(_FIRST, _field(_FIRST, served.encode()) + _field(tag, result.encode())))
    return _checked(b"".join(parts))


def _labelled(labels: Array, scores: Array | None) -> bytes:
    rows, columns = labels.shape
    names = labels.reshape(-1).tolist()
    # Most models give every example the same labels, so what stands before a score is made once for each.
    score_size = 0 if scores is None else len(_SCORE) + 4
    heads = {name: _head(as_bytes(name), score_size) for name in set(names)}
    if scores is None:
        classes = [heads[name] for name in names]
    else:
        packed = np.ascontiguousarray(scores, "<f4").tobytes()
        classes = [heads[name] + packed[4 * n : 4 * n + 4] for n, name in enumerate(names)]
    return b"".join(
        [_field(_FIRST, b"".join(classes[row * columns : (row + 1) * columns])) for row in range(rows)]
    )


def _head(label: bytes, score_size: int) -> bytes:
    """A Class up to its score."""
    name = _field(_FIRST, label)
    return _FIRST + varint(len(name) + score_size) + name + (_SCORE if score_size else b"")


def as_bytes(label: bytes | str) -> bytes:
    """A label as bytes; Python callables may return text."""
    return label.encode() if isinstance(label, str) else bytes(label)


def _floats(head: bytes, values: Array) -> bytes:
    """Each value as four bytes behind a copy of `head`."""
    table = np.empty((values.size, len(head) + 4), np.uint8)
    table[:, : len(head)] = np.frombuffer(head, np.uint8)
    table[:, len(head) :] = np.ascontiguousarray(values, "<f4").reshape(-1, 1).view(np.uint8)
    packed: bytes = table.tobytes()
    return packed


def _field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def _checked(message: bytes) -> bytes:
    if len(message) > LARGEST_MESSAGE:
        raise ResourceExhaustedError(
            f"Response of {len(message)} bytes, more than protobuf's {LARGEST_MESSAGE}"
        )
    return message

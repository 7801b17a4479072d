"""The example models as callables, for a server without TensorFlow; `served_models` has the originals.

What a callable cannot have is TensorFlow itself: the graph's own error texts and tensor names, `SessionRun`, and the
initialisation signature. Those rows of the conformance suite are marked `saved_model`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.testing import features, signature

Floats = NDArray[np.float32]
WORDS = (b"the", b"quick", b"brown", b"fox", b"jumps")
VECTOR = (np.float32, (None,))

LABELS = {"half_plus_two": {"stable": 1, "gone": 77}}


def of_examples(intercept: float, inputs: Array) -> Array:
    """0.5 x + intercept of each tf.Example, [examples, 1]."""
    xs = []
    for found in features(inputs):
        if "x" not in found or found["x"].dtype != np.float32 or len(found["x"]) != 1:
            raise InvalidArgumentError("Feature: x: expected one float")
        xs.append(found["x"])
    return np.array(xs) * np.float32(0.5) + np.float32(intercept)


def linear(intercept: float) -> Any:
    """y = 0.5 x + intercept."""

    @signature(inputs={"x": VECTOR}, outputs={"y": VECTOR})
    def function(x: Floats) -> Mapping[str, Floats]:
        return {"y": x * np.float32(0.5) + np.float32(intercept)}

    return function


def classifier(intercept: float) -> Any:
    @signature(method="classify", outputs={"scores": np.float32})
    def function(inputs: Array) -> Mapping[str, Floats]:
        return {"scores": of_examples(intercept, inputs)}

    return function


def regressor(intercept: float) -> Any:
    @signature(method="regress", outputs={"outputs": np.float32})
    def function(inputs: Array) -> Mapping[str, Floats]:
        return {"outputs": of_examples(intercept, inputs)}

    return function


@signature(inputs={"images": (np.float32, (None, 784))})
def mlp(images: Floats) -> Mapping[str, Array]:
    return {
        "probabilities": np.full((len(images), 10), 0.1, np.float32),
        "classes": np.zeros(len(images), np.int64),
    }


class Ids(TypedDict):
    ids: NDArray[np.int64]


class Words(TypedDict):
    words: bytes


def encode(words: bytes) -> Ids:
    asked = np.asarray(words, np.object_)
    ids = [WORDS.index(word) if word in WORDS else -1 for word in asked.flat]
    return {"ids": np.array(ids, np.int64).reshape(asked.shape)}


def decode(ids: NDArray[np.int64]) -> Words:
    words: Any = np.array([WORDS[i] if 0 <= i < len(WORDS) else "?" for i in ids.flat], np.object_)
    return {"words": words}


def arithmetic(right: Floats, left: Floats) -> Mapping[str, Floats]:
    with np.errstate(all="ignore"):
        return {
            "sum": left + right,
            "difference": left - right,
            "quotient": left / right,
            "product": left * right,
            "minimum": np.minimum(left, right),
            "maximum": np.maximum(left, right),
        }


def prediction(x: Floats) -> Mapping[str, Any]:
    return {"y": 3 * x - 1, "unit": np.full(x.shape, "degrees", np.object_)}


class Counter:
    """The functions of tf1_counter: no inputs, and state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = np.float32(0)

    def _with(self, change: float | None) -> Mapping[str, np.float32]:
        with self._lock:
            if change is None:
                self._value = np.float32(0)
            else:
                self._value += np.float32(change)
            return {"output": self._value}

    def functions(self) -> Mapping[str, Any]:
        declared = signature(inputs={}, outputs={"output": np.float32})
        return {
            "get_counter": declared(lambda: self._with(0.0)),
            "incr_counter": declared(lambda: self._with(1.0)),
            "reset_counter": declared(lambda: self._with(None)),
        }


def callable_models() -> dict[str, Any]:
    """Name → what `pyserve.testing.serve` takes."""
    first = {
        "serving_default": linear(2.0),
        "classify_x_to_y": classifier(2.0),
        "regress_x_to_y": regressor(2.0),
    }
    return {
        "half_plus_two": {1: first, 2: {**first, "regress_x_to_y2": regressor(3.0)}},
        "half_plus_three": {"serving_default": linear(3.0), "tensorflow/serving/regress": regressor(3.0)},
        "mlp": mlp,
        "vocabulary": {"serving_default": encode, "decode": decode},
        "two_in_six_out": arithmetic,
        "tf1_linear": {"prediction": prediction},
        "tf1_counter": Counter().functions(),
    }

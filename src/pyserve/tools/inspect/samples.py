"""Values that fit a signature: few, alike, of the declared dtypes and shapes. Pure.

A sample shows the form of a request; whether the model likes its content only the model knows. Two things are guessed
from names and from the graph: a string that is an image, and a string that is a tf.Example.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pyserve.backends.saved_model.example_features import Feature
from pyserve.codec.json_examples import ExamplesDocument
from pyserve.dtypes import Array, DType
from pyserve.servable import Signature, TensorSpec

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""A red PNG of one pixel: the smallest thing that every decoder of images takes."""
_IMAGE = re.compile(r"image|img|jpe?g|png|picture|photo|_bytes\b", re.IGNORECASE)
_EXAMPLE = re.compile(r"example|serialized", re.IGNORECASE)

Element = bool | int | float | complex | str | bytes
"""`str` for text, `bytes` for strings that are none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A tensor with the same element everywhere.

    Attributes:
        dtype: Of the tensor.
        shape: Every dimension known.
        element: What each element is.
    """

    dtype: DType
    shape: tuple[int, ...]
    element: Element

    def array(self) -> Array:
        """The tensor itself."""
        element = self.element.encode() if isinstance(self.element, str) else self.element
        return np.full(self.shape, element, self.dtype.numpy)


def samples_for(signature: Signature, features: Iterable[Feature] = ()) -> dict[str, Sample]:
    """A value for every input that has no default, by alias.

    Free dimensions become 1, an unknown rank becomes 1.
    """
    example = serialized_example(features)
    return {
        alias: Sample(spec.dtype, _shape(spec), _element(spec, example))
        for alias, spec in sorted(signature.inputs.items())
        if alias not in signature.defaults
    }


def feature_values(features: Iterable[Feature]) -> dict[str, list[Element]]:
    """A list of values for each feature of a tf.Example, by name."""
    return {
        feature.name: [{"float": 1.0, "int64": 1}.get(feature.dtype.name, "a")] * feature.length
        for feature in features
    }


def serialized_example(features: Iterable[Feature]) -> bytes:
    """A tf.Example with these features."""
    document: Mapping[str, object] = {"examples": [feature_values(features)]}
    value: bytes = ExamplesDocument.parse(json.dumps(document).encode()).examples.array()[0]
    return value


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    return (1,) if spec.shape is None else tuple(1 if size is None else size for size in spec.shape)


def _element(spec: TensorSpec, example: bytes) -> Element:
    if spec.dtype.is_string:
        names = f"{spec.alias} {spec.tensor_name}"
        if _EXAMPLE.search(names):
            return example
        return _PIXEL if _IMAGE.search(names) else "a"
    kind = spec.dtype.numpy.kind if spec.dtype.numpy is not None else ""
    if spec.dtype.name == "bool":
        return True
    return 1 if kind in "iu" or "int" in spec.dtype.name else 1 + 0j if kind == "c" else 1.0

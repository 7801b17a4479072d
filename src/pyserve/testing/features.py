"""Serialized tf.Examples as plain values: what a callable that classifies or regresses is given."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pyserve.dtypes import Array
from pyserve.protos import tf


def features(serialized: Iterable[bytes]) -> list[dict[str, Array]]:
    """The features of each tf.Example by name: float32, int64, or object arrays of `bytes`, of rank 1.

    A feature without a value is left out.
    """
    return [_features(tf.Example.FromString(each)) for each in serialized]


def _features(example: tf.Example) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, feature in example.features.feature.items():
        match feature.WhichOneof("kind"):
            case "float_list":
                found[name] = np.array(feature.float_list.value, np.float32)
            case "int64_list":
                found[name] = np.array(feature.int64_list.value, np.int64)
            case "bytes_list":
                found[name] = np.array([*feature.bytes_list.value, None], np.object_)[:-1]
            case _:
                continue
    return found

"""Which features a graph parses out of tf.Examples. Pure, from the MetaGraph alone.

Answers the question that a signature leaves open: its input is a string, and what has to be in it? Found are dense
features whose names are constants beside the op that parses, as TensorFlow's own functions write them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyserve.codec.tensor_proto import decode
from pyserve.dtypes import BY_NUMBER, DType
from pyserve.errors import ServingError
from pyserve.protos import tf


@dataclass(frozen=True, slots=True)
class Feature:
    """A dense feature of a tf.Example.

    Attributes:
        name: Its key.
        dtype: `float`, `int64` or `string`.
        length: Number of its values; one where any number may come.
    """

    name: str
    dtype: DType
    length: int


def example_features(graph: tf.GraphDef) -> tuple[Feature, ...]:
    """The dense features that a graph, its functions included, parses; sorted by name."""
    found: dict[str, Feature] = {}
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        parsers = [node for node in nodes if node.op in _NAMES]
        if parsers:
            by_name = {node.name: node for node in nodes}
            found |= {feature.name: feature for node in parsers for feature in _features(node, by_name)}
    return tuple(feature for _, feature in sorted(found.items()))


def _features(node: tf.NodeDef, nodes: dict[str, tf.NodeDef]) -> Iterator[Feature]:
    try:
        names = _NAMES[node.op](node, nodes)
    except (KeyError, IndexError, ServingError):
        return  # computed names, or a damaged node
    kinds, shapes = node.attr["Tdense"].list.type, node.attr["dense_shapes"].list.shape
    for name, kind, shape in zip(names, kinds, shapes, strict=False):
        length = math.prod(max(1, dim.size) for dim in shape.dim)
        yield Feature(name.decode(errors="replace"), BY_NUMBER[kind], length)


def _of_version_1(node: tf.NodeDef, nodes: dict[str, tf.NodeDef]) -> Sequence[bytes]:
    # serialized, names, a key for each sparse feature, a key for each dense one, ...
    first = 2 + node.attr["Nsparse"].i
    keys = node.input[first : first + node.attr["Ndense"].i]
    return [value for key in keys for value in _constant(key, nodes)]


def _of_version_2(node: tf.NodeDef, nodes: dict[str, tf.NodeDef]) -> Sequence[bytes]:
    # serialized, names, sparse keys, dense keys, ...
    return list(_constant(node.input[3], nodes))


def _of_single(node: tf.NodeDef, nodes: dict[str, tf.NodeDef]) -> Sequence[bytes]:
    del nodes
    return list(node.attr["dense_keys"].list.s)


_NAMES = {
    "ParseExample": _of_version_1,
    "ParseExampleV2": _of_version_2,
    "ParseSingleExample": _of_single,
}


def _constant(tensor: str, nodes: dict[str, tf.NodeDef]) -> Iterable[bytes]:
    node = nodes[tensor.partition(":")[0]]
    values: Iterable[bytes] = decode(node.attr["value"].tensor).reshape(-1).tolist()
    return values

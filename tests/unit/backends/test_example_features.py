"""Which features a graph parses out of tf.Examples, from hand-made graphs."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.example_features import example_features
from pyserve.dtypes import BY_NAME
from pyserve.protos import tf

NAMES = [b"age", b"name"]


def parser(op: str) -> list[tf.NodeDef]:
    """A parser of a sparse feature, `age` (int64) and `name` (two strings), with the constants that name them."""
    node = tf.NodeDef(name="parse", op=op)
    node.attr["Tdense"].list.type.extend([BY_NAME["int64"].number, BY_NAME["string"].number])
    shapes = node.attr["dense_shapes"].list.shape
    shapes.add()
    shapes.add().dim.add(size=2)
    if op == "ParseSingleExample":
        node.attr["dense_keys"].list.s.extend(NAMES)
        return [node]
    if op == "ParseExampleV2":
        node.input.extend(["serialized", "names", "sparse", "keys:output:0", "ragged"])
        return [constant("sparse", [b"s"]), constant("keys", NAMES), node]
    node.attr["Nsparse"].i = 1
    node.attr["Ndense"].i = 2
    node.input.extend(["serialized", "names", "sparse", "key_0", "key_1:0", "default", "default"])
    return [
        constant("sparse", None),
        *(constant(f"key_{i}", None, name) for i, name in enumerate(NAMES)),
        node,
    ]


def constant(name: str, values: list[bytes] | None, scalar: bytes = b"s") -> tf.NodeDef:
    node = tf.NodeDef(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = BY_NAME["string"].number
    tensor.tensor_shape.SetInParent()
    if values is not None:
        tensor.tensor_shape.dim.add(size=len(values))
    tensor.string_val.extend([scalar] if values is None else values)
    return node


@pytest.mark.parametrize("op", ["ParseExample", "ParseExampleV2", "ParseSingleExample"])
@pytest.mark.parametrize("inside", [False, True], ids=["graph", "function"])
def test_features(op: str, inside: bool) -> None:
    """Dense features with type and length, in the graph as in its functions."""
    graph = tf.GraphDef()
    (graph.library.function.add().node_def if inside else graph.node).extend(parser(op))
    found = [(each.name, each.dtype.name, each.length) for each in example_features(graph)]
    assert found == [("age", "int64", 1), ("name", "string", 2)]


def test_names_that_are_not_constants() -> None:
    """A parser whose names are computed says nothing; nor does a graph without any."""
    graph = tf.GraphDef(node=parser("ParseExampleV2")[-1:])
    assert example_features(graph) == ()
    assert example_features(tf.GraphDef()) == ()

"""A frozen graph becomes a SavedModel with a signature."""

from __future__ import annotations

import pytest

from pyserve.codec.frozen_graph import saved_model_of
from pyserve.errors import DataLossError, InvalidArgumentError
from pyserve.protos import tf


def graph() -> bytes:
    made = tf.GraphDef()
    x = made.node.add(name="x", op="Placeholder")
    x.attr["dtype"].type = tf.DT_INT64
    x.attr["shape"].shape.dim.add(size=-1)
    y = made.node.add(name="scope/y", op="Cast", input=["x"])
    y.attr["SrcT"].type = tf.DT_INT64
    y.attr["DstT"].type = tf.DT_DOUBLE
    return made.SerializeToString()


def test_a_graph() -> None:
    """Nodes and tensors may be named; types and shapes are the graph's."""
    model = tf.SavedModel.FromString(saved_model_of(graph(), ["x:0"], ["scope/y"], tags=["serve"]))
    (meta_graph,) = model.meta_graphs
    assert list(meta_graph.meta_info_def.tags) == ["serve"]
    assert meta_graph.graph_def.SerializeToString(deterministic=True) == tf.GraphDef.FromString(
        graph()
    ).SerializeToString(deterministic=True)
    signature = meta_graph.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    x, y = signature.inputs["x"], signature.outputs["scope/y"]
    assert (x.name, x.dtype, [dim.size for dim in x.tensor_shape.dim]) == ("x:0", tf.DT_INT64, [-1])
    assert (y.name, y.dtype, y.tensor_shape.unknown_rank) == ("scope/y:0", tf.DT_DOUBLE, True)


@pytest.mark.parametrize(("inputs", "outputs"), [([], ["y"]), (["x"], []), ([], [])])
def test_without_names(inputs: list[str], outputs: list[str]) -> None:
    """What is missing is said."""
    with pytest.raises(InvalidArgumentError, match="model_config needs `inputs` and `outputs`"):
        saved_model_of(graph(), inputs, outputs, tags=["serve"])


def test_wrong_names_and_files() -> None:
    """A node that is not there, and bytes that are no graph."""
    with pytest.raises(InvalidArgumentError, match="no node 'z'"):
        saved_model_of(graph(), ["x"], ["z:0"], tags=["serve"])
    with pytest.raises(DataLossError, match="no GraphDef"):
        saved_model_of(b"\xff", ["x"], ["y"], tags=["serve"])

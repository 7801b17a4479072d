"""A frozen graph (a GraphDef whose variables are constants) as a SavedModel with one signature. Pure.

A GraphDef says nothing of what is to be fed and fetched, so that has to be said beside it. What comes out is loaded
like any SavedModel.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from pyserve.errors import DataLossError, InvalidArgumentError
from pyserve.protos import tf
from pyserve.servable import DEFAULT_SIGNATURE, PREDICT_METHOD

_TYPE_ATTRIBUTES = ("dtype", "DstT", "out_type", "output_type", "T")
"""Where operations keep the type of their output, the more special first. The loader asks the graph itself later."""


def saved_model_of(
    graph_def: bytes, inputs: Sequence[str], outputs: Sequence[str], *, tags: Sequence[str]
) -> bytes:
    """A serialized SavedModel of a serialized GraphDef.

    Args:
        inputs, outputs: Nodes or tensors (`x`, `x:0`) to feed and to fetch; each becomes an alias, without `:0`.
        tags: Of its MetaGraph.

    Raises:
        InvalidArgumentError: Nothing is said of what to feed or fetch, or a node is not in the graph.
        DataLossError: The bytes are no GraphDef.
    """
    if not inputs or not outputs:
        raise InvalidArgumentError(
            "A frozen graph does not say what to feed and to fetch: model_config needs `inputs` and `outputs`, "
            "lists of its nodes"
        )
    try:
        graph = tf.GraphDef.FromString(graph_def)
    except DecodeError:
        raise DataLossError("The file is no GraphDef") from None
    nodes = {node.name: node for node in graph.node}
    model = tf.SavedModel(saved_model_schema_version=1)
    meta_graph = model.meta_graphs.add()
    meta_graph.meta_info_def.tags.extend(tags)
    signature = meta_graph.signature_def[DEFAULT_SIGNATURE]
    signature.method_name = PREDICT_METHOD
    for name in inputs:
        _declare(signature.inputs[_alias(name)], name, nodes)
    for name in outputs:
        _declare(signature.outputs[_alias(name)], name, nodes)
    meta_graph.graph_def.CopyFrom(graph)
    return model.SerializeToString()


def _alias(name: str) -> str:
    return name.removesuffix(":0")


def _declare(info: tf.TensorInfo, name: str, nodes: dict[str, tf.NodeDef]) -> None:
    node_name, _, output = name.partition(":")
    node = nodes.get(node_name)
    if node is None:
        raise InvalidArgumentError(f"The frozen graph has no node '{node_name}'")
    info.name = f"{node_name}:{output or 0}"
    info.dtype = next((node.attr[key].type for key in _TYPE_ATTRIBUTES if key in node.attr), tf.DT_FLOAT)
    if "shape" in node.attr and node.op == "Placeholder":
        info.tensor_shape.CopyFrom(node.attr["shape"].shape)
    else:
        info.tensor_shape.unknown_rank = True

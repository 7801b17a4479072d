"""A signature for a graph that has none: tensors by name, or which there are to choose from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.meta_graph import full_name
from pyserve.backends.saved_model.runtime import tensorflow
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.protos import tf
from pyserve.servable import PREDICT_METHOD

_INPUT_OPS = frozenset({"Placeholder", "PlaceholderWithDefault", "PlaceholderV2"})
_NO_OUTPUT = re.compile(
    r"Const|NoOp|Assert|Placeholder.*|VarHandleOp|Variable(V2)?|.*(Save|Restore|Assign|Apply|Init|Summary|MergeV2Check).*"
)
"""Ops whose value nobody asks a model for."""
_NOT_THE_MODEL = ("save/", "gradients/")
"""Scopes that TensorFlow 1 makes for a saver and for training."""
_MAX_SHOWN = 20


class NamesNeededError(InvalidArgumentError):
    """Inputs and outputs have to be named; the text lists candidates."""


def candidates(graph: tf.GraphDef) -> tuple[list[str], list[str]]:
    """Names of what look like inputs and outputs: placeholders, and what no other node takes."""
    nodes = [node for node in graph.node if not node.name.startswith(_NOT_THE_MODEL)]
    taken = {source.removeprefix("^").partition(":")[0] for node in nodes for source in node.input}
    inputs = [node.name for node in nodes if node.op in _INPUT_OPS]
    outputs = [node.name for node in nodes if node.name not in taken and not _NO_OUTPUT.fullmatch(node.op)]
    return inputs, outputs


def names_needed(graph: tf.GraphDef, what: str) -> NamesNeededError:
    """What is said when inputs or outputs were not named."""
    inputs, outputs = candidates(graph)
    return NamesNeededError(
        f"{what} has no signature: name its tensors with --input and --output\n"
        f"  inputs to choose from: {_shown(inputs)}\n  outputs to choose from: {_shown(outputs)}"
    )


def make_signature(
    graph: tf.GraphDef, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> tf.SignatureDef:
    """A signature of the predict kind.

    Args:
        graph: The whole graph; TensorFlow tells dtypes and shapes.
        inputs, outputs: Names of tensors (`x` or `x:0`) by alias.

    Raises:
        NotFoundError: The graph has no tensor of a name.
        ServingError: TensorFlow does not take the graph.
    """
    tensorflow_ = tensorflow()
    imported = tensorflow_.Graph()
    try:
        definition = tensorflow_.compat.v1.GraphDef.FromString(graph.SerializeToString())
        with imported.as_default():
            tensorflow_.graph_util.import_graph_def(definition, name="")
    except Exception as error:
        raise to_serving_error(error) from error
    signature = tf.SignatureDef(method_name=PREDICT_METHOD)
    for role, infos, names in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
        for alias, name in names.items():
            try:
                tensor = imported.get_tensor_by_name(full_name(name))
            except (KeyError, ValueError) as error:
                there = candidates(graph)[role == "output"]
                raise NotFoundError(
                    f'the graph has no tensor "{name}"; {role}s to choose from: {_shown(there)}'
                ) from error
            infos[alias].CopyFrom(
                tf.TensorInfo(
                    name=tensor.name,
                    dtype=tensor.dtype.base_dtype.as_datatype_enum,
                    tensor_shape=tf.TensorShapeProto.FromString(tensor.shape.as_proto().SerializeToString()),
                )
            )
    return signature


def _shown(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
    return (", ".join(found[:_MAX_SHOWN]) or "none") + more

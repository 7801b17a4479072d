"""Reads a SavedModel's proto and picks the MetaGraph to serve; imports no TensorFlow.

Texts and codes of the errors are those of TensorFlow's C++ loader (cc/saved_model/reader.cc) and of
TensorFlow Serving (servables/tensorflow/bundle_factory_util.cc).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from pyserve.errors import (
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    UnimplementedError,
    file_error,
)
from pyserve.protos import ParseError, parse_text, tf

BINARY_NAME = "saved_model.pb"
TEXT_NAME = "saved_model.pbtxt"
INIT_OP_KEY = "__saved_model_init_op"
VARIABLES_INDEX = "variables/variables.index"
"""Says which variables a checkpoint holds, and where."""

_KEEPERS = frozenset(
    {
        "VarHandleOp", "Variable", "VariableV2", "MutableHashTable", "MutableHashTableV2",
        "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2", "MutableDenseHashTable",
        "MutableDenseHashTableV2",
    }
)  # fmt: skip
"""Ops whose content comes out of a checkpoint."""

_TEXT_PREFIX_LIMIT = 200


def read_saved_model(path: Path) -> tf.SavedModel:
    """The SavedModel proto of a version directory, binary preferred to text.

    Raises:
        NotFoundError: There is no SavedModel.
        UnimplementedError: There is a SessionBundle, its predecessor, instead.
        DataLossError: The file cannot be parsed.
        PermissionDeniedError: The file cannot be opened.
    """
    try:
        # Only regular files: opening a named pipe waits for ever.
        if (path / BINARY_NAME).is_file():
            return _parse_binary(path / BINARY_NAME)
        if (path / TEXT_NAME).is_file():
            return _parse_text(path / TEXT_NAME)
        if (path / "export.meta").is_file():
            raise UnimplementedError("Session Bundle is deprecated and removed.")
    except OSError as error:
        raise file_error(error) from error
    raise NotFoundError(
        "Specified file path does not appear to contain a SavedModel bundle "
        f"(should have a file called `{BINARY_NAME}`)\nSpecified file path: {path}"
    )


def _parse_binary(file: Path) -> tf.SavedModel:
    try:
        return tf.SavedModel.FromString(file.read_bytes())
    except DecodeError as error:
        raise DataLossError(f"Can't parse {file} as binary proto") from error


def _parse_text(file: Path) -> tf.SavedModel:
    try:
        return parse_text(file.read_text(encoding="utf-8"), tf.SavedModel())
    except (ParseError, UnicodeDecodeError) as error:
        raise DataLossError(f"Can't parse {file} as text proto: {str(error)[:_TEXT_PREFIX_LIMIT]}") from error


def select(saved_model: tf.SavedModel, tags: Collection[str]) -> tf.MetaGraphDef:
    """The MetaGraph whose tags are exactly these.

    Raises:
        NotFoundError: None has.
    """
    wanted = set(tags)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    shown = "".join(f"{tag} " for tag in sorted(wanted))
    raise NotFoundError(
        f"Could not find meta graph def matching supplied tags: {{ {shown}}}. To inspect available tag-sets "
        "in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def full_name(tensor: str) -> str:
    """A tensor's name with its output number: `x` and `x:0` name the same tensor."""
    return tensor if ":" in tensor else f"{tensor}:0"


def needs_checkpoint(meta_graph: tf.MetaGraphDef) -> bool:
    """Whether there is something to restore before the graph can serve.

    A restore op alone is no sign: TensorFlow 2 writes one, and an index for it, for models without variables too.
    """
    return bool(meta_graph.saver_def.restore_op_name) and any(
        node.op in _KEEPERS for node in _nodes(meta_graph.graph_def)
    )


def _nodes(graph: tf.GraphDef) -> Iterator[tf.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def asset_files(meta_graph: tf.MetaGraphDef) -> Mapping[str, str]:
    """File name under `assets/` by the name of the tensor that takes its path.

    TensorFlow 1 wrote them into a collection, later versions into a field of their own, which wins.
    """
    found = list(meta_graph.asset_file_def)
    if not found and "saved_model_assets" in meta_graph.collection_def:
        packed = meta_graph.collection_def["saved_model_assets"].any_list.value
        found = [tf.AssetFileDef.FromString(asset.value) for asset in packed]
    return {asset.tensor_info.name: asset.filename for asset in found}


def init_op(meta_graph: tf.MetaGraphDef) -> str | None:
    """Name of the op that prepares the model after its variables were restored, e.g. fills tables.

    Raises:
        FailedPreconditionError: The MetaGraph names several.
    """
    if INIT_OP_KEY in meta_graph.signature_def:
        outputs = meta_graph.signature_def[INIT_OP_KEY].outputs
        if INIT_OP_KEY in outputs:
            return outputs[INIT_OP_KEY].name or None
    for collection in ("saved_model_main_op", "legacy_init_op"):
        if collection in meta_graph.collection_def:
            names = meta_graph.collection_def[collection].node_list.value
            if len(names) != 1:
                raise FailedPreconditionError(
                    f"Expected exactly one init op in {collection}, found {len(names)}"
                )
            return names[0]
    return None

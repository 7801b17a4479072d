"""A graph by itself → SavedModel: frozen, with its weights in it, or with a checkpoint of TensorFlow 1 beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError

from pyserve.backends.saved_model.meta_graph import INIT_OP_KEY
from pyserve.errors import InvalidArgumentError, NotFoundError, UnimplementedError, file_error
from pyserve.protos import ParseError, parse_text, tf
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.convert.graph_signature import make_signature, names_needed
from pyserve.tools.convert.saved_model import write

_INIT_NODE = "pyserve_init"


def from_frozen_graph(
    file: Path, inputs: Mapping[str, str], outputs: Mapping[str, str], staging: Path
) -> None:
    """A SavedModel of a GraphDef that holds its weights as constants, or needs none.

    Raises:
        NamesNeededError: Inputs and outputs are to be named.
        InvalidArgumentError: The file is no GraphDef.
        NotFoundError: There is no such tensor.
    """
    graph = _parse(file, tf.GraphDef())
    if not graph.node:
        raise InvalidArgumentError(f"{file} is no GraphDef: it holds no node")
    made = tf.MetaGraphDef(graph_def=graph)
    _sign(made, str(file), inputs, outputs)
    _finish(made, staging)


def from_meta_graph(
    meta_graph: Path, prefix: Path, inputs: Mapping[str, str], outputs: Mapping[str, str], staging: Path
) -> None:
    """A SavedModel of a `.meta` file and a checkpoint by names, as TensorFlow 1's Saver writes them.

    Args:
        meta_graph: The `.meta` file.
        prefix: Of the checkpoint's files.
        inputs, outputs: Names of tensors by alias; may be empty when the MetaGraph has signatures.

    Raises:
        NamesNeededError: Inputs and outputs are to be named.
        UnimplementedError: The checkpoint has the format of before TensorFlow 1.0.
        ServingError: A file is missing or damaged.
    """
    made = _parse(meta_graph, tf.MetaGraphDef())
    if not made.saver_def.restore_op_name:
        raise InvalidArgumentError(
            f"{meta_graph} has no saver, so that no checkpoint can be restored into it"
        )
    index = Path(f"{prefix}.index")
    if not index.is_file():
        if prefix.is_file():
            raise UnimplementedError(f"{prefix} is a checkpoint of before TensorFlow 1.0, which is not read")
        raise NotFoundError(f"{index}; No such file or directory")
    if inputs or outputs or not made.signature_def:
        _sign(made, str(meta_graph), inputs, outputs)
    _take_assets(made, meta_graph.parent, staging)
    _add_init_op(made)
    made.ClearField("collection_def")  # for training only; what a server needs of them has just been taken
    try:
        (staging / "variables").mkdir()
        shutil.copyfile(index, staging / "variables" / "variables.index")
        for shard in prefix.parent.glob(f"{prefix.name}.data-*-of-*"):
            shutil.copyfile(shard, staging / "variables" / ("variables" + shard.suffix))
    except OSError as error:
        raise file_error(error) from error
    _finish(made, staging)


def _sign(graph: tf.MetaGraphDef, what: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    if not inputs or not outputs:
        raise names_needed(graph.graph_def, what)
    signature = make_signature(graph.graph_def, inputs, outputs)
    graph.ClearField("signature_def")
    graph.signature_def[DEFAULT_SIGNATURE].CopyFrom(signature)


def _finish(graph: tf.MetaGraphDef, staging: Path) -> None:
    if "serve" not in graph.meta_info_def.tags:
        graph.meta_info_def.tags.append("serve")
    for node in graph.graph_def.node:
        node.ClearField("device")  # of the machines that trained it
    write(graph, staging)


def _take_assets(graph: tf.MetaGraphDef, beside: Path, staging: Path) -> None:
    """Copy the files that the graph names, where they can still be found."""
    constants = {node.name: node for node in graph.graph_def.node if node.op == "Const"}
    for tensor in graph.collection_def["asset_filepaths"].node_list.value:
        node = constants.get(tensor.partition(":")[0])
        if node is None:
            continue
        path = Path(node.attr["value"].tensor.string_val[0].decode())
        found = next((each for each in (path, beside / path.name) if each.is_file()), None)
        if found is None:
            raise NotFoundError(f"{path}, which the graph reads, is neither there nor in {beside}")
        (staging / "assets").mkdir(exist_ok=True)
        shutil.copyfile(found, staging / "assets" / path.name)
        graph.asset_file_def.add(tensor_info=tf.TensorInfo(name=tensor), filename=path.name)


def _add_init_op(graph: tf.MetaGraphDef) -> None:
    """Fill the graph's tables when it is loaded."""
    tables = graph.collection_def["table_initializer"].node_list.value
    if not tables:
        return
    graph.graph_def.node.add(name=_INIT_NODE, op="NoOp", input=[f"^{name}" for name in tables])
    graph.signature_def[INIT_OP_KEY].outputs[INIT_OP_KEY].name = f"{_INIT_NODE}:0"


M = TypeVar("M", tf.GraphDef, tf.MetaGraphDef)


def _parse(file: Path, message: M) -> M:
    try:
        if file.suffix == ".pbtxt":
            return parse_text(file.read_text(encoding="utf-8"), message)
        message.ParseFromString(file.read_bytes())
    except OSError as error:
        raise file_error(error) from error
    except (DecodeError, ParseError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{file} is no {message.DESCRIPTOR.name}") from error
    return message

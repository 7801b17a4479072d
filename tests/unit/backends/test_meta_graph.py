"""Reading SavedModel protos and picking the MetaGraph."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.backends.saved_model import meta_graph
from pyserve.errors import DataLossError, FailedPreconditionError, NotFoundError, UnimplementedError
from pyserve.protos import tf, to_text


def saved_model(*tag_sets: list[str]) -> tf.SavedModel:
    message = tf.SavedModel(saved_model_schema_version=1)
    for tags in tag_sets:
        message.meta_graphs.add().meta_info_def.tags.extend(tags)
    return message


def test_binary_wins_over_text(tmp_path: Path) -> None:
    """When both forms are there the binary one is read; without it, the text."""
    (tmp_path / "saved_model.pb").write_bytes(saved_model(["binary"]).SerializeToString())
    (tmp_path / "saved_model.pbtxt").write_text(to_text(saved_model(["text"])))
    read = meta_graph.read_saved_model
    assert list(read(tmp_path).meta_graphs[0].meta_info_def.tags) == ["binary"]
    (tmp_path / "saved_model.pb").unlink()
    assert list(read(tmp_path).meta_graphs[0].meta_info_def.tags) == ["text"]


def test_no_saved_model_has_the_known_text(tmp_path: Path) -> None:
    """A directory without a SavedModel is NOT_FOUND, in two lines."""
    with pytest.raises(NotFoundError) as caught:
        meta_graph.read_saved_model(tmp_path)
    assert caught.value.message == (
        "Specified file path does not appear to contain a SavedModel bundle "
        f"(should have a file called `saved_model.pb`)\nSpecified file path: {tmp_path}"
    )


def test_a_session_bundle_is_refused(tmp_path: Path) -> None:
    """`export.meta` instead of a SavedModel is UNIMPLEMENTED."""
    (tmp_path / "export.meta").touch()
    with pytest.raises(
        UnimplementedError, match=r"^UNIMPLEMENTED: Session Bundle is deprecated and removed\.$"
    ):
        meta_graph.read_saved_model(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_named_pipe_is_no_saved_model(tmp_path: Path, name: str) -> None:
    """A pipe in the place of the file is NOT_FOUND; opening it would wait for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(NotFoundError):
        meta_graph.read_saved_model(tmp_path)


@pytest.mark.parametrize(
    ("restore_op", "op", "in_function", "expected"),
    [
        ("restore", "VarHandleOp", False, True),
        ("restore", "VariableV2", False, True),
        ("restore", "MutableHashTableV2", True, True),
        ("restore", "HashTableV2", False, False),
        ("restore", "RestoreV2", True, False),
        ("", "VarHandleOp", False, False),
    ],
)
def test_what_needs_a_checkpoint(restore_op: str, op: str, in_function: bool, expected: bool) -> None:
    """A restore op counts only together with something that it fills."""
    graph = tf.MetaGraphDef()
    graph.saver_def.restore_op_name = restore_op
    nodes = graph.graph_def.library.function.add().node_def if in_function else graph.graph_def.node
    nodes.add(op=op)
    assert meta_graph.needs_checkpoint(graph) is expected


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_damage_is_data_loss(tmp_path: Path, name: str) -> None:
    """What does not parse is DATA_LOSS and names the file."""
    (tmp_path / name).write_bytes(b"\xff{{{")
    with pytest.raises(DataLossError, match=f"Can't parse {tmp_path}/{name} as"):
        meta_graph.read_saved_model(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [({"serve"}, 0), ({"serve", "gpu"}, 1), ({"gpu", "serve"}, 1), ({"train"}, None), (set(), None)],
)
def test_tags_match_as_a_set(wanted: set[str], found: int | None) -> None:
    """The MetaGraph with exactly the wanted tags is taken, not one with more or fewer."""
    model = saved_model(["serve"], ["serve", "gpu"])
    if found is None:
        with pytest.raises(NotFoundError):
            meta_graph.select(model, wanted)
    else:
        assert meta_graph.select(model, wanted) == model.meta_graphs[found]


def test_unknown_tags_have_tensorflows_text() -> None:
    """The text lists the wanted tags and names the tool that shows those there are."""
    with pytest.raises(NotFoundError) as caught:
        meta_graph.select(saved_model(["serve"]), ["train", "gpu"])
    assert caught.value.message == (
        "Could not find meta graph def matching supplied tags: { gpu train }. To inspect available tag-sets "
        "in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def test_init_op_order() -> None:
    """The signature wins over `saved_model_main_op`, that over `legacy_init_op`."""
    graph = tf.MetaGraphDef()
    assert meta_graph.init_op(graph) is None
    graph.collection_def["legacy_init_op"].node_list.value.append("legacy")
    assert meta_graph.init_op(graph) == "legacy"
    graph.collection_def["saved_model_main_op"].node_list.value.append("main")
    assert meta_graph.init_op(graph) == "main"
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "init"
    assert meta_graph.init_op(graph) == "init"


def test_two_init_ops_are_refused() -> None:
    """A MetaGraph that names several init ops is broken."""
    graph = tf.MetaGraphDef()
    graph.collection_def["saved_model_main_op"].node_list.value.extend(["a", "b"])
    with pytest.raises(FailedPreconditionError):
        meta_graph.init_op(graph)


def test_the_asset_field_wins_over_the_collection() -> None:
    """Assets of the collection count only where the field is empty."""
    graph = tf.MetaGraphDef()
    old = tf.AssetFileDef(filename="old", tensor_info=tf.TensorInfo(name="a:0"))
    graph.collection_def["saved_model_assets"].any_list.value.add(value=old.SerializeToString())
    assert meta_graph.asset_files(graph) == {"a:0": "old"}
    graph.asset_file_def.add(filename="new", tensor_info=tf.TensorInfo(name="b:0"))
    assert meta_graph.asset_files(graph) == {"b:0": "new"}

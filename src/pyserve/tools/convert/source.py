"""What kind of thing a source is, and the way from it to a SavedModel in the staging directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyserve.backends.python.completeness import HANDLER
from pyserve.backends.saved_model.meta_graph import BINARY_NAME, TEXT_NAME
from pyserve.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from pyserve.tools.convert import checkpoint, graph_files, keras_model, saved_model
from pyserve.tools.model_directory import version_directory

_ONNX = (
    "{} is an ONNX model, which is not read: no maintained converter can be installed beside this TensorFlow. "
    "Make a SavedModel of it where onnx2tf is installed by itself, and convert that"
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from.

    Attributes:
        path: What was saved.
        tags: Of the MetaGraph, of a SavedModel with several.
        inputs, outputs: Names of tensors by alias, of a graph without signatures.
        modules: To import before a Keras file is read; they register its layers.
        meta_graph: For a checkpoint: its `.meta` file where that is not beside it, or a SavedModel of the same model.
    """

    path: Path
    tags: tuple[str, ...] = ("serve",)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    meta_graph: Path | None = None
    modules: tuple[str, ...] = ()


def stage(source: Source, staging: Path) -> list[str]:
    """Write a SavedModel with one MetaGraph into the staging directory; returns notes on what does not come along.

    Raises:
        ServingError: The source is missing, of no known kind, damaged, or says too little.
    """
    path = source.path
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        raise UnimplementedError(_ONNX.format(path))
    if suffix in keras_model.SUFFIXES and path.exists():
        keras_model.from_keras(path, source.modules, staging)
    elif suffix in (".pb", ".pbtxt") and path.is_file() and path.name not in (BINARY_NAME, TEXT_NAME):
        graph_files.from_frozen_graph(path, source.inputs, source.outputs, staging)
    elif (prefix := checkpoint.find_prefix(path)) is not None:
        _from_checkpoint(source, prefix, staging)
    elif path.exists():
        version = version_directory(path)
        if not any((version / name).is_file() for name in (BINARY_NAME, TEXT_NAME)):
            raise InvalidArgumentError(f"{version} holds no SavedModel")
        saved_model.take(version, source.tags, staging)
        if (version / HANDLER).is_file():
            return [f"{HANDLER} is code for the signatures as they were, and is left out"]
    else:
        raise NotFoundError(f"{path}; No such file or directory")
    return []


def _from_checkpoint(source: Source, prefix: Path, staging: Path) -> None:
    meta_graph = source.meta_graph or Path(f"{prefix}.meta")
    if meta_graph.is_dir() or meta_graph.name in (BINARY_NAME, TEXT_NAME):
        checkpoint.from_objects(version_directory(meta_graph), source.tags, prefix, staging)
    elif meta_graph.exists():
        graph_files.from_meta_graph(meta_graph, prefix, source.inputs, source.outputs, staging)
    elif source.meta_graph is not None:
        raise NotFoundError(f"{meta_graph}; No such file or directory")
    else:
        raise InvalidArgumentError(
            f"{prefix} is a checkpoint without a graph: give its .meta file, or a SavedModel of the same model, "
            "with --meta_graph"
        )

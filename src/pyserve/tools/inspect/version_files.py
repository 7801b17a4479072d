"""Inspects a version by its files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pyserve.backends.python.completeness import HANDLER
from pyserve.backends.saved_model import incomplete_reason
from pyserve.backends.saved_model.example_features import example_features
from pyserve.backends.saved_model.loader import refuse_unservable
from pyserve.backends.saved_model.meta_graph import BINARY_NAME, INIT_OP_KEY, read_saved_model, select
from pyserve.backends.tflite import completeness, model_file
from pyserve.codec.signature_def import signature_from_proto
from pyserve.errors import InvalidArgumentError, NotFoundError, ServingError
from pyserve.protos import tf
from pyserve.servable import Signature
from pyserve.tools import warmup
from pyserve.tools.inspect.inspection import Files, Inspection, WarmupFile, in_order
from pyserve.tools.model_directory import version_directory, versions_in

_SERVE = frozenset({"serve"})


def inspect_path(path: Path, tags: Collection[str] = ()) -> Inspection:
    """What a version's files tell.

    Args:
        path: A version directory, a file in one, or a model's base path, whose newest version counts.
        tags: Of the MetaGraph whose signatures are shown; none: `serve`, or the only one there is.

    Raises:
        NotFoundError: There is nothing, or no MetaGraph has the tags.
        ServingError: The files cannot be read, or are damaged.
    """
    version = version_directory(path)
    lite = version / completeness.FILE_NAME
    as_lite = path.name == lite.name or not _has_saved_model(version)
    signatures, files = _lite_model(lite) if as_lite else _saved_model(version, tags)
    number = int(version.name) if version.name.isdecimal() else None
    siblings = versions_in(version.parent) if number is not None else {}
    return Inspection(
        source=str(version),
        model=version.resolve().parent.name if number is not None else version.resolve().name,
        version=number,
        other_versions=tuple(sorted(siblings.keys() - {number}, reverse=True)),
        signatures=in_order(signatures),
        files=files,
    )


def _has_saved_model(version: Path) -> bool:
    try:
        read_saved_model(version)
    except NotFoundError:
        return False
    except ServingError:
        pass  # damaged, which is to be said of it
    return True


def _saved_model(version: Path, tags: Collection[str]) -> tuple[dict[str, Signature], Files]:
    saved_model = read_saved_model(version)
    if not saved_model.meta_graphs:
        raise InvalidArgumentError(f"{version} holds a SavedModel without a MetaGraph")
    chosen = _choose(saved_model, tags)
    signatures, refused = {}, {}
    for key, proto in chosen.signature_def.items():
        if key == INIT_OP_KEY:
            continue
        signatures[key] = signature_from_proto(key, proto)
        try:
            refuse_unservable(key, proto)
        except ServingError as error:
            refused[key] = error.message
    others = [graph for graph in saved_model.meta_graphs if graph is not chosen]
    size, count = _size(version)
    return signatures, Files(
        format="SavedModel" if (version / BINARY_NAME).exists() else "SavedModel (text)",
        bytes=size,
        count=count,
        tag_sets=tuple(tuple(sorted(graph.meta_info_def.tags)) for graph in (chosen, *others)),
        tensorflow_version=chosen.meta_info_def.tensorflow_version,
        incomplete=incomplete_reason(str(version)),
        warmup=_warmup(version, chosen.meta_info_def.tags),
        features=example_features(chosen.graph_def),
        refused=refused,
        handler=(version / HANDLER).is_file(),
    )


def _choose(saved_model: tf.SavedModel, tags: Collection[str]) -> tf.MetaGraphDef:
    if not tags and len(saved_model.meta_graphs) == 1:
        return saved_model.meta_graphs[0]
    try:
        return select(saved_model, tags or _SERVE)
    except NotFoundError:
        there = "; ".join(",".join(sorted(graph.meta_info_def.tags)) for graph in saved_model.meta_graphs)
        wanted = ",".join(sorted(tags or _SERVE))
        raise NotFoundError(f"no MetaGraph has exactly the tags {wanted}; there are: {there}") from None


def _lite_model(file: Path) -> tuple[dict[str, Signature], Files]:
    missing = completeness.incomplete_reason(file)
    signatures = model_file.read_signatures(file)
    size, count = _size(file.parent)
    warmed = _warmup(file.parent, ())
    handler = (file.parent / HANDLER).is_file()
    return signatures, Files(
        "TensorFlow Lite", size, count, incomplete=missing, warmup=warmed, handler=handler
    )


def _size(version: Path) -> tuple[int, int]:
    """Bytes and number of the files in a directory."""
    sizes = [file.stat().st_size for file in version.rglob("*") if file.is_file()]
    return sum(sizes), len(sizes)


def _warmup(version: Path, tags: Collection[str]) -> WarmupFile | None:
    try:
        report = warmup.check(version, tags)
    except NotFoundError:
        return None
    return WarmupFile(str(report.file), report.records, tuple(report.problems))

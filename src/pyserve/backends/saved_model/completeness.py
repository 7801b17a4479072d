"""Have all files of a version arrived? Asked by the life cycle before a load; imports no TensorFlow.

A version that is still being copied should not cost a load attempt. What can be checked cheaply is checked:
the SavedModel parses, each variable shard is as long as the index says, each asset is there. That a version
is complete promises nothing about its content; wherever this page knows nothing, the load decides.

Asked on the only thread that polls: nothing but regular files is ever opened, since a named pipe in the place of
a file would hold up every model.
"""

from __future__ import annotations

from pathlib import Path

from pyserve.backends.saved_model.index_table import IndexTableError, read_shard_needs
from pyserve.backends.saved_model.meta_graph import (
    BINARY_NAME,
    TEXT_NAME,
    VARIABLES_INDEX,
    asset_files,
    read_saved_model,
)
from pyserve.errors import ServingError
from pyserve.protos import tf

_COMPLETE_WHEN_PRESENT = (TEXT_NAME, "model.tflite", "model.py", "export.meta")
"""Files that make a directory a version, or a proper error, and whose other needs are not known here."""


def incomplete_reason(path: str) -> str | None:
    """What a version still lacks, as a sentence for the log; None when nothing is known to be missing.

    A plain file and a SessionBundle count as complete: loading them gives the proper error. Never raises.
    """
    try:
        return _reason(Path(path))
    except OSError as error:
        return f"{error.filename or path} cannot be read: {error.strerror or error}"
    except Exception as error:  # The promise never to raise covers files damaged in ways not foreseen.
        return f"{path} cannot be examined: {type(error).__name__}: {error}"


def _reason(path: Path) -> str | None:
    if path.is_file():
        return None
    if not (path / BINARY_NAME).is_file():
        if any((path / name).is_file() for name in _COMPLETE_WHEN_PRESENT):
            return None
        return f"there is no {BINARY_NAME} yet"
    try:
        saved_model = read_saved_model(path)
    except ServingError as error:
        return error.message
    if not saved_model.meta_graphs:
        return f"{BINARY_NAME} holds no MetaGraph yet"
    for meta_graph in saved_model.meta_graphs:
        reason = _missing_asset(path, meta_graph)
        if reason is not None:
            return reason
    if any(meta_graph.saver_def.restore_op_name for meta_graph in saved_model.meta_graphs):
        return _missing_variables(path)
    return None


def _missing_asset(path: Path, meta_graph: tf.MetaGraphDef) -> str | None:
    for name in asset_files(meta_graph).values():
        if not (path / "assets" / name).is_file():
            return f"there is no assets/{name} yet"
    return None


def _missing_variables(path: Path) -> str | None:
    index = path / VARIABLES_INDEX
    if not index.is_file():
        return f"there is no {VARIABLES_INDEX} yet"
    directory = index.parent
    try:
        needs = read_shard_needs(index.read_bytes())
    except IndexTableError as error:
        return f"{VARIABLES_INDEX} is not whole: {error}"
    if needs.num_shards is None:
        # The header is compressed: at least one shard has to be there.
        found = any(directory.glob("variables.data-*-of-*"))
        return None if found else "there is no variables/variables.data file yet"
    for shard in range(needs.num_shards):
        name = f"variables.data-{shard:05d}-of-{needs.num_shards:05d}"
        wanted = needs.min_bytes.get(shard, 0)
        try:
            size = (directory / name).stat().st_size
        except FileNotFoundError:
            return f"there is no variables/{name} yet"
        if size < wanted:
            return f"variables/{name} has {size} of at least {wanted} bytes"
    return None

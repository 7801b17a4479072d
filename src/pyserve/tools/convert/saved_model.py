"""A SavedModel's MetaGraph with the files that belong to it; and the other way round."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from pyserve.backends.saved_model.meta_graph import BINARY_NAME, read_saved_model, select
from pyserve.errors import file_error
from pyserve.protos import tf

_BESIDE = ("variables", "assets", "assets.extra")
"""Directories that a MetaGraph refers to, or a server reads."""


def take(version: Path, tags: Collection[str], staging: Path) -> None:
    """Put a SavedModel with one MetaGraph of another into the staging directory.

    Raises:
        NotFoundError: None has exactly these tags.
        ServingError: The SavedModel cannot be read.
    """
    chosen = select(read_saved_model(version), tags)
    try:
        for name in _BESIDE:
            if (version / name).is_dir():
                shutil.copytree(version / name, staging / name)
    except OSError as error:
        raise file_error(error) from error
    write(chosen, staging)


def write(graph: tf.MetaGraphDef, staging: Path) -> None:
    """Write `saved_model.pb` with this MetaGraph alone."""
    saved = tf.SavedModel(saved_model_schema_version=1, meta_graphs=[graph])
    (staging / BINARY_NAME).write_bytes(saved.SerializeToString(deterministic=True))


def read(staging: Path) -> tf.MetaGraphDef:
    """The only MetaGraph of a staging directory."""
    return read_saved_model(staging).meta_graphs[0]

"""A checkpoint of TensorFlow 2, by objects, with a SavedModel of the same model → SavedModel with its values.

TensorFlow matches the two: objects by the names of the attributes that lead to them. A checkpoint may hold a model as a
whole, `Checkpoint(model)`, or under a name, `Checkpoint(model=model, optimizer=...)`; each name is tried.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.meta_graph import read_saved_model, select
from pyserve.backends.saved_model.runtime import tensorflow
from pyserve.errors import InvalidArgumentError, NotFoundError

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def find_prefix(path: Path) -> Path | None:
    """The prefix of a checkpoint's files, from the prefix, one of the files, or a directory with a `checkpoint` file.

    None when the path is nothing of that kind.
    """
    if path.is_dir():
        latest = tensorflow().train.latest_checkpoint(str(path)) if (path / "checkpoint").is_file() else None
        return None if latest is None else Path(latest)
    if path.suffix in (".meta", ".index") or path.suffix.startswith(".data-"):
        path = path.with_suffix("")
    return path if Path(f"{path}.index").is_file() or Path(f"{path}.meta").is_file() else None


def from_objects(model: Path, tags: Collection[str], prefix: Path, staging: Path) -> None:
    """A SavedModel with the values of a checkpoint.

    Args:
        model: A version directory with a SavedModel of TensorFlow 2.
        tags: Of its MetaGraph.
        prefix: Of the checkpoint's files.

    Raises:
        NotFoundError: There is no such checkpoint or MetaGraph.
        InvalidArgumentError: The checkpoint does not fit the model.
    """
    select(read_saved_model(model), tags)
    if not Path(f"{prefix}.index").is_file():
        raise NotFoundError(f"{prefix}.index; No such file or directory")
    tensorflow_ = tensorflow()
    try:
        keys = tensorflow_.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
        if _OBJECT_GRAPH not in keys:
            raise InvalidArgumentError(
                f"{prefix} is a checkpoint by names; give its .meta file with --meta_graph"
            )
        loaded = tensorflow_.saved_model.load(str(model), tags=sorted(tags))
        if not hasattr(loaded, "signatures"):
            raise InvalidArgumentError(f"{model} holds no objects to restore a checkpoint into")
        _restore(
            tensorflow_, loaded, prefix, sorted({key.partition("/")[0] for key in keys} - {_OBJECT_GRAPH})
        )
        tensorflow_.saved_model.save(loaded, str(staging), signatures=dict(loaded.signatures))
    except Exception as error:
        raise to_serving_error(error) from error


def _restore(tensorflow_: Any, loaded: Any, prefix: Path, names: Collection[str]) -> None:
    plain = tensorflow_.train.Checkpoint(loaded)
    for checkpoint in (plain, *(tensorflow_.train.Checkpoint(**{name: loaded}) for name in names)):
        status = checkpoint.read(str(prefix))
        try:
            status.assert_existing_objects_matched()
        except AssertionError:
            continue
        status.expect_partial()
        return
    raise InvalidArgumentError(
        f"{prefix} does not fit the SavedModel: their variables have other names; the checkpoint has {', '.join(names)}"
    )

"""A model saved by Keras, `.keras` or `.h5` → SavedModel, by Keras itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.runtime import tensorflow
from pyserve.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".keras", ".h5", ".hdf5")


def from_keras(file: Path, modules: Iterable[str], staging: Path) -> None:
    """Write what `model.export` writes: `serving_default` over the model's inputs and outputs.

    Args:
        file: What Keras saved.
        modules: To import first; they register layers and functions of the model.

    Raises:
        NotFoundError: There is no such module.
        InvalidArgumentError: Keras cannot load the file, or not export the model.
        ServingError: TensorFlow is not installed, or fails.
    """
    keras = tensorflow().keras
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise NotFoundError(f"module {module} cannot be imported: {error}") from error
    try:
        model = keras.models.load_model(file, compile=False)
        model.export(str(staging), verbose=False)
    except Exception as error:
        told = to_serving_error(error).message
        raise InvalidArgumentError(
            f"{file}: Keras cannot make a SavedModel of it: {_reason(told)}"
        ) from error


def _reason(message: str) -> str:
    """What it comes down to: Keras says it last, and shows its whole configuration before and after."""
    last = message.rpartition("Exception encountered: ")[2].partition(" Full object config")[0]
    return next((line for line in last.splitlines() if line.strip()), "no reason is given")

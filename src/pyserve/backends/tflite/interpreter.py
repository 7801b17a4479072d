"""One TensorFlow Lite interpreter, with numpy in and numpy out: the only file that touches TensorFlow Lite."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyserve.backends.saved_model.runtime import tensorflow
from pyserve.backends.tflite.signatures import by_tensor_name, signature_of
from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from pyserve.servable import DEFAULT_SIGNATURE, Signature

_MOVED = r"\s*Warning: tf\.lite\.Interpreter is deprecated"


class Interpreter:
    """A model ready to run. One thread at a time; a failed run leaves it usable.

    Args:
        model: The content of the file; shared with other interpreters of it.
        num_threads: Threads inside a run; 0: TensorFlow Lite chooses.

    Raises:
        InvalidArgumentError: The content is no whole model.
        InternalError: The model needs operations that TensorFlow Lite does not have.
        FailedPreconditionError: There is no TensorFlow Lite.
    """

    def __init__(self, model: bytes, num_threads: int = 0) -> None:
        make = _interpreter_class()
        # TensorFlow has announced that its interpreter will move; until it does, that is nobody's business who serves.
        # Set each time: a test, or a library, may restore the filters that were there before.
        warnings.filterwarnings("ignore", _MOVED, UserWarning)
        try:
            self._interpreter: Any = make(model_content=model, num_threads=num_threads or None)
        except ValueError as error:
            raise InvalidArgumentError(f"Cannot build FlatBufferModel from buffer. {error}") from error
        except RuntimeError as error:
            raise InternalError(f"Cannot build Interpreter from buffer. {error}") from error
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InternalError(f"Failed to allocate tensors: {error}") from error
        keys = list(self._interpreter.get_signature_list())
        self._runners = {key: self._interpreter.get_signature_runner(key) for key in keys}
        self._inputs = by_tensor_name(self._interpreter.get_input_details())
        self._outputs = by_tensor_name(self._interpreter.get_output_details())

    def signatures(self) -> dict[str, Signature]:
        """Those that the model declares; without any, `serving_default` over all its inputs and outputs.

        Raises:
            InternalError: A tensor has a type that TensorFlow does not have.
        """
        if not self._runners:
            return {DEFAULT_SIGNATURE: signature_of(DEFAULT_SIGNATURE, self._inputs, self._outputs)}
        return {
            key: signature_of(key, runner.get_input_details(), runner.get_output_details())
            for key, runner in self._runners.items()
        }

    def run(self, key: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs of a signature. Inputs may have any shape that the model's operations take.

        Raises:
            InternalError: The model does not run with these inputs; TensorFlow Lite says why.
        """
        fed = {alias: _feedable(array) for alias, array in inputs.items()}
        try:
            found = self._runners[key](**fed) if self._runners else self._run_by_index(fed)
        except (RuntimeError, ValueError) as error:
            raise InternalError(f"Failed to invoke TfLite interpreter: {error}") from error
        return {alias: np.asarray(value) for alias, value in found.items()}

    def _run_by_index(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        interpreter = self._interpreter
        for alias, array in inputs.items():
            interpreter.resize_tensor_input(self._inputs[alias]["index"], array.shape)
        interpreter.allocate_tensors()
        for alias, array in inputs.items():
            interpreter.set_tensor(self._inputs[alias]["index"], array)
        interpreter.invoke()
        return {alias: interpreter.get_tensor(details["index"]) for alias, details in self._outputs.items()}


def _feedable(array: Array) -> Array:
    if array.dtype == object and array.ndim == 0:
        # TensorFlow Lite takes a lone object for the bytes of its pointer. A lone string of fixed length it reads well;
        # numpy has none of length 0, so that an empty one goes through an empty field.
        value = bytes(array.item())
        return np.frombuffer(value, f"S{len(value)}").reshape(()) if value else np.zeros((), "V0").view("S0")
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def _interpreter_class() -> Any:
    """TensorFlow's own, or that of the package into which it moves."""
    lite = getattr(tensorflow(), "lite", None)
    found = getattr(lite, "Interpreter", None)
    if found is not None:
        return found
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError as error:
        raise FailedPreconditionError(
            "Serving a TensorFlow Lite model with this TensorFlow needs the package ai-edge-litert"
        ) from error

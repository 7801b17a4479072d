"""Serialized tf.Examples as Classify, Regress and MultiInference send them: request bytes → a string tensor, and back.

First step of those three gRPC methods, and the client's. The requests are read through copies of their messages
in which each Example is left as bytes: a model parses them itself, and doing it here too would cost as much as the
model. `json_examples` makes the same value from REST requests.

Source: TensorFlow Serving, servables/tensorflow/util.cc (InputToSerializedExampleTensor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from pyserve.codec.message import parse_message
from pyserve.codec.predict import ModelSpec
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.protos import pool as message_pool

REPEATED_CONTEXT_LIMIT = 2**28
"""Bytes that the copies of a context may take. Each example gets one, so that a request of a few megabytes
could otherwise ask for terabytes."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Examples:
    """Examples, and what they have in common.

    Attributes:
        items: A serialized tf.Example each.
        context: A serialized tf.Example with features that every item shares; empty for none.
    """

    items: Sequence[bytes]
    context: bytes = b""

    def array(self) -> Array:
        """The examples as a string tensor of rank 1, the context merged into each.

        Merging is putting the bytes one behind the other: protobuf's rule for messages, by which the example's
        features win over the context's.

        Raises:
            InvalidArgumentError: There are none, or the context is too large for so many.
        """
        if not self.items:
            raise InvalidArgumentError("Input is empty.")
        repeated = len(self.context) * len(self.items)
        if repeated > REPEATED_CONTEXT_LIMIT:
            raise InvalidArgumentError(
                f"A context of {len(self.context)} bytes for {len(self.items)} examples takes {repeated} bytes, "
                f"more than {REPEATED_CONTEXT_LIMIT}"
            )
        array = np.empty(len(self.items), np.object_)
        array[:] = [self.context + item for item in self.items] if self.context else list(self.items)
        return array


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExamplesRequest:
    """A Classify or Regress call. `model_spec` is None when the message has none."""

    model_spec: ModelSpec | None
    examples: Examples


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One task of a MultiInference call; without a model spec its name is empty."""

    model_spec: ModelSpec
    method_name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MultiInferenceRequest:
    """A MultiInference call: its tasks in order, and the examples that they share."""

    tasks: tuple[InferenceTask, ...]
    examples: Examples


def decode_examples_request(data: bytes, message: str) -> ExamplesRequest:
    """Parse a serialized `ClassificationRequest` or `RegressionRequest`; `message` is that name.

    Raises:
        InvalidArgumentError: The bytes are no such message. (What is wrong inside an Example only shows in the
            model.)
    """
    proto = parse_message(_lean_class(message), data)
    spec = ModelSpec.of(proto.model_spec) if proto.HasField("model_spec") else None
    return ExamplesRequest(spec, _examples(proto.input))


def decode_multi_inference_request(data: bytes) -> MultiInferenceRequest:
    """Parse a serialized `MultiInferenceRequest`.

    Raises:
        InvalidArgumentError: The bytes are no such message.
    """
    proto = parse_message(_lean_class("MultiInferenceRequest"), data)
    tasks = tuple(InferenceTask(ModelSpec.of(task.model_spec), task.method_name) for task in proto.tasks)
    return MultiInferenceRequest(tasks, _examples(proto.input))


def encode_examples_request(spec: ModelSpec, examples: Examples, message: str) -> bytes:
    """A serialized `ClassificationRequest` or `RegressionRequest`; `message` is that name."""
    proto = _lean_class(message)()
    proto.model_spec.ParseFromString(spec.message().SerializeToString())
    _fill(proto.input, examples)
    data: bytes = proto.SerializeToString()
    return data


def encode_multi_inference_request(request: MultiInferenceRequest) -> bytes:
    """A serialized `MultiInferenceRequest`."""
    proto = _lean_class("MultiInferenceRequest")()
    for task in request.tasks:
        added = proto.tasks.add(method_name=task.method_name)
        added.model_spec.ParseFromString(task.model_spec.message().SerializeToString())
    _fill(proto.input, request.examples)
    data: bytes = proto.SerializeToString()
    return data


def _fill(proto: Any, examples: Examples) -> None:
    """Put examples into an `Input`."""
    listed = proto.example_list
    if examples.context:
        listed = proto.example_list_with_context
        listed.context = examples.context
    listed.SetInParent()
    listed.examples.extend(examples.items)


def _examples(proto: Any) -> Examples:
    if proto.WhichOneof("kind") == "example_list_with_context":
        listed = proto.example_list_with_context
        return Examples(listed.examples, listed.context)
    return Examples(proto.example_list.examples)


_EXAMPLE = ".tensorflow.Example"


@cache
def _lean_class(message: str) -> Any:
    """A message of `tensorflow.serving`, its Examples left as bytes; both look the same on the wire."""
    descriptor = _lean_pool().FindMessageTypeByName(f"tensorflow.serving.{message}")
    return message_factory.GetMessageClass(descriptor)


@cache
def _lean_pool() -> DescriptorPool:
    lean = DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for imported in file.dependencies:
            add(imported)
        proto = FileDescriptorProto.FromString(file.serialized_pb)
        for declared in proto.message_type:
            for field in declared.field:
                if field.type_name == _EXAMPLE:
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    field.ClearField("type_name")
        lean.AddSerializedFile(proto.SerializeToString())

    for name in ("classification", "regression", "inference"):
        add(message_pool.FindFileByName(f"tensorflow_serving/apis/{name}.proto"))
    return lean

"""One private descriptor pool with every message that pyserve speaks, and the classes made from it.

Lowest row of the house: bytes and text become messages through these classes, everything above imports them
as `from pyserve.protos import tf, tfs`. The pool is never protobuf's default one: TensorFlow and
`tensorflow-serving-api` describe the same names there, and two descriptions of one name clash. So both can be
imported beside pyserve, before or after. A message of another pool can't be assigned into one of ours (nor
back); it crosses as bytes: `tf.TensorProto.FromString(other.SerializeToString())`.

All functions may be called from any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message


def _fill(pool: DescriptorPool) -> tuple[FileDescriptor, ...]:
    """Read the generated set, in which each file stands after its imports."""
    content = Path(__file__).with_name("descriptors.binpb").read_bytes()
    files = FileDescriptorSet.FromString(content).file
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    return tuple(pool.FindFileByName(file.name) for file in files)


pool = DescriptorPool()
_FILES = _fill(pool)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, ready for a handler or a stub.

    Attributes:
        name: Short name, e.g. `Predict`.
        path: What HTTP/2 carries as `:path`, e.g. `/tensorflow.serving.PredictionService/Predict`.
        request, response: Message classes.
        client_streaming, server_streaming: Whether that side sends a stream.
    """

    name: str
    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool


def message_class(full_name: str) -> type[Message]:
    """The class of a message by its full name, e.g. `tensorflow.serving.PredictRequest`.

    Raises:
        KeyError: No message of that name is described.
    """
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def service(full_name: str) -> ServiceDescriptor:
    """The descriptor of a service, e.g. `tensorflow.serving.PredictionService`.

    Its file for a reflection answer is `.file.serialized_pb`.

    Raises:
        KeyError: No service of that name is described.
    """
    return pool.FindServiceByName(full_name)


@cache
def methods(service_name: str) -> tuple[Method, ...]:
    """The methods of a service, in the order of its .proto file.

    Raises:
        KeyError: No service of that name is described.
    """
    return tuple(
        Method(
            name=method.name,
            path=f"/{service_name}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in service(service_name).methods
    )


@cache
def _index(package: str) -> dict[str, Any]:
    """Top-level name → descriptor of a message or an enum, or the number of an enum value."""
    found: dict[str, Any] = {}
    for file in _FILES:
        if file.package == package:
            for enum in file.enum_types_by_name.values():
                found |= {value.name: value.number for value in enum.values}
                found[enum.name] = enum
            found |= file.message_types_by_name
    return found


def names(package: str) -> list[str]:
    """The names that `resolve` knows in a proto package, sorted."""
    return sorted(_index(package))


def resolve(package: str, name: str) -> Any:
    """A message class, an enum wrapper, or the number of an enum value, by its short name.

    Raises:
        AttributeError: The package has no such name; the wording is that of a missing module attribute.
    """
    found = _index(package).get(name)
    if found is None:
        raise AttributeError(f"proto package {package!r} has no message, enum or enum value {name!r}")
    if isinstance(found, int):
        return found
    if hasattr(found, "fields"):
        return message_factory.GetMessageClass(found)
    return EnumTypeWrapper(found)

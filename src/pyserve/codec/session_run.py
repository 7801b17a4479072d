"""SessionRunRequest bytes → what was asked; arrays → SessionRunResponse bytes. First and last step of SessionRun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyserve.codec.message import parse_message
from pyserve.codec.predict import LARGEST_MESSAGE, ModelSpec, served_model_spec
from pyserve.codec.tensor_proto import decode
from pyserve.codec.tensor_writer import encode, field_tag, varint
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, ResourceExhaustedError
from pyserve.protos import tfs


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SessionRunRequest:
    """A SessionRun call.

    Attributes:
        model_spec: None when the message has none.
        feeds: Arrays by tensor name.
        fetches: Names of tensors, in the order of the answer.
        targets: Names of operations to run for their effect.
        names_are_aliases: The names of feeds and fetches are aliases of the signature that the spec names.
        timeout_s: The request's own limit of the run; None without.
    """

    model_spec: ModelSpec | None
    feeds: Mapping[str, Array]
    fetches: Sequence[str]
    targets: Sequence[str]
    names_are_aliases: bool
    timeout_s: float | None


def decode_session_run_request(data: bytes) -> SessionRunRequest:
    """Parse a serialized `tensorflow.serving.SessionRunRequest`. Of its RunOptions only the time limit counts.

    Raises:
        InvalidArgumentError: The bytes are no such message, a feed is no tensor, or is there twice.
    """
    proto = parse_message(tfs.SessionRunRequest, data)
    feeds: dict[str, Array] = {}
    for feed in proto.feed:
        if feed.name in feeds:
            raise InvalidArgumentError(f"Duplicate feed: {feed.name}")
        try:
            feeds[feed.name] = decode(feed.tensor)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"tensor parsing error: {feed.name}: {error.message}") from error
    timeout_ms = proto.options.timeout_in_ms
    return SessionRunRequest(
        model_spec=ModelSpec.of(proto.model_spec) if proto.HasField("model_spec") else None,
        feeds=feeds,
        fetches=tuple(proto.fetch),
        targets=tuple(proto.target),
        names_are_aliases=proto.tensor_name_is_alias,
        timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
    )


_TENSOR = field_tag(1)  # SessionRunResponse.tensor; its entries have name 1 and tensor 2
_NAME = field_tag(1)
_VALUE = field_tag(2)
_MODEL_SPEC = field_tag(3)


def encode_session_run_response(
    tensors: Sequence[tuple[str, Array]], *, name: str, version: int, signature_name: str, as_content: bool
) -> bytes:
    """A serialized `tensorflow.serving.SessionRunResponse`.

    Args:
        tensors: Name and array of each fetch, in the order of the request.
        name: The model as the request named it.
        version: The version that served.
        signature_name: Whose aliases were used; empty when there were none.
        as_content: Put elements into `tensor_content` instead of the typed fields.

    Raises:
        InvalidArgumentError: An output has a numpy dtype that no tensor can have.
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    pieces = []
    for fetch, array in tensors:
        tensor = _field(_NAME, fetch.encode()) + _field(_VALUE, encode(array, as_content=as_content))
        pieces.append(_field(_TENSOR, tensor))
    pieces.append(_field(_MODEL_SPEC, served_model_spec(name, version, signature_name)))
    total = sum(map(len, pieces))
    if total > LARGEST_MESSAGE:
        raise ResourceExhaustedError(f"Response of {total} bytes, more than protobuf's {LARGEST_MESSAGE}")
    return b"".join(pieces)


def _field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body

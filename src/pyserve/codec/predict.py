"""PredictRequest and PredictResponse: bytes → what they say, and back.

The gRPC handler's first and last step, and the client's in the other direction. A request's tensors are decoded
one by one when asked for, so that the service can check names first and an error can say which input it belongs
to. Messages are put together from their encoded parts: protobuf would copy and convert every element again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from pyserve import dtypes
from pyserve.codec.message import parse_message
from pyserve.codec.tensor_proto import EXPANSION_LIMIT, decode
from pyserve.codec.tensor_writer import Piece, encode_pieces, field_tag, varint
from pyserve.dtypes import Array
from pyserve.errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from pyserve.protos import tf, tfs

LARGEST_MESSAGE = 2**31 - 1
"""protobuf's limit of a message, in bytes."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model, version and signature a request names.

    Attributes:
        name: Empty when the request has none.
        version: The version asked for; None when the request leaves the choice, or names a label.
        version_label: The label asked for; None when there is none. Never set together with `version`.
        signature_name: Empty means the default.
    """

    name: str = ""
    version: int | None = None
    version_label: str | None = None
    signature_name: str = ""

    @classmethod
    def of(cls, proto: tfs.ModelSpec) -> ModelSpec:
        choice = proto.WhichOneof("version_choice")
        return cls(
            name=proto.name,
            version=proto.version.value if choice == "version" else None,
            version_label=proto.version_label if choice == "version_label" else None,
            signature_name=proto.signature_name,
        )

    def message(self) -> tfs.ModelSpec:
        """The same as a message."""
        spec = tfs.ModelSpec(name=self.name, signature_name=self.signature_name)
        if self.version is not None:
            spec.version.value = self.version
        elif self.version_label is not None:
            spec.version_label = self.version_label
        return spec


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictRequest:
    """A Predict call as it came, its tensors not decoded yet.

    Attributes:
        model_spec: None when the message has none.
        output_filter: Aliases in the order given, repeated ones included.
        tensors: The inputs by alias; use `array`.
    """

    model_spec: ModelSpec | None
    output_filter: tuple[str, ...]
    tensors: Mapping[str, tf.TensorProto]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names of the inputs that were sent."""
        return tuple(self.tensors)

    def array(self, alias: str, expansion_limit: int = EXPANSION_LIMIT) -> Array:
        """The array of one input that was sent; for the limit, in bytes, see `tensor_proto.decode`.

        Raises:
            InvalidArgumentError: `tensor parsing error: <alias>`, and then the reason, which TensorFlow Serving
                keeps to itself.
        """
        try:
            return decode(self.tensors[alias], expansion_limit=expansion_limit)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"tensor parsing error: {alias}: {error.message}") from error


def decode_request(data: bytes) -> PredictRequest:
    """Parse a serialized `tensorflow.serving.PredictRequest`.

    Raises:
        InvalidArgumentError: The bytes are no such message.
    """
    proto = parse_message(tfs.PredictRequest, data)
    spec = ModelSpec.of(proto.model_spec) if proto.HasField("model_spec") else None
    inputs = proto.inputs
    return PredictRequest(spec, tuple(proto.output_filter), {alias: inputs[alias] for alias in inputs})


_OUTPUTS = field_tag(1)  # PredictResponse.outputs
_INPUTS = field_tag(2)  # PredictRequest.inputs; entries of both maps have key 1 and value 2
_ENTRY_KEY = field_tag(1)
_ENTRY_VALUE = field_tag(2)
_MODEL_SPEC = field_tag(2)  # PredictResponse.model_spec


def encode_request(spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str] = ()) -> bytes:
    """A serialized `tensorflow.serving.PredictRequest`.

    Numbers travel as `tensor_content`, which both sides only copy; strings in their typed field.

    Args:
        spec: The model asked for.
        inputs: By alias, of any layout; strings are object arrays of `bytes` or `str`.
        output_filter: Aliases of the outputs wanted; none means all.

    Raises:
        InvalidArgumentError: An input has a numpy dtype that no tensor can have; the message names it.
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    head = tfs.PredictRequest(model_spec=spec.message(), output_filter=output_filter)
    pieces: list[Piece] = [head.SerializeToString()]
    for alias, array in inputs.items():
        try:
            tensor = encode_pieces(array, as_content=not dtypes.of_array(array).is_string)
        except TypeError as error:
            raise InvalidArgumentError(f"input {alias!r}: {error}") from None
        pieces += map_entry(_INPUTS, alias, tensor)
    return joined_message("Request", pieces)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictResponse:
    """The answer to a Predict call: which version gave it, and the arrays by alias."""

    model_spec: ModelSpec
    outputs: Mapping[str, Array]


def decode_response(data: bytes) -> PredictResponse:
    """Parse a serialized `tensorflow.serving.PredictResponse`.

    Raises:
        InternalError: The bytes are no such message, or an output is no tensor.
    """
    try:
        proto = tfs.PredictResponse.FromString(data)
        outputs = {alias: decode(tensor) for alias, tensor in proto.outputs.items()}
    except (DecodeError, InvalidArgumentError) as error:
        raise InternalError(f"Could not read a PredictResponse of {len(data)} bytes: {error}") from None
    return PredictResponse(ModelSpec.of(proto.model_spec), outputs)


@lru_cache(maxsize=1024)
def served_model_spec(name: str, version: int, signature_name: str) -> bytes:
    """The serialized `ModelSpec` of an answer: what was served, never a label."""
    spec = tfs.ModelSpec(name=name, signature_name=signature_name)
    spec.version.value = version
    return spec.SerializeToString()


def encode_response(
    outputs: Mapping[str, Array], *, name: str, version: int, signature_name: str, as_content: bool = False
) -> bytes:
    """A serialized `tensorflow.serving.PredictResponse`.

    Args:
        outputs: By alias; strings are object arrays of `bytes`.
        name: The model as the request named it.
        version: The version that served.
        signature_name: The effective one, `serving_default` when the request named none.
        as_content: Put elements into `tensor_content` instead of the typed fields.

    Raises:
        InvalidArgumentError: An output has a numpy dtype that no tensor can have.
        ResourceExhaustedError: The message would be larger than protobuf allows.
    """
    pieces: list[Piece] = []
    for alias, array in outputs.items():
        pieces += map_entry(_OUTPUTS, alias, encode_pieces(array, as_content=as_content))
    spec = served_model_spec(name, version, signature_name)
    pieces.append(_MODEL_SPEC + varint(len(spec)) + spec)
    return joined_message("Response", pieces)


def map_entry(field: bytes, alias: str, tensor: list[Piece]) -> list[Piece]:
    """One entry of a map from alias to an encoded tensor.

    Args:
        field: The tag of the map.
    """
    key = alias.encode()
    head = _ENTRY_KEY + varint(len(key)) + key
    size = sum(map(len, tensor))
    value = _ENTRY_VALUE + varint(size)
    return [field + varint(len(head) + len(value) + size) + head + value, *tensor]


def joined_message(what: str, pieces: list[Piece]) -> bytes:
    """The message that the pieces make.

    Raises:
        ResourceExhaustedError: It would be larger than protobuf allows.
    """
    total = sum(map(len, pieces))
    if total > LARGEST_MESSAGE:
        raise ResourceExhaustedError(f"{what} of {total} bytes, more than protobuf's {LARGEST_MESSAGE}")
    return b"".join(pieces)

"""PredictRequest bytes ↔ what was asked; arrays → PredictResponse bytes.

The gRPC handler's first and last step. The request's tensors are decoded one by one when asked for, so that
the service can check names first and an error can say which input it belongs to. The response is put together
from its encoded parts: protobuf would copy and convert every element again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from pyserve.codec.tensor_proto import EXPANSION_LIMIT, decode
from pyserve.codec.tensor_writer import Piece, encode, encode_pieces, field_tag, varint
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, ResourceExhaustedError
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

    def fill(self, proto: tfs.ModelSpec) -> None:
        """Write this into a message, whose fields are empty."""
        proto.name, proto.signature_name = self.name, self.signature_name
        if self.version is not None:
            proto.version.value = self.version
        elif self.version_label is not None:
            proto.version_label = self.version_label


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
    try:
        proto = tfs.PredictRequest.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(f"Could not parse PredictRequest from {len(data)} bytes") from None
    spec = ModelSpec.of(proto.model_spec) if proto.HasField("model_spec") else None
    inputs = proto.inputs
    return PredictRequest(spec, tuple(proto.output_filter), {alias: inputs[alias] for alias in inputs})


def encode_request(spec: ModelSpec, inputs: Mapping[str, Array]) -> bytes:
    """A serialized `tensorflow.serving.PredictRequest`, as a client sends it.

    Numbers go in their packed form; strings one by one, which more tools can read.

    Raises:
        InvalidArgumentError: An input has a numpy dtype that no tensor can have.
    """
    request = tfs.PredictRequest()
    spec.fill(request.model_spec)
    for alias, array in inputs.items():
        tensor = encode(array, as_content=array.dtype.kind not in "OSU")
        request.inputs[alias].CopyFrom(tf.TensorProto.FromString(tensor))
    return request.SerializeToString(deterministic=True)


_OUTPUTS = field_tag(1)  # PredictResponse.outputs; its entries have key 1 and value 2
_ENTRY_KEY = field_tag(1)
_ENTRY_VALUE = field_tag(2)
_MODEL_SPEC = field_tag(2)  # PredictResponse.model_spec


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
        tensor = encode_pieces(array, as_content=as_content)
        key = alias.encode()
        head = _ENTRY_KEY + varint(len(key)) + key
        size = sum(map(len, tensor))
        value = _ENTRY_VALUE + varint(size)
        pieces += (_OUTPUTS + varint(len(head) + len(value) + size) + head + value, *tensor)
    spec = served_model_spec(name, version, signature_name)
    pieces.append(_MODEL_SPEC + varint(len(spec)) + spec)
    total = sum(map(len, pieces))
    if total > LARGEST_MESSAGE:
        raise ResourceExhaustedError(f"Response of {total} bytes, more than protobuf's {LARGEST_MESSAGE}")
    return b"".join(pieces)

"""The JSON of the REST calls that ask about a model: its status and its metadata.

Both are protobuf's own JSON with the proto's field names, every field printed, and messages that are not set
left out; one blank per level, a newline at the end, as TensorFlow Serving prints them.
"""

from __future__ import annotations

import json

from google.protobuf import json_format
from google.protobuf.message import Message

from pyserve.codec.message import parse_answer
from pyserve.protos import tfs


def status_body(response: bytes) -> bytes:
    """The JSON of GET model status.

    Args:
        response: A serialized `tensorflow.serving.GetModelStatusResponse`.

    Raises:
        InternalError: The bytes are no such message.
    """
    return _text(_json(parse_answer(tfs.GetModelStatusResponse, response)))


def metadata_body(name: str, version: int, signature_def_map: bytes) -> bytes:
    """The JSON of GET model metadata.

    Args:
        name: The model as the request named it.
        version: The version that answered.
        signature_def_map: `Servable.signature_def_map`, a serialized `tensorflow.serving.SignatureDefMap`.

    Raises:
        InternalError: The bytes are no such message.
    """
    # Both names are right: the metadata field `signature_def` holds a message whose map is `signature_def`.
    signatures = _json(parse_answer(tfs.SignatureDefMap, signature_def_map))
    spec = {"name": name, "signature_name": "", "version": str(version)}
    return _text({"model_spec": spec, "metadata": {"signature_def": signatures}})


def _json(message: Message) -> object:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")

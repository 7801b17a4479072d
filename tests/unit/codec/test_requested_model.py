"""The model's name out of a request's bytes: what protobuf would read, and never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.codec.requested_model import requested_model
from pyserve.protos import tfs


def request(name: str, payload: bytes = b"") -> bytes:
    message = tfs.PredictRequest(output_filter=["y"])
    message.inputs["x"].tensor_content = payload
    message.inputs["x"].dtype = 1
    message.model_spec.name = name
    message.model_spec.version.value = 3
    message.model_spec.signature_name = "s"
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (request("half_plus_two"), "half_plus_two"),
        (request("m", b"x" * 100_000), "m"),
        (request("ü/:"), "ü/:"),
        (request("x" * 300), "x" * 300),
        (tfs.ClassificationRequest(model_spec=tfs.ModelSpec(name="c")).SerializeToString(), "c"),
        (tfs.PredictRequest(output_filter=["y"]).SerializeToString(), ""),
        (request("a") + request("b"), "b"),
        (b"", ""),
        (b"\xff" * 20, ""),
        (b"\x0a\x7fabc", ""),
        (b"\x0a\x04\x0a\x02\xff\xfe", ""),
        (b"\x09" + b"\0" * 8 + b"\x0d" + b"\0" * 4 + b"\x08\x05" + request("m"), "m"),
        (b"\x0b\x0c" + request("m"), ""),
        (b"\x0a\x00" * 2000 + request("m"), ""),
    ],
    ids=[
        "request", "large", "unicode", "long", "classify", "no spec", "twice", "empty", "no message", "cut",
        "no UTF-8", "other wire types", "groups", "too many fields",
    ],
)  # fmt: skip
def test_names(data: bytes, name: str) -> None:
    """The last name counts, as in protobuf; what cannot be read has none."""
    assert requested_model(data) == name


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes, there is an answer."""
    assert isinstance(requested_model(data), str)


@given(st.text(max_size=50), st.binary(max_size=300))
def test_it_reads_what_protobuf_reads(name: str, payload: bytes) -> None:
    """A message that protobuf wrote gives its name back."""
    assert requested_model(request(name, payload)) == name

"""SignatureDef → Signature, and the JSON that describes a model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from google.protobuf import json_format

from pyserve import dtypes
from pyserve.codec.model_json import metadata_body, status_body
from pyserve.codec.signature_def import signature_from_proto, tensor_spec
from pyserve.errors import InternalError, InvalidArgumentError
from pyserve.protos import tf, tfs
from pyserve.servable import TensorSpec

TESTDATA = os.environ.get("PYSERVE_TFS_TESTDATA")


def half_plus_two() -> tf.SignatureDef:
    proto = tf.SignatureDef(method_name="tensorflow/serving/predict")
    proto.inputs["x"].CopyFrom(tf.TensorInfo(name="x:0", dtype=1))
    proto.inputs["x"].tensor_shape.dim.add(size=-1)
    proto.inputs["x"].tensor_shape.dim.add(size=1)
    proto.outputs["y"].CopyFrom(tf.TensorInfo(name="y:0", dtype=1))
    proto.outputs["y"].tensor_shape.unknown_rank = True
    return proto


def test_signature() -> None:
    """Names, dtypes, shapes and defaults are those declared."""
    proto = half_plus_two()
    proto.defaults["x"].CopyFrom(tf.TensorProto(dtype=1, float_val=[4]))
    signature = signature_from_proto("serving_default", proto)
    assert signature.key == "serving_default"
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs == {"x": TensorSpec("x", dtypes.FLOAT, (None, 1), "x:0")}
    assert signature.outputs == {"y": TensorSpec("y", dtypes.FLOAT, None, "y:0")}
    assert signature.defaults["x"].tolist() == 4.0


def test_bad_default() -> None:
    """A default that is no tensor is refused when the signature is made."""
    proto = half_plus_two()
    proto.defaults["x"].dtype = 0
    with pytest.raises(InvalidArgumentError):
        signature_from_proto("s", proto)


@pytest.mark.parametrize(
    ("info", "spec"),
    [
        (tf.TensorInfo(name="a:0", dtype=7), TensorSpec("t", dtypes.STRING, (), "a:0")),
        (tf.TensorInfo(name="a:0", dtype=101), TensorSpec("t", dtypes.FLOAT, (), "a:0")),
        (
            tf.TensorInfo(coo_sparse=tf.TensorInfo.CooSparse(values_tensor_name="v:0"), dtype=9),
            TensorSpec("t", dtypes.INT64, (), "v:0"),
        ),
        (
            tf.TensorInfo(composite_tensor=tf.TensorInfo.CompositeTensor(), dtype=9),
            TensorSpec("t", dtypes.INT64, (), ""),
        ),
    ],
)
def test_tensor_spec(info: tf.TensorInfo, spec: TensorSpec) -> None:
    """References count as their value; sparse and composite tensors are shown as far as they can be."""
    assert tensor_spec("t", info) == spec


@pytest.mark.parametrize(("number", "name"), [(0, "invalid"), (77, "unknown dtype enum (77)")])
def test_unknown_dtype(number: int, name: str) -> None:
    """A dtype without data is kept by number, so a model's other signatures can be used."""
    dtype = tensor_spec("t", tf.TensorInfo(dtype=number)).dtype
    assert (dtype.number, dtype.name, dtype.numpy) == (number, name, None)


def test_metadata() -> None:
    """The body has the doubled name, defaults printed, unset messages left out."""
    signatures = tfs.SignatureDefMap()
    signatures.signature_def["serving_default"].CopyFrom(half_plus_two())
    signatures.signature_def["__saved_model_init_op"].outputs["init"].name = "NoOp"
    body = json.loads(metadata_body("mödel", 123, signatures.SerializeToString()))
    assert list(body) == ["model_spec", "metadata"]
    assert body["model_spec"] == {"name": "mödel", "signature_name": "", "version": "123"}
    assert list(body["metadata"]) == ["signature_def"]
    found = body["metadata"]["signature_def"]["signature_def"]
    assert found["__saved_model_init_op"] == {
        "inputs": {},
        "outputs": {"init": {"dtype": "DT_INVALID", "name": "NoOp"}},
        "method_name": "",
        "defaults": {},
    }
    assert found["serving_default"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        },
        "name": "x:0",
    }
    assert found["serving_default"]["outputs"]["y"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


@pytest.mark.tfs_testdata
@pytest.mark.skipif(
    not TESTDATA, reason="PYSERVE_TFS_TESTDATA does not name TensorFlow Serving's test models"
)
@pytest.mark.parametrize(
    "sample",
    [
        "half_plus_two_model_metadata.json",
        "saved_model_half_plus_two_2_versions_metadata.json",
        "saved_model_half_plus_two_tf2_2_versions_metadata.json",
    ],
)
def test_metadata_is_that_of_tensorflow_serving(sample: str) -> None:
    """Rebuilt from TensorFlow Serving's own answers, the body says the same."""
    expected = json.loads(Path(TESTDATA or "", sample).read_text())
    for signature in expected["metadata"]["signature_def"]["signature_def"].values():
        signature.setdefault("defaults", {})  # the sample is older than that field
    signatures = tfs.SignatureDefMap()
    json_format.ParseDict(expected["metadata"]["signature_def"], signatures)
    body = metadata_body(expected["model_spec"]["name"], 123, signatures.SerializeToString())
    assert json.loads(body) == expected
    assert body.endswith(b"}\n")


def test_status() -> None:
    """The text is TensorFlow Serving's, letter by letter."""
    response = tfs.GetModelStatusResponse()
    response.model_version_status.add(version=123, state=30, status=tfs.StatusProto(error_code=0))
    response.model_version_status.add(
        version=1, state=50, status=tfs.StatusProto(error_code=3, error_message="é")
    )
    lines = [
        "{",
        ' "model_version_status": [',
        "  {",
        '   "version": "123",',
        '   "state": "AVAILABLE",',
        '   "status": {',
        '    "error_code": "OK",',
        '    "error_message": ""',
        "   }",
        "  },",
        "  {",
        '   "version": "1",',
        '   "state": "END",',
        '   "status": {',
        '    "error_code": "INVALID_ARGUMENT",',
        '    "error_message": "é"',
        "   }",
        "  }",
        " ]",
        "}",
        "",
    ]
    assert status_body(response.SerializeToString()).decode() == "\n".join(lines)
    assert json.loads(status_body(b"")) == {"model_version_status": []}


def test_bytes_that_are_no_message() -> None:
    """Bytes that our own side got wrong are an internal error."""
    with pytest.raises(InternalError):
        status_body(b"\xff")
    with pytest.raises(InternalError):
        metadata_body("m", 1, b"\xff")

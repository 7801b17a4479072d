"""What the client writes the server's own codec reads, and the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from dtype_samples import IN_JSON, SENDABLE, sample
from pyserve import dtypes
from pyserve.client.features import serialized
from pyserve.client.grpc_wire import GrpcWire
from pyserve.client.rest_wire import RestWire, http_error
from pyserve.codec.examples import (
    InferenceTask,
    decode_examples_request,
    decode_multi_inference_request,
)
from pyserve.codec.inference_results import (
    Classifications,
    Regressions,
    Served,
    encode_result,
    encode_results,
)
from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.json_writer import error_body, predict_body, result_body
from pyserve.codec.model_json import metadata_body, status_body
from pyserve.codec.predict import ModelSpec, decode_request, encode_response
from pyserve.codec.signature_def import signature_def_map
from pyserve.dtypes import Array, DType
from pyserve.errors import Code, InternalError, InvalidArgumentError, Status
from pyserve.lifecycle.monitor import State
from pyserve.protos import tfs
from pyserve.servable import CLASSIFY_METHOD, REGRESS_METHOD, Signature, TensorSpec

SPECS = [
    ModelSpec("m"),
    ModelSpec("a/b:c ü", 7, None, "key"),
    ModelSpec("m", None, "stable"),
    ModelSpec("m", 0),
]
GRPC, REST = GrpcWire(), RestWire()


def signature(dtype: DType) -> Signature:
    return Signature("s", "", {}, {"y": TensorSpec("y", dtype, None)})


def same(left: Array, right: Array) -> bool:
    """Of equal dtype, shape and elements, to the bit."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype.kind == "O" else left.tobytes() == right.tobytes()


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", SENDABLE, ids=repr)
def test_grpc_predict(spec: ModelSpec, dtype: DType) -> None:
    """Every dtype both ways, in both of the server's forms."""
    array = sample(dtype)
    message = GRPC.predict(spec, {"x": array, "z": array[:0]}, ["y", "z"])
    request = decode_request(message.body or b"")
    assert request.model_spec == spec
    assert request.output_filter == ("y", "z")
    assert same(request.array("x"), array)
    assert same(request.array("z"), array[:0])
    for as_content in (False, True):
        data = encode_response({"y": array}, name="m", version=7, signature_name="s", as_content=as_content)
        result = GRPC.prediction(data, spec, None, ())
        assert result.version == 7
        assert same(result["y"], array)


@pytest.mark.parametrize("layout", ["F", "strided", ">"])
def test_arrays_in_any_layout(layout: str) -> None:
    """Column-major, with gaps, or big-endian."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    given = {
        "F": np.asfortranarray(array),
        "strided": np.repeat(array, 2, 1)[:, ::2],
        ">": array.astype(">f4"),
    }
    message = GRPC.predict(ModelSpec("m"), {"x": given[layout]}, ())
    assert decode_request(message.body or b"").array("x").tolist() == array.tolist()
    document = PredictDocument.parse(REST.predict(ModelSpec("m"), {"x": given[layout]}, ()).body or b"")
    tensors = document.tensors({"x": TensorSpec("x", dtypes.FLOAT, None)})
    assert tensors.arrays["x"].tolist() == array.tolist()


@pytest.mark.parametrize("name", IN_JSON)
def test_rest_predict(name: str) -> None:
    """Every dtype that JSON requests carry, strings with any bytes."""
    dtype = dtypes.BY_NAME[name]
    array = sample(dtype)
    body = REST.predict(ModelSpec("m", None, None, "key"), {"b64": array}, ()).body or b""
    document = PredictDocument.parse(body)
    assert document.signature_name == "key"
    tensors = document.tensors({"b64": TensorSpec("b64", dtype, None)})
    assert not tensors.row_format
    assert same(tensors.arrays["b64"], array)


@pytest.mark.parametrize("dtype", [dtype for dtype in SENDABLE if "complex" not in dtype.name], ids=repr)
@pytest.mark.parametrize("shape", [(2, 2), (4,), ()], ids=str)
def test_rest_answers(dtype: DType, shape: tuple[int, ...]) -> None:
    """Every dtype that the server writes; alone and beside others; strings in base64 too."""
    array = sample(dtype).reshape(4)
    array = array[:1].reshape(()) if shape == () else array.reshape(shape)
    answer = predict_body({"y": array}, row_format=False)
    assert same(REST.prediction(answer, ModelSpec("m"), signature(dtype), ())["y"], array)
    if dtype.is_string:
        specs = {alias: TensorSpec(alias, dtype, None) for alias in ("y_bytes",)}
        answer = predict_body({"y_bytes": array}, row_format=False)
        found = REST.prediction(answer, ModelSpec("m"), Signature("s", "", {}, specs), ())
        assert same(found["y_bytes"], array)


def test_special_numbers_by_rest() -> None:
    """They have names in JSON."""
    array = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    answer = predict_body({"y": array}, row_format=False)
    assert same(REST.prediction(answer, ModelSpec("m"), signature(dtypes.FLOAT), ())["y"], array)


def test_an_output_filter_by_rest() -> None:
    """The outputs wanted, in the order asked; the version if it was asked for."""
    outputs = {alias: np.array([1.0], np.float32) for alias in "abc"}
    declared = Signature("s", "", {}, {alias: TensorSpec(alias, dtypes.FLOAT, None) for alias in "abc"})
    answer = predict_body(outputs, row_format=False)
    found = REST.prediction(answer, ModelSpec("m", 3), declared, ["c", "a"])
    assert list(found) == ["c", "a"]
    assert found.version == 3
    with pytest.raises(InvalidArgumentError, match=r"not found in signature: z .* set \{a,b,c\}"):
        REST.prediction(answer, ModelSpec("m"), declared, ["z"])


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (ModelSpec("m"), "/v1/models/m"),
        (ModelSpec("a/b:c ü", 7), "/v1/models/a%2Fb%3Ac%20%C3%BC/versions/7"),
        (ModelSpec("m", None, "x/y"), "/v1/models/m/labels/x%2Fy"),
    ],
)
def test_rest_paths(spec: ModelSpec, path: str) -> None:
    """Names with any characters."""
    array = np.zeros(1)
    assert REST.predict(spec, {"x": array}, ()).path == f"{path}:predict"
    assert REST.classify(spec, [{}], None).path == f"{path}:classify"
    assert REST.regress(spec, [{}], None).path == f"{path}:regress"
    assert REST.ask_metadata(spec) == (type(REST.ask_metadata(spec)))(f"{path}/metadata", None)
    assert REST.ask_status(spec).path == path


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("context", [None, {"shared": 1.0}])
def test_grpc_examples(spec: ModelSpec, context: dict[str, float] | None) -> None:
    """Classify, Regress and MultiInference, with and without a context."""
    examples = [{"x": 1.0}, {"x": 2.0, "name": b"\xff"}]
    shared = b"" if context is None else serialized(context)
    for message, name in (
        (GRPC.classify(spec, examples, context), "ClassificationRequest"),
        (GRPC.regress(spec, examples, context), "RegressionRequest"),
    ):
        found = decode_examples_request(message.body or b"", name)
        assert found.model_spec == spec
        assert list(found.examples.items) == [serialized(example) for example in examples]
        assert found.examples.context == shared
    tasks = [InferenceTask(spec, CLASSIFY_METHOD), InferenceTask(spec, REGRESS_METHOD)]
    message = GRPC.multi_inference(tasks, examples, context)
    several = decode_multi_inference_request(message.body or b"")
    assert list(several.tasks) == tasks
    assert list(several.examples.items) == [serialized(example) for example in examples]
    assert several.examples.context == shared


def _strings(*rows: list[str]) -> Array:
    made = np.empty((len(rows), len(rows[0])), np.object_)
    made[...] = [[text.encode() for text in row] for row in rows]
    return made


SCORES = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
LABELS = _strings(["cat", "hün"], ["hün", "cat"])


@pytest.mark.parametrize("labels", [LABELS, None], ids=["labels", "no labels"])
@pytest.mark.parametrize("scores", [SCORES, None], ids=["scores", "no scores"])
def test_classifications(labels: Array | None, scores: Array | None) -> None:
    """What the model does not give is empty or 0, by both protocols."""
    if labels is None and scores is None:
        return
    result = Classifications(labels, scores)
    for found in (
        GRPC.classification(encode_result(result, Served("m", 3, "s")), ModelSpec("m")),
        REST.classification(result_body(result), ModelSpec("m", 3)),
    ):
        assert found.version == 3
        texts = [["", ""], ["", ""]] if labels is None else [["cat", "hün"], ["hün", "cat"]]
        assert found.labels.tolist() == texts
        assert same(found.scores, np.zeros((2, 2), np.float32) if scores is None else scores)


def test_classifications_without_classes() -> None:
    """Of each example none."""
    result = Classifications(None, np.zeros((3, 0), np.float32))
    for found in (
        GRPC.classification(encode_result(result, Served("m", 3, "s")), ModelSpec("m")),
        REST.classification(result_body(result), ModelSpec("m", 3)),
    ):
        assert found.labels.shape == found.scores.shape == (3, 0)


def test_regressions() -> None:
    """By both protocols, special numbers too."""
    values = np.array([0.1, np.nan, -np.inf], np.float32)
    result = Regressions(values)
    assert same(GRPC.regression(encode_result(result, Served("m", 3, "s")), ModelSpec("m")).values, values)
    assert same(REST.regression(result_body(result), ModelSpec("m")).values, values)


def test_inferences() -> None:
    """In the order of the tasks, each of its kind."""
    served = Served("m", 3, "s")
    both = encode_results([(Regressions(SCORES[0]), served), (Classifications(LABELS, SCORES), served)])
    first, second = GRPC.inferences(both)
    assert same(first.values, SCORES[0])  # type: ignore[union-attr]
    assert second.labels.tolist() == [["cat", "hün"], ["hün", "cat"]]  # type: ignore[union-attr]
    assert first.version == second.version == 3


def test_status_and_metadata() -> None:
    """The same by both protocols."""
    response = tfs.GetModelStatusResponse()
    for version, state, code, text in ((2**62, 30, 0, ""), (1, 50, 5, "gone")):
        entry = response.model_version_status.add(version=version, state=state)  # type: ignore[arg-type]
        entry.status.error_code, entry.status.error_message = code, text
    data = response.SerializeToString()
    for found in (GRPC.status(data), REST.status(status_body(data))):
        assert [(each.version, each.state, each.status, each.available) for each in found] == [
            (2**62, State.AVAILABLE, Status(), True),
            (1, State.END, Status(Code.NOT_FOUND, "gone"), False),
        ]
    declared = Signature(
        "key", "method", {}, {"y": TensorSpec("y", dtypes.BY_NAME["half"], (None, 3), "y:0")}
    )
    answer = tfs.GetModelMetadataResponse()
    answer.model_spec.name, answer.model_spec.version.value = "m", 7
    answer.metadata["signature_def"].value = signature_def_map([declared])
    for metadata in (
        GRPC.metadata(answer.SerializeToString()),
        REST.metadata(metadata_body("m", 7, signature_def_map([declared]))),
    ):
        assert (metadata.name, metadata.version) == ("m", 7)
        assert metadata.signatures == {"key": declared}


def test_a_state_without_a_name() -> None:
    """UNKNOWN, or one that is newer than this client."""
    response = tfs.GetModelStatusResponse()
    response.model_version_status.add(version=3)
    with pytest.raises(InternalError, match="version 3 is in a state without a name: 0"):
        GRPC.status(response.SerializeToString())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INVALID_ARGUMENT),
        (401, Code.UNAUTHENTICATED),
        (404, Code.NOT_FOUND),
        (409, Code.ALREADY_EXISTS),
        (413, Code.RESOURCE_EXHAUSTED),
        (429, Code.RESOURCE_EXHAUSTED),
        (499, Code.CANCELLED),
        (500, Code.UNKNOWN),
        (501, Code.UNIMPLEMENTED),
        (502, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (504, Code.DEADLINE_EXCEEDED),
        (418, Code.UNKNOWN),
    ],
)
def test_http_errors(status: int, code: Code) -> None:
    """The server's text; of a foreign page nothing but the status."""
    error = http_error(status, "Phrase", error_body('it "failed"'))
    assert (error.code, error.message) == (code, 'it "failed"')
    assert http_error(status, "Phrase", b"<html>").message == f"HTTP {status} Phrase"
    assert http_error(status, "Phrase", b"").code is code

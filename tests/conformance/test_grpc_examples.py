"""Classify, Regress and MultiInference with the official stubs: TensorFlow Serving's answers, codes and messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpc_calls import (
    Stubs,
    classify_request,
    example,
    multi_inference_request,
    predict_request,
    regress_request,
    text_of,
)

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"
HPT = "half_plus_two"
TFS_TF1 = "tfs_saved_model_half_plus_two_cpu"
TFS_TF2 = "tfs_saved_model_half_plus_two_tf2_cpu"
TFS_TWO = "tfs_saved_model_half_plus_two_2_versions"
TFS_THREE = "tfs_saved_model_half_plus_three"
STRING_FOR_FLOAT = "Expects arg[0] to be float but string is provided"


@dataclass(frozen=True)
class Case:
    """One request, given as arguments of its maker, and what comes back.

    Attributes:
        code, message: Of an error; an exact text, or its beginning when it ends with `…`.
        result: Classify: per example (label, score) pairs. Regress: numbers. MultiInference: one of them per task.
        served: (name, version, signature_name) of the answer's model specs.
    """

    id: str
    request: dict[str, Any]
    code: str = "OK"
    message: str = ""
    result: list[Any] = field(default_factory=list)
    served: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def needs_testdata(self) -> bool:
        names = [self.request.get("name"), *(task[0] for task in self.request.get("tasks", []))]
        return any(name is not None and name.startswith("tfs_") for name in names)

    @property
    def graph(self) -> str:
        """Why only a SavedModel can show it; empty when anything can."""
        if self.needs_testdata:
            return "a sample model of TensorFlow Serving"
        return "TensorFlow's text on tf.Examples" if self.message.startswith("Name: <unknown>") else ""


def of(name: str | None = HPT, *xs: float, signature_name: str = "", **more: Any) -> dict[str, Any]:
    """A request with an example per x, or with the one example x = 1."""
    examples = [example(x=x) for x in xs or (1.0,)]
    return {"name": name, "examples": examples, "signature_name": signature_name, **more}


def classify(name: str | None = HPT, *xs: float, **more: Any) -> dict[str, Any]:
    return of(name, *xs, **{"signature_name": "classify_x_to_y", **more})


def regress(name: str | None = HPT, *xs: float, **more: Any) -> dict[str, Any]:
    return of(name, *xs, **{"signature_name": "regress_x_to_y", **more})


# What concerns the model, its version and its label is the same for both.
ROUTING: list[tuple[str, dict[str, Any], str, str]] = [
    ("no model spec", {"name": None}, "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("empty name", {"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ("unknown model", {"name": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    (
        "unknown version",
        {"version": 9},
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_two, 9)",
    ),
    (
        "unknown label",
        {"label": "canary"},
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    ),
    (
        "unknown model beats no examples",
        {"name": "nope", "examples": []},
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    (
        "unknown signature",
        {"signature_name": "nope"},
        "INVALID_ARGUMENT",
        "No signature was found with the name: nope",
    ),
    (
        "unknown signature beats no examples",
        {"signature_name": "nope", "examples": []},
        "INVALID_ARGUMENT",
        "No signature was found with the name: nope",
    ),
    ("no examples", {"examples": []}, "INVALID_ARGUMENT", "Input is empty."),
    (
        "context without examples",
        {"examples": [], "context": example(x=1.0)},
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    (
        "feature of the wrong kind",
        {"examples": [example(x=1)]},
        "INVALID_ARGUMENT",
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. …",
    ),
    (
        "missing feature",
        {"examples": [example(q=1.0)]},
        "INVALID_ARGUMENT",
        "Name: <unknown>, Feature: x (data type: float) is …",
    ),
]

CLASSIFY_CASES = [
    *[Case(id, {**classify(), **changes}, code, text) for id, changes, code, text in ROUTING],
    Case(
        "scores without labels",
        classify(HPT, 1.0, 5.0),
        result=[[("", 2.5)], [("", 4.5)]],
        served=[(HPT, 2, "classify_x_to_y")],
    ),
    Case("version", classify(version=1), result=[[("", 2.5)]], served=[(HPT, 1, "classify_x_to_y")]),
    Case("label", classify(label="stable"), result=[[("", 2.5)]], served=[(HPT, 1, "classify_x_to_y")]),
    Case(
        "context",
        classify(examples=[example(q=1.0), example(x=5.0)], context=example(x=1.0)),
        result=[[("", 2.5)], [("", 4.5)]],
    ),
    Case("a score of zero", classify(HPT, -4.0), result=[[("", 0.0)]]),
    Case(
        "default signature is for predict",
        of(HPT),
        "INVALID_ARGUMENT",
        'No classification inputs found in SignatureDef: inputs {\n  key: "x"\n  value {\n    name: …',
    ),
    Case(
        "neither classes nor scores",
        of(HPT, signature_name="regress_x_to_y"),
        "INVALID_ARGUMENT",
        'Expected classification signature outputs to contain at least one of "classes" or "scores". '
        'Signature was: inputs {\n  key: "inputs"…',
    ),
    Case("two inputs", of("two_in_six_out"), "INVALID_ARGUMENT", "Expected one input Tensor."),
    Case(
        "no examples, and the signature does not suit",
        of(HPT, examples=[]),
        "INVALID_ARGUMENT",
        "No classification inputs found in SignatureDef: …",
    ),
    Case("tf1", classify(TFS_TF1, 1.0), result=[[("", 2.5)]], served=[(TFS_TF1, 123, "classify_x_to_y")]),
    Case("method name predict", classify(TFS_TF2, 2.0), result=[[("", 3.0)]]),
    Case(
        "floats wanted", of(TFS_TWO, signature_name="classify_x2_to_y3"), "INVALID_ARGUMENT", STRING_FOR_FLOAT
    ),
]

REGRESS_CASES = [
    *[Case(id, {**regress(), **changes}, code, text) for id, changes, code, text in ROUTING],
    Case("numbers", regress(HPT, 1.0, 5.0), result=[2.5, 4.5], served=[(HPT, 2, "regress_x_to_y")]),
    Case("version", regress(version=1), result=[2.5], served=[(HPT, 1, "regress_x_to_y")]),
    Case("signature of version 2", of(signature_name="regress_x_to_y2"), result=[3.5]),
    Case(
        "context",
        regress(examples=[example(), example(x=5.0)], context=example(x=1.0)),
        result=[2.5, 4.5],
    ),
    Case(
        "default signature is for predict",
        of(HPT),
        "INVALID_ARGUMENT",
        'No regression inputs found in SignatureDef: inputs {\n  key: "x"…',
    ),
    Case(
        "scores are no outputs",
        of(HPT, signature_name="classify_x_to_y"),
        "INVALID_ARGUMENT",
        'No regression outputs found in SignatureDef: inputs {\n  key: "inputs"…',
    ),
    Case("two inputs", of("two_in_six_out"), "INVALID_ARGUMENT", "Expected one input Tensor."),
    Case("two outputs", of("mlp"), "INVALID_ARGUMENT", "Expected one output Tensor."),
    Case("slashes in the key", of("half_plus_three", signature_name=REGRESS), result=[3.5]),
    Case("tf1", regress(TFS_TF1, 1.0), result=[2.5], served=[(TFS_TF1, 123, "regress_x_to_y")]),
    Case("method name predict", of(TFS_TF2, 2.0, signature_name="regress_x_to_y2"), result=[4.0]),
    Case("declared a float, in truth a string", of(TFS_THREE, signature_name=REGRESS), result=[3.5]),
    Case(
        "floats wanted", of(TFS_TWO, signature_name="regress_x2_to_y3"), "INVALID_ARGUMENT", STRING_FOR_FLOAT
    ),
]


def tasks(
    *tasks: tuple[str | None, str, str], xs: tuple[float, ...] = (1.0, 5.0), **more: Any
) -> dict[str, Any]:
    return {"tasks": tasks, "examples": [example(x=x) for x in xs], **more}


C = (HPT, "classify_x_to_y", CLASSIFY)
R = (HPT, "regress_x_to_y", REGRESS)
R2 = (HPT, "regress_x_to_y2", REGRESS)
CLASSES = [[("", 2.5)], [("", 4.5)]]


def sample(name: str, *names: str) -> list[tuple[str, str, str]]:
    return [(name, each, CLASSIFY if each.startswith("classify") else REGRESS) for each in names]


MULTI_CASES = [
    Case("one task", tasks(R), result=[[2.5, 4.5]], served=[(HPT, 2, "regress_x_to_y")]),
    Case(
        "three tasks, in their order",
        tasks(R2, C, R),
        result=[[3.5, 5.5], CLASSES, [2.5, 4.5]],
        served=[(HPT, 2, "regress_x_to_y2"), (HPT, 2, "classify_x_to_y"), (HPT, 2, "regress_x_to_y")],
    ),
    Case(
        "the first task's version is that of all",
        tasks(C, R, version=1),
        result=[CLASSES, [2.5, 4.5]],
        served=[(HPT, 1, "classify_x_to_y"), (HPT, 1, "regress_x_to_y")],
    ),
    Case(
        "label",
        tasks(C, R, label="stable"),
        result=[CLASSES, [2.5, 4.5]],
        served=[(HPT, 1, C[1]), (HPT, 1, R[1])],
    ),
    Case(
        "context",
        tasks(C, R, xs=(), examples=[example()] * 2, context=example(x=1.0)),
        result=[CLASSES[:1] * 2, [2.5] * 2],
    ),
    Case("no task", tasks(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    Case(
        "first task without a spec",
        tasks((None, "", REGRESS), R),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    Case(
        "unknown model",
        tasks(("nope", "", REGRESS)),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    Case(
        "later task without a spec",
        tasks(R, (None, "", REGRESS)),
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    Case(
        "two models",
        tasks(R, ("half_plus_three", REGRESS, REGRESS)),
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    Case(
        "a signature twice",
        tasks(R, R),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress_x_to_y",
    ),
    Case(
        "unknown signature",
        tasks(R, (HPT, "nope", REGRESS)),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: nope",
    ),
    Case(
        "unknown signature beats unknown method",
        tasks((HPT, "nope", "nope")),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: nope",
    ),
    Case(
        "predict",
        tasks(R, (HPT, "", PREDICT)),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    Case(
        "method that does not suit",
        tasks((HPT, "", REGRESS)),
        "INVALID_ARGUMENT",
        "No regression inputs found in SignatureDef: …",
    ),
    Case(
        "effective signature twice",
        tasks((HPT, "serving_default", REGRESS), (HPT, "", REGRESS)),
        "INVALID_ARGUMENT",
        "No regression inputs found in SignatureDef: …",
    ),
    Case(
        "a wrong task beats no examples",
        tasks(R, R, xs=()),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress_x_to_y",
    ),
    Case("no examples", tasks(R, C, xs=()), "INVALID_ARGUMENT", "Input is empty."),
    Case(
        "feature of the wrong kind",
        tasks(R, C, xs=(), examples=[example(x=1)]),
        "INVALID_ARGUMENT",
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. …",
    ),
    Case(
        "tf1, one input tensor for all",
        tasks(*sample(TFS_TF1, "classify_x_to_y", "regress_x_to_y2", "regress_x_to_y")),
        result=[CLASSES, [3.5, 5.5], [2.5, 4.5]],
    ),
    Case(
        "tf2, an input tensor for each",
        tasks(*sample(TFS_TF2, "classify_x_to_y", "regress_x_to_y2", "regress_x_to_y")),
        result=[CLASSES, [3.5, 5.5], [2.5, 4.5]],
    ),
    Case(
        "floats wanted by one of them",
        tasks(*sample(TFS_TWO, "regress_x_to_y", "regress_x2_to_y3")),
        "INVALID_ARGUMENT",
        "Expects arg[1] to be float but string is provided",
    ),
]


@pytest.fixture(scope="module")
def stubs(grpc_address: str) -> Iterator[Stubs]:
    with Stubs(grpc_address) as stubs:
        yield stubs


def refused(call: Any, request: Any, case: Case) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    assert caught.value.code().name == case.code, caught.value.details()
    assert text_of(caught.value, case.message) == case.message


def spec_of(spec: Any) -> tuple[str, int, str]:
    assert spec.WhichOneof("version_choice") == "version"
    return spec.name, spec.version.value, spec.signature_name


def classes_of(result: Any) -> list[list[tuple[str, float]]]:
    return [[(each.label, each.score) for each in entry.classes] for entry in result.classifications]


def numbers_of(result: Any) -> list[float]:
    return [entry.value for entry in result.regressions]


@pytest.mark.parametrize("case", CLASSIFY_CASES, ids=lambda case: case.id)
def test_classify(case: Case, stubs: Stubs, request: pytest.FixtureRequest) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    if case.needs_testdata:
        request.getfixturevalue("tfs_testdata")
    sent = classify_request(**case.request)
    if case.code != "OK":
        refused(stubs.prediction.Classify, sent, case)
        return
    response = stubs.prediction.Classify(sent, timeout=30)
    assert classes_of(response.result) == case.result
    if case.served:
        assert [spec_of(response.model_spec)] == case.served


@pytest.mark.parametrize("case", REGRESS_CASES, ids=lambda case: case.id)
def test_regress(case: Case, stubs: Stubs, request: pytest.FixtureRequest) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    if case.needs_testdata:
        request.getfixturevalue("tfs_testdata")
    sent = regress_request(**case.request)
    if case.code != "OK":
        refused(stubs.prediction.Regress, sent, case)
        return
    response = stubs.prediction.Regress(sent, timeout=30)
    assert numbers_of(response.result) == case.result
    if case.served:
        assert [spec_of(response.model_spec)] == case.served


@pytest.mark.parametrize("case", MULTI_CASES, ids=lambda case: case.id)
def test_multi_inference(case: Case, stubs: Stubs, request: pytest.FixtureRequest) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    if case.needs_testdata:
        request.getfixturevalue("tfs_testdata")
    sent = multi_inference_request(**case.request)
    if case.code != "OK":
        refused(stubs.prediction.MultiInference, sent, case)
        return
    response = stubs.prediction.MultiInference(sent, timeout=30)
    found: list[Any] = []
    for result in response.results:
        kind = result.WhichOneof("result")
        found.append(
            classes_of(result.classification_result)
            if kind == "classification_result"
            else numbers_of(result.regression_result)
        )
    assert found == case.result
    if case.served:
        assert [spec_of(result.model_spec) for result in response.results] == case.served


@pytest.mark.saved_model("a sample model of TensorFlow Serving")
def test_regress_signature_by_predict(stubs: Stubs, tfs_testdata: Path) -> None:
    """The graph's element types count, not those that a SignatureDef declares: Predict takes strings here."""
    del tfs_testdata
    serialized = [example(x=x).SerializeToString() for x in (1.0, 5.0)]
    strings = {"dtype": 7, "shape": [2], "string_val": serialized}
    sent = predict_request(TFS_THREE, {"inputs": strings}, signature_name=REGRESS)
    assert list(stubs.prediction.Predict(sent, timeout=30).outputs["outputs"].float_val) == [3.5, 5.5]
    floats = {"dtype": 1, "shape": [2], "float_val": [1.0, 5.0]}
    sent = predict_request(TFS_THREE, {"inputs": floats}, signature_name=REGRESS)
    wrong = "Expects arg[0] to be string but float is provided"
    refused(stubs.prediction.Predict, sent, Case("", {}, "INVALID_ARGUMENT", wrong))

"""Recorded requests: each kind runs what it says, and fails in the words of a real request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable
from pyserve.batching.task import Task
from pyserve.codec.tensor_writer import encode
from pyserve.dtypes import Array
from pyserve.errors import Code, InvalidArgumentError, ServingError
from pyserve.inference.warmup_replay import REPLAYS, Target, replay
from pyserve.protos import tf, tfs
from pyserve.servable import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    ServableId,
    Signature,
    TensorSpec,
)

ID = ServableId("m", 1)


class Model:
    """A servable with a signature of each kind that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        x, y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))
        examples = TensorSpec("inputs", dtypes.STRING, (None,))
        scores = TensorSpec("scores", dtypes.FLOAT, (None, 1))
        self.servable = FunctionServable(
            [
                (
                    Signature("serving_default", PREDICT_METHOD, {"x": x}, {"y": y}),
                    self.function("serving_default"),
                ),
                (Signature("odd", "other/method", {"x": x}, {"y": y}), self.function("odd")),
                (Signature("two", PREDICT_METHOD, {"x": x, "z": x}, {"y": y}), self.function("two")),
                (
                    Signature("defaulted", PREDICT_METHOD, {"x": x, "z": x}, {"y": y}, {"z": floats(7)}),
                    self.function("defaulted"),
                ),
                (
                    Signature("c", CLASSIFY_METHOD, {"inputs": examples}, {"scores": scores}),
                    self.function("c"),
                ),
                (Signature("r", REGRESS_METHOD, {"inputs": examples}, {"outputs": y}), self.function("r")),
            ]
        )

    def function(self, key: str) -> Any:
        def call(**inputs: Array) -> Mapping[str, Array]:
            self.calls.append((key, {alias: array.tolist() for alias, array in inputs.items()}))
            if inputs.get("x") is not None and (inputs["x"] < 0).any():
                raise InvalidArgumentError("x must not be negative")
            rows = len(inputs.get("inputs", [0]))
            return {
                "y": np.zeros(1, np.float32),
                "scores": np.zeros((rows, 1), np.float32),
                "outputs": np.zeros(rows, np.float32),
            }

        return call


def predict(x: Array, key: str = "", alias: str = "x", **spec: Any) -> tfs.PredictionLog:
    log = tfs.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = key
    request.model_spec.name = "another model"
    request.model_spec.version.value = 77
    request.inputs[alias].CopyFrom(tf.TensorProto.FromString(encode(x)))
    return log


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def with_examples(request: Any, *values: float, context: bool = False) -> None:
    for value in values:
        kind = request.input.example_list_with_context if context else request.input.example_list
        kind.examples.add().features.feature["x"].float_list.value.append(value)
    if context:
        feature = request.input.example_list_with_context.context.features.feature
        feature["x"].float_list.value.append(-1)
        feature["shared"].float_list.value.append(9)


def parsed(examples: list[bytes]) -> list[dict[str, list[float]]]:
    return [
        {
            name: list(value.float_list.value)
            for name, value in tf.Example.FromString(e).features.feature.items()
        }
        for e in examples
    ]


def test_predict() -> None:
    """A Predict record runs its signature with its inputs, whatever model and version it names."""
    model = Model()
    replay(Target(ID, model.servable), predict(floats(1, 2)))
    assert model.calls == [("serving_default", {"x": [1, 2]})]


def test_defaults() -> None:
    """An input that the record leaves out takes the signature's default."""
    model = Model()
    replay(Target(ID, model.servable), predict(floats(1), "defaulted"))
    assert model.calls == [("defaulted", {"x": [1], "z": [7]})]


@pytest.mark.parametrize("kind", ["classify_log", "regress_log"])
def test_examples(kind: str) -> None:
    """Classify and Regress records feed their serialized Examples to the one input."""
    model = Model()
    log = tfs.PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = kind[0]
    with_examples(request, 1, 2)
    replay(Target(ID, model.servable), log)
    ((key, inputs),) = model.calls
    assert key == kind[0]
    assert parsed(inputs["inputs"]) == [{"x": [1]}, {"x": [2]}]


def test_examples_with_context() -> None:
    """A context is merged into each example, whose own features win."""
    model = Model()
    log = tfs.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "c"
    with_examples(log.classify_log.request, 1, context=True)
    replay(Target(ID, model.servable), log)
    assert parsed(model.calls[0][1]["inputs"]) == [{"x": [1], "shared": [9]}]


def test_multi_inference() -> None:
    """Every task's signature is run with the same examples."""
    model = Model()
    log = tfs.PredictionLog()
    request = log.multi_inference_log.request
    for key, method in (("c", CLASSIFY_METHOD), ("r", REGRESS_METHOD)):
        spec = request.tasks.add(method_name=method).model_spec
        spec.name, spec.signature_name = "another model", key
    with_examples(request, 3)
    replay(Target(ID, model.servable), log)
    assert [key for key, _ in model.calls] == ["c", "r"]
    request.tasks[1].method_name = "unheard/of"
    with pytest.raises(ServingError, match="Unsupported signature method_name: unheard/of") as caught:
        replay(Target(ID, model.servable), log)
    assert caught.value.code is Code.UNIMPLEMENTED


def test_a_record_without_request() -> None:
    """A record with no log type set is passed over."""
    model = Model()
    replay(Target(ID, model.servable), tfs.PredictionLog())
    assert model.calls == []


def failing_logs() -> list[tuple[str, tfs.PredictionLog, Code, str]]:
    session_run, streamed, empty, unknown_examples = (tfs.PredictionLog() for _ in range(4))
    session_run.session_run_log.request.fetch.append("y")
    streamed.predict_streamed_log.request.add()
    empty.classify_log.request.model_spec.signature_name = "c"
    unknown_examples.regress_log.request.model_spec.signature_name = "none"
    two = tfs.PredictionLog()
    two.classify_log.request.model_spec.signature_name = "two"
    with_examples(two.classify_log.request, 1)
    surplus = predict(floats(1), "defaulted")
    surplus.predict_log.request.inputs["q"].CopyFrom(surplus.predict_log.request.inputs["x"])
    filtered = predict(floats(1))
    filtered.predict_log.request.output_filter.append("none")
    return [
        ("session_run", session_run, Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 5"),
        ("streamed", streamed, Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 7"),
        (
            "unknown signature", predict(floats(1), "none"), Code.FAILED_PRECONDITION,
            'Serving signature key "none" not found.',
        ),
        (
            "unknown input", predict(floats(1), alias="other"), Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: ) not found in request",
        ),
        (
            "dtype", predict(np.array([1])), Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but int64 is provided",
        ),
        ("output", filtered, Code.INVALID_ARGUMENT, "output tensor alias not found in signature: none"),
        ("unknown beside a default", surplus, Code.INVALID_ARGUMENT, "Inputs contains invalid name."),
        ("model", predict(floats(-1)), Code.INVALID_ARGUMENT, "x must not be negative"),
        ("no examples", empty, Code.INVALID_ARGUMENT, "Input is empty."),
        ("two inputs", two, Code.INVALID_ARGUMENT, "Expected one input Tensor."),
        (
            "unknown for examples", unknown_examples, Code.INVALID_ARGUMENT,
            "No signature was found with the name: none",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("log", "code", "text"), [pytest.param(*case[1:], id=case[0]) for case in failing_logs()]
)
def test_failures(log: tfs.PredictionLog, code: Code, text: str) -> None:
    """What is wrong with a record is said with the code and the words of a real request."""
    with pytest.raises(ServingError) as caught:
        replay(Target(ID, Model().servable), log)
    assert caught.value.code is code
    assert caught.value.message.startswith(text)


def test_the_method_name_counts_when_it_is_checked() -> None:
    """With the check a signature of a foreign kind is refused, without it is run."""
    model = Model()
    replay(Target(ID, model.servable), predict(floats(1), "odd"))
    with pytest.raises(ServingError, match="Expected prediction signature method_name to be one of"):
        replay(Target(ID, model.servable, check_method_name=True), predict(floats(1), "odd"))


def test_tasks_go_where_they_are_told() -> None:
    """The target's `run` gets every task, so that a scheduler can stand between."""
    model = Model()
    tasks: list[Task] = []

    def run(task: Task) -> None:
        tasks.append(task)
        task.run()

    replay(Target(ID, model.servable, run=run), predict(floats(1)))
    assert [task.signature_key for task in tasks] == ["serving_default"]
    assert len(model.calls) == 1


def test_successful_runs_are_told() -> None:
    """Predict, Classify and Regress each with its name and its time; MultiInference and failures not."""
    heard: list[tuple[str, str]] = []

    def note(task: Task, api: str) -> None:
        assert 0 < task.submitted_at <= task.answered_at
        heard.append((task.signature_key, api))

    target = Target(ID, Model().servable, on_run=note)
    classify, regress, multi = tfs.PredictionLog(), tfs.PredictionLog(), tfs.PredictionLog()
    for request, key in ((classify.classify_log.request, "c"), (regress.regress_log.request, "r")):
        request.model_spec.signature_name = key
        with_examples(request, 1)
    task = multi.multi_inference_log.request.tasks.add(method_name=CLASSIFY_METHOD)
    task.model_spec.name, task.model_spec.signature_name = "m", "c"
    with_examples(multi.multi_inference_log.request, 1)
    for log in (predict(floats(1)), classify, regress, multi):
        replay(target, log)
    with pytest.raises(ServingError):
        replay(target, predict(floats(-1)))
    assert heard == [("serving_default", "Predict"), ("c", "Classify"), ("r", "Regress")]


def test_every_kind_of_record_is_decided() -> None:
    """Each kind of record that there is can be replayed, except the two that TensorFlow Serving refuses."""
    kinds = {field.name for field in tfs.PredictionLog.DESCRIPTOR.oneofs_by_name["log_type"].fields}
    assert kinds - set(REPLAYS) == {"session_run_log", "predict_streamed_log"}

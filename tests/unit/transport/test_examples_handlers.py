"""Classify, Regress and MultiInference through both front ends over Python callables: no TensorFlow, no socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable
from pyserve.dtypes import Array
from pyserve.errors import NotFoundError, ServingError
from pyserve.inference.call import Call
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.lifecycle.monitor import Monitor
from pyserve.protos import tf, tfs
from pyserve.servable import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    ServableHandle,
    ServableId,
    Signature,
    TensorSpec,
)
from pyserve.transport.admin import AdminApi, Readiness
from pyserve.transport.http import HttpRequest, HttpResponse
from pyserve.transport.rest import RestApi
from pyserve.transport.tfs_methods import handlers

SERVICE = "/tensorflow.serving.PredictionService/"


def values(inputs: Array) -> Array:
    """The feature x of each Example."""
    parsed = [tf.Example.FromString(item).features.feature["x"].float_list.value[0] for item in inputs]
    return np.array(parsed, np.float32)


def classify(inputs: Array) -> Mapping[str, Array]:
    x = values(inputs)[:, None]
    labels = np.tile(np.array([[b"half", b"whole"]], object), (len(x), 1))
    return {"classes": labels, "scores": np.concatenate([x / 2, x], axis=1)}


def regress(inputs: Array) -> Mapping[str, Array]:
    return {"outputs": values(inputs) / 2 + 2}


def broken(inputs: Array) -> Mapping[str, Array]:
    del inputs
    return {"outputs": np.zeros(1, np.float32)}


def signature(key: str, method: str, **outputs: dtypes.DType) -> Signature:
    return Signature(
        key,
        method,
        {"inputs": TensorSpec("inputs", dtypes.STRING, (None,), "in:0")},
        {alias: TensorSpec(alias, dtype, None) for alias, dtype in outputs.items()},
    )


class House:
    """Both front ends over one servable, with a count of the handles that are out."""

    def __init__(self) -> None:
        self.servable = FunctionServable(
            [
                (signature("c", CLASSIFY_METHOD, classes=dtypes.STRING, scores=dtypes.FLOAT), classify),
                (signature("r", REGRESS_METHOD, outputs=dtypes.FLOAT), regress),
                (
                    Signature(
                        "floats",
                        REGRESS_METHOD,
                        {"inputs": TensorSpec("inputs", dtypes.FLOAT, (None,), "x:0")},
                        {"outputs": TensorSpec("outputs", dtypes.FLOAT, (None,))},
                    ),
                    broken,
                ),
                (signature("broken", REGRESS_METHOD, outputs=dtypes.FLOAT), broken),
            ]
        )
        self.handles = 0
        router = Router(self._acquire, dict)
        prediction, models = PredictionService(router), ModelService(Monitor(), router)
        self._methods = handlers(prediction, models)
        self._rest = RestApi(
            prediction, models, AdminApi(lambda: Readiness(True)), timeout_s=30.0, cors=False
        )

    def _acquire(self, name: str, version: int | None) -> ServableHandle:
        if name != "m":
            raise NotFoundError(f"Servable not found for request: Latest({name})")
        self.handles += 1
        return ServableHandle(ServableId("m", version or 1), self.servable, self._release)

    def _release(self) -> None:
        self.handles -= 1

    def grpc(self, method: str, request: Any) -> bytes:
        return self._finish(self._methods[SERVICE + method](request.SerializeToString(), None))

    def rest(self, target: str, body: str) -> HttpResponse:
        try:
            return self._finish(self._rest.begin(HttpRequest("POST", target, {}, body.encode())))
        except ServingError as error:
            return self._rest.error(HttpRequest("POST", target, {}, b""), error)

    def _finish(self, begun: Any) -> Any:
        if not isinstance(begun, Call):
            return begun
        begun.task.run()
        if begun.task.error is not None:
            raise begun.task.error
        assert begun.task.result is not None
        return begun.finish(begun.task.result)


def filled(request: Any, key: str, *xs: float) -> Any:
    request.model_spec.name = "m"
    request.model_spec.signature_name = key
    return with_examples(request, *xs)


def with_examples(request: Any, *xs: float) -> Any:
    for x in xs:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(x)
    return request


@pytest.fixture
def house() -> House:
    return House()


def test_grpc_classify(house: House) -> None:
    """A callable's labels and scores come back for each example, and the handle too."""
    data = house.grpc("Classify", filled(tfs.ClassificationRequest(), "c", 2.0, 4.0))
    response = tfs.ClassificationResponse.FromString(data)
    assert [[(c.label, c.score) for c in e.classes] for e in response.result.classifications] == [
        [("half", 1.0), ("whole", 2.0)],
        [("half", 2.0), ("whole", 4.0)],
    ]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, "c")
    assert house.handles == 0


def test_grpc_regress(house: House) -> None:
    """A callable's numbers come back for each example."""
    data = house.grpc("Regress", filled(tfs.RegressionRequest(), "r", 2.0, 4.0))
    response = tfs.RegressionResponse.FromString(data)
    assert [entry.value for entry in response.result.regressions] == [3.0, 4.0]
    assert (response.model_spec.signature_name, house.handles) == ("r", 0)


def multi(*tasks: tuple[str, str], xs: tuple[float, ...] = (2.0,)) -> tfs.MultiInferenceRequest:
    request = tfs.MultiInferenceRequest()
    for key, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "m"
        task.model_spec.signature_name = key
    with_examples(request, *xs)
    return request


def test_grpc_multi_inference(house: House) -> None:
    """Several callables answer one request, in the order of its tasks."""
    data = house.grpc("MultiInference", multi(("r", REGRESS_METHOD), ("c", CLASSIFY_METHOD)))
    first, second = tfs.MultiInferenceResponse.FromString(data).results
    assert [entry.value for entry in first.regression_result.regressions] == [3.0]
    (classes,) = second.classification_result.classifications
    assert [(c.label, c.score) for c in classes.classes] == [("half", 1.0), ("whole", 2.0)]
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("r", "c")
    assert house.handles == 0


def test_the_first_task_says_which_version(house: House) -> None:
    """Every result is of the first task's version, whatever later tasks name."""
    request = multi(("r", REGRESS_METHOD), ("c", CLASSIFY_METHOD))
    request.tasks[0].model_spec.version.value = 5
    request.tasks[1].model_spec.version.value = 6
    results = tfs.MultiInferenceResponse.FromString(house.grpc("MultiInference", request)).results
    assert [result.model_spec.version.value for result in results] == [5, 5]


@pytest.mark.parametrize(
    ("method", "request_", "message"),
    [
        ("Classify", tfs.ClassificationRequest(), "Missing ModelSpec"),
        ("Classify", filled(tfs.ClassificationRequest(), "c"), "Input is empty."),
        (
            "Classify",
            filled(tfs.ClassificationRequest(), "r", 1.0),
            "Expected classification signature outputs to contain at least one of …",
        ),
        ("Regress", filled(tfs.RegressionRequest(), "c", 1.0), "Expected one output Tensor."),
        (
            "Regress",
            filled(tfs.RegressionRequest(), "broken", 1.0, 2.0),
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
        (
            "Regress",
            filled(tfs.RegressionRequest(), "floats", 1.0),
            "Expects arg[0] to be float but string is provided",
        ),
        (
            "MultiInference",
            multi(("r", REGRESS_METHOD), ("floats", REGRESS_METHOD)),
            "Expects arg[1] to be float but string is provided",
        ),
        ("MultiInference", multi(), "ModelSpec has no name specified."),
        ("MultiInference", multi(("r", REGRESS_METHOD), xs=()), "Input is empty."),
        ("MultiInference", multi(("r", REGRESS_METHOD), ("r", REGRESS_METHOD)), "Duplicate evaluation …"),
        (
            "MultiInference",
            multi(("r", REGRESS_METHOD), ("broken", REGRESS_METHOD), xs=(1.0, 2.0)),
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
    ],
)
def test_refusals_return_the_handle(house: House, method: str, request_: Any, message: str) -> None:
    """Wherever a request fails, before the run or after it, its handle is back."""
    with pytest.raises(ServingError) as caught:
        house.grpc(method, request_)
    if message.endswith("…"):
        assert caught.value.message.startswith(message[:-1])
    else:
        assert caught.value.message == message
    assert house.handles == 0


@pytest.mark.parametrize(
    ("target", "body", "status", "answer"),
    [
        (
            "m:classify",
            '{"signature_name": "c", "examples": [{"x": 2.0}]}',
            200,
            {"results": [[["half", 1.0], ["whole", 2.0]]]},
        ),
        ("m:regress", '{"signature_name": "r", "examples": [{"x": 2.0}]}', 200, {"results": [3.0]}),
        (
            "m:regress",
            '{"signature_name": "r", "examples": [{}, {"x": 4.0}], "context": {"x": 2.0}}',
            200,
            {"results": [3.0, 4.0]},
        ),
        ("n:regress", '{"examples": [{}]}', 404, {"error": "Servable not found for request: Latest(n)"}),
        ("n:regress", '{"examples": [1]}', 400, {"error": "Example must be JSON object but got JSON Number"}),
        (
            "m:classify",
            '{"examples": [{}]}',
            400,
            {"error": "No signature was found with the name: serving_default"},
        ),
        (
            "m:regress",
            '{"signature_name": "broken", "examples": [{}, {}]}',
            400,
            {"error": "Input batch size did not match output batch size: 2 vs. 1"},
        ),
    ],
)
def test_rest(house: House, target: str, body: str, status: int, answer: Any) -> None:
    """REST gives the same answers, and looks a model up only for a good document."""
    response = house.rest("/v1/models/" + target, body)
    assert (response.status, json.loads(response.body)) == (status, answer)
    assert house.handles == 0

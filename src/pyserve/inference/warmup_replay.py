"""One recorded request, run against a version that nobody is served from yet.

A record (`PredictionLog`) holds a request as a client sent it. Only its signature and its inputs count: model name and
version need not be those of the version that is warmed up. It goes through the rules of real requests, so what is
wrong with it is reported in the same words.

`REPLAYS` is the table from the kind of a record to what runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.message import Message

from pyserve.batching.task import Task
from pyserve.codec.examples import decode_examples_request, decode_multi_inference_request
from pyserve.codec.predict import ModelSpec, PredictRequest, decode_request
from pyserve.dtypes import Array
from pyserve.errors import UnimplementedError
from pyserve.inference import signature as rules
from pyserve.inference.example_methods import Method
from pyserve.inference.multi_inference import CLASSIFY, REGRESS, results_of
from pyserve.inference.prediction_service import OpenRequest
from pyserve.protos import tfs
from pyserve.servable import Servable, ServableHandle, ServableId


@dataclass(frozen=True, slots=True)
class Target:
    """The version that is warmed up, and how its tasks are run.

    Attributes:
        id: What it is called.
        servable: Loaded, and not available to requests.
        check_method_name: `--enable_signature_method_name_check`.
        run: Answers a task before it returns; by default on this thread, at once.
        on_run: Told of each successful run of Predict, Classify or Regress, and which of them it was.
    """

    id: ServableId
    servable: Servable
    check_method_name: bool = False
    run: Callable[[Task], None] = Task.run
    on_run: Callable[[Task, str], None] | None = None

    def open(self) -> OpenRequest:
        """Begin a request as the router would; the loader keeps the servable alive meanwhile."""
        return OpenRequest(ServableHandle(self.id, self.servable, lambda: None), self.check_method_name)

    def answer(self, task: Task, api: str = "") -> dict[str, Array]:
        """Run a task and wait for its outputs. `api`: what `on_run` is told; empty: nothing.

        Raises:
            ServingError: What the model, or what stands before it, said.
        """
        task.submitted_at = time.perf_counter()
        self.run(task)
        if task.error is not None:
            raise task.error
        assert task.result is not None
        if api and self.on_run is not None:
            self.on_run(task, api)
        return task.result


Replay = Callable[[Target, tfs.PredictionLog], None]
"""Runs a record once; raises ServingError."""


def replay(target: Target, log: tfs.PredictionLog) -> None:
    """Run a record once. One that holds no request does nothing.

    Raises:
        UnimplementedError: TensorFlow Serving does not replay this kind either.
        ServingError: The request is wrong, or failed.
    """
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    run = REPLAYS.get(kind)
    if run is None:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise UnimplementedError(f"Unsupported log_type for warmup: {number}")
    run(target, log)


def _predict(target: Target, log: tfs.PredictionLog) -> None:
    message: PredictRequest = decode_request(log.predict_log.request.SerializeToString())
    with target.open() as request:
        signature = request.signature(log.predict_log.request.model_spec.signature_name)
        rules.check_input_names(signature, message.aliases)
        inputs = {alias: message.array(alias) for alias in message.aliases if alias in signature.inputs}
        rules.check_known_names(signature, message.aliases)
        task = request.task(signature, inputs, message.output_filter, None)
    target.answer(task, "Predict")


def _classify(target: Target, log: tfs.PredictionLog) -> None:
    _infer(target, CLASSIFY, "Classify", log.classify_log.request, "ClassificationRequest")


def _regress(target: Target, log: tfs.PredictionLog) -> None:
    _infer(target, REGRESS, "Regress", log.regress_log.request, "RegressionRequest")


def _infer(target: Target, method: Method, api: str, message: Message, kind: str) -> None:
    request = decode_examples_request(message.SerializeToString(), kind)
    spec = request.model_spec or ModelSpec()
    with target.open() as opened:
        plan = opened.plan(method, spec.signature_name)
        examples = request.examples.array()
        task = opened.examples_task([plan], examples, None)
    method.result(target.answer(task, api), len(examples))


def _multi_inference(target: Target, log: tfs.PredictionLog) -> None:
    request = decode_multi_inference_request(log.multi_inference_log.request.SerializeToString())
    with target.open() as opened:
        plans = opened.plans(request.tasks)
        examples = request.examples.array()
        task = opened.examples_task(plans, examples, None)
    list(results_of(plans, target.answer(task), len(examples)))


REPLAYS: Mapping[str, Replay] = MappingProxyType(
    {
        "predict_log": _predict,
        "classify_log": _classify,
        "regress_log": _regress,
        "multi_inference_log": _multi_inference,
    }
)
"""What runs a record, by the field that it has set. A kind that is not here cannot be replayed."""

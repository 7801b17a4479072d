"""One recorded request, run against a version that nobody is served from yet.

A record (`PredictionLog`) holds a request as a client sent it. Only its signature and its inputs count: model name and
version need not be those of the version that is warmed up. It goes through the rules of real requests, so what is
wrong with it is reported in the same words.

`REPLAYS` is the table from the kind of a record to what runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from pyserve.batching.task import Task
from pyserve.codec.predict import PredictRequest, decode_request
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.inference import signature as rules
from pyserve.inference.prediction_service import OpenRequest
from pyserve.protos import tfs
from pyserve.servable import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    Servable,
    ServableHandle,
    ServableId,
    Signature,
)


@dataclass(frozen=True, slots=True)
class Target:
    """The version that is warmed up, and how its tasks are run.

    Attributes:
        id: What it is called.
        servable: Loaded, and not available to requests.
        check_method_name: `--enable_signature_method_name_check`.
        run: Answers a task before it returns; by default on this thread, at once.
    """

    id: ServableId
    servable: Servable
    check_method_name: bool = False
    run: Callable[[Task], None] = Task.run

    def open(self) -> OpenRequest:
        """Begin a request as the router would; the loader keeps the servable alive meanwhile."""
        return OpenRequest(ServableHandle(self.id, self.servable, lambda: None), self.check_method_name)

    def answer(self, task: Task) -> dict[str, Array]:
        """Run a task and wait for its outputs.

        Raises:
            ServingError: What the model, or what stands before it, said.
        """
        self.run(task)
        if task.error is not None:
            raise task.error
        assert task.result is not None
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
    target.answer(task)


def _classify(target: Target, log: tfs.PredictionLog) -> None:
    request = log.classify_log.request
    _examples(target, _found(target, request.model_spec.signature_name), request.input)


def _regress(target: Target, log: tfs.PredictionLog) -> None:
    request = log.regress_log.request
    _examples(target, _found(target, request.model_spec.signature_name), request.input)


def _multi_inference(target: Target, log: tfs.PredictionLog) -> None:
    """Each task by itself; for warming up that is as good as one run for all."""
    request = log.multi_inference_log.request
    for task in request.tasks:
        signature = _found(target, task.model_spec.signature_name)
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            raise UnimplementedError(f"Unsupported signature method_name: {task.method_name}")
        _examples(target, signature, request.input)


def _found(target: Target, key: str) -> Signature:
    found = target.servable.signatures.get(key or DEFAULT_SIGNATURE)
    if found is None:
        raise InvalidArgumentError(f"No signature was found with the name: {key or DEFAULT_SIGNATURE}")
    return found


def _examples(target: Target, signature: Signature, input: tfs.Input) -> None:
    """Run a signature that takes serialized Examples, for all its outputs."""
    if len(signature.inputs) != 1:
        raise InvalidArgumentError("Expected one input Tensor.")
    examples = _serialized(input)
    if not examples:
        raise InvalidArgumentError("Input is empty.")
    (alias,) = signature.inputs
    array = np.empty(len(examples), object)
    array[:] = examples
    with target.open() as request:
        task = request.task(signature, {alias: array}, (), None)
    target.answer(task)


def _serialized(input: tfs.Input) -> list[bytes]:
    if input.WhichOneof("kind") == "example_list_with_context":
        # One serialized message behind the other merges them; where both have a feature the example's wins.
        context = input.example_list_with_context.context.SerializeToString()
        return [context + one.SerializeToString() for one in input.example_list_with_context.examples]
    return [one.SerializeToString() for one in input.example_list.examples]


REPLAYS: Mapping[str, Replay] = MappingProxyType(
    {
        "predict_log": _predict,
        "classify_log": _classify,
        "regress_log": _regress,
        "multi_inference_log": _multi_inference,
    }
)
"""What runs a record, by the field that it has set. A kind that is not here cannot be replayed."""

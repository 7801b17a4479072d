"""Classify, Regress and MultiInference over gRPC: bytes in, a call to run out. Part of the table of `tfs_methods`."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pyserve.codec.examples import decode_examples_request, decode_multi_inference_request
from pyserve.codec.inference_results import Served, encode_result, encode_results
from pyserve.codec.predict import ModelSpec
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.call import Call, Handler
from pyserve.inference.example_methods import Method
from pyserve.inference.multi_inference import CLASSIFY, REGRESS, results_of
from pyserve.inference.prediction_service import PredictionService

_SERVICE = "/tensorflow.serving.PredictionService/"


def handlers(service: PredictionService) -> Mapping[str, Handler]:
    """Full method name → handler."""
    return {
        _SERVICE + "Classify": functools.partial(_infer, service, CLASSIFY, "ClassificationRequest"),
        _SERVICE + "Regress": functools.partial(_infer, service, REGRESS, "RegressionRequest"),
        _SERVICE + "MultiInference": functools.partial(_multi_inference, service),
    }


def _infer(
    service: PredictionService, method: Method, message: str, data: bytes, deadline: float | None
) -> Call[bytes]:
    request = decode_examples_request(data, message)
    spec = request.model_spec
    if spec is None:
        raise InvalidArgumentError("Missing ModelSpec")
    with service.open(spec.name, spec.version, spec.version_label) as opened:
        plan = opened.plan(method, spec.signature_name)
        examples = request.examples.array()
        task = opened.examples_task([plan], examples, deadline)
    served = Served(opened.id.name, opened.id.version, plan.signature.key)
    num_examples = len(examples)

    def finish(outputs: dict[str, Array]) -> bytes:
        return encode_result(method.result(outputs, num_examples), served)

    return Call(task, finish)


def _multi_inference(service: PredictionService, data: bytes, deadline: float | None) -> Call[bytes]:
    request = decode_multi_inference_request(data)
    # The first task says which version; later ones cannot say otherwise.
    spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
    with service.open(spec.name, spec.version, spec.version_label) as opened:
        plans = opened.plans(request.tasks)
        examples = request.examples.array()
        task = opened.examples_task(plans, examples, deadline)
    served = [Served(opened.id.name, opened.id.version, plan.signature.key) for plan in plans]
    num_examples = len(examples)

    def finish(outputs: dict[str, Array]) -> bytes:
        return encode_results(zip(results_of(plans, outputs, num_examples), served, strict=True))

    return Call(task, finish)

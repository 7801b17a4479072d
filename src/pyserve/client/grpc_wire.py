"""Calls as gRPC messages: bytes for each method, and results from its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message as Proto

from pyserve.client.features import Example, serialized
from pyserve.client.plan import Message
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.client.wire import status_of, version_statuses
from pyserve.codec.examples import (
    Examples,
    InferenceTask,
    MultiInferenceRequest,
    encode_examples_request,
    encode_multi_inference_request,
)
from pyserve.codec.message import parse_answer
from pyserve.codec.predict import ModelSpec, decode_response, encode_request
from pyserve.codec.signature_def import signature_from_proto
from pyserve.dtypes import Array
from pyserve.errors import InternalError, error_for
from pyserve.protos import tfs
from pyserve.servable import Signature

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"

P = TypeVar("P", bound=Proto)


class GrpcWire:
    """TensorFlow Serving's gRPC methods. Stateless."""

    needs_signature = False

    def predict(self, spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]) -> Message:
        return Message(_PREDICTION + "Predict", encode_request(spec, inputs, output_filter))

    def prediction(
        self, answer: bytes, spec: ModelSpec, signature: Signature | None, output_filter: Sequence[str]
    ) -> Prediction:
        response = decode_response(answer)
        return Prediction(response.outputs, response.model_spec.version)

    def classify(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message:
        body = encode_examples_request(spec, _examples(examples, context), "ClassificationRequest")
        return Message(_PREDICTION + "Classify", body)

    def classification(self, answer: bytes, spec: ModelSpec) -> Classification:
        response = parse_answer(tfs.ClassificationResponse, answer)
        return _classification(response.result, response.model_spec)

    def regress(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message:
        body = encode_examples_request(spec, _examples(examples, context), "RegressionRequest")
        return Message(_PREDICTION + "Regress", body)

    def regression(self, answer: bytes, spec: ModelSpec) -> Regression:
        response = parse_answer(tfs.RegressionResponse, answer)
        return _regression(response.result, response.model_spec)

    def multi_inference(
        self, tasks: Sequence[InferenceTask], examples: Sequence[Example], context: Example | None
    ) -> Message:
        request = MultiInferenceRequest(tuple(tasks), _examples(examples, context))
        return Message(_PREDICTION + "MultiInference", encode_multi_inference_request(request))

    def inferences(self, answer: bytes) -> list[Classification | Regression]:
        return [
            _classification(result.classification_result, result.model_spec)
            if result.WhichOneof("result") == "classification_result"
            else _regression(result.regression_result, result.model_spec)
            for result in parse_answer(tfs.MultiInferenceResponse, answer).results
        ]

    def ask_metadata(self, spec: ModelSpec) -> Message:
        request = tfs.GetModelMetadataRequest(model_spec=spec.message(), metadata_field=["signature_def"])
        return Message(_PREDICTION + "GetModelMetadata", request.SerializeToString())

    def metadata(self, answer: bytes) -> ModelMetadata:
        response = parse_answer(tfs.GetModelMetadataResponse, answer)
        signatures = parse_answer(tfs.SignatureDefMap, response.metadata["signature_def"].value)
        return ModelMetadata(
            response.model_spec.name, response.model_spec.version.value, signatures_of(signatures)
        )

    def ask_status(self, spec: ModelSpec) -> Message:
        request = tfs.GetModelStatusRequest(model_spec=spec.message())
        return Message(_MODEL + "GetModelStatus", request.SerializeToString())

    def status(self, answer: bytes) -> list[VersionStatus]:
        return version_statuses(parse_answer(tfs.GetModelStatusResponse, answer))

    def reload(self, config: tfs.ModelServerConfig, metric_names: Sequence[str]) -> Message:
        request = tfs.ReloadConfigRequest(config=config, metric_names=metric_names)
        return Message(_MODEL + "HandleReloadConfigRequest", request.SerializeToString())

    def reloaded(self, answer: bytes) -> dict[str, int]:
        response = parse_answer(tfs.ReloadConfigResponse, answer)
        status = status_of(response.status)
        if not status.ok:
            raise error_for(status.code, status.message)
        return {metric.name: metric.int64_value_increase for metric in response.metric}


def signatures_of(proto: tfs.SignatureDefMap) -> dict[str, Signature]:
    """The signatures of a metadata answer, by key."""
    return {key: signature_from_proto(key, definition) for key, definition in proto.signature_def.items()}


def _examples(examples: Sequence[Example], context: Example | None) -> Examples:
    shared = b"" if context is None else serialized(context)
    return Examples([serialized(example) for example in examples], shared)


def _classification(result: tfs.ClassificationResult, spec: tfs.ModelSpec) -> Classification:
    rows = [each.classes for each in result.classifications]
    labels, scores = [[c.label for c in row] for row in rows], [[c.score for c in row] for row in rows]
    return classification(labels, scores, spec.version.value)


def classification(labels: list[list[str]], scores: list[list[float]], version: int | None) -> Classification:
    """The result for lists over the examples and their classes.

    Raises:
        InternalError: The examples have different numbers of classes.
    """
    shape = (len(labels), len(labels[0]) if labels else 0)
    if any(len(row) != shape[1] for row in labels):
        raise InternalError(
            "Could not read the answer to classify: the examples have different numbers of classes"
        )
    table: Any = np.empty(shape, np.object_)
    table[...] = labels if table.size else table
    return Classification(table, np.array(scores, np.float32).reshape(shape), version)


def _regression(result: tfs.RegressionResult, spec: tfs.ModelSpec) -> Regression:
    values = np.array([each.value for each in result.regressions], np.float32)
    return Regression(values, spec.version.value)

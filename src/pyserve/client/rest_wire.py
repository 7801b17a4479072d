"""Calls as HTTP requests of TensorFlow Serving's REST API, and results from their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from pyserve.client.features import Example, request_body
from pyserve.client.grpc_wire import classification, signatures_of
from pyserve.client.plan import Message
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.client.wire import version_statuses
from pyserve.codec import json_answer
from pyserve.codec.json_writer import predict_request_body
from pyserve.codec.predict import ModelSpec
from pyserve.dtypes import Array
from pyserve.errors import Code, InternalError, InvalidArgumentError, ServingError, error_for
from pyserve.servable import Signature
from pyserve.transport.status import HTTP_STATUS

# Several codes share a status; then the first of the table is the best guess.
_CODE_OF_STATUS = {status: code for code, status in reversed(HTTP_STATUS.items())} | {
    413: Code.RESOURCE_EXHAUSTED,
    502: Code.UNAVAILABLE,  # what a proxy says that cannot reach the server
}


class RestWire:
    """TensorFlow Serving's REST API. Stateless."""

    needs_signature = True

    def predict(self, spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]) -> Message:
        return Message(model_path(spec) + ":predict", predict_request_body(inputs, spec.signature_name))

    def prediction(
        self, answer: bytes, spec: ModelSpec, signature: Signature | None, output_filter: Sequence[str]
    ) -> Prediction:
        assert signature is not None
        outputs = json_answer.predict_outputs(answer, signature.outputs)
        for alias in output_filter:
            if alias not in outputs:
                raise InvalidArgumentError(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {{{','.join(sorted(outputs))}}}."
                )
        wanted = output_filter or outputs
        return Prediction({alias: outputs[alias] for alias in wanted}, spec.version)

    def classify(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message:
        return Message(model_path(spec) + ":classify", request_body(examples, context, spec.signature_name))

    def classification(self, answer: bytes, spec: ModelSpec) -> Classification:
        return classification(*json_answer.classes_and_scores(answer), spec.version)

    def regress(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message:
        return Message(model_path(spec) + ":regress", request_body(examples, context, spec.signature_name))

    def regression(self, answer: bytes, spec: ModelSpec) -> Regression:
        return Regression(json_answer.regressions(answer), spec.version)

    def ask_metadata(self, spec: ModelSpec) -> Message:
        return Message(model_path(spec) + "/metadata", None)

    def metadata(self, answer: bytes) -> ModelMetadata:
        name, version, signatures = json_answer.metadata(answer)
        return ModelMetadata(name, version, signatures_of(signatures))

    def ask_status(self, spec: ModelSpec) -> Message:
        return Message(model_path(spec), None)

    def status(self, answer: bytes) -> list[VersionStatus]:
        return version_statuses(json_answer.status_response(answer))

    def ask_models(self) -> Message:
        """pyserve's own readiness page, which lists the configured models."""
        return Message("/readyz", None)

    def models(self, answer: bytes) -> dict[str, str]:
        try:
            return {str(name): str(state) for name, state in json.loads(answer)["models"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InternalError("Could not read the answer to /readyz") from None


def http_error(status: int, reason: str, body: bytes) -> ServingError:
    """The error that an HTTP answer stands for.

    The status does not tell every code: 400 counts as INVALID_ARGUMENT, 409 as ALREADY_EXISTS, 500 as UNKNOWN.

    Args:
        status, reason: Of the status line.
        body: TensorFlow Serving's error, or anything else, a proxy's page say, which is then left out.
    """
    text = json_answer.error_message(body)
    return error_for(
        _CODE_OF_STATUS.get(status, Code.UNKNOWN), f"HTTP {status} {reason}" if text is None else text
    )


def model_path(spec: ModelSpec) -> str:
    """The path of a model, or of the version that is named."""
    path = f"/v1/models/{quote(spec.name, safe='')}"
    if spec.version is not None:
        return f"{path}/versions/{spec.version}"
    return path if spec.version_label is None else f"{path}/labels/{quote(spec.version_label, safe='')}"

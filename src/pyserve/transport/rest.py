"""TensorFlow Serving's REST API as a pure function of the request: no socket, loop or thread.

`RestApi.begin` takes a parsed HTTP request and gives the response, or a call to run whose outputs make it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pyserve.codec.inflate import InflateError, inflate
from pyserve.codec.json_examples import ExamplesDocument
from pyserve.codec.json_memory import check_memory
from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.json_writer import error_body, predict_body, result_body
from pyserve.codec.model_json import metadata_body, status_body
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, ServingError
from pyserve.inference.call import Call
from pyserve.inference.example_methods import Method
from pyserve.inference.model_service import ModelService
from pyserve.inference.multi_inference import CLASSIFY, REGRESS
from pyserve.inference.prediction_service import PredictionService
from pyserve.transport import rest_url
from pyserve.transport.admin import AdminApi
from pyserve.transport.http import METHODS, HttpRequest, HttpResponse, html_error
from pyserve.transport.status import HTTP_STATUS, rest_message

_PREFIX = "/v1/"
_CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
# TensorFlow Serving's limit of an inflated request body.
INFLATED_LIMIT_BYTES = 100 * 1024 * 1024
# A server chooses by its memory.
JSON_LIMIT_BYTES = 1 << 30


def is_api_request(request: HttpRequest) -> bool:
    """Whether a request belongs to the `/v1/` API; other paths and verbs get pages."""
    return request.method in METHODS and request.target[: len(_PREFIX)].lower() == _PREFIX


class RestApi:
    """The `/v1/` API. Thread-safe: large requests are begun on other threads than small ones.

    Args:
        prediction: Predict, classify, regress.
        models: Status and metadata.
        admin: Answers pyserve's own URLs.
        timeout_s: Limit of a model run; None: no limit.
        cors: Send CORS headers with each answer under `/v1/`.
        inflated_limit: How large, in bytes, a gzip body may become.
        json_limit: How much memory, in bytes, a body may take as parsed JSON.
        clock: `time.monotonic`.
    """

    def __init__(
        self,
        prediction: PredictionService,
        models: ModelService,
        admin: AdminApi,
        *,
        timeout_s: float | None,
        cors: bool,
        inflated_limit: int = INFLATED_LIMIT_BYTES,
        json_limit: int = JSON_LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prediction = prediction
        self._models = models
        self._admin = admin
        self._timeout_s = timeout_s
        self._headers = _CORS_HEADERS if cors else ()
        self._inflated_limit = inflated_limit
        self._json_limit = json_limit
        self._clock = clock

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse]:
        """Answer a request, or say what to run for it.

        Raises:
            ServingError: To be answered with `error`.
        """
        if request.method not in METHODS:
            return html_error(501)
        if not is_api_request(request):
            return self._admin.answer(request) or html_error(404)
        if request.method == "OPTIONS":
            return self._options(request)
        target = rest_url.parse(request.method, request.target)
        match target.action:
            case "status":
                if not target.name:
                    raise InvalidArgumentError("Missing model name in request.")
                # A label in the URL is not resolved here: every version is listed, as in TensorFlow Serving.
                return self._ok(status_body(self._models.status_response(target.name, target.version)))
            case "metadata":
                if not target.name:
                    raise InvalidArgumentError("Missing model name in request.")
                return self._metadata(target)
            case "predict":
                return self._predict(target, self._json(request))
            case verb:
                method = CLASSIFY if verb == "classify" else REGRESS
                return self._examples(target, method, self._json(request))

    def deadline(self, request: HttpRequest) -> None:
        """None: the timeout of REST counts from the end of the body."""
        del request

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response that reports a failure."""
        del request
        body = error_body(rest_message(error.message))
        return HttpResponse(HTTP_STATUS[error.code], body, headers=self._headers)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response to a request whose body was not taken in."""
        return self.error(request, error)

    def _ok(self, body: bytes) -> HttpResponse:
        return HttpResponse(200, body, headers=self._headers)

    def _options(self, request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        if "http://" in origin or "https://" in origin:
            return HttpResponse(200, b"", content_type="", headers=self._headers)
        raise InvalidArgumentError("OPTIONS request without an Origin header that names http:// or https://")

    def _metadata(self, target: rest_url.Target) -> HttpResponse:
        found = self._models.metadata(target.name, target.version, target.label)
        return self._ok(metadata_body(found.id.name, found.id.version, found.signature_def_map))

    def _json(self, request: HttpRequest) -> bytes:
        """The request's JSON text, of a size that may be parsed."""
        text = inflated(request, self._inflated_limit)
        check_memory(text, self._json_limit)
        return text

    def _predict(self, target: rest_url.Target, body: bytes) -> Call[HttpResponse]:
        document = PredictDocument.parse(body)
        deadline = self._deadline()
        with self._prediction.open(target.name, target.version, target.label) as request:
            signature = request.signature_for_rest(document.signature_name)
            tensors = document.tensors(signature.inputs)
            task = request.task(signature, tensors.arrays, (), deadline)
        row_format = tensors.row_format
        return Call(task, lambda outputs: self._ok(predict_body(outputs, row_format=row_format)))

    def _examples(self, target: rest_url.Target, method: Method, body: bytes) -> Call[HttpResponse]:
        document = ExamplesDocument.parse(body)
        examples = document.examples.array()
        deadline = self._deadline()
        with self._prediction.open(target.name, target.version, target.label) as request:
            plan = request.plan(method, document.signature_name)
            task = request.examples_task([plan], examples, deadline)
        num_examples = len(examples)

        def finish(outputs: dict[str, Array]) -> HttpResponse:
            return self._ok(result_body(method.result(outputs, num_examples)))

        return Call(task, finish)

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else self._clock() + self._timeout_s


def inflated(request: HttpRequest, limit: int) -> bytes:
    """The request's body without gzip coding.

    TensorFlow Serving treats a body that it cannot inflate as empty; the text here begins like the error that
    follows there, and then says what was wrong. Nothing is inflated beyond the limit.

    Args:
        request: Its headers tell whether it is gzip.
        limit: In bytes.

    Raises:
        InvalidArgumentError: The body is not gzip, is cut off, or inflates to more than the limit.
    """
    if "gzip" not in request.headers.get("Content-Encoding", ""):
        return request.body
    try:
        return inflate(request.body, limit)
    except InflateError as error:
        raise InvalidArgumentError(
            f"JSON Parse error: The document is empty (gzip request body refused: {error.message})"
        ) from error

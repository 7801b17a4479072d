"""TensorFlow Serving's REST API as a pure function of the request: no socket, loop or thread.

`RestApi.begin` takes a parsed HTTP request and gives the response, or a call to run whose outputs make it.
"""

from __future__ import annotations

import html
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.json_writer import error_body, predict_body
from pyserve.codec.model_json import metadata_body, status_body
from pyserve.errors import InvalidArgumentError, Status, UnimplementedError
from pyserve.inference.call import Call
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.transport import rest_url
from pyserve.transport.status import HTTP_STATUS, rest_message

# What TensorFlow Serving lets in; other verbs are turned away before any routing.
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PREFIX = "/v1/"
_CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
# TensorFlow Serving's limit of an inflated request body.
_INFLATED_LIMIT_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it arrived.

    Attributes:
        method: The verb, as sent.
        target: Path and query, as sent: not decoded, not normalised.
        headers: Looked up in any case (the mapping must do that).
        body: Without transfer coding; content coding still on.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response to send. `close` asks for the connection to be closed after it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())
    close: bool = False


class RestApi:
    """The `/v1/` API. Thread-safe: large requests are begun on other threads than small ones.

    Args:
        prediction: Predict.
        models: Status and metadata.
        timeout_s: Limit of a model run; None: no limit.
        cors: Send CORS headers with each answer under `/v1/`.
        clock: `time.monotonic`.
    """

    def __init__(
        self,
        prediction: PredictionService,
        models: ModelService,
        *,
        timeout_s: float | None,
        cors: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prediction = prediction
        self._models = models
        self._timeout_s = timeout_s
        self._headers = _CORS_HEADERS if cors else ()
        self._clock = clock

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse]:
        """Answer a request, or say what to run for it.

        Raises:
            ServingError: To be answered with `error`.
        """
        if request.method not in _METHODS:
            return html_error(501)
        if request.target[: len(_PREFIX)].lower() != _PREFIX:
            return html_error(404)
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
                return self._predict(target, inflated(request))
            case verb:
                raise UnimplementedError(f"REST method {verb} is not supported yet")

    def error(self, status: Status) -> HttpResponse:
        """The response that reports a failure."""
        body = error_body(rest_message(status.message))
        return HttpResponse(HTTP_STATUS[status.code], body, headers=self._headers)

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

    def _predict(self, target: rest_url.Target, body: bytes) -> Call[HttpResponse]:
        document = PredictDocument.parse(body)
        deadline = None if self._timeout_s is None else self._clock() + self._timeout_s
        with self._prediction.open(target.name, target.version, target.label) as request:
            signature = request.signature_for_rest(document.signature_name)
            tensors = document.tensors(signature.inputs)
            task = request.task(signature, tensors.arrays, (), deadline)
        row_format = tensors.row_format
        return Call(task, lambda outputs: self._ok(predict_body(outputs, row_format=row_format)))


def html_error(status: int, detail: str = "") -> HttpResponse:
    """The small page for requests that never reach the API: unknown paths and unparsable requests."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    text = f"<p>{html.escape(detail[:500])}</p>" if detail else ""
    page = f"<html><head><title>{status} {phrase}</title></head><body><h1>{phrase}</h1>{text}</body></html>\n"
    return HttpResponse(status, page.encode("utf-8", "replace"), content_type="text/html", close=True)


def inflated(request: HttpRequest) -> bytes:
    """The request's body without gzip coding.

    TensorFlow Serving treats a body that it cannot inflate as empty; the text here begins like the error that
    follows there, and then says what was wrong.

    Raises:
        InvalidArgumentError: The body is not gzip, is cut off, or inflates to more than 100 MiB.
    """
    if "gzip" not in request.headers.get("Content-Encoding", ""):
        return request.body
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = inflater.decompress(request.body, _INFLATED_LIMIT_BYTES + 1)
    except zlib.error as error:
        raise _not_inflated(f"it is not valid gzip: {error}") from error
    if len(body) > _INFLATED_LIMIT_BYTES:
        raise _not_inflated(f"it inflates to more than {_INFLATED_LIMIT_BYTES} bytes")
    if not inflater.eof:
        raise _not_inflated("it is cut off")
    return body


def _not_inflated(reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"JSON Parse error: The document is empty (gzip request body refused: {reason})"
    )

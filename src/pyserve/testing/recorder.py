"""Writes down every request that reaches the fake, around the real handlers."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from pyserve.batching.task import Task
from pyserve.codec.predict import ModelSpec
from pyserve.errors import Code, ServingError, Status
from pyserve.inference.call import Blocking, Call, Handler, Work
from pyserve.protos import tfs
from pyserve.testing.requests import Request
from pyserve.transport import rest_url
from pyserve.transport.http import HttpApi, HttpRequest, HttpResponse
from pyserve.transport.rest import inflated, is_api_request

T = TypeVar("T")

# REST's words for what gRPC calls so.
_REST_METHODS = {"status": "GetModelStatus", "metadata": "GetModelMetadata"}
# How far a body is inflated to look for the signature's name.
_INFLATED_BYTES = 2**27


class Recorder:
    """A tap that keeps the last requests. Thread-safe.

    Args:
        kept: How many, at most; older ones are forgotten.
    """

    def __init__(self, kept: int = 1000) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=kept)  # guarded by _lock

    def requests(self) -> list[Request]:
        """In the order of their arrival."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()

    # --- as a tap ------------------------------------------------------------------------------------------------

    def handlers(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        return {path: self._seen(path.rpartition("/")[2], handler) for path, handler in handlers.items()}

    def rest(self, api: HttpApi) -> HttpApi:
        return _RecordedRest(api, self)

    def _seen(self, method: str, handler: Handler) -> Handler:
        def begin(data: bytes, deadline: float | None) -> bytes | Call[bytes] | Blocking[bytes]:
            entry = self.arrived(Request("gRPC", method, _asked_by_grpc(method, data), data))
            begun: bytes | Call[bytes] | Blocking[bytes] = entry.watch(lambda: handler(data, deadline))
            return begun

        return begin

    def arrived(self, request: Request) -> _Entry:
        with self._lock:
            self._requests.append(request)
        return _Entry(request)


class _RecordedRest:
    def __init__(self, api: HttpApi, recorder: Recorder) -> None:
        self._api = api
        self._recorder = recorder

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse] | Work[HttpResponse]:
        if not is_api_request(request):
            return self._api.begin(request)
        entry = self._recorder.arrived(_of_rest(request))
        begun: HttpResponse | Call[HttpResponse] | Work[HttpResponse] = entry.watch(
            lambda: self._api.begin(request)
        )
        return begun

    def deadline(self, request: HttpRequest) -> float | None:
        return self._api.deadline(request)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        if is_api_request(request):
            self._recorder.arrived(_of_rest(request)).ended(Status.of(error))
        return self._api.refuse(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return self._api.error(request, error)


class _Entry:
    """Writes down the end of one request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._began = time.perf_counter()

    def ended(self, status: Status) -> None:
        request = self._request
        request.duration_s = time.perf_counter() - self._began
        request.message = status.message
        request.code = status.code

    def finish(self, make: Callable[[], T]) -> T:
        """What `make` makes; the request ends with it."""
        try:
            made = make()
        except Exception as error:
            self.ended(Status.of(error))
            raise
        self.ended(Status())
        return made

    def watch(self, begin: Callable[[], Any]) -> Any:
        """What a handler begins with; the request ends now, or with the call or the wait that it began."""
        try:
            begun = begin()
        except Exception as error:
            self.ended(Status.of(error))
            raise
        match begun:
            case Call():
                return self._watched(begun)
            case Work():
                return Work(lambda: self.finish(begun.make))
            case Blocking():
                return Blocking(lambda gone: self.finish(lambda: begun.run(gone)), begun.wake)
            case _:
                self.ended(Status())
                return begun

    def _watched(self, call: Call[T]) -> Call[T]:
        task: Task = call.task
        self._request.served_version = task.handle.id.version
        self._request.accepted = MappingProxyType(dict(task.inputs))

        def done(code: Code) -> None:
            message = task.error.message if task.error is not None and task.error.code is code else ""
            self.ended(Status(code, message))
            if call.done is not None:
                call.done(code)

        return Call(task, call.finish, done)


# --- what a request asks for -------------------------------------------------------------------------------------

_MESSAGES: Mapping[str, Any] = {
    "Predict": tfs.PredictRequest,
    "Classify": tfs.ClassificationRequest,
    "Regress": tfs.RegressionRequest,
    "MultiInference": tfs.MultiInferenceRequest,
    "SessionRun": tfs.SessionRunRequest,
    "GetModelMetadata": tfs.GetModelMetadataRequest,
    "GetModelStatus": tfs.GetModelStatusRequest,
}


def _asked_by_grpc(method: str, data: bytes) -> ModelSpec:
    """The model spec of a gRPC request; an empty one when there is none, or no message can be read."""
    try:
        message = _MESSAGES[method].FromString(data)
        if method == "MultiInference":
            message = message.tasks[0]
        return ModelSpec.of(message.model_spec)
    except (KeyError, IndexError, DecodeError):  # refused by whoever reads it next, with the proper text
        return ModelSpec()


def _of_rest(request: HttpRequest) -> Request:
    """A REST request as far as it can be read."""
    try:
        target = rest_url.parse(request.method, request.target)
    except ServingError:
        name = rest_url.requested_model(request.method, request.target)
        return Request("REST", f"{request.method} {request.target}", ModelSpec(name), request.body)
    method = _REST_METHODS.get(target.action) or target.action.capitalize()
    label = target.label if target.version is None else None
    asked = ModelSpec(target.name, target.version, label, _signature_name(request))
    return Request("REST", method, asked, request.body)


def _signature_name(request: HttpRequest) -> str:
    try:
        return str(json.loads(inflated(request, _INFLATED_BYTES)).get("signature_name", ""))
    except (ServingError, ValueError, AttributeError, RecursionError):
        # No JSON object: likewise refused by whoever reads it next.
        return ""

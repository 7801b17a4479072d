"""pyserve's own URLs, pure: is the process alive, is it ready, and if not, why; what a model's batching does.

They are served on the admin port from the first second, and on the REST port beside TensorFlow Serving's API.

    /healthz    200 as long as the process answers at all
    /readyz     200 when requests are welcome, else 503; a JSON object with the reason in both cases
    /pyserve/models/NAME/batching    a JSON object; `?version=N` instead of the version that requests reach
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import unquote

import orjson

from pyserve.codec.json_writer import error_body
from pyserve.config import INT64_MAX
from pyserve.errors import InvalidArgumentError, NotFoundError, ServingError
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.status import HTTP_STATUS, rest_message

_BATCHING = re.compile(r"/pyserve/models/(?P<name>[^/]+)/batching")

BatchingOf = Callable[[str, int | None], Mapping[str, object]]
"""(model, version or None) → what its batching does, for JSON; raises ServingError for one that there is not."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are welcome.

    Attributes:
        ready: Ports are open, and the server is not about to stop.
        reason: Why not; empty when it is ready.
        models: What each configured model is up to: `available`, or why it is not.
    """

    ready: bool
    reason: str = ""
    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class AdminApi:
    """Answers the URLs above. Thread-safe.

    Args:
        readiness: Asked for each `/readyz`.
        batching_of: Asked for each `/pyserve/models/NAME/batching`.
    """

    def __init__(self, readiness: Callable[[], Readiness], batching_of: BatchingOf | None = None) -> None:
        self._readiness = readiness
        self._batching_of = batching_of or _no_model

    def begin(self, request: HttpRequest) -> HttpResponse:
        return self.answer(request) or html_error(404)

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to one of our URLs; None for any other."""
        path, _, query = request.target.partition("?")
        batching = _BATCHING.fullmatch(path)
        if batching is None and path not in ("/healthz", "/readyz"):
            return None
        if request.method not in ("GET", "HEAD"):
            return html_error(405)
        if batching is not None:
            return self._batching(unquote(batching["name"]), query)
        if path == "/healthz":
            return HttpResponse(200, b"ok\n", content_type="text/plain")
        found = self._readiness()
        body = {"ready": found.ready, "reason": found.reason, "models": dict(found.models)}
        return HttpResponse(200 if found.ready else 503, _json(body))

    def _batching(self, name: str, query: str) -> HttpResponse:
        try:
            return HttpResponse(200, _json(self._batching_of(name, _version(query))))
        except ServingError as error:
            return self._failure(error)

    def deadline(self, request: HttpRequest) -> None:
        """None: there are no bodies to wait for."""
        del request

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response to a request whose body was not taken in."""
        return self.error(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response that reports a failure."""
        del request
        return self._failure(error)

    @staticmethod
    def _failure(error: ServingError) -> HttpResponse:
        return HttpResponse(HTTP_STATUS[error.code], error_body(rest_message(error.message)))


def _version(query: str) -> int | None:
    """The version that a query asks for; None when it is empty.

    Raises:
        InvalidArgumentError: It asks for something else.
    """
    if not query:
        return None
    name, _, digits = query.partition("=")
    if name != "version" or not re.fullmatch("[0-9]{1,19}", digits, re.ASCII) or int(digits) > INT64_MAX:
        raise InvalidArgumentError(f"expected ?version=N with a number; got ?{query[:100]}")
    return int(digits)


def _json(body: Mapping[str, object]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _no_model(name: str, version: int | None) -> Mapping[str, object]:
    raise NotFoundError(f"Servable not found for request: {name} {version or ''}".rstrip())

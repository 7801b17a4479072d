"""pyserve's own URLs, pure: is the process alive, is it ready, and if not, why.

They are served on the admin port from the first second, and on the REST port beside TensorFlow Serving's API.

    /healthz    200 as long as the process answers at all
    /readyz     200 when requests are welcome, else 503; a JSON object with the reason in both cases
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import orjson

from pyserve.codec.json_writer import error_body
from pyserve.errors import Status
from pyserve.transport.http import HttpRequest, HttpResponse, html_error
from pyserve.transport.status import HTTP_STATUS, rest_message


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
    """

    def __init__(self, readiness: Callable[[], Readiness]) -> None:
        self._readiness = readiness

    def begin(self, request: HttpRequest) -> HttpResponse:
        return self.answer(request) or html_error(404)

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to one of our URLs; None for any other."""
        path = request.target.partition("?")[0]
        if path not in ("/healthz", "/readyz"):
            return None
        if request.method not in ("GET", "HEAD"):
            return html_error(405)
        if path == "/healthz":
            return HttpResponse(200, b"ok\n", content_type="text/plain")
        found = self._readiness()
        body = {"ready": found.ready, "reason": found.reason, "models": dict(found.models)}
        text = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return HttpResponse(200 if found.ready else 503, text)

    def refuse(self, request: HttpRequest, status: Status) -> HttpResponse:
        """The response to a request whose body was not taken in."""
        del request
        return self.error(status)

    def error(self, status: Status) -> HttpResponse:
        """The response that reports a failure."""
        return HttpResponse(HTTP_STATUS[status.code], error_body(rest_message(status.message)))

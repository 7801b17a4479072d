"""The metrics page under its URL, in front of an HTTP API.

TensorFlow Serving takes the path before any other routing, exactly as configured, with any method that it lets in.
"""

from __future__ import annotations

from collections.abc import Callable

from pyserve.errors import ServingError
from pyserve.inference.call import Call, Work
from pyserve.transport.http import METHODS, HttpApi, HttpRequest, HttpResponse

_TEXT = "text/plain"


class WithMetricsPage:
    """An HTTP API with the page in front of it.

    Args:
        api: Answers everything else.
        path: Of the page.
        page: Makes its text; takes time, so it is called on another thread than the event loop's.
    """

    def __init__(self, api: HttpApi, path: str, page: Callable[[], str]) -> None:
        self._api = api
        self._path = path
        self._page = page

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse] | Work[HttpResponse]:
        path, mark, _ = request.target.partition("?")
        if path != self._path or request.method not in METHODS:
            return self._api.begin(request)
        if mark:
            text = f"Unexpected path: {request.target}. Should be {self._path}"
            return HttpResponse(400, text.encode("utf-8", "replace"), content_type=_TEXT)
        return Work(lambda: HttpResponse(200, self._page().encode("utf-8", "replace"), content_type=_TEXT))

    def deadline(self, request: HttpRequest) -> float | None:
        return self._api.deadline(request)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return self._api.refuse(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return self._api.error(request, error)

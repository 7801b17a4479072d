"""HTTP requests and responses as values: what the pure APIs take and give, whichever server carries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from pyserve.errors import ServingError
from pyserve.inference.call import Call, Work

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""What TensorFlow Serving lets in; other verbs are turned away before any routing."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it arrived.

    Attributes:
        method: The verb, as sent.
        target: Path and query, as sent: not decoded, not normalised.
        headers: Looked up in any case (the mapping must do that).
        body: Without transfer coding; content coding still on.
        deadline: What `HttpApi.deadline` said when the request began to arrive.
        local_address: Asked for the address, (host, port, …), that the caller connected to; None where there is none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    deadline: float | None = None
    local_address: Callable[[], tuple[object, ...] | None] = lambda: None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response to send. `close` asks for the connection to be closed after it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())
    close: bool = False


class HttpApi(Protocol):
    """What an HTTP server serves: pure functions of the request."""

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse] | Work[HttpResponse]:
        """The response, or what to run for it; raises ServingError."""
        ...

    def deadline(self, request: HttpRequest) -> float | None:
        """When a request, of which only the head is there, has to be answered, its body's arrival included.

        A point on `time.monotonic()`; None: the arrival of the body is not limited as a whole.

        Raises:
            ServingError: It is refused without its body.
        """
        ...

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response to a request whose body was not taken in, and which therefore never begins."""
        ...

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response that reports a failure of a request that began."""
        ...


def html_error(status: int) -> HttpResponse:
    """The small page for requests that never reach the API: unknown paths and unparsable requests."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    page = f"<html><head><title>{status} {phrase}</title></head><body><h1>{phrase}</h1></body></html>\n"
    return HttpResponse(status, page.encode(), content_type="text/html", close=True)

"""The one table from canonical codes to what each protocol says, and the limits on error texts."""

from __future__ import annotations

from pyserve.codec.inflate import InflatedTooLargeError, UnsupportedCodingError
from pyserve.errors import Code, InvalidArgumentError, QueueFullError, ResourceExhaustedError, ServingError

HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class BodyTooLargeError(ResourceExhaustedError):
    """A REST body beyond the limit: HTTP's own 413, for RESOURCE_EXHAUSTED's 429 asks the caller to try again."""

    @classmethod
    def of(cls, limit: int) -> BodyTooLargeError:
        return cls(f"The request's body is larger than {limit} bytes (--rest_api_max_body_bytes)")


class MethodNotAllowedError(InvalidArgumentError):
    """A URL that is asked with a verb that it does not have: HTTP's own 405."""


EAS_STATUS: dict[Code, int] = {
    **HTTP_STATUS,
    Code.DEADLINE_EXCEEDED: 408,
    # Clients of EAS send a request that got 500 again, up to five times: what fails again is told otherwise.
    Code.ABORTED: 500,
    Code.ALREADY_EXISTS: 400,
}
_EAS_STATUS_OF: tuple[tuple[type[ServingError], int], ...] = (
    (QueueFullError, 450),
    (MethodNotAllowedError, 405),
    (BodyTooLargeError, 413),
    (InflatedTooLargeError, 413),
    (UnsupportedCodingError, 415),
)


def eas_status(error: ServingError) -> int:
    """The HTTP status by which a client of EAS's TensorFlow processor hears of a failure."""
    special = next((status for kind, status in _EAS_STATUS_OF if isinstance(error, kind)), None)
    return EAS_STATUS[error.code] if special is None else special


# TensorFlow Serving cuts a gRPC status message here, so that it fits into a header block.
GRPC_MESSAGE_LIMIT = 1024
GRPC_MESSAGE_CUT = "...TRUNCATED"

# REST bodies carry longer texts, but a request must not be able to choose how long.
REST_MESSAGE_LIMIT = 8192


def grpc_message(message: str) -> str:
    """A status message as it goes on the wire: cut to 1,024 bytes of UTF-8, with a mark where it was cut."""
    data = message.encode("utf-8", "replace")
    if len(data) <= GRPC_MESSAGE_LIMIT:
        return message
    return data[:GRPC_MESSAGE_LIMIT].decode("utf-8", "ignore") + GRPC_MESSAGE_CUT


def rest_message(message: str) -> str:
    """A message for a REST error body: bounded, which TensorFlow Serving's is not, and valid Unicode."""
    message = message.encode("utf-8", "replace").decode()
    if len(message) <= REST_MESSAGE_LIMIT:
        return message
    return message[:REST_MESSAGE_LIMIT] + GRPC_MESSAGE_CUT

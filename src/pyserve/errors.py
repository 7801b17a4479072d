"""Every error that pyserve reports, one class per canonical code.

    ServingError                       code          who must act
    ├── CancelledError                 CANCELLED             nobody: the caller went away
    ├── UnknownError                   UNKNOWN               the operator: several causes, listed in the text
    ├── InvalidArgumentError           INVALID_ARGUMENT      the caller: the request is wrong
    ├── DeadlineExceededError          DEADLINE_EXCEEDED     the caller or the operator: too slow
    ├── NotFoundError                  NOT_FOUND             the caller: no such model, version, file
    ├── AlreadyExistsError             ALREADY_EXISTS        the caller
    ├── PermissionDeniedError          PERMISSION_DENIED     the operator: access rights
    ├── ResourceExhaustedError         RESOURCE_EXHAUSTED    the caller: retry later, or send less
    ├── FailedPreconditionError        FAILED_PRECONDITION   the caller: not in this state
    ├── AbortedError                   ABORTED               the caller: retry
    ├── OutOfRangeError                OUT_OF_RANGE          the caller
    ├── UnimplementedError             UNIMPLEMENTED         nobody: pyserve does not do this
    ├── InternalError                  INTERNAL              us: a bug, or a broken model
    ├── UnavailableError               UNAVAILABLE           the caller: retry with backoff
    │   └── QueueFullError
    ├── DataLossError                  DATA_LOSS             the operator: a file is damaged
    └── UnauthenticatedError           UNAUTHENTICATED       the caller: credentials

Transports map codes to their own numbers in `transport/status.py`, nowhere else. Foreign exceptions
(TensorFlow's, the operating system's) become one of these where they enter.
"""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass
from typing import ClassVar

# What TensorFlow itself says when a run exceeds its limit; clients match on it.
TIMED_OUT = "Timed out waiting for notification"
SHUTTING_DOWN = "The server is shutting down"


class Code(enum.IntEnum):
    """Canonical status codes, with the numbers that gRPC and TensorFlow share."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """Base of all errors that reach a caller: a canonical code and a message that says what to change."""

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class CancelledError(ServingError):
    code = Code.CANCELLED


class UnknownError(ServingError):
    code = Code.UNKNOWN


class InvalidArgumentError(ServingError):
    code = Code.INVALID_ARGUMENT


class DeadlineExceededError(ServingError):
    code = Code.DEADLINE_EXCEEDED


class NotFoundError(ServingError):
    code = Code.NOT_FOUND


class AlreadyExistsError(ServingError):
    code = Code.ALREADY_EXISTS


class PermissionDeniedError(ServingError):
    code = Code.PERMISSION_DENIED


class ResourceExhaustedError(ServingError):
    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServingError):
    code = Code.FAILED_PRECONDITION


class AbortedError(ServingError):
    code = Code.ABORTED


class OutOfRangeError(ServingError):
    code = Code.OUT_OF_RANGE


class UnimplementedError(ServingError):
    code = Code.UNIMPLEMENTED


class InternalError(ServingError):
    code = Code.INTERNAL


class UnavailableError(ServingError):
    code = Code.UNAVAILABLE


class QueueFullError(UnavailableError):
    """As many requests wait already as may."""


class DataLossError(ServingError):
    code = Code.DATA_LOSS


class UnauthenticatedError(ServingError):
    code = Code.UNAUTHENTICATED


_BY_CODE: dict[Code, type[ServingError]] = {cls.code: cls for cls in ServingError.__subclasses__()}


def error_for(code: int, message: str) -> ServingError:
    """The error of a canonical code; a number that is no failure code becomes UNKNOWN."""
    try:
        return _BY_CODE[Code(code)](message)
    except (KeyError, ValueError):
        return UnknownError(message)


def as_serving_error(error: Exception) -> ServingError:
    """An exception as a caller may see it: one that is not ours is INTERNAL, and says what it was."""
    return error if isinstance(error, ServingError) else InternalError(f"{type(error).__name__}: {error}")


def file_error(error: OSError) -> ServingError:
    """What the operating system said about a file, with the code and the form of text that TensorFlow uses.

    Source: TensorFlow, tsl/platform/errors.cc.
    """
    kinds: dict[type[OSError], type[ServingError]] = {
        FileNotFoundError: NotFoundError,
        FileExistsError: AlreadyExistsError,
        PermissionError: PermissionDeniedError,
        IsADirectoryError: FailedPreconditionError,
        NotADirectoryError: FailedPreconditionError,
    }
    kind = InvalidArgumentError if error.errno == errno.ENAMETOOLONG else UnknownError
    return kinds.get(type(error), kind)(f"{error.filename}; {error.strerror}")


@dataclass(frozen=True, slots=True)
class Status:
    """A code and a message as a value: what the monitor keeps and the status API answers."""

    code: Code = Code.OK
    message: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Status:
        """The status that describes an exception; one that is not ours counts as INTERNAL."""
        if isinstance(error, ServingError):
            return cls(error.code, error.message)
        return cls(Code.INTERNAL, f"{type(error).__name__}: {error}")

    @property
    def ok(self) -> bool:
        return self.code is Code.OK

    def __str__(self) -> str:
        return "OK" if self.ok else f"{self.code.name}: {self.message}"


OK = Status()

"""A file by HTTP(S), onto the disk: bounded, whole or not at all, and the log says how far it is."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pyserve.errors import (
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServingError,
    UnavailableError,
    file_error,
)

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_SILENCE_S = 60.0
_WORD_EVERY_S = 5.0
_MIB = 2**20


def download(url: str, to: Path, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
    """Write what a URL answers to a file.

    Redirects are followed to http and https alone. Nothing of the URL's query is logged: it may hold a signature.

    Args:
        to: A new file; what is there after a failure is not whole.
        max_bytes: More is refused.

    Raises:
        NotFoundError, PermissionDeniedError, UnavailableError: What the other side says, or that it says nothing, or
            less than it announced.
        ResourceExhaustedError: It is larger than allowed.
    """
    name = shown(url)
    started = said = clock()
    try:
        with _opener().open(url, timeout=_SILENCE_S) as answer, to.open("xb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            if length > max_bytes:
                raise _too_large(name, max_bytes)
            logger.info("Downloading %s%s", name, f", {length / _MIB:.1f} MiB" if length else "")
            done = 0
            while chunk := answer.read(_CHUNK_BYTES):
                done += len(chunk)
                if done > max_bytes:
                    raise _too_large(name, max_bytes)
                file.write(chunk)
                if clock() - said >= _WORD_EVERY_S:
                    said = clock()
                    of = f" of {length / _MIB:.1f}" if length else ""
                    logger.info("Downloading %s: %.1f%s MiB", name, done / _MIB, of)
            if done < length:
                raise UnavailableError(f"{name}: {done} of {length} bytes came")
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(name, error.code, error.reason) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(f"{name} cannot be downloaded: {reason}") from error
    except ValueError as error:
        raise UnavailableError(f"{name} cannot be downloaded: {error}") from error
    except OSError as error:
        raise file_error(error) from error
    logger.info("Downloaded %s: %.1f MiB in %.1f s", name, done / _MIB, clock() - started)


def shown(url: str) -> str:
    """A URL as people should see it: without its query and credentials, its file name unescaped."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _too_large(name: str, limit: int) -> ServingError:
    return ResourceExhaustedError(f"{name} is larger than {limit} bytes")


def _refused(name: str, status: int, reason: str) -> ServingError:
    kinds: dict[int, type[ServingError]] = {
        401: PermissionDeniedError, 403: PermissionDeniedError, 404: NotFoundError, 410: NotFoundError
    }  # fmt: skip
    return kinds.get(status, UnavailableError)(f"{name} cannot be downloaded: {status} {reason}")

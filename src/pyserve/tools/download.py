"""A file by HTTP(S), onto the disk: bounded, whole or not at all, and the log says how far it is."""

from __future__ import annotations

import base64
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pyserve.errors import (
    InvalidArgumentError,
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
# What stays as it is in a URL: all that has a meaning there, and what is escaped already.
_IN_URLS = "%/:=&?~#+!$,;'@()*[]"


def download(url: str, to: Path, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
    """Write what a URL answers to a file.

    Redirects are followed to http and https alone. A name and password in the URL are sent to its own host alone.
    Nothing of them, of the URL's query or of where it redirects to is logged or told: that may be a signature.

    Args:
        to: A new file; what is there after a failure is not whole.
        max_bytes: More is refused.

    Raises:
        InvalidArgumentError: The URL is none.
        NotFoundError, PermissionDeniedError, UnavailableError: What the other side says, or that it says nothing, or
            less than it announced.
        ResourceExhaustedError: It is larger than allowed.
    """
    name = shown(url)
    started = said = clock()
    try:
        with _opener().open(_request(url), timeout=_SILENCE_S) as answer, to.open("xb") as file:
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
            raise _refused(name, error.code) from None
    except (ValueError, http.client.InvalidURL):  # their texts may hold the URL
        raise UnavailableError(
            f"{name} cannot be downloaded: a URL on the way, or the answer's length, is not valid"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(f"{name} cannot be downloaded: {reason}") from error
    except OSError as error:
        raise file_error(error) from error
    logger.info("Downloaded %s: %.1f MiB in %.1f s", name, done / _MIB, clock() - started)


def shown(url: str) -> str:
    """A URL as people should see it: without its query and credentials, its file name unescaped.

    Raises:
        InvalidArgumentError: It is none.
    """
    parts = url_parts(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"


def url_parts(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        InvalidArgumentError: It is none; it is not shown.
    """
    try:
        return urlsplit(url)
    except ValueError:
        raise InvalidArgumentError(f"a URL that begins with {url.partition(':')[0]}: is not valid") from None


def _request(url: str) -> urllib.request.Request:
    """For a URL that may hold credentials, and characters that should have been escaped."""
    parts = url_parts(url)
    credentials, _, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(quote(parts._replace(netloc=place).geturl(), safe=_IN_URLS))
    if credentials:
        encoded = base64.b64encode(unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return request


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


def _refused(name: str, status: int) -> ServingError:
    kinds: dict[int, type[ServingError]] = {
        401: PermissionDeniedError, 403: PermissionDeniedError, 404: NotFoundError, 410: NotFoundError
    }  # fmt: skip
    reason = http.client.responses.get(status, "")
    if 300 <= status < 400:
        reason += ", to where is neither http nor https, or in a circle"
    return kinds.get(status, UnavailableError)(f"{name} cannot be downloaded: {status} {reason}")

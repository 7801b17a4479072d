"""Bringing one version into memory: what a loader is, one attempt, and the rule for further ones.

The manager makes a loader per version through an injected factory and runs attempts on threads of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from pyserve.config import LoadOptions
from pyserve.servable import Servable, ServableId

_log = logging.getLogger(__name__)


class Loader(Protocol):
    """Knows how to load one version. Making one does no work and touches no file."""

    def load(self) -> Servable:
        """Load the version, blocking the calling thread; may be called again after a failure.

        Raises:
            ServingError: With the code and text to show; any other exception is shown as INTERNAL.
        """
        ...


MakeLoader = Callable[[ServableId, str], Loader]
"""(id, path) → loader. Raising means that the version cannot be loaded at all: no attempt, no retry."""

Prepare = Callable[[ServableId, str, Servable], None]
"""(id, path, servable) → None: what has to happen before requests may come, above all the warm-up."""


def retry_delay_s(attempts: int, options: LoadOptions) -> float | None:
    """Seconds until the next load attempt, or None when there is none left.

    Args:
        attempts: Attempts that have failed so far, >= 1.
        options: 1 + `max_num_load_retries` attempts are made; the pause between two is
            `load_retry_interval_micros`, none when negative.

    Source: TensorFlow Serving, util/retrier.cc. The pause here blocks no thread and ends when the version
    is no longer wanted.
    """
    if attempts > options.max_num_load_retries:
        return None
    return max(options.load_retry_interval_micros, 0) / 1e6


def attempt_load(
    loader: Loader, prepare: Callable[[Servable], None], cancelled: Callable[[], bool]
) -> Servable:
    """One counted attempt: load, then prepare. A servable whose preparation fails is unloaded.

    Blocks; runs on a loading thread. A version that was cancelled during the load is not prepared any more.

    Raises:
        BaseException: Whatever the loader or the preparation raised.
    """
    servable = loader.load()
    if cancelled():
        return servable
    try:
        prepare(servable)
    except BaseException:
        unload_quietly(servable)
        raise
    return servable


def unload_quietly(servable: Servable) -> None:
    """Unload something that nobody has heard of yet, or any more; an error can only be logged."""
    try:
        servable.unload()
    except Exception:
        _log.exception("A servable that is not in use cannot be unloaded")

"""Fixtures of the life cycle's tests: managers that are always stopped, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lifecycle_fakes import LIMIT_S, Stage


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + LIMIT_S
    for thread in set(threading.enumerate()) - before:
        thread.join(max(deadline - time.monotonic(), 0))
        assert not thread.is_alive(), f"left behind: {thread}"


@pytest.fixture
def stage_of() -> Iterator[Callable[..., Stage]]:
    """Makes started stages, stopped at the end with all gates open."""
    stages: list[Stage] = []

    def make(*args: object, **kwargs: object) -> Stage:
        stage = Stage(*args, **kwargs)  # type: ignore[arg-type]
        stages.append(stage)
        stage.manager.start()
        return stage

    yield make
    for stage in stages:
        for gates in (stage.world.load_gates, stage.world.unload_gates):
            for gate in gates.values():
                gate.set()
        assert stage.manager.stop(LIMIT_S)
        for servable in stage.world.servables:
            assert servable.unloads == 1, f"{servable.id} was unloaded {servable.unloads} times"


@pytest.fixture
def stage(stage_of: Callable[..., Stage]) -> Stage:
    return stage_of()

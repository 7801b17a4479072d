"""A task is answered once, ends once, and never takes its thread along."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.servable import ServableHandle, ServableId, Signature


class Echo:
    """A servable that answers its inputs, or does what it is told."""

    signatures: Mapping[str, Signature] = {}
    signature_def_map = b""
    stateless: frozenset[str] = frozenset()

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.act = act
        self.runs = 0
        self.timeouts: list[float | None] = []

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        self.runs += 1
        self.timeouts.append(timeout_s)
        self.act()
        return {alias: inputs[alias] for alias in outputs}

    def unload(self) -> None: ...


class Held:
    """Makes tasks and counts what becomes of them."""

    def __init__(self, servable: Echo) -> None:
        self.servable = servable
        self.releases = 0
        self.answers: list[Task] = []
        self.answered = threading.Semaphore(0)

    def task(self, deadline: float | None = None) -> Task:
        handle = ServableHandle(ServableId("m", 1), self.servable, self._release)
        task = Task(handle, "s", {"x": np.ones(1)}, ["x"], deadline)
        task.on_answer = self._on_answer
        return task

    def _release(self) -> None:
        self.releases += 1

    def _on_answer(self, task: Task) -> None:
        self.answers.append(task)
        self.answered.release()


def test_a_run_answers_and_releases() -> None:
    """After a run the outputs are there and the handle is back."""
    held = Held(Echo())
    task = held.task()
    task.run()
    assert task.result is not None
    assert task.result["x"].tolist() == [1.0]
    assert (held.answers, held.releases, task.error) == ([task], 1, None)


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (InvalidArgumentError("bad"), "INVALID_ARGUMENT: bad"),
        (ZeroDivisionError("oops"), "INTERNAL: ZeroDivisionError: oops"),
    ],
)
def test_a_failing_model_is_an_answer(raised: Exception, text: str) -> None:
    """Whatever the model raises becomes the caller's error, and the handle is back."""

    def fail() -> None:
        raise raised

    held = Held(Echo(fail))
    task = held.task()
    task.run()
    assert (str(task.error), task.result, held.releases) == (text, None, 1)


def test_a_late_task_does_not_run() -> None:
    """A task whose deadline has passed is answered without running."""
    held = Held(Echo())
    task = held.task(deadline=time.monotonic() - 1)
    task.run()
    assert str(task.error) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    assert (held.servable.runs, held.releases) == (0, 1)


def test_the_time_left_reaches_the_servable() -> None:
    """The servable is told how long it may take."""
    held = Held(Echo())
    held.task(deadline=time.monotonic() + 100).run()
    held.task().run()
    timed, unlimited = held.servable.timeouts
    assert timed is not None
    assert 90 < timed <= 100
    assert unlimited is None


def test_an_answered_task_does_not_run_but_ends() -> None:
    """A caller that gave up early costs no run, and the handle comes back when the queue gets there."""
    held = Held(Echo())
    task = held.task()
    assert task.expire()
    assert held.releases == 0
    task.run()
    assert (held.servable.runs, held.releases, len(held.answers)) == (0, 1, 1)


def test_expiring_during_a_run_keeps_the_handle_until_the_model_returns() -> None:
    """The caller is answered at once; the version stays held while the model works."""
    held = Held(Echo())
    task = held.task()
    seen: list[Any] = []

    def act() -> None:
        assert task.expire()
        seen.append((held.releases, str(task.error)))

    held.servable.act = act
    task.run()
    assert seen == [(0, "DEADLINE_EXCEEDED: Timed out waiting for notification")]
    assert (held.releases, len(held.answers), task.result) == (1, 1, None)


def test_an_error_holds_nothing() -> None:
    """A failed task's arrays are gone with it, without the cyclic collector."""

    def fail() -> None:
        raise InvalidArgumentError("bad")

    held = Held(Echo(fail))
    task = held.task()
    array = weakref.ref(task.inputs["x"])
    gc.disable()
    try:
        task.run()
        assert str(task.error) == "INVALID_ARGUMENT: bad"
        assert array() is None
    finally:
        gc.enable()

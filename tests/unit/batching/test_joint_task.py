"""A joint task is one run where the servable can do that, and runs one after another elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.batching import joint_task
from pyserve.batching.joint_task import JointTask, run_apart
from pyserve.dtypes import Array
from pyserve.errors import DeadlineExceededError, InvalidArgumentError
from pyserve.servable import OutputOf, ServableHandle, ServableId, Signature, TensorSpec

EXAMPLES = np.array([b"a", b"b"], object)
WANTED = {
    "first": OutputOf("one", "x"),
    "second": OutputOf("two", "x"),
    "third": OutputOf("one", "y"),
    "again": OutputOf("one", "x"),
}


def a_signature(key: str, alias: str) -> Signature:
    return Signature(key, "", {alias: TensorSpec(alias, dtypes.STRING, (None,))}, {})


class Apart:
    """A servable with two signatures that notes its runs; each output is a number of its own."""

    signature_def_map = b""
    stateless: frozenset[str] = frozenset()
    signatures: Mapping[str, Signature] = MappingProxyType(
        {"one": a_signature("one", "inputs"), "two": a_signature("two", "other")}
    )

    def __init__(self, act: Callable[[], None] = lambda: None, fails: str = "") -> None:
        self.runs: list[tuple[str, tuple[str, ...]]] = []
        self.timeouts: list[float | None] = []
        self._act = act
        self._fails = fails

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        self.runs.append((signature_key, tuple(outputs)))
        self.timeouts.append(timeout_s)
        self._act()
        if signature_key == self._fails:
            raise InvalidArgumentError("bad")
        ((alias, array),) = inputs.items()
        assert alias in self.signatures[signature_key].inputs
        assert array is EXAMPLES
        return {alias: np.array([f"{signature_key}.{alias}"], object) for alias in outputs}

    def unload(self) -> None: ...


class Joint(Apart):
    """The same, and it can run them as one."""

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        assert array is EXAMPLES
        self.timeouts.append(timeout_s)
        self.runs.append(("jointly", tuple(outputs)))
        return {name: np.array([name], object) for name in outputs}


class Clock:
    """A clock that moves when it is told to."""

    now = 100.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(joint_task, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def run(servable: Apart) -> tuple[JointTask, list[int]]:
    """A task run to its end, and the releases of its handle."""
    releases: list[int] = []
    handle = ServableHandle(ServableId("m", 1), servable, lambda: releases.append(1))
    task = JointTask(handle, WANTED, EXAMPLES)
    task.run()
    return task, releases


def results(task: JointTask) -> dict[str, str]:
    assert task.result is not None
    return {name: array.item() for name, array in task.result.items()}


def test_jointly() -> None:
    """A servable that can is asked once, for everything."""
    servable = Joint()
    task, releases = run(servable)
    assert results(task) == {name: name for name in WANTED}
    assert servable.runs == [("jointly", tuple(WANTED))]
    assert (servable.timeouts, releases) == ([None], [1])
    assert task.inputs == {}


def test_apart() -> None:
    """Any other runs each signature once, for all that is wanted of it."""
    servable = Apart()
    task, releases = run(servable)
    assert results(task) == {"first": "one.x", "second": "two.x", "third": "one.y", "again": "one.x"}
    assert servable.runs == [("one", ("x", "y")), ("two", ("x",))]
    assert (servable.timeouts, releases) == ([None, None], [1])


def test_one_deadline_for_all(clock: Clock) -> None:
    """Each run gets what the ones before it left."""
    servable = Apart(lambda: clock.advance(4.0))
    run_apart(servable, WANTED, EXAMPLES, 10.0)
    assert servable.timeouts == [10.0, 6.0]


def test_the_deadline_ends_the_series(clock: Clock) -> None:
    """When the time is over between two runs, the second does not begin."""
    servable = Apart(lambda: clock.advance(10.0))
    with pytest.raises(DeadlineExceededError, match="Timed out waiting for notification"):
        run_apart(servable, WANTED, EXAMPLES, 10.0)
    assert len(servable.runs) == 1


def test_a_failure_is_that_of_the_task() -> None:
    """One signature that fails fails the request."""
    task, releases = run(Apart(fails="two"))
    assert (task.result, releases) == (None, [1])
    assert task.error is not None
    assert task.error.message == "bad"

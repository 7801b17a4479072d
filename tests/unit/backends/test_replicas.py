"""Which replica takes the next run, and that all of them are unloaded."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.saved_model.replicas import ReplicatedServable, least_loaded
from pyserve.dtypes import Array
from pyserve.errors import InternalError
from pyserve.servable import OutputOf, Signature, TensorSpec, on_each_replica


@pytest.mark.parametrize(
    ("running", "last", "chosen"),
    [
        ([0], -1, 0),
        ([5], 0, 0),
        ([0, 0, 0], -1, 0),
        ([0, 0, 0], 0, 1),
        ([0, 0, 0], 2, 0),
        ([2, 1, 3], 0, 1),
        ([2, 1, 3], 1, 1),
        ([1, 2, 1], 0, 2),
        ([1, 2, 1], 1, 2),
        ([1, 2, 1], 2, 0),
    ],
)
def test_choice(running: list[int], last: int, chosen: int) -> None:
    """The one with the fewest runs; among equals they take turns."""
    assert least_loaded(running, last) == chosen


X, Y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))


class Replica:
    """Notes what is run; `during` is called inside each run."""

    signatures: Mapping[str, Signature] = {"s": Signature("s", "", {"x": X}, {"y": Y})}
    signature_def_map = b"map"
    stateless = frozenset({"s"})

    def __init__(self) -> None:
        self.runs = 0
        self.fails = False
        self.unloaded = False
        self.during = lambda: None

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        self.runs += 1
        self.during()
        if self.fails:
            raise InternalError("broken")
        return {"y": inputs["x"]}

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        return self.run("s", {"x": array}, ["y"])

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        return self.run("s", feeds, fetches)

    def unload(self) -> None:
        self.unloaded = True
        if self.fails:
            raise InternalError("broken")


INPUTS = {"x": np.ones(1, np.float32)}


def three() -> tuple[list[Replica], ReplicatedServable]:
    replicas = [Replica() for _ in range(3)]
    return replicas, ReplicatedServable(replicas)  # type: ignore[arg-type]


def test_runs_of_every_kind_take_turns() -> None:
    """Without anything else under way each next run goes to the next replica, whatever its kind."""
    replicas, servable = three()
    servable.run("s", INPUTS, ["y"])
    servable.run_jointly({"y": OutputOf("s", "y")}, INPUTS["x"])
    assert [replica.runs for replica in replicas] == [1, 1, 0]
    servable.run_tensors(INPUTS, ["y"], [])
    assert [replica.runs for replica in replicas] == [1, 1, 1]


def test_runs_go_where_the_least_is_under_way() -> None:
    """Runs that come while others are under way go to idle replicas; a run that has ended, or failed, is gone."""
    replicas, servable = three()
    inner: list[list[int]] = []

    def two_more() -> None:
        replicas[0].during = lambda: None
        for _ in range(4):
            servable.run("s", INPUTS, ["y"])
        inner.append([replica.runs for replica in replicas])

    replicas[0].during = two_more
    servable.run("s", INPUTS, ["y"])
    assert inner == [[1, 2, 2]]
    replicas[1].fails = replicas[2].fails = True
    for _ in range(6):
        with suppress(InternalError):
            servable.run("s", INPUTS, ["y"])
    assert [replica.runs for replica in replicas] == [3, 4, 4]


def test_many_threads() -> None:
    """Eight runs under way on four replicas are two on each, round after round, whether they fail or not."""
    rounds, all_under_way = 100, threading.Barrier(8, timeout=60)

    class Crowded(Replica):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()
            self.inside = self.most = 0
            self.during = self.meet

        def meet(self) -> None:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                all_under_way.wait()
            finally:
                with self.lock:
                    self.inside -= 1

    replicas = [Crowded() for _ in range(4)]
    replicas[3].fails = True
    servable = ReplicatedServable(replicas)  # type: ignore[arg-type]

    def work() -> None:
        for _ in range(rounds):
            with suppress(InternalError):
                servable.run("s", INPUTS, ["y"])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert [replica.most for replica in replicas] == [2] * 4


def test_on_each_replica() -> None:
    """Two runs on each are two on each, not two turns. An error ends it, and the thread is free again."""
    replicas, servable = three()

    def two_runs() -> None:
        servable.run("s", INPUTS, ["y"])
        servable.run("s", INPUTS, ["y"])

    seen: list[list[int]] = []
    on_each_replica(servable, lambda: (two_runs(), seen.append([replica.runs for replica in replicas]))[1])
    assert seen == [[2, 0, 0], [2, 2, 0], [2, 2, 2]]
    replicas[1].fails = True
    with pytest.raises(InternalError):
        on_each_replica(servable, two_runs)
    assert [replica.runs for replica in replicas] == [4, 3, 2]
    servable.run("s", INPUTS, ["y"])
    assert [replica.runs for replica in replicas] == [5, 3, 2]
    on_each_replica(replicas[2], lambda: seen.clear())
    assert seen == []


def test_every_replica_is_unloaded() -> None:
    """One that cannot be unloaded does not keep the others."""
    replicas, servable = three()
    replicas[2].fails = True
    with pytest.raises(InternalError):
        servable.unload()
    assert all(replica.unloaded for replica in replicas)

"""Servables and tasks for tests of batching: no threads, no TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pyserve import dtypes
from pyserve.backends.function import predict_signature
from pyserve.batching.parameters import StaticPolicy
from pyserve.batching.policy import BatchRun, QueueRules
from pyserve.batching.task import Task
from pyserve.config import BatchingParameters
from pyserve.dtypes import Array
from pyserve.servable import OutputOf, ServableHandle, ServableId, Signature, TensorSpec

ID = ServableId("m", 1)


def spec(alias: str, tensor: str = "", shape: tuple[int | None, ...] | None = (None,)) -> TensorSpec:
    return TensorSpec(alias, dtypes.FLOAT, shape, tensor)


class Doubling:
    """Answers twice its only input, under every output; notes what it was run with.

    Args:
        act: Called in each run with the input; what it returns, if anything, is the answer instead.
        stateless: Keys of signatures.
    """

    signature_def_map = b""

    def __init__(
        self, act: Callable[[Array], Array | None] = lambda x: None, *, stateless: Sequence[str] = ("s",)
    ) -> None:
        self.signatures: Mapping[str, Signature] = {
            "s": predict_signature([spec("x")], [spec("y"), spec("z")], "s"),
        }
        self.stateless = frozenset(stateless)
        self.runs: list[Array] = []
        self.timeouts: list[float | None] = []
        self._act = act

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        (x,) = inputs.values()
        self.runs.append(x)
        self.timeouts.append(timeout_s)
        made = self._act(x)
        answer = x + x if made is None else made
        return dict.fromkeys(outputs, answer)

    def unload(self) -> None: ...


class Graph(Doubling):
    """The same with a graph: `s` and `t` feed and fetch the same tensors by other names, `u` fetches another."""

    def __init__(self, act: Callable[[Array], Array | None] = lambda x: None) -> None:
        super().__init__(act, stateless=("s", "t"))
        self.signatures = {
            "s": predict_signature([spec("x", "in:0")], [spec("y", "out:0"), spec("y2", "out:0")], "s"),
            "t": predict_signature([spec("other", "in")], [spec("a", "out:0")], "t"),
            "u": predict_signature([spec("x", "in:0")], [spec("y", "out:1")], "u"),
            "twice": predict_signature(
                [spec("x", "in:0"), spec("x2", "in:0")], [spec("y", "out:0")], "twice"
            ),
        }

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        raise NotImplementedError

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        return self.run("s", {"x": array}, tuple(outputs), timeout_s)


class Requests:
    """Makes tasks of one servable and counts the handles that come back."""

    def __init__(self, servable: Doubling, servable_id: ServableId = ID) -> None:
        self.servable = servable
        self.id = servable_id
        self.made = 0
        self._lock = threading.Lock()
        self.released = 0
        self.answered = threading.Semaphore(0)

    def task(
        self,
        x: Array | Sequence[float],
        *,
        key: str = "s",
        outputs: Sequence[str] = ("y",),
        deadline: float | None = None,
    ) -> Task:
        array = np.asarray(x, None if isinstance(x, np.ndarray) else np.float32)
        (alias, *_) = self.servable.signatures[key].inputs
        task = Task(self.handle(), key, {alias: array}, outputs, deadline)
        task.on_answer = lambda task: self.answered.release()
        return task

    def handle(self) -> ServableHandle:
        self.made += 1
        return ServableHandle(self.id, self.servable, self._release)

    def _release(self) -> None:
        with self._lock:
            self.released += 1


class Noted:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[int, int]] = []
        self.runs: list[BatchRun] = []

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        self.tasks.extend((count, tensors) for count in rows)

    def ran(self, run: BatchRun) -> None:
        self.runs.append(run)


def rules(observer: Noted | None = None, **parameters: object) -> QueueRules:
    """Rules of fixed parameters, by their names."""
    return QueueRules(StaticPolicy(BatchingParameters(**parameters)), observer or Noted())  # type: ignore[arg-type]


def answer_of(task: Task, alias: str = "y") -> list[float] | str:
    """A task's output, or its error."""
    if task.error is not None:
        return str(task.error)
    assert task.result is not None
    answer: list[float] = task.result[alias].tolist()
    return answer

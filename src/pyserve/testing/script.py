"""What happens to a model's runs beside, or instead of, the model: answers, errors, delays, gates.

    run ─► the script's next outcome is taken ─► gate ─► delay ─► an error, an answer, or the model itself

Only runs count: a request that is refused before it reaches a model (an unknown input, say) uses up nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pyserve.backends.function import as_outputs
from pyserve.dtypes import Array
from pyserve.errors import Code, ServingError, error_for
from pyserve.servable import JointlyRunnable, OutputOf, RunsTensors, Servable, Signature
from pyserve.testing.signatures import array_of


class Gate:
    """Holds the runs of a model until it is opened; a context manager that opens at its end. Thread-safe.

    A run that is held has its input and occupies a thread; the caller's deadline passes as it would with a slow model.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the fields below
        self._held = 0
        self._open = False

    @property
    def held(self) -> int:
        """How many runs wait here now."""
        return self._held

    def wait_until_held(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """Block until so many runs wait here.

        Raises:
            TimeoutError: Fewer came within the time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._held >= count, timeout_s):
                raise TimeoutError(f"{self._held} of {count} requests reached the gate within {timeout_s} s")

    def open(self) -> None:
        """Let everyone go who waits, and whoever comes."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def enter(self) -> None:
        """Wait here; for the run itself."""
        with self._changed:
            self._held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open)
            self._held -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()


@dataclass(slots=True)
class _Outcome:
    """An answer or an error, and for how many runs more; None: until further notice."""

    what: Mapping[str, Any] | ServingError
    left: int | None


class Script:
    """The outcomes to come for one model, all of its versions together. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the fields below
        self._outcomes: deque[_Outcome] = deque()
        self._delay_s = 0.0
        self._gates: list[Gate] = []
        self._hurry = threading.Event()  # replaced at each reset; set when nobody is to wait any more

    def reply(self, outputs: Mapping[str, Any], times: int | None = 1) -> None:
        """Answer the next runs with these outputs, after those that were scripted before; None: all of them."""
        self._add(dict(outputs), times)

    def fail(self, error: ServingError, times: int | None = 1) -> None:
        """Fail the next runs, after those that were scripted before; None: all of them."""
        self._add(error, times)

    def _add(self, what: Mapping[str, Any] | ServingError, times: int | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times: expected at least 1, was {times}")
        with self._lock:
            self._outcomes.append(_Outcome(what, times))

    def delay(self, seconds: float) -> None:
        """Let every run from now on take this much longer; 0: no longer."""
        if not seconds >= 0:
            raise ValueError(f"seconds: expected at least 0, was {seconds}")
        with self._lock:
            self._delay_s = seconds

    def hold(self) -> Gate:
        """Hold every run that begins from now on, until the gate that this gives is opened."""
        gate = Gate()
        with self._lock:
            self._gates.append(gate)
        return gate

    def reset(self) -> None:
        """Forget everything: open the gates, end the delays, leave the runs to the model."""
        with self._lock:
            gates, self._gates = self._gates, []
            hurry, self._hurry = self._hurry, threading.Event()
            self._outcomes.clear()
            self._delay_s = 0.0
        hurry.set()
        for gate in gates:
            gate.open()

    def perform(self) -> Mapping[str, Any] | None:
        """One run: wait, then fail, or give the answer; None when the model is to give it.

        Raises:
            ServingError: As scripted.
        """
        with self._lock:
            outcome = self._take()
            gates, delay_s, hurry = list(self._gates), self._delay_s, self._hurry
        for gate in gates:
            gate.enter()
        if delay_s > 0:
            hurry.wait(delay_s)
        if isinstance(outcome, ServingError):
            raise error_for(outcome.code, outcome.message)  # a new one: tracebacks grow on errors
        return outcome

    def _take(self) -> Mapping[str, Any] | ServingError | None:
        if not self._outcomes:
            return None
        outcome = self._outcomes[0]
        if outcome.left is not None:
            outcome.left -= 1
            if outcome.left == 0:
                self._outcomes.popleft()
        return outcome.what


def code_of(code: Any) -> Code:
    """A failure's code by its name, its number, `pyserve.errors.Code` or `grpc.StatusCode`."""
    if isinstance(code, int):
        found = Code(code)
    else:
        name = str(getattr(code, "name", code))
        if name not in Code.__members__:
            raise ValueError(f"code: expected one of {', '.join(Code.__members__)}, was {name}")
        found = Code[name]
    if found is Code.OK:
        raise ValueError("code: OK is no failure")
    return found


class ScriptedServable:
    """A servable whose runs follow a script where there is one."""

    def __init__(self, servable: Servable, script: Script) -> None:
        self._servable = servable
        self._script = script

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._servable.signatures

    @property
    def signature_def_map(self) -> bytes:
        return self._servable.signature_def_map

    @property
    def stateless(self) -> frozenset[str]:
        return self._servable.stateless

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        answer = self._script.perform()
        if answer is not None:
            return as_outputs(answer, self._servable.signatures[signature_key], outputs)
        return self._servable.run(signature_key, inputs, outputs, timeout_s)

    def unload(self) -> None:
        self._servable.unload()


class ScriptedGraph(ScriptedServable):
    """The same for one with a graph. A scripted answer to SessionRun is by the names of the tensors fetched."""

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        answer = self._script.perform()
        if answer is not None:
            return {
                name: as_outputs(answer, self._servable.signatures[key], (alias,))[alias]
                for name, (key, alias) in outputs.items()
            }
        assert isinstance(self._servable, JointlyRunnable)
        return self._servable.run_jointly(outputs, array, timeout_s)

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        answer = self._script.perform()
        if answer is not None:
            return {name: array_of(answer[name]) for name in fetches}
        assert isinstance(self._servable, RunsTensors)
        return self._servable.run_tensors(feeds, fetches, targets, timeout_s)


def scripted(servable: Servable, script: Script) -> Servable:
    """A servable that follows a script."""
    graph = isinstance(servable, JointlyRunnable) and isinstance(servable, RunsTensors)
    return ScriptedGraph(servable, script) if graph else ScriptedServable(servable, script)

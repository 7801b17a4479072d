"""When waiting for models is over: pure rules over states and findings.

Used by the server before it opens its ports, and by a reload that adds models.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pyserve.errors import ServingError, UnknownError
from pyserve.lifecycle.monitor import CANCELLED_LOAD, ServableState, State
from pyserve.lifecycle.versions import Finding

PENDING = frozenset({State.START, State.LOADING})


class Outcome(enum.Enum):
    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a wait stands.

    Attributes:
        outcome: Whether to go on waiting.
        waiting_for: For each model without a result, why: `missing path`, `no versions`, `loading` or `not
            looked at yet`. It can be non-empty when the outcome is READY: those models are not waited for.
        error: Set when the outcome is FAILED.
    """

    outcome: Outcome
    waiting_for: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    error: ServingError | None = None


def has_failed(version: ServableState) -> bool:
    """Whether it ended with an error; one that was taken back before it was ready did not fail."""
    return version.state is State.END and not version.status.ok and version.status != CANCELLED_LOAD


def not_available(failed: Iterable[ServableState], noun: str) -> UnknownError:
    """The error that lists versions that failed, in TensorFlow Serving's words."""
    states = sorted(failed, key=lambda state: state.id)
    listed = "".join(f"{{{state.id} due to error: {state.status}}}, " for state in states)
    return UnknownError(f"{len(states)} {noun} did not become available: {{{listed}}}")


def result_of(versions: Iterable[ServableState]) -> ServableState | None:
    """The result of a model's first load: the highest version that is AVAILABLE or failed; None while open.

    A failure counts only once no version of the model can still become available (TensorFlow Serving fails
    the start as soon as any version failed, whichever happens first). A version that was taken away again
    (END without an error, or cancelled) is no result.
    """
    pending = False
    top: ServableState | None = None
    for version in versions:
        pending |= version.state in PENDING
        decided = has_failed(version) or version.state is State.AVAILABLE
        if decided and (top is None or version.id > top.id):
            top = version
    if top is not None and top.state is State.END and pending:
        return None
    return top


def judge(
    names: Sequence[str],
    states: Mapping[str, Sequence[ServableState]],
    findings: Mapping[str, Finding],
    fail_on_error: bool = True,
    noun: str = "servable(s)",
) -> Verdict:
    """Whether every awaited model has a result.

    A model whose path or versions are missing is awaited only while no model at all has a result: a lone
    missing model is waited for, as TensorFlow Serving does, but it never holds up the others.

    Args:
        names: The models awaited.
        states: The last states of their versions, by model.
        findings: What the source found, by model; a model that it has not looked at yet is absent.
        fail_on_error: Whether a version that failed fails the wait; otherwise it is a result like any other.
        noun: `servable(s)` at start, `model(s)` at a reload.
    """
    results = {name: result for name in names if (result := result_of(states.get(name, ()))) is not None}
    waiting_for: dict[str, str] = {}
    awaited = False
    for name in names:
        if name in results:
            continue
        finding = findings.get(name)
        if finding is Finding.MISSING_PATH or finding is Finding.NO_VERSIONS:
            waiting_for[name] = finding.value
            awaited |= not results
        else:
            waiting_for[name] = "not looked at yet" if finding is None else "loading"
            awaited = True
    if awaited:
        return Verdict(Outcome.WAITING, waiting_for)
    failed = [result for result in results.values() if result.state is State.END]
    if failed and fail_on_error:
        return Verdict(Outcome.FAILED, waiting_for, not_available(failed, noun))
    return Verdict(Outcome.READY, waiting_for)

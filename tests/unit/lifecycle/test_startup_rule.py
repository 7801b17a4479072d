"""When the wait for models is over, and how it failed."""

from __future__ import annotations

import pytest

from pyserve.errors import OK, Code, Status
from pyserve.lifecycle.monitor import CANCELLED_LOAD, ServableState, State
from pyserve.lifecycle.startup import Outcome, judge, result_of
from pyserve.lifecycle.versions import Finding
from pyserve.servable import ServableId

BROKEN = Status(Code.NOT_FOUND, "no saved_model.pb")
MISSING, NONE, FOUND = Finding.MISSING_PATH, Finding.NO_VERSIONS, Finding.OK


def v(version: int, state: State, status: Status = OK, name: str = "m") -> ServableState:
    return ServableState(ServableId(name, version), state, status)


@pytest.mark.parametrize(
    ("versions", "decided_by"),
    [
        ([], None),
        ([v(1, State.START)], None),
        ([v(1, State.LOADING)], None),
        ([v(1, State.AVAILABLE)], 1),
        ([v(1, State.END, BROKEN)], 1),
        ([v(1, State.UNLOADING)], None),
        ([v(1, State.END)], None),
        ([v(1, State.END, CANCELLED_LOAD)], None),
        ([v(1, State.END, CANCELLED_LOAD), v(2, State.AVAILABLE)], 2),
        ([v(2, State.LOADING), v(1, State.AVAILABLE)], 1),
        ([v(2, State.END, BROKEN), v(1, State.AVAILABLE)], 2),
        ([v(2, State.END, BROKEN), v(1, State.LOADING)], None),
        ([v(2, State.START), v(1, State.END, BROKEN)], None),
        ([v(2, State.AVAILABLE), v(1, State.END, BROKEN)], 2),
        ([v(1, State.END, Status(Code.CANCELLED, "init op cancelled"))], 1),
    ],
)
def test_the_result_of_a_model(versions: list[ServableState], decided_by: int | None) -> None:
    """The highest available or failed version is the result, a failure only when nothing is pending."""
    for order in (versions, versions[::-1]):
        result = result_of(order)
        assert (None if result is None else result.id.version) == decided_by


UP, DOWN, BUSY = [State.AVAILABLE], [State.END], [State.LOADING]


@pytest.mark.parametrize(
    ("situation", "outcome", "waiting_for"),
    [
        ({}, Outcome.READY, {}),
        ({"a": (None, None)}, Outcome.WAITING, {"a": "not looked at yet"}),
        ({"a": (FOUND, State.LOADING)}, Outcome.WAITING, {"a": "loading"}),
        ({"a": (FOUND, State.AVAILABLE)}, Outcome.READY, {}),
        ({"a": (MISSING, None)}, Outcome.WAITING, {"a": "missing path"}),
        ({"a": (NONE, None)}, Outcome.WAITING, {"a": "no versions"}),
        (
            {"a": (MISSING, None), "b": (NONE, None)},
            Outcome.WAITING,
            {"a": "missing path", "b": "no versions"},
        ),
        ({"a": (MISSING, None), "b": (FOUND, State.AVAILABLE)}, Outcome.READY, {"a": "missing path"}),
        (
            {"a": (MISSING, None), "b": (FOUND, State.LOADING)},
            Outcome.WAITING,
            {"a": "missing path", "b": "loading"},
        ),
        ({"a": (MISSING, None), "b": (FOUND, State.END)}, Outcome.FAILED, {"a": "missing path"}),
        ({"a": (FOUND, State.LOADING), "b": (FOUND, State.END)}, Outcome.WAITING, {"a": "loading"}),
        ({"a": (FOUND, State.AVAILABLE), "b": (None, None)}, Outcome.WAITING, {"b": "not looked at yet"}),
        ({"a": (MISSING, State.AVAILABLE)}, Outcome.READY, {}),
    ],
)
def test_whom_to_wait_for(
    situation: dict[str, tuple[Finding | None, State | None]], outcome: Outcome, waiting_for: dict[str, str]
) -> None:
    """Models with versions are awaited; missing ones only while no model has a result."""
    states = {
        name: [v(1, state, BROKEN if state is State.END else OK, name)]
        for name, (_, state) in situation.items()
        if state is not None
    }
    findings = {name: finding for name, (finding, _) in situation.items() if finding is not None}
    verdict = judge(list(situation), states, findings)
    assert verdict.outcome is outcome
    assert verdict.waiting_for == waiting_for
    assert (verdict.error is not None) == (outcome is Outcome.FAILED)


def test_the_text_of_a_failure() -> None:
    """The error lists the failed versions by name, as TensorFlow Serving prints them."""
    states = {
        "b": [v(3, State.END, Status(Code.INTERNAL, "boom"), "b")],
        "a": [v(1, State.END, BROKEN, "a")],
        "c": [v(1, State.AVAILABLE, name="c")],
    }
    findings = dict.fromkeys(states, FOUND)
    start = judge(["b", "a", "c"], states, findings)
    assert start.error is not None
    assert start.error.code is Code.UNKNOWN
    assert start.error.message == (
        "2 servable(s) did not become available: "
        "{{{name: a version: 1} due to error: NOT_FOUND: no saved_model.pb}, "
        "{{name: b version: 3} due to error: INTERNAL: boom}, }"
    )
    reload = judge(["a"], states, findings, noun="model(s)")
    assert reload.error is not None
    assert reload.error.message == (
        "1 model(s) did not become available: "
        "{{{name: a version: 1} due to error: NOT_FOUND: no saved_model.pb}, }"
    )


def test_failures_may_be_accepted() -> None:
    """When a failed model does not fail the start it is a result like any other."""
    states = {"a": [v(1, State.END, BROKEN, "a")], "b": [v(1, State.LOADING, name="b")]}
    findings = dict.fromkeys(states, FOUND)
    assert judge(["a", "b"], states, findings, fail_on_error=False).outcome is Outcome.WAITING
    assert judge(["a"], states, findings, fail_on_error=False).outcome is Outcome.READY

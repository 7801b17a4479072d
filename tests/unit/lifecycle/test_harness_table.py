"""The state table of a managed version."""

from __future__ import annotations

import itertools

import pytest

from pyserve.errors import InternalError
from pyserve.lifecycle.harness import FINAL, NEXT, PUBLISHED, Harness, HarnessState
from pyserve.lifecycle.monitor import State
from pyserve.servable import ServableId

LEGAL = {
    ("new", "load-requested"),
    ("load-requested", "load-approved"),
    ("load-requested", "error"),
    ("load-approved", "loading"),
    ("loading", "ready"),
    ("loading", "error"),
    ("loading", "unloading"),
    ("ready", "unload-requested"),
    ("unload-requested", "quiescing"),
    ("quiescing", "quiesced"),
    ("quiesced", "unloading"),
    ("unloading", "disabled"),
}


@pytest.mark.parametrize(
    ("at", "to"), list(itertools.product(HarnessState, HarnessState)), ids=lambda s: s.value
)
def test_exactly_the_legal_steps_are_taken(at: HarnessState, to: HarnessState) -> None:
    """A step of the table changes the state; any other one raises, names both states, and changes nothing."""
    harness = Harness(ServableId("m", 1), "/m/1")
    harness.state = at
    if (at.value, to.value) in LEGAL:
        harness.advance(to)
        assert harness.state is to
    else:
        with pytest.raises(InternalError, match=rf"version {{name: m version: 1}}: {at.value} to {to.value}"):
            harness.advance(to)
        assert harness.state is at


def test_the_tables_are_complete() -> None:
    """Every state has a row, a published form, and only disabled and error are final."""
    assert set(NEXT) == set(PUBLISHED) == set(HarnessState)
    assert {HarnessState.DISABLED, HarnessState.ERROR} == FINAL


def test_published_states_never_go_back() -> None:
    """No step of the table leads to an earlier published state."""
    for at, following in NEXT.items():
        for to in following:
            assert PUBLISHED[at] <= PUBLISHED[to]
    assert PUBLISHED[HarnessState.READY] is State.AVAILABLE
    assert PUBLISHED[HarnessState.UNLOAD_REQUESTED] is State.UNLOADING
    assert PUBLISHED[HarnessState.LOAD_APPROVED] is State.START


def test_the_servable_is_given_away_once() -> None:
    """Of those who want to unload a servable one gets it."""
    harness = Harness(ServableId("m", 1), "/m/1")
    assert harness.take_servable() is None
    servable = object()
    harness.put_servable(servable)  # type: ignore[arg-type]
    assert harness.take_servable() is servable
    assert harness.take_servable() is None

"""The two version policies, compared in every small situation with their rules written down once more."""

from __future__ import annotations

import itertools

import pytest

from pyserve.lifecycle.harness import HarnessState
from pyserve.lifecycle.policy import Action, Verb, VersionView, availability_preserving, resource_preserving

STATES = [
    HarnessState.NEW,
    HarnessState.LOADING,
    HarnessState.READY,
    HarnessState.QUIESCING,
    HarnessState.DISABLED,
    HarnessState.ERROR,
]
KINDS = [(s, a, True) for s in STATES for a in (True, False)] + [(HarnessState.NEW, True, False)]
SITUATIONS = [
    tuple(VersionView(number, *kind) for number, kind in enumerate(kinds, 1))
    for length in range(4)
    for kinds in itertools.product(KINDS, repeat=length)
]


def expected_availability(versions: tuple[VersionView, ...]) -> str | None:
    ready_unwanted = sorted(v.version for v in versions if not v.aspired and v.state.value == "ready")
    wanted = {v.version: v.state.value for v in versions if v.aspired}
    may_unload = wanted == {} or "ready" in wanted.values() or len(ready_unwanted) >= 2
    if ready_unwanted and may_unload:
        return f"unload {ready_unwanted[0]}"
    loadable = [v for v in versions if v.aspired and v.state.value == "new" and v.complete]
    return f"load {max(v.version for v in loadable)}" if loadable else None


def expected_resource(versions: tuple[VersionView, ...]) -> str | None:
    unwanted = [v for v in versions if not v.aspired]
    for v in unwanted:
        if v.state.value == "ready":
            return f"unload {v.version}"
    if not all(v.state.value in ("disabled", "error") for v in unwanted):
        return None
    loadable = [v.version for v in versions if v.aspired and v.state.value == "new" and v.complete]
    return f"load {max(loadable)}" if loadable else None


def text(action: Action | None) -> str | None:
    return None if action is None else f"{action.verb.value} {action.version}"


def test_availability_preserving_in_every_small_situation() -> None:
    """With up to three versions in any state the policy does what its rules say, in any order of them."""
    for versions in SITUATIONS:
        assert text(availability_preserving(versions)) == expected_availability(versions), versions
        assert availability_preserving(versions[::-1]) == availability_preserving(versions)


def test_resource_preserving_in_every_small_situation() -> None:
    """With up to three versions in any state the policy does what its rules say, in the order given."""
    for versions in SITUATIONS:
        assert text(resource_preserving(versions)) == expected_resource(versions), versions
        assert text(resource_preserving(versions[::-1])) == expected_resource(versions[::-1]), versions


R, N, E = HarnessState.READY, HarnessState.NEW, HarnessState.ERROR


@pytest.mark.parametrize(
    ("versions", "action"),
    [
        ([VersionView(1, R, False), VersionView(2, N, True)], Action(Verb.LOAD, 2)),
        ([VersionView(1, R, False), VersionView(2, R, True)], Action(Verb.UNLOAD, 1)),
        ([VersionView(1, R, False), VersionView(2, E, True)], None),
        ([VersionView(1, R, False), VersionView(2, N, True, complete=False)], None),
        (
            [VersionView(1, R, False), VersionView(2, R, False), VersionView(3, E, True)],
            Action(Verb.UNLOAD, 1),
        ),
        ([VersionView(1, N, True), VersionView(2, R, False)], Action(Verb.LOAD, 1)),
        ([VersionView(1, R, False)], Action(Verb.UNLOAD, 1)),
        ([VersionView(1, N, True), VersionView(2, N, True)], Action(Verb.LOAD, 2)),
    ],
    ids=["successor", "replaced", "broken", "arriving", "two old", "roll back", "gone", "highest first"],
)
def test_situations_with_a_name(versions: list[VersionView], action: Action | None) -> None:
    """The situations that operators know are decided as the documentation tells."""
    assert availability_preserving(versions) == action

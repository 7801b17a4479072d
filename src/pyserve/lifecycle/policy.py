"""Which of a model's versions to load or unload next. Pure: no state, same input, same answer.

Asked by the manager after everything that happens to a model, again and again until nothing is left to do.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyserve.lifecycle.harness import FINAL, HarnessState


class Verb(enum.Enum):
    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Action:
    """What to do with one version."""

    verb: Verb
    version: int


@dataclass(frozen=True, slots=True)
class VersionView:
    """What a policy sees of one version."""

    version: int
    state: HarnessState
    aspired: bool
    complete: bool = True


Policy = Callable[[Sequence[VersionView]], Action | None]


def availability_preserving(versions: Sequence[VersionView]) -> Action | None:
    """The policy of the server: an old version serves until a new one is ready.

    An un-aspired ready version is unloaded, lowest number first, unless it is the last one that serves
    while a successor is still wanted. Otherwise the highest aspired version that is new and complete is
    loaded.

    Source: TensorFlow Serving, core/availability_preserving_policy.cc.
    """
    leaving = [v.version for v in versions if v.state is HarnessState.READY and not v.aspired]
    aspired = [v for v in versions if v.aspired]
    successor_serves = any(v.state is HarnessState.READY for v in aspired)
    if leaving and (not aspired or successor_serves or len(leaving) > 1):
        return Action(Verb.UNLOAD, min(leaving))
    return _load_highest_new(versions)


def resource_preserving(versions: Sequence[VersionView]) -> Action | None:
    """The policy for tight memory: unload everything un-aspired first, load only then.

    Un-aspired ready versions are unloaded in the order given; nothing is loaded before all of them are gone.

    Source: TensorFlow Serving, core/resource_preserving_policy.cc.
    """
    for v in versions:
        if v.state is HarnessState.READY and not v.aspired:
            return Action(Verb.UNLOAD, v.version)
    if any(not v.aspired and v.state not in FINAL for v in versions):
        return None
    return _load_highest_new(versions)


def _load_highest_new(versions: Sequence[VersionView]) -> Action | None:
    new = [v.version for v in versions if v.aspired and v.complete and v.state is HarnessState.NEW]
    return Action(Verb.LOAD, max(new)) if new else None

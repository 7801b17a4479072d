"""What a new configuration means for the one in force: a pure decision, as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyserve.config import ModelConfig, ModelSelection, Specific, Unlisted
from pyserve.errors import OK, Code, NotFoundError, ServingError, Status
from pyserve.lifecycle.monitor import CANCELLED_LOAD, ServableState, State
from pyserve.lifecycle.reload import Accepted, Facts, InForce, accept, first, judge_reload, judge_start
from pyserve.lifecycle.startup import Outcome
from pyserve.lifecycle.versions import Finding
from pyserve.servable import ServableId

FAILED = Status(Code.NOT_FOUND, "no file")
NOT_AVAILABLE = (
    "Request to assign label to version 2 of model m, which is not currently available for inference"
)
TRANSITION = "Cannot transition to requested config. It is only legal to transition from one ModelConfigList"


def model(name: str = "m", path: str = "/m", /, **labels: int) -> ModelConfig:
    return ModelConfig(name, path, version_labels=labels)


@dataclass
class World:
    available: Mapping[str, Collection[int]] = field(default_factory=dict)
    on_disk: Mapping[str, Collection[int]] = field(default_factory=dict)  # by base path
    broken: Collection[ServableId] = ()
    looked_at: list[str] = field(default_factory=list)

    def facts(self) -> Facts:
        return Facts(
            lambda name: self.available.get(name, ()), lambda id: id in self.broken, self.versions_on_disk
        )

    def versions_on_disk(self, model: ModelConfig) -> Collection[int]:
        self.looked_at.append(model.name)
        if model.base_path not in self.on_disk:
            raise NotFoundError(f"{model.base_path} not found")
        return self.on_disk[model.base_path]


def labels_of(accepted: Accepted) -> Any:
    return {name: dict(labels) for name, labels in (accepted.in_force.labels or {}).items() if labels}


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ((model(),), Unlisted.UNSET, Code.FAILED_PRECONDITION, TRANSITION),
        ((model(),), Unlisted.CUSTOM, Code.FAILED_PRECONDITION, TRANSITION),
        ((), Unlisted.UNSET, Code.FAILED_PRECONDITION, TRANSITION),
        (
            Unlisted.UNSET,
            Unlisted.CUSTOM,
            Code.INVALID_ARGUMENT,
            "ModelServer does not yet support custom model config.",
        ),
        (
            (model(),),
            (ModelConfig("m", "/m", platform="p"),),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform "
            "requested is p",
        ),
        (
            (model(),),
            (ModelConfig("m", "/m", logging_config=b""),),
            Code.INVALID_ARGUMENT,
            "No request-logger-creator provided.",
        ),
        (
            (model(),),
            (model(), ModelConfig("n", "/m", logging_config=b"x")),
            Code.INVALID_ARGUMENT,
            "No request-logger-creator provided.",
        ),
        ((model(),), (model(), model("n", "/none")), Code.NOT_FOUND, "/none not found"),
        ((model(),), (model("m", "/none"),), Code.NOT_FOUND, "/none not found"),
        ((model(),), (model(stable=2),), Code.FAILED_PRECONDITION, NOT_AVAILABLE),
        ((model(stable=1),), (model(stable=2),), Code.FAILED_PRECONDITION, NOT_AVAILABLE),
        # A change of platform is named before a missing path, and nothing is looked up on disk.
        (
            (model(),),
            (model("n", "/none"), ModelConfig("m", "/m", platform="p")),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform.",
        ),
    ],
)
def test_refusals(old: ModelSelection, new: ModelSelection, code: Code, message: str) -> None:
    """What is not legal is refused with TensorFlow Serving's code and text."""
    world = World({"m": [1]}, {"/m": [1]})
    in_force = first(old) if isinstance(old, tuple) else InForce(old)
    with pytest.raises(ServingError) as caught:
        accept(in_force, new, world.facts())
    assert caught.value.code is code
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "added"),
    [
        (Unlisted.UNSET, Unlisted.UNSET, ()),
        (Unlisted.UNSET, (model(),), ("m",)),
        (Unlisted.UNSET, (), ()),
        ((model(),), (), ()),
        ((model(),), (model(),), ()),
        ((model(),), (model("n"), model()), ("n",)),
        ((model(),), (model("n"),), ("n",)),
        ((model(),), (ModelConfig("m", "/m", version_policy=Specific((1,))),), ()),
        ((model(),), (model("m", "/m2"),), ()),
    ],
)
def test_what_is_accepted(old: ModelSelection, new: ModelSelection, added: tuple[str, ...]) -> None:
    """Lists follow lists, and the models that were not listed before are those to wait for."""
    world = World({"m": [1]}, {"/m": [1], "/m2": []})
    in_force = first(old) if isinstance(old, tuple) else InForce(old)
    accepted = accept(in_force, new, world.facts())
    assert accepted.in_force.models == new
    assert accepted.added == added
    assert accepted.in_force.pending == {}


def test_only_new_and_moved_models_are_looked_up_on_disk() -> None:
    """A model that stays where it was is no reason to refuse, even if its path is gone."""
    world = World({}, {"/n": [1], "/moved": [1]})
    old = first((model("gone", "/gone"), model("moved", "/before")))
    new = (model("gone", "/gone"), model("moved", "/moved"), model("n", "/n"))
    accept(old, new, world.facts())
    assert sorted(world.looked_at) == ["moved", "n"]


def test_a_logging_config_of_the_start_stays_legal() -> None:
    """What the server was started with does not stand in the way of later changes."""
    logged = ModelConfig("m", "/m", logging_config=b"x")
    accepted = accept(first((logged,)), (logged, model("n", "/m")), World({}, {"/m": [1]}).facts())
    assert accepted.added == ("n",)


@dataclass(frozen=True)
class LabelCase:
    """Labels of model m before and after; versions 1 and 2 are available, 3 is on disk, 4 is nowhere."""

    id: str
    old: dict[str, int]
    new: dict[str, int]
    bound: dict[str, int] | None  # None: refused
    pending: dict[str, int] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    any_new_label: bool = False
    broken: tuple[int, ...] = ()


LABELS = [
    LabelCase("new, available", {}, {"a": 1}, {"a": 1}),
    LabelCase("moved, available", {"a": 1}, {"a": 2}, {"a": 2}),
    LabelCase("two on one version", {"a": 1}, {"a": 2, "b": 2}, {"a": 2, "b": 2}),
    LabelCase("left out", {"a": 1, "b": 2}, {"b": 2}, {"b": 2}),
    LabelCase("new, on disk", {}, {"a": 3}, {}, {"a": 3}),
    LabelCase("moved, on disk", {"a": 1}, {"a": 3}, {"a": 1}, {"a": 3}, {1}),
    LabelCase("some of each", {"a": 1, "b": 2}, {"a": 3, "b": 1}, {"a": 1, "b": 1}, {"a": 3}, {1}),
    LabelCase("new, nowhere", {}, {"a": 4}, None),
    LabelCase("moved, nowhere", {"a": 1}, {"a": 4}, None),
    LabelCase("unchanged, but gone", {"a": 4}, {"a": 4}, None),
    LabelCase("one bad label spoils all", {}, {"a": 1, "b": 4}, None),
    LabelCase("its load has failed", {"a": 1}, {"a": 3}, None, broken=(3,)),
    LabelCase("any: new, nowhere", {}, {"a": 4}, {"a": 4}, any_new_label=True),
    LabelCase("any: new, on disk", {}, {"a": 3}, {"a": 3}, any_new_label=True),
    LabelCase("any: unchanged, but gone", {"a": 4}, {"a": 4}, {"a": 4}, any_new_label=True),
    LabelCase("any: moved, nowhere", {"a": 1}, {"a": 4}, None, any_new_label=True),
    LabelCase("any: moved, on disk", {"a": 1}, {"a": 3}, {"a": 1}, {"a": 3}, {1}, any_new_label=True),
]


@pytest.mark.parametrize("case", LABELS, ids=lambda case: case.id)
def test_labels(case: LabelCase) -> None:
    """A label is bound, waits for its version while the old one is kept, or spoils the configuration."""
    broken = [ServableId("m", version) for version in case.broken]
    world = World({"m": [1, 2]}, {"/m": [1, 2, 3]}, broken)
    old, new = first((model("m", "/m", **case.old),)), (model("m", "/m", **case.new),)
    if case.bound is None:
        with pytest.raises(ServingError) as caught:
            accept(old, new, world.facts(), any_new_label=case.any_new_label)
        assert caught.value.code is Code.FAILED_PRECONDITION
        return
    accepted = accept(old, new, world.facts(), any_new_label=case.any_new_label)
    assert labels_of(accepted) == ({"m": case.bound} if case.bound else {})
    assert accepted.in_force.pending == {("m", label): version for label, version in case.pending.items()}
    assert accepted.in_force.kept() == ({"m": case.kept} if case.kept else {})


def test_pending_labels_are_bound_when_their_version_is_available() -> None:
    """Only what is available is bound; the rest goes on waiting, and is the same value when nothing changes."""
    old = first((model("m", "/m", a=1, b=1),))
    world = World({"m": [1]}, {"/m": [1, 2, 3]})
    waiting = accept(old, (model("m", "/m", a=2, b=3),), world.facts()).in_force
    assert waiting.with_bound(lambda id: False) is waiting
    then = waiting.with_bound(lambda id: id.version == 2)
    assert (then.bound(("m", "a")), then.bound(("m", "b"))) == (2, 1)
    assert then.pending == {("m", "b"): 3}
    assert then.kept() == {"m": {1}}
    assert waiting.bound(("m", "a")) == 1


def test_the_first_configuration_binds_every_label() -> None:
    """At the start there is no older binding to keep; without a list there are no labels at all."""
    assert first((model("m", "/m", a=7),)).labels == {"m": {"a": 7}}
    assert first(Unlisted.UNSET).labels is None


def state(version: int, state: State, status: Status = OK, name: str = "m") -> ServableState:
    return ServableState(ServableId(name, version), state, status)


WAITING, READY, OVER = Outcome.WAITING, Outcome.READY, Outcome.FAILED
NOT_READY = "1 model(s) did not become available: {{{name: m version: 3} due to error: NOT_FOUND: no file}, }"


@pytest.mark.parametrize(
    ("states", "finding", "outcome", "message"),
    [
        ([], None, WAITING, None),
        ([], Finding.NO_VERSIONS, WAITING, None),
        ([state(3, State.LOADING)], Finding.OK, WAITING, None),
        ([state(3, State.END)], Finding.OK, WAITING, None),
        ([state(3, State.AVAILABLE)], Finding.OK, READY, None),
        ([state(3, State.END, FAILED)], Finding.OK, OVER, NOT_READY),
        ([state(3, State.END, FAILED), state(2, State.LOADING)], Finding.OK, WAITING, None),
    ],
)
def test_waiting_for_a_new_model(
    states: Sequence[ServableState], finding: Finding | None, outcome: Outcome, message: str | None
) -> None:
    """A model that was added is waited for until a version is available or none can be any more."""
    in_force = first((model(),))
    findings = {} if finding is None else {"m": finding}
    verdict = judge_reload(Accepted(in_force, ("m",)), in_force, {"m": states}, findings)
    assert verdict.outcome is outcome
    assert (verdict.error.message if verdict.error else None) == message


@pytest.mark.parametrize(
    ("states", "now", "outcome", "code"),
    [
        ([], "pending", WAITING, None),
        ([state(3, State.LOADING)], "pending", WAITING, None),
        ([state(3, State.END, FAILED)], "pending", OVER, Code.UNKNOWN),
        ([state(3, State.END, CANCELLED_LOAD)], "pending", WAITING, None),
        ([state(4, State.END, FAILED)], "pending", WAITING, None),
        ([state(3, State.AVAILABLE)], "bound", READY, None),
        ([], "elsewhere", OVER, Code.ABORTED),
        ([], "removed", OVER, Code.ABORTED),
    ],
)
def test_waiting_for_a_label(
    states: Sequence[ServableState], now: str, outcome: Outcome, code: Code | None
) -> None:
    """A label is waited for until it is bound, its version has failed, or a later configuration took it away."""
    wanted = InForce((model("m", "/m", a=3),), {"m": {"a": 1}}, {("m", "a"): 3})
    in_force = {
        "pending": wanted,
        "bound": wanted.with_bound(lambda id: True),
        "elsewhere": InForce((model("m", "/m", a=1),), {"m": {"a": 1}}),
        "removed": InForce((), {}),
    }[now]
    verdict = judge_reload(Accepted(wanted), in_force, {"m": states}, {"m": Finding.OK})
    assert verdict.outcome is outcome
    assert (verdict.error.code if verdict.error else None) is code


def test_a_later_configuration_without_the_model_ends_the_wait() -> None:
    """Whoever waits for a model that is taken away again is told so."""
    verdict = judge_reload(Accepted(first((model(),)), ("m",)), first(()), {}, {})
    assert verdict.error is not None
    assert verdict.error.code is Code.ABORTED
    assert "model m" in verdict.error.message


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ([state(2, State.AVAILABLE), state(1, State.LOADING)], WAITING),
        ([state(2, State.AVAILABLE), state(1, State.AVAILABLE)], READY),
        ([state(2, State.AVAILABLE), state(1, State.END, FAILED)], READY),
        ([state(2, State.AVAILABLE), state(3, State.LOADING)], READY),
        ([state(2, State.AVAILABLE)], READY),
        ([state(2, State.LOADING)], WAITING),
    ],
)
def test_the_start_waits_for_labelled_versions(states: Sequence[ServableState], outcome: Outcome) -> None:
    """Ports open when each model has a result and no version with a label (1) is still loading."""
    in_force = first((model("m", "/m", a=1, gone=77),))
    assert judge_start(in_force, {"m": states}, {"m": Finding.OK}, True).outcome is outcome

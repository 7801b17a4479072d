"""What a new configuration means for the one in force: refusals, label changes, what to wait for. Pure.

    old configuration, new one, facts ──► accept() ──► what is in force from now on, and which models are new
    what is in force, states          ──► judge_reload() ──► still waiting, ready, or failed

`configuration.py` asks here and acts. The rule for labels, which is where pyserve is kinder than TensorFlow
Serving:

    version named by the label            then
    available, and about to stay          the label is bound at once
    on disk, and the policy wants it      the label is bound when the version is available; until then the old
                                          binding stays, and the version behind it is kept
    neither, or its load has failed       the whole configuration is refused and nothing changes

Source of codes and texts: TensorFlow Serving, model_servers/server_core.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pyserve.config import ModelConfig, ModelSelection, Unlisted
from pyserve.errors import AbortedError, FailedPreconditionError, InvalidArgumentError
from pyserve.lifecycle.monitor import ServableState
from pyserve.lifecycle.startup import PENDING, Outcome, Verdict, has_failed, judge, not_available
from pyserve.lifecycle.versions import Finding
from pyserve.servable import ServableId

Labels = Mapping[str, Mapping[str, int]]
"""Model → label → version."""

LabelKey = tuple[str, str]
"""(model, label)."""

_NONE: Mapping[LabelKey, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class InForce:
    """The configuration in force: one value, replaced whole.

    Attributes:
        models: What was asked for last and not refused.
        labels: What labelled requests are answered by; None before the first list of models.
        pending: Labels that wait for their version, and the version that each waits for.
    """

    models: ModelSelection = Unlisted.UNSET
    labels: Labels | None = None
    pending: Mapping[LabelKey, int] = field(default_factory=lambda: _NONE)

    @property
    def listed(self) -> tuple[ModelConfig, ...]:
        """The models, none when there is no list."""
        return self.models if isinstance(self.models, tuple) else ()

    def bound(self, key: LabelKey) -> int | None:
        """The version that a label stands for now."""
        name, label = key
        return (self.labels or {}).get(name, {}).get(label)

    def kept(self) -> dict[str, set[int]]:
        """Versions, by model, that have to serve on because a pending label still stands for them."""
        kept: dict[str, set[int]] = {}
        for key in self.pending:
            version = self.bound(key)
            if version is not None:
                kept.setdefault(key[0], set()).add(version)
        return kept

    def with_bound(self, is_available: Callable[[ServableId], bool]) -> InForce:
        """The same with every pending label bound whose version is available for good; itself when there is none."""
        ready = {k: v for k, v in self.pending.items() if is_available(ServableId(k[0], v))}
        if not ready:
            return self
        labels = {name: dict(of_model) for name, of_model in (self.labels or {}).items()}
        for (name, label), version in ready.items():
            labels.setdefault(name, {})[label] = version
        pending = {key: version for key, version in self.pending.items() if key not in ready}
        return InForce(self.models, MappingProxyType(labels), MappingProxyType(pending))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision may ask about the world.

    Attributes:
        available: Model → versions that requests can reach, and that no earlier change is about to take away.
        broken: Whether a version that is aspired has failed, so that nobody will try it again.
        on_disk: The versions that a model's policy would choose now; raises NOT_FOUND without a base path.
    """

    available: Callable[[str], Collection[int]]
    broken: Callable[[ServableId], bool]
    on_disk: Callable[[ModelConfig], Collection[int]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A configuration that is legal. `added` are the models that were not listed before."""

    in_force: InForce
    added: tuple[str, ...] = ()


def first(models: ModelSelection) -> InForce:
    """What is in force from the start: every label is bound, for there is no older binding to keep."""
    if not isinstance(models, tuple):
        return InForce()
    return InForce(models, MappingProxyType({model.name: dict(model.version_labels) for model in models}))


def accept(old: InForce, new: ModelSelection, facts: Facts, *, any_new_label: bool = False) -> Accepted:
    """Decide on a new configuration.

    Args:
        old: In force until now.
        new: Asked for.
        facts: The world.
        any_new_label: A label that is new, or stays where it is, may name any version
            (`--allow_version_labels_for_unavailable_models`).

    Raises:
        FailedPreconditionError: Not a list after a list, or a label for a version that is not to be had.
        InvalidArgumentError: A model changes its platform, wants its requests logged, or the kind is unknown.
        NotFoundError: The base path of a model that is new, or has moved, does not exist.
    """
    if not isinstance(new, tuple):
        _check_kind(old.models, new)
        return Accepted(old)
    before = {model.name: model for model in old.listed}
    for model in new:
        _check_change(before.get(model.name), model)
    on_disk: dict[str, Collection[int]] = {}
    for model in new:
        known = before.get(model.name)
        if known is None or known.base_path != model.base_path:
            on_disk[model.name] = facts.on_disk(model)
    labels: dict[str, dict[str, int]] = {model.name: {} for model in new}
    pending: dict[LabelKey, int] = {}
    for model in new:
        for label, version in sorted(model.version_labels.items()):
            id, current = ServableId(model.name, version), old.bound((model.name, label))
            free = any_new_label and current in (None, version)
            if free or version in facts.available(model.name):
                labels[model.name][label] = version
                continue
            if model.name not in on_disk:
                on_disk[model.name] = facts.on_disk(model)
            if version not in on_disk[model.name] or facts.broken(id):
                raise FailedPreconditionError(
                    f"Request to assign label to version {version} of model {model.name}, which is not "
                    "currently available for inference"
                )
            pending[model.name, label] = version
            if current is not None:
                labels[model.name][label] = current
    in_force = InForce(new, MappingProxyType(labels), MappingProxyType(pending))
    return Accepted(in_force, tuple(model.name for model in new if model.name not in before))


def _check_kind(old: ModelSelection, new: Unlisted) -> None:
    if old is new:
        return
    if not isinstance(old, tuple):
        raise InvalidArgumentError("ModelServer does not yet support custom model config.")
    raise FailedPreconditionError(
        "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
    )


def _check_change(old: ModelConfig | None, new: ModelConfig) -> None:
    if old is not None and old.platform != new.platform:
        raise InvalidArgumentError(
            f"Illegal to change a model's platform. For model {new.name} platform was {old.platform} and new "
            f"platform requested is {new.platform}"
        )
    # What the server was started with was warned about; it must not stand in the way of other changes.
    if new.logging_config is not None and (old is None or old.logging_config != new.logging_config):
        raise InvalidArgumentError("No request-logger-creator provided.")


def judge_start(
    in_force: InForce,
    states: Mapping[str, Sequence[ServableState]],
    findings: Mapping[str, Finding],
    fail_on_error: bool,
) -> Verdict:
    """Whether the server may open its ports: every model has a result, and labelled versions have theirs too."""
    verdict = judge([model.name for model in in_force.listed], states, findings, fail_on_error)
    if verdict.outcome is not Outcome.READY:
        return verdict
    loading: dict[str, str] = {}
    for model in in_force.listed:
        labelled = set(model.version_labels.values())
        if any(s.id.version in labelled and s.state in PENDING for s in states.get(model.name, ())):
            loading[model.name] = "loading"
    if loading:
        return Verdict(Outcome.WAITING, {**verdict.waiting_for, **loading})
    return verdict


def judge_reload(
    accepted: Accepted,
    in_force: InForce,
    states: Mapping[str, Sequence[ServableState]],
    findings: Mapping[str, Finding],
    noun: str = "model(s)",
) -> Verdict:
    """Where an accepted reload stands: its new models have results, and its labels their versions.

    Args:
        accepted: The reload.
        in_force: What is in force now; a later reload may have changed it.
        states: What was published since the reload was accepted, by model.
        findings: What the source found.
        noun: See `judge`.

    A load failure is an error like TensorFlow Serving's, and ABORTED that a later reload took away what is awaited.
    """
    listed = {model.name for model in in_force.listed}
    for name in accepted.added:
        if name not in listed:
            return _superseded(f"model {name}")
    verdict = judge(accepted.added, states, findings, noun=noun)
    if verdict.outcome is Outcome.FAILED:
        return verdict
    waiting_for = dict(verdict.waiting_for)
    waiting = verdict.outcome is Outcome.WAITING
    for (name, label), version in accepted.in_force.pending.items():
        if in_force.pending.get((name, label)) == version:
            failed = [s for s in states.get(name, ()) if s.id.version == version and has_failed(s)]
            if failed:
                return Verdict(Outcome.FAILED, waiting_for, not_available(failed, noun))
            waiting = True
            waiting_for.setdefault(name, f"label {label} waits for version {version}")
        elif in_force.bound((name, label)) != version:
            return _superseded(f"label {label} of model {name}")
    return Verdict(Outcome.WAITING if waiting else Outcome.READY, waiting_for)


def _superseded(what: str) -> Verdict:
    text = f"A later configuration changed {what} before this one had taken effect"
    return Verdict(Outcome.FAILED, error=AbortedError(text))

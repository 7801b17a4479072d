"""The owner of the configuration: a real source, manager and monitor over directories, and fake loaders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lifecycle_fakes import LIMIT_S, Stage
from pyserve.config import All, LoadOptions, ModelConfig, Specific, Unlisted
from pyserve.errors import (
    AbortedError,
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    ServingError,
    UnavailableError,
    UnknownError,
)
from pyserve.inference.router import Router
from pyserve.lifecycle.base_path import found_versions
from pyserve.lifecycle.config_file import ConfigFile
from pyserve.lifecycle.configuration import Configuration
from pyserve.lifecycle.monitor import ServableState, State
from pyserve.lifecycle.source import FileSystemSource
from pyserve.servable import ServableId


def _pass(gate: threading.Event) -> None:
    assert gate.wait(LIMIT_S)


class Site:
    """Base paths below a directory, and everything that serves them."""

    def __init__(self, root: Path, stage: Stage) -> None:
        self.root = root
        self.stage = stage
        self.monitor = stage.monitor
        options = LoadOptions(file_system_poll_wait_seconds=3600, incomplete_version_wait_s=0.0)
        self.source = FileSystemSource(
            stage.manager.aspire, lambda path: None, options, on_poll=stage.monitor.wake
        )
        self.configuration = Configuration(self.source, stage.manager, stage.monitor)

    def publish(self, name: str, *versions: int) -> None:
        for version in versions:
            (self.root / name / str(version)).mkdir(parents=True)

    def model(
        self, name: str, *versions: int, labels: Mapping[str, int] | None = None, path: str = ""
    ) -> ModelConfig:
        policy = Specific(versions) if versions else All()
        return ModelConfig(name, str(self.root / (path or name)), "tensorflow", policy, labels or {})

    def begin(self, *models: ModelConfig) -> None:
        self.configuration.begin(models)
        self.source.start()
        for model in models:
            self.stage.monitor.wait(lambda name=model.name: bool(self.available(name)), LIMIT_S)  # type: ignore[misc]

    def available(self, name: str) -> list[int]:
        return self.stage.manager.available_versions(name)

    def reload(self, *models: ModelConfig) -> bool:
        deadline = time.monotonic() + LIMIT_S
        return self.configuration.apply(models, deadline).wait(deadline)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.monitor.wait(condition, 0.01)

    def applied(self, name: str) -> list[int]:
        return [version.version for version in self.stage.manager.applied(name)]

    def emitted(self, name: str) -> list[int]:
        return [version.version for version in self.source.emission(name)]

    def block_manager(self, at: Callable[[ServableState], bool]) -> threading.Event:
        """Let the manager's thread stand still when it publishes a state, until the event is set."""
        gate = threading.Event()
        self.monitor.subscribe(lambda state: None if not at(state) else _pass(gate))
        return gate

    def label(self, name: str, label: str) -> int | None:
        return (self.configuration.labels() or {}).get(name, {}).get(label)

    def fail(self, name: str, version: int) -> None:
        self.stage.world.load_errors[ServableId(name, version)] = [NotFoundError("no file")]

    def gate(self, name: str, version: int) -> threading.Event:
        return self.stage.world.close_gate(self.stage.world.load_gates, ServableId(name, version))


@pytest.fixture
def site(tmp_path: Path, stage_of: Callable[..., Stage]) -> Iterator[Site]:
    site = Site(tmp_path, stage_of())
    yield site
    site.configuration.stop()
    site.source.stop()


def test_models_come_go_and_come_again(site: Site) -> None:
    """A reload returns when the models it adds are available; one that was removed is loaded anew."""
    site.publish("a", 1)
    site.publish("b", 1)
    site.begin(site.model("a"))
    assert site.reload(site.model("a"), site.model("b"))
    assert site.available("b") == [1]
    for _ in range(20):
        assert site.reload(site.model("a"))
        assert site.reload(site.model("a"), site.model("b"))
        assert site.available("b") == [1]
    assert len(site.stage.world.of(ServableId("b", 1))) == 21
    assert len(site.stage.world.of(ServableId("a", 1))) == 1
    assert site.reload()
    site.stage.await_state("a", 1, State.END)


def test_what_is_refused_changes_nothing(site: Site) -> None:
    """After a refusal models, labels and the configuration in force are what they were."""
    site.publish("a", 1)
    site.begin(site.model("a", labels={"stable": 1}))
    before = site.configuration.in_force
    with pytest.raises(NotFoundError, match=r"Could not find base path \S+/none for servable n with error"):
        site.reload(site.model("a"), site.model("n", path="none"))
    with pytest.raises(FailedPreconditionError, match="Request to assign label to version 9 of model a"):
        site.reload(site.model("a", labels={"stable": 9}))
    with pytest.raises(FailedPreconditionError, match="Cannot transition"):
        site.configuration.apply(Unlisted.UNSET)
    assert site.configuration.in_force is before
    assert site.label("a", "stable") == 1


def test_a_label_moves_when_its_version_is_available(site: Site) -> None:
    """Until the new version serves, the label stays, and the version behind it although the policy drops it."""
    site.publish("a", 1, 2, 3)
    site.begin(site.model("a", 1, 2, labels={"stable": 1}))
    site.monitor.wait(lambda: site.available("a") == [1, 2], LIMIT_S)
    gate = site.gate("a", 3)
    reload = site.configuration.apply((site.model("a", 2, 3, labels={"stable": 3}),))
    site.stage.world.await_waiting(ServableId("a", 3))
    assert site.label("a", "stable") == 1
    assert site.available("a") == [1, 2]
    assert reload.wait(time.monotonic()) is False
    gate.set()
    assert reload.wait(time.monotonic() + LIMIT_S)
    assert site.label("a", "stable") == 3
    site.stage.await_available("a", 2, 3)


def test_a_label_moves_before_its_old_version_goes(site: Site) -> None:
    """At every moment the version that the label names can be reached."""
    site.publish("a", *range(1, 8))
    site.begin(site.model("a", 1, labels={"stable": 1}))
    missed: list[str] = []

    def check(state: object) -> None:
        version = site.label("a", "stable")
        if version not in site.available("a"):
            missed.append(f"{version} at {state}")

    site.monitor.subscribe(check)
    for version in (2, 3, 1, 7, 2):
        assert site.reload(site.model("a", version, labels={"stable": version}))
        assert site.label("a", "stable") == version
        site.stage.await_available("a", version)
    assert missed == []


def test_labels_and_versions_flip_under_load(site: Site) -> None:
    """However fast a label and the version behind it change places, whoever uses the label is served."""
    site.publish("a", 1, 2)
    site.begin(site.model("a", 1, labels={"stable": 1}))
    over = threading.Event()
    missed: list[ServingError] = []
    served: set[int] = set()
    router = Router(site.stage.manager.acquire, site.configuration.labels)

    def call() -> None:
        while not over.is_set():
            try:
                with router.route("a", label="stable") as handle:
                    served.add(handle.id.version)
            except ServingError as error:
                missed.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(300):
            version = 2 - number % 2
            assert site.reload(site.model("a", version, labels={"stable": version}))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert missed == []
    assert served


def test_a_version_on_its_way_out_is_not_available(site: Site) -> None:
    """A label is not bound to a version that can be reached still, but was given up a moment ago."""
    site.publish("a", 1, 2)
    site.begin(site.model("a", labels={"stable": 2}))
    site.until(lambda: site.available("a") == [1, 2])
    gate = site.block_manager(lambda state: state.id.version == 1 and state.state is State.UNLOADING)
    site.configuration.apply((site.model("a", 2, labels={"stable": 2}),))
    site.until(lambda: site.applied("a") == [2])
    site.configuration.apply((site.model("a", 1, 2, labels={"stable": 2}),))
    site.until(lambda: site.emitted("a") == [1, 2])
    assert site.available("a") == [1, 2]
    reload = site.configuration.apply((site.model("a", 1, 2, labels={"stable": 1}),))
    assert site.label("a", "stable") == 2
    gate.set()
    assert reload.wait(time.monotonic() + LIMIT_S)
    assert (site.label("a", "stable"), site.available("a")) == (1, [1, 2])


def test_a_poll_during_a_decision_counts(site: Site) -> None:
    """What a poll takes away while a reload is being decided is not there for its labels."""
    site.publish("a", 1, 2, 3)

    def on_disk(model: ModelConfig) -> frozenset[int]:
        if (site.root / "a" / "1").exists():
            (site.root / "a" / "1").rmdir()
            site.source.poll_once()
        return found_versions(model)

    site.configuration = Configuration(site.source, site.stage.manager, site.monitor, on_disk=on_disk)
    gate = site.gate("a", 3)
    site.begin(site.model("a"))
    site.until(lambda: site.available("a") == [1, 2])
    with pytest.raises(FailedPreconditionError, match="version 1 of model a"):
        site.configuration.apply((site.model("a", labels={"a": 1, "b": 3}),))
    gate.set()


def test_a_version_that_comes_during_a_decision_is_bound(site: Site) -> None:
    """When a version becomes available between the look at it and the decision, nothing has to happen any more."""
    site.publish("a", 1)
    gate = site.block_manager(lambda state: state.id == ServableId("b", 1) and state.state is State.START)

    def on_disk(model: ModelConfig) -> frozenset[int]:
        gate.set()
        site.until(lambda: site.available("a") == [1, 2] and site.applied("a") == [1, 2])
        return found_versions(model)

    site.configuration = Configuration(site.source, site.stage.manager, site.monitor, on_disk=on_disk)
    site.begin(site.model("a"))
    site.stage.aspire("b", 1)
    site.publish("a", 2)
    site.source.poll_once()
    reload = site.configuration.apply((site.model("a", labels={"new": 2}),))
    assert reload.wait(time.monotonic() + LIMIT_S)
    assert site.label("a", "new") == 2


def test_whoever_waits_is_told_that_a_label_was_bound(site: Site) -> None:
    """Binding a label wakes those who wait, after the publication that they may have looked at too early."""
    site.publish("a", 1, 2)
    marks: list[int] = []

    def note(state: ServableState) -> None:
        if state.id.version == 2 and state.state is State.AVAILABLE:
            assert site.label("a", "new") is None
            marks.append(site.monitor.mark())

    site.monitor.subscribe(note)
    gate = site.gate("a", 2)
    site.begin(site.model("a", 1))
    reload = site.configuration.apply((site.model("a", 1, 2, labels={"new": 2}),))
    site.stage.world.await_waiting(ServableId("a", 2))
    gate.set()
    assert reload.wait(time.monotonic() + LIMIT_S)
    assert site.monitor.wait(lambda: bool(marks) and site.monitor.mark() > marks[0], LIMIT_S)


def test_a_label_bound_during_a_decision_counts(site: Site) -> None:
    """When a label moves while another reload is being decided, that one builds on where the label is now."""
    site.publish("a", 1, 2, 3)
    gates = {version: site.gate("a", version) for version in (2, 3)}

    def on_disk(model: ModelConfig) -> frozenset[int]:
        if model.version_labels == {"stable": 3}:
            gates[2].set()
            assert site.monitor.wait(lambda: configuration.in_force.bound(("a", "stable")) == 2, LIMIT_S)
        return frozenset({1, 2, 3})

    configuration = Configuration(site.source, site.stage.manager, site.monitor, on_disk=on_disk)
    site.configuration = configuration
    site.begin(site.model("a", 1, labels={"stable": 1}))
    configuration.apply((site.model("a", 2, labels={"stable": 2}),))
    configuration.apply((site.model("a", 3, labels={"stable": 3}),))
    assert configuration.in_force.bound(("a", "stable")) == 2
    assert configuration.in_force.kept() == {"a": {2}}
    gates[3].set()


def test_a_label_whose_version_fails_stays(site: Site) -> None:
    """The failure is reported, the configuration stays in force, the old version serves on; again it is refused."""
    site.publish("a", 1, 2)
    site.begin(site.model("a", 1, labels={"stable": 1}))
    site.fail("a", 2)
    wanted = site.model("a", 2, labels={"stable": 2})
    with pytest.raises(UnknownError) as caught:
        site.reload(wanted)
    assert caught.value.message == (
        "1 model(s) did not become available: {{{name: a version: 2} due to error: NOT_FOUND: no file}, }"
    )
    assert site.configuration.in_force.listed == (wanted,)
    assert (site.label("a", "stable"), site.available("a")) == (1, [1])
    with pytest.raises(FailedPreconditionError, match="version 2 of model a"):
        site.reload(wanted)
    assert site.reload(site.model("a", 1, labels={"stable": 1}))
    # Once it has been given up, it can be wanted anew.
    site.until(lambda: site.applied("a") == [1])
    assert site.reload(site.model("a", 2, labels={"stable": 2}))


def test_a_failed_load_is_reported_and_not_rolled_back(site: Site) -> None:
    """The other models of the reload are served, and the broken one stays configured."""
    for name in "abc":
        site.publish(name, 1)
    site.begin(site.model("a"))
    site.fail("b", 1)
    with pytest.raises(
        UnknownError, match=r"1 model\(s\) did not become available: \{\{\{name: b version: 1\}"
    ):
        site.reload(site.model("a"), site.model("b"), site.model("c"))
    site.stage.await_available("c", 1)
    assert [model.name for model in site.configuration.in_force.listed] == ["a", "b", "c"]
    # Removed and added again it is tried again.
    assert site.reload(site.model("a"))
    assert site.reload(site.model("a"), site.model("b"))


def test_waiting_ends_with_the_deadline_and_never_delays_others(site: Site) -> None:
    """A reload whose model does not get ready neither outlives its deadline nor holds up a later one."""
    for name in "abc":
        site.publish(name, 1)
    site.begin(site.model("a"))
    gate = site.gate("b", 1)
    slow = site.configuration.apply((site.model("a"), site.model("b")))
    assert slow.wait(time.monotonic()) is False
    assert slow.verdict().waiting_for == {"b": "not looked at yet"} or slow.verdict().waiting_for == {
        "b": "loading"
    }
    assert site.reload(site.model("a"), site.model("b"), site.model("c"))
    gate.set()
    assert slow.wait(time.monotonic() + LIMIT_S)


def test_a_wait_ends_when_the_model_is_taken_away_or_the_caller_goes(site: Site) -> None:
    """A later configuration, a caller who has gone, and the end of the server each end a wait."""
    for name in "abc":
        site.publish(name, 1)
    site.begin(site.model("a"))
    gates = [site.gate("b", 1), site.gate("c", 1)]
    reload = site.configuration.apply((site.model("a"), site.model("b")))
    assert reload.wait(None, lambda: True) is False
    assert site.reload(site.model("a"))
    with pytest.raises(AbortedError, match="A later configuration changed model b"):
        reload.wait()
    reload = site.configuration.apply((site.model("a"), site.model("c")))
    site.configuration.stop()
    with pytest.raises(UnavailableError):
        reload.wait()
    with pytest.raises(UnavailableError):
        site.configuration.apply((site.model("a"),))
    for gate in gates:
        gate.set()


def test_a_decision_that_takes_too_long_does_not_outlive_the_deadline(site: Site) -> None:
    """While another reload is being decided, one with a deadline gives up in time."""
    site.publish("a", 1)
    looking, go_on = threading.Event(), threading.Event()

    def slow_disk(model: ModelConfig) -> frozenset[int]:
        looking.set()
        assert go_on.wait(LIMIT_S)
        return frozenset()

    configuration = Configuration(site.source, site.stage.manager, site.monitor, on_disk=slow_disk)
    configuration.begin(())
    thread = threading.Thread(target=configuration.apply, args=((site.model("a"),),))
    thread.start()
    assert looking.wait(LIMIT_S)
    with pytest.raises(DeadlineExceededError):
        configuration.apply((site.model("a"),), time.monotonic())
    go_on.set()
    thread.join(LIMIT_S)


def test_the_same_configuration_again_does_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No version is touched, and nothing is logged as added."""
    site.publish("a", 1)
    site.begin(site.model("a", labels={"stable": 1}))
    history = list(site.stage.history)
    caplog.clear()
    with caplog.at_level("INFO"):
        assert site.reload(site.model("a", labels={"stable": 1}))
    assert "Adding/updating models." not in caplog.text
    assert site.stage.history == history


def test_a_base_path_changes_but_loaded_numbers_stay(site: Site) -> None:
    """Only version numbers that differ are loaded and unloaded after a change of the base path."""
    site.publish("a", 1, 2)
    site.publish("other", 2, 3)
    site.begin(site.model("a"))
    site.stage.await_available("a", 1, 2)
    assert site.reload(site.model("a", path="other"))
    site.stage.await_available("a", 2, 3)
    assert len(site.stage.world.of(ServableId("a", 2))) == 1
    paths = dict(site.stage.world.made)
    assert paths[ServableId("a", 3)] == str(site.root / "other" / "3")


def test_an_empty_start_takes_a_first_list_later(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Without a list there are no labels yet; a list then counts as the first, down to the failure's text."""
    site.publish("a", 1)
    site.begin()
    assert site.configuration.labels() is None
    with caplog.at_level("INFO"):
        site.configuration.apply(Unlisted.UNSET)
    assert "Taking no action for empty config." in caplog.text
    site.fail("a", 1)
    with pytest.raises(UnknownError, match=r"1 servable\(s\) did not become available"):
        site.reload(site.model("a"))


def test_platforms_are_those_in_force(site: Site) -> None:
    """The platform of a model is known as long as it is listed."""
    site.publish("a", 1)
    site.begin(ModelConfig("a", str(site.root / "a"), "p"))
    assert site.configuration.platform_of("a") == "p"
    assert site.configuration.platform_of("b") is None


# --- the file ------------------------------------------------------------------------------------


class File:
    """What `read` answers; a ServingError is raised."""

    def __init__(self, *models: ModelConfig) -> None:
        self.content: tuple[ModelConfig, ...] | Unlisted | ServingError = models

    def read(self) -> tuple[ModelConfig, ...] | Unlisted:
        if isinstance(self.content, ServingError):
            raise self.content
        return self.content


def test_the_file_is_applied_and_mistakes_are_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Changes take effect; what cannot be read or is refused is logged and changes nothing."""
    site.publish("a", 1)
    site.publish("b", 1)
    site.begin(site.model("a"))
    file = File(site.model("a"))
    watched = ConfigFile(file.read, site.configuration, site.monitor, 3600)
    watched.look()
    file.content = (site.model("a"), site.model("b"))
    watched.look()
    watched.await_outcome(time.monotonic() + LIMIT_S)
    assert site.available("b") == [1]
    before = site.configuration.in_force
    file.content = NotFoundError("/c; No such file or directory")
    watched.look()
    file.content = Unlisted.UNSET
    watched.look()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "Failed to read ModelServerConfig file: /c; No such file or directory",
        "PollFilesystemAndReloadConfig failed to ReloadConfig: Cannot transition to requested config. It is only "
        "legal to transition from one ModelConfigList to another.",
    ]
    assert site.configuration.in_force is before


def test_a_load_failure_of_the_file_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The outcome of a change is logged even if the file was looked at again in between, and only once."""
    site.publish("a", 1)
    site.begin()
    site.fail("a", 1)
    gate = site.gate("a", 1)
    watched = ConfigFile(File(site.model("a")).read, site.configuration, site.monitor, 3600)
    watched.look()
    watched.await_outcome(time.monotonic())
    watched.look()
    gate.set()
    for _ in range(2):
        watched.await_outcome(time.monotonic() + LIMIT_S)
    lines = [record.message for record in caplog.records if "PollFilesystem" in record.message]
    assert len(lines) == 1
    assert "1 servable(s) did not become available" in lines[0]


def test_the_thread_looks_at_once_and_ends_at_once(site: Site) -> None:
    """The first look needs no period, and a wait for a model that never comes does not delay the end."""
    site.publish("a", 1)
    site.begin()
    gate = site.gate("a", 1)
    watched = ConfigFile(File(site.model("a")).read, site.configuration, site.monitor, 3600)
    watched.start()
    site.stage.world.await_waiting(ServableId("a", 1))
    watched.stop(LIMIT_S)
    assert not watched._thread.is_alive()
    gate.set()

"""The source over real directories: what a poll emits, finds and logs, and when polls happen."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lifecycle_fakes import LIMIT_S
from pyserve.config import All, LoadOptions, ModelConfig, Specific, VersionPolicy
from pyserve.errors import FailedPreconditionError, NotFoundError
from pyserve.lifecycle import source as source_module
from pyserve.lifecycle.base_path import found_versions
from pyserve.lifecycle.source import FileSystemSource
from pyserve.lifecycle.versions import AspiredVersion, Finding

Emission = tuple[str, tuple[tuple[int, str, bool], ...]]


class Poller:
    """A source over a temporary directory, driven by hand or by its thread, on a clock that stands still."""

    def __init__(self, root: Path, period_s: float = 3600.0, real_clock: bool = False) -> None:
        self.root = root
        self.now = 1000.0
        self.emissions: queue.SimpleQueue[Emission] = queue.SimpleQueue()
        self.polled = threading.Semaphore(0)
        self.reasons: dict[str, str] = {}
        self.asked: list[str] = []
        options = LoadOptions(file_system_poll_wait_seconds=period_s, incomplete_version_wait_s=3.0)
        arguments = {} if real_clock else {"clock": lambda: self.now}
        self.source = FileSystemSource(
            self._emit, self._incomplete_reason, options, on_poll=self.polled.release, **arguments
        )

    def _emit(self, name: str, versions: object) -> None:
        assert isinstance(versions, tuple)
        found: list[AspiredVersion] = list(versions)
        self.emissions.put(
            (name, tuple((v.version, v.path.removeprefix(f"{self.root}/"), v.complete) for v in found))
        )

    def _incomplete_reason(self, platform: str, path: str) -> str | None:
        assert platform == "tensorflow"
        self.asked.append(path)
        return self.reasons.get(path)

    def model(self, name: str, policy: VersionPolicy | None = None, path: str | None = None) -> ModelConfig:
        return ModelConfig(name, str(self.root / (path or name)), version_policy=policy or All())

    def add(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).mkdir(parents=True, exist_ok=True)

    def poll(self) -> list[Emission]:
        """Poll by hand; what that emitted."""
        self.source.poll_once()
        return self.taken()

    def taken(self) -> list[Emission]:
        taken = []
        while not self.emissions.empty():
            taken.append(self.emissions.get())
        return taken

    def next_emission(self) -> Emission:
        return self.emissions.get(timeout=LIMIT_S)

    def await_poll(self) -> None:
        assert self.polled.acquire(timeout=LIMIT_S)


@pytest.fixture
def poller_of(tmp_path: Path) -> Iterator[Callable[..., Poller]]:
    pollers: list[Poller] = []

    def make(period_s: float = 3600.0, real_clock: bool = False) -> Poller:
        pollers.append(Poller(tmp_path, period_s, real_clock))
        return pollers[-1]

    yield make
    for poller in pollers:
        poller.source.stop(LIMIT_S)


@pytest.fixture
def poller(poller_of: Callable[..., Poller]) -> Poller:
    return poller_of()


def complete(name: str, *versions: int) -> Emission:
    return (name, tuple((version, f"{name}/{version}", True) for version in versions))


def test_a_poll_emits_what_it_finds_and_then_only_changes(poller: Poller) -> None:
    """Each model's list is emitted in the order of the configuration, and again only when it differs."""
    poller.add("b/1", "a/1", "a/0002", "a/3.tmp")
    poller.source.set_models([poller.model("b"), poller.model("a")])
    assert poller.poll() == [complete("b", 1), ("a", ((1, "a/1", True), (2, "a/0002", True)))]
    assert poller.poll() == []
    (poller.root / "a/1").rename(poller.root / "a/1.retired")
    assert poller.poll() == [("a", ((2, "a/0002", True),))]
    assert dict(poller.source.findings) == {"a": Finding.OK, "b": Finding.OK}


def test_files_and_links_are_versions_too(poller: Poller) -> None:
    """A version may be a file or a symbolic link, also one that points nowhere."""
    poller.add("m")
    (poller.root / "m/1").write_bytes(b"")
    (poller.root / "m/2").symlink_to("nowhere")
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [complete("m", 1, 2)]


def test_a_missing_path_is_no_statement_and_holds_up_nobody(
    poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    """For a model whose base path is missing nothing is emitted and an error is logged; others go on."""
    poller.add("m/1", "n/1")
    poller.source.set_models([poller.model("gone"), poller.model("m"), poller.model("n")])
    assert poller.poll() == [complete("m", 1), complete("n", 1)]
    (poller.root / "m/1").rmdir()
    (poller.root / "m").rmdir()
    poller.add("n/2")
    caplog.clear()
    assert poller.poll() == [complete("n", 1, 2)]
    path = poller.root
    line = "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path"
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (
            logging.ERROR,
            f"{line} {path}/{name} for servable {name} with error NOT_FOUND: {path}/{name} not found",
        )
        for name in ("gone", "m")
    ]
    findings = {"gone": Finding.MISSING_PATH, "m": Finding.MISSING_PATH, "n": Finding.OK}
    assert dict(poller.source.findings) == findings
    poller.add("m/2", "gone/1")
    assert poller.poll() == [complete("gone", 1), complete("m", 2)]


def test_a_path_that_cannot_be_listed(poller: Poller, caplog: pytest.LogCaptureFixture) -> None:
    """A base path that is no directory is an access error, too."""
    (poller.root / "m").write_bytes(b"")
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == []
    assert poller.source.findings["m"] is Finding.MISSING_PATH
    error = f"FAILED_PRECONDITION: {poller.root}/m; Not a directory"
    assert f"FileSystemStoragePathSource encountered a filesystem access error: {error}" in caplog.text


def test_no_versions_unload_the_model(poller: Poller, caplog: pytest.LogCaptureFixture) -> None:
    """A base path without versions is warned about in every poll and emitted as an empty list."""
    poller.add("m/v1")
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [("m", ())]
    assert poller.source.findings["m"] is Finding.NO_VERSIONS
    assert poller.poll() == []
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == 2 * [
        (
            logging.WARNING,
            f"No versions of servable m found under base path {poller.root}/m. Did you forget to name your "
            "leaf directory as a number (eg. '/1/')?",
        )
    ]


def test_specific_versions_need_no_listing(
    poller: Poller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When all listed versions exist by name the directory is not listed; else it is, and zeros count."""
    poller.add("m/1", "m/01", "m/2", "m/3")
    poller.source.set_models([poller.model("m", Specific((3, 1)))])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", None)
        assert poller.poll() == [complete("m", 1, 3)]
    assert caplog.text == ""
    poller.source.set_models([poller.model("m", Specific((1, 7)))])
    assert poller.poll() == [complete("m", 1)]
    assert "Duplicate version directories detected. Version 1 will be loaded from 1" in caplog.text
    assert "Version 7 of servable m, which was requested" in caplog.text


def test_an_empty_list_of_specific_versions_means_none(
    poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any listed version the model is unloaded, with a warning."""
    poller.add("m/1")
    poller.source.set_models([poller.model("m", Specific(()))])
    assert poller.poll() == [("m", ())]
    assert "No specific versions requested for servable m." in caplog.text


def test_models_that_are_no_longer_listed_are_unaspired_at_once(poller: Poller) -> None:
    """Removing a model emits an empty list without a poll; bringing it back emits its versions again."""
    poller.add("a/1", "b/1")
    poller.source.set_models([poller.model("a"), poller.model("b")])
    poller.poll()
    poller.source.set_models([poller.model("b")])
    assert poller.taken() == [("a", ())]
    assert dict(poller.source.findings) == {"b": Finding.OK}
    assert poller.poll() == []
    poller.source.set_models([poller.model("a"), poller.model("b")])
    assert poller.poll() == [complete("a", 1)]


def test_a_new_base_path_or_policy_counts_from_the_next_poll(poller: Poller) -> None:
    """Changing where or what to look for emits the new list; the finding of the old path is not kept."""
    poller.add("a/1", "a/2", "b/1")
    poller.source.set_models([poller.model("a")])
    poller.poll()
    poller.source.set_models([poller.model("a", Specific((2,)))])
    assert poller.source.findings["a"] is Finding.OK
    assert poller.poll() == [complete("a", 2)]
    poller.source.set_models([poller.model("a", path="b")])
    assert dict(poller.source.findings) == {}
    assert poller.poll() == [("a", ((1, "b/1", True),))]


def test_a_poll_does_not_emit_for_models_that_were_removed_meanwhile(poller: Poller) -> None:
    """What a poll found about a model is dropped when the configuration has changed under it."""
    poller.add("a/1", "b/1")
    poller.source.set_models([poller.model("a"), poller.model("b")])

    def remove(platform: str, path: str) -> None:
        poller.source.set_models([poller.model("b")])

    poller.source._incomplete_reason = remove
    assert poller.poll() == [("a", ()), complete("b", 1)]
    assert dict(poller.source.findings) == {"b": Finding.OK}


def test_an_incomplete_version_is_announced_until_it_is_complete(poller: Poller) -> None:
    """An incomplete version is emitted as such; once complete it is emitted so and not asked about again."""
    poller.add("m/1")
    poller.reasons[f"{poller.root}/m/1"] = "no saved_model.pb"
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [("m", ((1, "m/1", False),))]
    assert poller.source.findings["m"] is Finding.OK
    poller.now += 2.9
    assert poller.poll() == []
    assert len(poller.asked) == 1, "nothing changed, so there was nothing to ask"
    (poller.root / "m/1/saved_model.pb").write_bytes(b"x")
    poller.reasons.clear()
    assert poller.poll() == [complete("m", 1)]
    asked = len(poller.asked)
    poller.reasons[f"{poller.root}/m/1"] = "damaged later"
    assert poller.poll() == []
    assert len(poller.asked) == asked


def test_an_incomplete_version_that_no_longer_changes_is_loaded_as_it_is(
    poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    """After the wait without a change the version counts as complete; a change starts the wait anew."""
    poller.add("m/1")
    poller.reasons[f"{poller.root}/m/1"] = "a shard is missing"
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [("m", ((1, "m/1", False),))]
    poller.now += 2.0
    (poller.root / "m/1/other").write_bytes(b"x")
    assert poller.poll() == []
    poller.now += 2.9
    assert poller.poll() == []
    poller.now += 0.1
    assert poller.poll() == [complete("m", 1)]
    assert "is not complete (a shard is missing) but has not changed for 3.0 s" in caplog.text


def test_a_version_that_becomes_complete_too_late_is_named_once(
    poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of a version that was loaded as it was is noticed: one warning, no emission, no further question."""
    poller.add("m/1")
    poller.reasons[f"{poller.root}/m/1"] = "a shard is missing"
    poller.source.set_models([poller.model("m")])
    poller.poll()
    poller.now += 3.0
    assert poller.poll() == [complete("m", 1)]
    (poller.root / "m/1/half").write_bytes(b"x")
    assert poller.poll() == []
    said = "is complete now. If its last load attempt has failed already"
    assert said not in caplog.text
    (poller.root / "m/1/shard").write_bytes(b"x")
    poller.reasons.clear()
    assert poller.poll() == []
    assert [record.levelname for record in caplog.records if said in record.getMessage()] == ["WARNING"]
    asked = len(poller.asked)
    (poller.root / "m/1/more").write_bytes(b"x")
    assert poller.poll() == []
    assert len(poller.asked) == asked
    assert caplog.text.count(said) == 1


def test_a_version_that_comes_back_is_looked_at_anew(poller: Poller) -> None:
    """A path that vanished and returned is checked again."""
    poller.add("m/1", "m/2")
    poller.source.set_models([poller.model("m")])
    poller.poll()
    (poller.root / "m/1").rmdir()
    assert poller.poll() == [complete("m", 2)]
    poller.add("m/1")
    poller.reasons[f"{poller.root}/m/1"] = "no saved_model.pb"
    assert poller.poll() == [("m", ((1, "m/1", False), (2, "m/2", True)))]


def test_a_failing_check_counts_as_incomplete(poller: Poller) -> None:
    """When the backend's check raises the version waits like any incomplete one."""
    poller.add("m/1")

    def fail(platform: str, path: str) -> str | None:
        raise FileNotFoundError(path)

    poller.source._incomplete_reason = fail
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [("m", ((1, "m/1", False),))]
    poller.now += 3.0
    assert poller.poll() == [complete("m", 1)]


def test_a_period_of_zero_polls_once_and_after_each_new_configuration(
    poller_of: Callable[..., Poller],
) -> None:
    """With a wait of 0 there is one poll at the start, one after each set_models, and no completeness."""
    poller = poller_of(0.0, real_clock=True)
    poller.add("m/1")
    poller.reasons[f"{poller.root}/m/1"] = "no saved_model.pb"
    poller.source.set_models([poller.model("m")])
    poller.source.start()
    assert poller.next_emission() == complete("m", 1)
    poller.await_poll()
    poller.add("m/2")
    poller.source.set_models([poller.model("m")])
    assert poller.next_emission() == complete("m", 1, 2)
    poller.await_poll()
    poller.add("m/3")
    assert not poller.polled.acquire(timeout=0.1), "a poll that nobody asked for"
    assert poller.source._watcher.directories == frozenset()
    assert poller.asked == []


def test_a_negative_period_never_polls(poller_of: Callable[..., Poller]) -> None:
    """With a negative wait no thread is started and nothing is ever looked at."""
    poller = poller_of(-1.0)
    poller.add("m/1")
    threads = threading.active_count()
    poller.source.set_models([poller.model("m")])
    poller.source.start()
    poller.source.set_models([poller.model("m")])
    assert threading.active_count() == threads
    assert poller.taken() == []
    assert dict(poller.source.findings) == {}


def test_a_positive_period_polls_again_and_again(poller_of: Callable[..., Poller]) -> None:
    """Polls follow one another; a poll that fails is logged and does not end them."""
    poller = poller_of(0.01, real_clock=True)
    poller.source._watcher._on_change = lambda: None  # only the period is to be seen
    poller.source.set_models([poller.model("m")])
    poller.source.start()
    for _ in range(3):
        poller.await_poll()
    poller.add("m/1")
    assert poller.next_emission() == complete("m", 1)


def test_new_models_are_looked_at_at_once(poller_of: Callable[..., Poller]) -> None:
    """A new configuration does not wait for the end of a long period."""
    poller = poller_of(3600.0, real_clock=True)
    poller.add("a/1", "b/1")
    poller.source.set_models([poller.model("a")])
    poller.source.start()
    assert poller.next_emission() == complete("a", 1)
    poller.source.set_models([poller.model("b")])
    assert [poller.next_emission(), poller.next_emission()] == [("a", ()), complete("b", 1)]


def test_incomplete_versions_are_looked_at_more_often_than_the_period(
    poller_of: Callable[..., Poller], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A version completes long before the next poll is due, and the extra looks repeat no warnings."""
    monkeypatch.setattr(source_module, "RECHECK_S", 0.01)
    poller = poller_of(3600.0, real_clock=True)
    poller.add("m/1", "m/2", "m/02")
    poller.reasons[f"{poller.root}/m/1"] = "no saved_model.pb"
    poller.source.set_models([poller.model("m"), poller.model("gone")])
    poller.source.start()
    assert poller.next_emission() == ("m", ((1, "m/1", False), (2, "m/2", True)))
    for _ in range(3):
        poller.await_poll()
    poller.reasons.clear()
    (poller.root / "m/1/saved_model.pb").write_bytes(b"x")
    assert poller.next_emission() == complete("m", 1, 2)
    assert caplog.text.count("Could not find base path") == 1
    assert caplog.text.count("Duplicate version directories") == 1


def test_an_overrun_is_followed_by_the_next_poll_at_once(poller: Poller) -> None:
    """The period counts from the start of a poll: when that is over already there is no further wait."""
    poller.now = 10.0
    assert poller.source._wait(due=9.0) == "poll"


def test_changes_are_gathered_for_a_moment(poller: Poller) -> None:
    """Events ask for one poll 50 ms after the first of them, however many there are."""
    for _ in range(3):
        poller.source._on_change()
        poller.now += 0.01
    assert poller.source._poll_at == pytest.approx(1000.05)
    poller.now = 1000.06
    assert poller.source._wait(due=5000.0) == "poll"
    assert poller.source._poll_at is None


def test_kept_versions_stay_as_they_are(poller: Poller) -> None:
    """A version to keep stays aspired, from its old path, whatever policy and base path say, until it is let go."""
    poller.add("m/1", "m/2", "n/2", "n/3")
    poller.source.set_models([poller.model("m")])
    assert poller.poll() == [complete("m", 1, 2)]
    emitted = poller.source.emission("m")
    assert [version.version for version in emitted] == [1, 2]
    poller.source.set_models([poller.model("m", Specific((3,)), path="n")], {"m": {1, 77}})
    assert poller.poll() == [("m", ((1, "m/1", True), (3, "n/3", True)))]
    assert poller.poll() == []
    poller.source.set_models([poller.model("m", Specific((3,)), path="n")])
    assert poller.poll() == [("m", ((3, "n/3", True),))]
    poller.source.set_models([])
    assert poller.source.emission("m") == ()


def test_found_versions(poller: Poller) -> None:
    """The policy's choice without a poll; a base path that cannot be listed is an error with its code."""
    poller.add("m/1", "m/2")
    (poller.root / "file").write_bytes(b"")
    assert found_versions(poller.model("m")) == {1, 2}
    assert found_versions(poller.model("m", Specific((2, 9)))) == {2}
    with pytest.raises(NotFoundError, match=r"Could not find base path .*/gone for servable gone with error"):
        found_versions(poller.model("gone"))
    with pytest.raises(FailedPreconditionError, match="Not a directory"):
        found_versions(poller.model("file"))

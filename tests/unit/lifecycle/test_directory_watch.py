"""Watching: what is watched, what is noticed, and that its failures only cost speed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lifecycle_fakes import LIMIT_S
from pyserve.config import LoadOptions, ModelConfig
from pyserve.lifecycle import watch
from pyserve.lifecycle.source import FileSystemSource
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.lifecycle.watch import Watcher, directories_behind

HOUR_S = 3600.0


@pytest.fixture
def change() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watcher_of(change: threading.Event) -> Iterator[Callable[..., Watcher]]:
    watchers: list[Watcher] = []

    def make(limit: int = 8) -> Watcher:
        watchers.append(Watcher(change.set, limit))
        watchers[-1].start()
        return watchers[-1]

    yield make
    for watcher in watchers:
        watcher.stop()


def noticed(change: threading.Event) -> bool:
    seen = change.wait(LIMIT_S)
    change.clear()
    return seen


def test_what_appears_and_vanishes_is_noticed(
    watcher_of: Callable[..., Watcher], change: threading.Event, tmp_path: Path
) -> None:
    """New, renamed and removed children of a base path are noticed; reading it is not."""
    watcher = watcher_of()
    watcher.watch([str(tmp_path)])
    (tmp_path / "1.tmp").mkdir()
    assert noticed(change)
    (tmp_path / "1.tmp").rename(tmp_path / "1")
    assert noticed(change)
    (tmp_path / "1").rmdir()
    assert noticed(change)
    list(tmp_path.iterdir())
    assert not change.wait(0.1)


def test_a_base_path_that_was_deleted_and_made_again(
    watcher_of: Callable[..., Watcher], change: threading.Event, tmp_path: Path
) -> None:
    """The dead watch of a deleted directory is replaced at the next look."""
    base = tmp_path / "m"
    base.mkdir()
    watcher = watcher_of()
    watcher.watch([str(base)])
    base.rmdir()
    assert noticed(change)
    watcher.watch([str(base)])
    assert watcher.directories == frozenset()
    base.mkdir()
    watcher.watch([str(base)])
    change.clear()
    (base / "1").mkdir()
    assert noticed(change)


def test_a_base_path_that_was_replaced(
    watcher_of: Callable[..., Watcher], change: threading.Event, tmp_path: Path
) -> None:
    """A directory renamed away is watched no more; the one that took its name is."""
    base = tmp_path / "m"
    base.mkdir()
    watcher = watcher_of()
    watcher.watch([str(base)])
    base.rename(tmp_path / "old")
    base.mkdir()
    watcher.watch([str(base)])
    (tmp_path / "old" / "1").mkdir()
    assert not change.wait(0.1)
    (base / "1").mkdir()
    assert noticed(change)


def test_the_switch_of_a_mounted_volume(
    watcher_of: Callable[..., Watcher], change: threading.Event, tmp_path: Path
) -> None:
    """Replacing the link behind the base path is noticed, as is a change in what it points to now."""
    for generation in ("..a", "..b"):
        (tmp_path / generation / "m").mkdir(parents=True)
    (tmp_path / "..data").symlink_to("..a")
    (tmp_path / "m").symlink_to("..data/m")
    base = str(tmp_path / "m")
    assert directories_behind(base) == [str(tmp_path), str(tmp_path), str(tmp_path / "..a" / "m")]
    watcher = watcher_of()
    watcher.watch([base])
    (tmp_path / "..data.tmp").symlink_to("..b")
    assert noticed(change)
    (tmp_path / "..data.tmp").rename(tmp_path / "..data")
    assert noticed(change)
    watcher.watch([base])
    assert watcher.directories == {str(tmp_path), str(tmp_path / "..b" / "m")}
    change.clear()
    (tmp_path / "..b" / "m" / "1").mkdir()
    assert noticed(change)


def test_a_dead_watch_is_renewed_even_if_the_directory_looks_the_same(
    watcher_of: Callable[..., Watcher],
    change: threading.Event,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new directory may get the inode of the deleted one; the watch that died with that one is renewed."""
    base = tmp_path / "m"
    base.mkdir()
    monkeypatch.setattr(watch, "_identities", lambda base_paths, limit: {str(base): (1, 1)})
    watcher = watcher_of()
    watcher.watch([str(base)])
    assert watcher._observer is not None
    base.rmdir()
    for emitter in list(watcher._observer.emitters):
        emitter.join(LIMIT_S)
    watcher.watch([str(base)])  # gone since it was looked at: left out
    assert watcher.directories == frozenset()
    base.mkdir()
    watcher.watch([str(base)])
    base.rmdir()
    for emitter in list(watcher._observer.emitters):
        emitter.join(LIMIT_S)
    base.mkdir()
    watcher.watch([str(base)])
    change.clear()
    (base / "1").mkdir()
    assert noticed(change)


def test_links_in_a_circle(watcher_of: Callable[..., Watcher], tmp_path: Path) -> None:
    """A base path that leads nowhere is not watched and harms nothing."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    watcher = watcher_of()
    watcher.watch([str(tmp_path / "a"), "/does/not/exist", "bad\0path"])
    assert watcher.directories <= {str(tmp_path)}


def test_the_number_of_watches_is_limited_and_equal_ones_are_shared(
    watcher_of: Callable[..., Watcher], tmp_path: Path
) -> None:
    """However many models there are, only so many directories are watched, and always the wanted ones."""
    bases = [tmp_path / str(number) for number in range(20)]
    for base in bases:
        base.mkdir()
    watcher = watcher_of(limit=3)
    watcher.watch([str(bases[0])] * 5 + [str(base) for base in bases])
    assert watcher.directories == {str(base) for base in bases[:3]}
    watcher.watch([str(bases[10])])
    assert watcher.directories == {str(bases[10])}


def test_a_thousand_models_need_few_threads(tmp_path: Path) -> None:
    """With 1,000 base paths fewer than 100 threads are at work."""
    for number in range(1000):
        (tmp_path / f"m{number}" / "1").mkdir(parents=True)
    polls = threading.Semaphore(0)
    source = FileSystemSource(
        lambda name, versions: None,
        lambda path: None,
        LoadOptions(file_system_poll_wait_seconds=HOUR_S),
        on_poll=polls.release,
    )
    source.set_models([ModelConfig(f"m{number}", str(tmp_path / f"m{number}")) for number in range(1000)])
    source.start()
    try:
        assert polls.acquire(timeout=LIMIT_S)
        (tmp_path / "m0" / "2").mkdir()  # seen by a watch, or by the poll asked for here
        source.set_models([ModelConfig(f"m{number}", str(tmp_path / f"m{number}")) for number in range(1000)])
        assert polls.acquire(timeout=LIMIT_S)
        assert threading.active_count() < 100
        assert len(source._watcher.directories) == 64
    finally:
        source.stop(LIMIT_S)


@pytest.mark.parametrize(
    "failing", ["watchdog.observers.Observer", "watchdog.observers.api.BaseObserver.schedule"]
)
def test_without_watches_there_is_one_warning(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the system gives no watches that is said once, and watching ends without a trace."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(failing, refuse)
    watcher = Watcher(lambda: None)
    watcher.start()
    for _ in range(3):
        watcher.watch([str(tmp_path)])
    assert watcher.directories == frozenset()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "found by polling only: [Errno 24] inotify instance limit reached" in caplog.text
    watcher.stop()


def test_a_new_version_is_noticed_long_before_the_next_poll(tmp_path: Path) -> None:
    """With a period of an hour a new version is emitted as soon as its directory appears."""
    emitted: dict[int, threading.Event] = {1: threading.Event(), 2: threading.Event(), 3: threading.Event()}

    def emit(name: str, versions: object) -> None:
        assert isinstance(versions, tuple)
        for version in versions:
            assert isinstance(version, AspiredVersion)
            emitted[version.version].set()

    base = tmp_path / "m"
    (base / "1").mkdir(parents=True)
    options = LoadOptions(file_system_poll_wait_seconds=HOUR_S)
    source = FileSystemSource(emit, lambda path: None, options)
    source.set_models([ModelConfig("m", str(base))])
    source.start()
    try:
        assert emitted[1].wait(LIMIT_S)
        (base / "2").mkdir()
        assert emitted[2].wait(LIMIT_S)
        shutil.move(_made(tmp_path / "elsewhere"), base / "3")
        assert emitted[3].wait(LIMIT_S)
    finally:
        source.stop(LIMIT_S)


def _made(path: Path) -> Path:
    path.mkdir()
    return path

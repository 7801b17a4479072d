"""Notices changes below base paths between two polls, so that a poll can come early. Never the truth itself.

`source.py` polls; before each poll it tells the directories to watch, and an event makes it poll sooner.
Whatever goes wrong here is logged once and leaves polling alone. Built around how `watchdog` behaves on
Linux:

* each watch is a thread of its own, hence few watches, none recursive;
* the thread ends silently when its directory is deleted, and scheduling the same path again gets the dead
one; * a directory that is renamed is followed, although its path now means another one, hence the look at
inodes; * a symlink is watched itself, not what it points to, hence real paths and the directories that
hold the links.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver, ObservedWatch

_log = logging.getLogger(__name__)

MAX_WATCHES = 64
_MAX_LINKS = 40  # as the kernel: more links than this in one path are a loop

Identity = tuple[int, int]
"""Device and inode of a directory."""


class Watcher:
    """Watches directories and reports that something in them appeared, vanished or was renamed.

    Not thread-safe: one thread calls `start`, `watch` and `stop`, in this order.

    Args:
        on_change: Called from a thread of `watchdog`, once per event; must not block.
        limit: Most directories watched at a time.
    """

    def __init__(self, on_change: Callable[[], None], limit: int = MAX_WATCHES) -> None:
        self._on_change = on_change
        self._limit = limit
        self._observer: BaseObserver | None = None
        self._watches: dict[str, tuple[ObservedWatch, Identity]] = {}

    def start(self) -> None:
        """Get ready to watch; if the system cannot, say so once and never watch."""
        try:
            # Imported late: watching is the only thing that needs it.
            from watchdog.observers import Observer

            observer = Observer()
            observer.start()
        except Exception as error:
            self._give_up(error)
        else:
            self._observer = observer

    def watch(self, base_paths: Iterable[str]) -> None:
        """Watch what belongs to these base paths, and nothing else; renew watches that went blind.

        Base paths that do not exist are left out, and so is what goes beyond the limit.
        """
        if self._observer is None:
            return
        wanted = _identities(base_paths, self._limit)
        try:
            alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
            for path, (watch, identity) in list(self._watches.items()):
                if wanted.get(path) != identity or watch not in alive:
                    del self._watches[path]
                    self._observer.unschedule(watch)
            for path, identity in wanted.items():
                if path not in self._watches:
                    self._add(self._observer, path, identity)
        except Exception as error:
            self._give_up(error)

    def _add(self, observer: BaseObserver, path: str, identity: Identity) -> None:
        from watchdog import events

        watcher = self

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                watcher._on_change()

        # Not the events of opening and reading: our own polls cause those.
        kinds: list[type[events.FileSystemEvent]] = [
            events.DirCreatedEvent,
            events.DirDeletedEvent,
            events.DirMovedEvent,
            events.FileCreatedEvent,
            events.FileDeletedEvent,
            events.FileMovedEvent,
        ]
        try:
            watch = observer.schedule(Handler(), path, recursive=False, event_filter=kinds)
        except FileNotFoundError:
            return  # gone since we looked; the next poll looks again
        self._watches[path] = (watch, identity)

    @property
    def directories(self) -> frozenset[str]:
        """The directories watched at present."""
        return frozenset(self._watches)

    def stop(self) -> None:
        """End all watching and its threads."""
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None:
            try:
                observer.stop()
                observer.join(timeout=1.0)
            except Exception:
                _log.debug("Watching did not end properly", exc_info=True)

    def _give_up(self, error: Exception) -> None:
        _log.warning("Cannot watch for new versions, they are found by polling only: %s", error)
        self.stop()


def directories_behind(base_path: str) -> list[str]:
    """The directories whose changes can change a base path's children: its own, and those of links to it.

    A mounted Kubernetes volume, for example, switches by replacing the link `..data` beside the base path.

    Returns:
        Real paths, the links' directories first.
    """
    directories: list[str] = []
    path = Path(base_path)
    for _ in range(_MAX_LINKS):
        link = next((part for part in (*reversed(path.parents), path) if part.is_symlink()), None)
        if link is None:
            break
        directories.append(str(link.parent))
        path = Path(os.path.normpath(link.parent / link.readlink() / path.relative_to(link)))
    return [*directories, str(path)]


def _identities(base_paths: Iterable[str], limit: int) -> dict[str, Identity]:
    """The existing directories to watch, at most `limit`, in the order of the base paths."""
    identities: dict[str, Identity] = {}
    for base_path in base_paths:
        try:
            directories = directories_behind(base_path)
        except (OSError, ValueError):
            continue
        for directory in directories:
            if len(identities) >= limit:
                return identities
            try:
                status = Path(directory).stat()
            except (OSError, ValueError):
                continue
            identities[directory] = (status.st_dev, status.st_ino)
    return identities

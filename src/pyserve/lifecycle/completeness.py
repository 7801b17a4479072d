"""Whether a version's files have all arrived.

Between source and manager: a version that is still being copied is announced but not loaded, so that no load
attempt is wasted on it and no error is shown for it. The backend says what is missing; here is only decided
how long to believe that more will come. Times are an argument, in seconds of the monotonic clock, and file
times are only ever compared with each other: a copy may carry any time stamp, and clocks of machines differ.
"""

from __future__ import annotations

import os
from pathlib import Path

Snapshot = frozenset[tuple[str, int, int, int]]
"""(name, size in bytes, mtime in ns, inode) of everything under a version's path."""


class Completeness:
    """Decides, look by look, whether one version counts as complete.

    Args:
        wait_s: Seconds without any change after which an incomplete version counts as complete
            nevertheless: then nobody is copying any more, and a normal load attempt gives the proper error.
    """

    __slots__ = ("_since", "_snapshot", "_wait_s")

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._snapshot: Snapshot | None = None
        self._since = 0.0

    def decide(self, now: float, reason: str | None, snapshot: Snapshot) -> bool:
        """True as soon as the version may be loaded.

        Args:
            now: Time of this look.
            reason: What is missing according to the backend; None when nothing is.
            snapshot: The files, looked at *before* the backend was asked: a file that arrives in between
                makes the next snapshot differ, so it can only be noticed twice, never missed.
        """
        if reason is None:
            return True
        if snapshot != self._snapshot:
            self._snapshot, self._since = snapshot, now
        return now - self._since >= self._wait_s


def take_snapshot(path: str) -> Snapshot:
    """All files and directories under a path, or the file itself; what vanishes meanwhile is left out."""
    root = Path(path)
    entries: list[tuple[str, int, int, int]] = []
    for file in (root, *(Path(at, name) for at, dirs, files in os.walk(root) for name in (*dirs, *files))):
        try:
            status = file.stat()
        except OSError:
            continue
        entries.append((str(file), status.st_size, status.st_mtime_ns, status.st_ino))
    return frozenset(entries)

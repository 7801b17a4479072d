"""When a version whose files still arrive counts as complete."""

from __future__ import annotations

import os
from pathlib import Path

from pyserve.lifecycle.completeness import Completeness, Snapshot, take_snapshot


def snapshot(size: int) -> Snapshot:
    return frozenset({("variables", size, 0, 1)})


def test_a_complete_version_counts_at_once() -> None:
    """Without a reason against it a version is complete at the first look."""
    assert Completeness(3.0).decide(100.0, None, snapshot(1))


def test_looks_at_a_version_that_grows_and_then_stands_still() -> None:
    """Each change starts the wait anew; after it has passed unchanged the version counts as complete."""
    decider = Completeness(3.0)
    looks = [
        (100.0, snapshot(1), False),
        (102.9, snapshot(1), False),
        (102.95, snapshot(2), False),  # changed just in time
        (103.1, snapshot(2), False),  # 3 s since the first look do not count
        (105.9, snapshot(2), False),
        (105.95, snapshot(2), True),
    ]
    for now, files, complete in looks:
        assert decider.decide(now, "shard missing", files) is complete, now


def test_becoming_complete_ends_the_wait() -> None:
    """As soon as nothing is missing the version counts as complete, however short the wait was."""
    decider = Completeness(3.0)
    assert not decider.decide(0.0, "shard missing", snapshot(1))
    assert decider.decide(0.1, None, snapshot(2))


def test_a_change_back_is_a_change() -> None:
    """Files that return to an earlier state have changed twice."""
    decider = Completeness(3.0)
    for now, size in ((0.0, 1), (2.0, 2), (4.0, 1), (6.9, 1)):
        assert not decider.decide(now, "shard missing", snapshot(size))
    assert decider.decide(7.0, "shard missing", snapshot(1))


def test_a_wait_of_zero_never_waits() -> None:
    """With a wait of 0 seconds every version counts as complete at once."""
    assert Completeness(0.0).decide(5.0, "shard missing", snapshot(1))


def test_snapshots_notice_every_kind_of_change(tmp_path: Path) -> None:
    """Size, time stamp, a replaced file, a new file and an empty directory each change the snapshot."""
    version = tmp_path / "1"
    version.mkdir()
    file = version / "saved_model.pb"
    file.write_bytes(b"a")
    os.utime(file, ns=(1, 1))
    seen = [take_snapshot(str(version))]
    assert take_snapshot(str(version)) == seen[0]

    def changed() -> None:
        now = take_snapshot(str(version))
        assert now not in seen
        seen.append(now)

    os.utime(file, ns=(0, 0))  # back in time counts too
    changed()
    file.write_bytes(b"ab")
    os.utime(file, ns=(0, 0))
    changed()
    other = version / "other"
    other.write_bytes(b"ab")
    os.utime(other, ns=(0, 0))
    other.replace(file)
    os.utime(version, ns=(0, 0))
    changed()
    (version / "variables").mkdir()
    os.utime(version, ns=(0, 0))
    changed()
    (version / "variables" / "shard").write_bytes(b"")
    changed()


def test_snapshots_of_a_single_file_and_of_nothing(tmp_path: Path) -> None:
    """A version may be a file; one that is not there has no files."""
    file = tmp_path / "1"
    assert take_snapshot(str(file)) == frozenset()
    file.write_bytes(b"a")
    assert len(take_snapshot(str(file))) == 1

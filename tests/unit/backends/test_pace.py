"""The rule that keeps short runs on the calling thread."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.pace import SHORT_S, Pace


def test_nothing_is_short_before_it_was_seen() -> None:
    """The first run of a size goes to the session's threads, whatever other sizes have shown."""
    pace = Pace()
    assert not pace.is_short(100)
    pace.observe(100, SHORT_S / 10)
    assert pace.is_short(100)
    assert pace.is_short(127)
    assert not pace.is_short(128)
    assert not pace.is_short(0)


@pytest.mark.parametrize(("run_s", "short"), [(SHORT_S * 0.99, True), (SHORT_S, False), (1.0, False)])
def test_the_limit(run_s: float, short: bool) -> None:
    """A run counts as short below the limit, not at it."""
    pace = Pace()
    pace.observe(8, run_s)
    assert pace.is_short(8) is short


def test_a_slow_first_run_is_forgotten_at_once() -> None:
    """The run that builds kernels does not keep later ones off the calling thread."""
    pace = Pace()
    pace.observe(8, 2.0)
    pace.observe(8, SHORT_S / 5)
    assert pace.is_short(8)


def test_a_busy_moment_changes_nothing_but_a_lasting_change_does() -> None:
    """Some slow runs among quick ones are noise; only slow ones for a long time are not."""
    pace = Pace()
    pace.observe(8, SHORT_S / 5)
    for _ in range(100):
        pace.observe(8, 1.0)
    assert pace.is_short(8)
    for _ in range(100):
        pace.observe(8, 1.0)
    assert not pace.is_short(8)
    pace.observe(8, SHORT_S / 5)
    assert pace.is_short(8)


def test_any_size_has_a_place() -> None:
    """No size of input is too large to ask about."""
    pace = Pace()
    pace.observe(2**80, 0.0)
    assert pace.is_short(2**80)

"""How many batches of a queue run side by side, learned from simulated models; and runs that are stuck."""

from __future__ import annotations

import pytest

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.width import Width
from simulated_models import closed_loop

CORES = 4


def one_core(rows: int, running: int) -> float:
    """A model that uses one core, where the others are idle."""
    return 0.001 + 0.0005 * rows


def all_cores(rows: int, running: int) -> float:
    """A model that uses every core, or Python's lock: side by side nothing is won."""
    return one_core(rows, running) * running


@pytest.mark.parametrize("in_flight", [8, 64, 256])
def test_models_of_one_core_run_side_by_side(in_flight: int) -> None:
    """Where idle cores are left, more batches run at once, up to the threads, and more is done."""
    policy = AdaptivePolicy(0.5, 1024, CORES)
    rate, _ = closed_loop(policy, one_core, in_flight, CORES, 20.0)
    alone, _ = closed_loop(AdaptivePolicy(0.5, 1024, 1), one_core, in_flight, CORES, 20.0)
    assert policy.width == CORES
    assert rate > 2 * alone


@pytest.mark.parametrize("in_flight", [1, 8, 64, 256])
def test_models_of_all_cores_run_alone(in_flight: int) -> None:
    """Where a second batch only takes from the first, it stays at one, and trying costs little."""
    policy = AdaptivePolicy(0.5, 1024, CORES)
    rate, _ = closed_loop(policy, all_cores, in_flight, CORES, 20.0)
    alone, _ = closed_loop(AdaptivePolicy(0.5, 1024, 1), all_cores, in_flight, CORES, 20.0)
    assert rate > 0.95 * alone
    assert policy.width == 1


def test_the_width_comes_back() -> None:
    """A model that stops gaining from a second batch runs one at a time again."""
    policy = AdaptivePolicy(0.5, 1024, 2)
    closed_loop(policy, one_core, 64, 2, 10.0)
    assert policy.width == 2
    closed_loop(policy, lambda rows, running: one_core(rows, running) * 2 * running, 64, 2, 60.0)
    assert policy.width == 1


def test_one_in_flight_runs_alone_at_once() -> None:
    """With one request at a time nothing ever waits, and no batch has two rows."""
    policy = AdaptivePolicy(0.5, 1024, CORES)
    rate, sizes = closed_loop(policy, one_core, 1, CORES, 5.0, gap_s=0.0)
    assert set(sizes) == {1}
    assert rate == pytest.approx(1 / 0.0015, rel=0.01)


def test_a_stuck_run_does_not_hold_the_others() -> None:
    """A run that takes very long is not counted any more, and there is a time at which that happens."""
    width = Width(2)
    assert width.has_room(0.0, 1.0)
    stuck = width.begin(0.0)
    assert not width.has_room(0.5, 1.0)
    assert width.room_at(1.0) == 1.0
    assert width.has_room(1.0, 1.0)
    second = width.begin(1.0)
    assert not width.has_room(1.5, 1.0)
    assert width.room_at(1.0) == 2.0
    width.end(second, 1.6, 1)
    assert width.has_room(1.6, 1.0)
    width.end(stuck, 100.0, 1)
    assert width.has_room(100.0, 1.0)
    assert width.room_at(1.0) == 0.0


def test_the_usual_width_is_learned_from_in_a_trial_too() -> None:
    """In a trial only the turns of the other width are passed over."""
    policy = AdaptivePolicy(0.5, 1024, 2)
    now, tried = 0.0, set[bool]()
    while tried != {True, False}:
        number = policy.began(now)
        now += 0.01
        policy.ended(number, now, 1, 1)
        if policy._width.is_trying:
            policy._seen.clear()
            policy.learn(1, 0.01)
            tried.add(policy._width.is_unusual)
            assert bool(policy._seen) is not policy._width.is_unusual

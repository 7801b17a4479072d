"""Settings that take turns: the best one is found, and little is lost by looking."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pyserve.batching.trials import Trials, Turn

TURN = Turn(runs=4, seconds=0.01)


def used(trials: Trials, rate: Callable[[int], float], seconds: float) -> list[float]:
    """Run at the rate of the setting in force; the seconds that each setting was in force."""
    spent = [0.0] * 4
    while sum(spent) < seconds:
        setting = trials.chosen
        took = 10 / rate(setting)
        spent[setting] += took
        trials.ran(10, took)
    return spent


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ([1000, 1000, 1000, 1000], 0),
        ([1000, 1050, 1000, 1000], 0),
        ([1000, 1200, 1000, 1000], 1),
        ([1000, 1200, 1500, 1000], 2),
        ([1000, 1200, 1500, 1800], 3),
        ([1000, 900, 9000, 9000], 0),
    ],
)
def test_the_best_neighbour_wins(rates: list[float], best: int) -> None:
    """It climbs while each step is a tenth better, and stays where the next is not."""
    trials = Trials(4, TURN)
    used(trials, lambda setting: rates[setting], 60)
    assert trials.usual == best


def test_it_comes_back() -> None:
    """A dearer setting that is no longer better is left."""
    trials = Trials(4, TURN)
    used(trials, lambda setting: 1000 + 500 * setting, 60)
    assert trials.usual == 3
    used(trials, lambda setting: 1000, 200)
    assert trials.usual == 0


def test_looking_is_rare() -> None:
    """Where nothing is better, another setting is in force for a fiftieth of the time at most."""
    trials = Trials(4, TURN)
    spent = used(trials, lambda setting: [1000, 500, 500, 500][setting], 200)
    assert spent[0] > 0.98 * sum(spent)


def test_noise_does_not_lead_it_far() -> None:
    """With runs that take now half, now twice their time, and no setting better, the cheapest is in force mostly."""
    dice = random.Random(3)
    trials = Trials(4, Turn(runs=32, seconds=0.1))
    spent = used(trials, lambda setting: 1000 * dice.choice([0.5, 1, 2]), 300)
    assert spent[0] > 0.7 * sum(spent)


def test_a_trial_begins_only_when_it_may() -> None:
    """While another one is under way, none begins."""
    trials = Trials(2, TURN)
    for _ in range(1000):
        trials.ran(10, 0.01, may_begin=False)
    assert not trials.is_trying
    trials.ran(10, 0.01)
    assert trials.is_trying


def test_one_setting_needs_no_trial() -> None:
    """There is nothing to try."""
    trials = Trials(1, TURN)
    for _ in range(1000):
        trials.ran(10, 0.01)
    assert not trials.is_trying

"""The policy of one queue: padding for graphs that are compiled per shape, and the whole of it in a closed loop."""

from __future__ import annotations

import random

import pytest

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.policy import BatchRun, Outcome
from simulated_models import COSTS, Cost, closed_loop


def feed(policy: AdaptivePolicy, sizes: list[int], seconds: dict[int, float] | None = None) -> None:
    """Runs of these rows, as the policy pads them; each first run of a size takes a second longer."""
    seen = {} if seconds is None else seconds
    for rows in sizes:
        run_rows = policy.padded_rows(rows)
        policy.learn(run_rows, 0.002 if run_rows in seen else 1.0)
        seen[run_rows] = 0.002


def test_a_graph_that_is_compiled_per_shape_is_padded() -> None:
    """When each new number of rows takes far longer the first time, batches get powers of two and no other sizes."""
    policy = AdaptivePolicy(0.5, 64, 1)
    chance = random.Random(1)
    feed(policy, [chance.randint(9, 64) for _ in range(200)])
    assert policy.pads
    assert [policy.padded_rows(rows) for rows in (1, 9, 33, 64, 65)] == [1, 16, 64, 64, 65]


def test_no_other_graph_is_padded() -> None:
    """Neither a steady model, nor a noisy one, nor one that becomes slower is taken for one that compiles."""
    for noise, slowdown, since in (
        (0.0, 1.0, 0),
        (0.3, 1.0, 0),
        (0.0, 20.0, 20),
        (0.0, 20.0, 1000),
        (0.2, 20.0, 50),
    ):
        policy = AdaptivePolicy(0.5, 1024, 1)
        chance = random.Random(2)
        for number in range(2000):
            rows = chance.randint(1, 200)
            factor = slowdown if number >= since else 1.0
            policy.learn(rows, (0.01 + 0.0001 * rows) * factor * chance.lognormvariate(0, noise))
        assert not policy.pads
        assert policy.padded_rows(9) == 9


def test_runs_that_fail_teach_nothing() -> None:
    """A model that refuses its inputs is quick at it."""
    policy = AdaptivePolicy(0.5, 64, 1)
    for _ in range(50):
        policy.ran(BatchRun(1, policy.limit, [0.0], 0.001, Outcome.FAILED))
    assert policy.limit == 1
    policy.ran(BatchRun(1, policy.limit, [0.0], 0.001))
    policy.ran(BatchRun(1, policy.limit, [0.0], 0.001))
    assert policy.limit == 2


def test_outputs_without_rows_end_batching() -> None:
    """From then on requests run alone, and unpadded."""
    policy = AdaptivePolicy(0.5, 64, 1)
    chance = random.Random(1)
    feed(policy, [chance.randint(9, 64) for _ in range(200)])
    policy.ran(BatchRun(9, 16, [0.0], 0.1, Outcome.INDIVISIBLE))
    assert policy.indivisible
    assert (policy.limit, policy.padded_rows(9)) == (1, 9)


def test_a_model_that_became_faster_while_idle() -> None:
    """Of runs far below the limit some are learned from, so that what one row takes is known when rows wait."""
    policy = AdaptivePolicy(0.01, 64, 1)
    for _ in range(100):
        policy.learn(policy.limit, 0.1)
    assert policy.limit == 64  # the target is out of reach, and company is free
    for _ in range(100):
        policy.learn(1, 0.004)
    policy.learn(64, 0.1)
    policy.learn(64, 0.1)
    assert policy.limit < 64


def test_accidents_and_slow_times_are_no_compilations() -> None:
    """Slow first runs with fast ones in between, or among other slow runs, say nothing about the graph."""
    accidents = AdaptivePolicy(0.5, 1024, 1)
    slow_times = AdaptivePolicy(0.5, 1024, 1)
    for policy in (accidents, slow_times):
        for _ in range(10):
            policy.learn(512, 0.01)
    for rows in range(257, 400, 2):
        accidents.learn(rows, 0.2)
        accidents.learn(512, 0.01)
        accidents.learn(rows + 1, 0.01)
    for rows in range(257, 262):
        slow_times.learn(rows, 0.2)
        slow_times.learn(512, 0.2)
    assert not accidents.pads
    assert not slow_times.pads


def test_runs_of_a_trial_teach_nothing() -> None:
    """While another number of batches at once is tried, the times of runs are not those of the usual one."""
    policy = AdaptivePolicy(0.5, 64, 2)
    for _ in range(50):
        policy.learn(policy.limit, 0.01)
    now = 0.0
    while True:
        first = policy.began(now)
        if policy.may_begin(now):
            break  # a second one beside it: the trial
        now += 0.01
        policy.ended(first, now, 64, 64)
    for _ in range(20):
        policy.learn(64, 3.0)
    assert (policy.limit, policy.width) == (64, 1)


@pytest.mark.parametrize("in_flight", [8, 64, 256])
@pytest.mark.parametrize("name", ["linear", "affine, cheap rows", "affine, dear rows", "steps of eight"])
def test_a_closed_loop_keeps_up(name: str, in_flight: int) -> None:
    """Batches form from what arrives while others run: no less is done than one row at a time would do."""
    cost: Cost = COSTS[name]
    policy = AdaptivePolicy(0.5, 1024, 1)
    rate, sizes = closed_loop(policy, lambda rows, running: cost(rows), in_flight, 1, 60.0)
    assert max(sizes) <= in_flight
    assert rate >= 0.95 / cost(1)


def test_a_failed_batch_frees_its_place() -> None:
    """A batch of which no run succeeded ends like any other."""
    policy = AdaptivePolicy(0.5, 1024, 1)
    number = policy.began(0.0)
    assert not policy.may_begin(0.1)
    assert policy.may_begin_at() == 1.0
    policy.ended(number, 0.2, 1, 1)
    assert policy.may_begin(0.2)

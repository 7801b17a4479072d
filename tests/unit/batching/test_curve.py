"""The limit of a batch, learned from simulated models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.batching.curve import ThroughputCurve
from simulated_models import COSTS, Cost, Ran, best_rate, saturate

TARGET_S = 0.5
MAX_ROWS = 1024
# Eleven sizes, four runs each (the first one of a size does not count), and a few to spare.
LEARNED_AFTER = 60


def rate(runs: list[Ran], cost: Cost) -> float:
    """Rows per second that the sizes of these runs give, without the noise."""
    return sum(run.rows for run in runs) / sum(cost(run.rows) for run in runs)


@pytest.mark.parametrize(("noise", "spikes"), [(0.0, 0.0), (0.1, 0.01), (0.2, 0.02)])
@pytest.mark.parametrize("name", COSTS)
def test_nearly_the_best_size_is_found(name: str, noise: float, spikes: float) -> None:
    """After a bounded number of runs, all that follow do 90 % of what the best fixed size within the target does."""
    cost = COSTS[name]
    history = saturate(ThroughputCurve(TARGET_S, MAX_ROWS), cost, 3000, noise=noise, spikes=spikes)
    assert rate(history[LEARNED_AFTER:], cost) >= 0.9 * best_rate(cost, TARGET_S, MAX_ROWS)


@pytest.mark.parametrize("name", COSTS)
def test_no_oscillation(name: str) -> None:
    """With steady costs one size is used, but for a look above it now and then, which becomes rare."""
    history = saturate(ThroughputCurve(TARGET_S, MAX_ROWS), COSTS[name], 3000)[LEARNED_AFTER:]
    usual = max({run.rows for run in history}, key=[run.rows for run in history].count)
    others = [index for index, run in enumerate(history) if run.rows != usual]
    assert len(others) <= 40
    assert sum(index > 1500 for index in others) <= 12


@pytest.mark.parametrize("name", ["affine, cheap rows", "affine, dear rows", "linear", "steps of eight"])
def test_the_target_is_kept(name: str) -> None:
    """Without noise no run takes longer than the target."""
    history = saturate(ThroughputCurve(0.1, MAX_ROWS), COSTS[name], 1000)
    assert max(run.seconds for run in history) <= 0.1


def test_a_target_that_one_row_breaks() -> None:
    """Where one row alone takes more than half of the target, a run may take twice as long as that row."""
    cost = COSTS["affine, one row takes long"]
    history = saturate(ThroughputCurve(0.01, MAX_ROWS), cost, 200)[LEARNED_AFTER:]
    assert {run.rows for run in history} == {2}
    flat = saturate(ThroughputCurve(0.01, MAX_ROWS), COSTS["one row breaks the target"], 200)[LEARNED_AFTER:]
    assert flat[-1].rows == MAX_ROWS


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("factor", [1.7, 2.0, 3.0, 10.0])
def test_a_model_that_becomes_slower(name: str, factor: float) -> None:
    """At most two runs in a row break the target, one of them the first that shows it; then the best is found again."""
    curve, cost = ThroughputCurve(TARGET_S, MAX_ROWS), COSTS[name]
    seen: set[int] = set()
    saturate(curve, cost, 400, seen=seen)

    def slower(rows: int) -> float:
        return factor * cost(rows)

    after = saturate(curve, slower, 600, seen=seen)
    # What the curve may aim at: the hysteresis of the size in use, and the target that slow models get.
    allowed_s = 1.1 * max(TARGET_S, 2 * slower(1))
    broken = [index for index, run in enumerate(after) if run.seconds > allowed_s]
    assert broken in ([], [0])
    assert rate(after[LEARNED_AFTER:], slower) >= 0.9 * best_rate(slower, TARGET_S, MAX_ROWS)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("factor", [0.5, 0.1])
def test_a_model_that_becomes_faster(name: str, factor: float) -> None:
    """Larger batches are found when they come within the target."""
    curve, cost = ThroughputCurve(TARGET_S, MAX_ROWS), COSTS[name]
    seen: set[int] = set()
    saturate(curve, cost, 400, seen=seen)

    def faster(rows: int) -> float:
        return factor * cost(rows)

    after = saturate(curve, faster, 600, seen=seen)
    assert rate(after[LEARNED_AFTER:], faster) >= 0.9 * best_rate(faster, TARGET_S, MAX_ROWS)


def test_tiny_models_gain_from_company() -> None:
    """What a batch costs around its run counts too: rows of some microseconds are not worth a batch each."""
    history = saturate(ThroughputCurve(TARGET_S, MAX_ROWS), lambda rows: 10e-6 * rows, 200)
    assert history[-1].rows >= 64


def test_one_slow_run_is_an_accident() -> None:
    """A single run that breaks the target makes the next one smaller, and no more than that one."""
    curve, cost = ThroughputCurve(TARGET_S, MAX_ROWS), COSTS["affine, dear rows"]
    seen: set[int] = set()
    saturate(curve, cost, 400, seen=seen)
    limit = curve.limit
    curve.ran(limit, 1.0, first=False)
    assert curve.limit < limit
    saturate(curve, cost, 1, seen=seen)
    assert curve.limit == limit


def test_first_runs_of_a_size_do_not_count() -> None:
    """A run that compiles something for a new number of rows says nothing about the size."""
    curve = ThroughputCurve(TARGET_S, MAX_ROWS)
    seen: set[int] = set()

    def run() -> None:
        rows = curve.limit
        first = rows not in seen
        seen.add(rows)
        curve.ran(rows, 3.0 if first else 0.01, first=first)

    runs = 0
    while curve.limit < MAX_ROWS:
        run()
        runs += 1
    assert runs == 10 * (1 + 1)  # of each size one that does not count, and one that shows that it is better


@pytest.mark.parametrize("rows", [5, 8, 100, 5000])
def test_requests_of_many_rows(rows: int) -> None:
    """Sizes that requests never have are given up: the others are learned all the same."""
    curve = ThroughputCurve(TARGET_S, MAX_ROWS)
    history = saturate(curve, COSTS["affine, cheap rows"], 200, rows_at_least=rows)
    assert history[-1].rows >= min(512, rows)
    dear = ThroughputCurve(TARGET_S, MAX_ROWS)
    saturate(dear, COSTS["one row breaks the target"], 200, rows_at_least=rows)
    assert dear.limit == MAX_ROWS


def test_an_idle_queue_learns_nothing_and_forgets_nothing() -> None:
    """Single rows one after another leave the next larger size to be tried, and it is tried when rows wait."""
    curve = ThroughputCurve(TARGET_S, MAX_ROWS)
    for index in range(1000):
        curve.ran(1, 0.01, first=index == 0)
        assert curve.limit in (1, 2)
    history = saturate(curve, COSTS["constant"], LEARNED_AFTER, seen={1})
    assert history[-1].rows == MAX_ROWS


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 300),
    st.floats(1e-3, 10.0),
    st.lists(st.tuples(st.integers(1, 700), st.floats(0.0, 100.0), st.booleans()), max_size=80),
)
def test_whatever_happens_the_limit_stays_within_bounds(
    max_rows: int, target_s: float, runs: list[tuple[int, float, bool]]
) -> None:
    """No sequence of runs breaks anything: the limit is one of the sizes."""
    curve = ThroughputCurve(target_s, max_rows)
    sizes = {1 << power for power in range(max_rows.bit_length())} | {max_rows}
    for rows, seconds, first in runs:
        curve.ran(rows, seconds, first=first)
        assert curve.limit in sizes
        assert curve.size_for(rows) >= rows

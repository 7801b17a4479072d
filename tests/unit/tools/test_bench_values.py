"""The values of the load generator: addresses, plans, histograms, outcomes, rounds."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyserve.errors import InvalidArgumentError
from pyserve.tools.bench.histogram import Histogram, bounds
from pyserve.tools.bench.load import Outcome, Plan, even_parts, merged
from pyserve.tools.bench.rounds import Spread, interleave, ratio
from pyserve.tools.bench.target import Target

DURATIONS = st.lists(st.floats(1e-6, 100, allow_nan=False), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("url", "target", "shown"),
    [
        ("grpc://localhost:8500", Target(True, "localhost", 8500), "grpc://localhost:8500"),
        ("localhost:8500", Target(True, "localhost", 8500), "grpc://localhost:8500"),
        ("http://10.0.0.1:8501/", Target(False, "10.0.0.1", 8501), "http://10.0.0.1:8501"),
        ("grpc://[::1]:8500", Target(True, "::1", 8500), "grpc://[::1]:8500"),
        ("unix:/run/tfs.sock", Target(True, path="/run/tfs.sock"), "unix:/run/tfs.sock"),
        ("unix:///run/tfs.sock", Target(True, path="/run/tfs.sock"), "unix:/run/tfs.sock"),
    ],
)
def test_target(url: str, target: Target, shown: str) -> None:
    """An address, and the protocol spoken there."""
    assert Target.parse(url) == target
    assert str(target) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "https://h:1",
        "http://h",
        "http://h:x",
        "http://h:99999",
        "http://h:1/v1/models/m",
        "unix:",
    ],
)
def test_no_target(url: str) -> None:
    """What cannot be called is refused by its name, with the forms that can."""
    with pytest.raises(InvalidArgumentError, match="expected grpc://HOST:PORT") as error:
        Target.parse(url)
    assert error.value.message.startswith(url)


@example([1.0, 2.0], 50)
@example([1.0], 100)
@given(DURATIONS, st.sampled_from([0, 25, 50, 75, 90, 99, 100]) | st.floats(0, 100))
def test_percentiles(durations: list[float], percent: float) -> None:
    """A percentile is the value of that rank, to one percent."""
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    ranked = sorted(durations)
    exact = ranked[max(0, -(-len(ranked) * percent // 100) - 1).__trunc__()]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.01, abs=2e-7)
    assert histogram.count == len(durations)
    assert histogram.max_s == max(durations)
    assert histogram.mean_s == pytest.approx(sum(durations) / len(durations))


@given(DURATIONS, DURATIONS)
def test_merged_histograms(one: list[float], other: list[float]) -> None:
    """Two merged are the same as one of all values."""
    parts = [Histogram(), Histogram(), Histogram()]
    for histogram, values in zip(parts, (one, other, one + other), strict=True):
        for value in values:
            histogram.add(value)
    parts[0].merge(parts[1])
    assert parts[0].counts == parts[2].counts
    assert parts[0].max_s == parts[2].max_s


@given(DURATIONS)
def test_ranges_and_points_lose_nothing(durations: list[float]) -> None:
    """Cut into ranges all values are there; the points of the curve ascend to the whole."""
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    assert sum(histogram.between([1e-6, 1e-3, 0.1, 1.0])) == len(durations)
    points = list(histogram.points())
    assert points == sorted(points)
    assert points[-1] == (histogram.max_s, 1.0)


@given(st.integers(0, 7000))
def test_buckets_adjoin(bucket: int) -> None:
    """Each bucket begins where the one before it ends."""
    assert bounds(bucket)[1] == bounds(bucket + 1)[0]


def test_empty_histogram() -> None:
    """Without a value every figure is zero."""
    empty = Histogram()
    assert (empty.percentile(99), empty.mean_s, empty.max_s, list(empty.points())) == (0.0, 0.0, 0.0, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"duration_s": 0},
        {"duration_s": 1, "timeout_s": 0},
        {"duration_s": 1, "in_flight": 0},
        {"duration_s": 1, "rate": 0.0},
        {"duration_s": 1, "connections": -1},
    ],
)
def test_no_plan(fields: dict[str, float]) -> None:
    """A plan that cannot be carried out is refused, with what was given."""
    with pytest.raises(InvalidArgumentError, match=r"(were|was) "):
        Plan(**fields)  # type: ignore[arg-type]


@given(st.integers(1, 300), st.integers(1, 8))
def test_shares(in_flight: int, processes: int) -> None:
    """The shares of several processes are the whole load, and none of them is nothing."""
    parts = Plan(1, in_flight=in_flight).shared(processes)
    assert sum(part.in_flight for part in parts) == in_flight
    assert len(parts) == min(processes, in_flight)
    open_parts = Plan(1, rate=100.0).shared(processes)
    assert sum(part.rate or 0 for part in open_parts) == pytest.approx(100)
    assert max(even_parts(in_flight, processes)) - min(even_parts(in_flight, processes)) <= 1


@pytest.mark.parametrize(
    ("plan", "is_grpc", "connections"),
    [
        (Plan(1, in_flight=1), True, 1),
        (Plan(1, in_flight=64), True, 8),
        (Plan(1, in_flight=64), False, 64),
        (Plan(1, in_flight=64, connections=3), True, 3),
        (Plan(1, rate=5), False, 8),
    ],
)
def test_connections(plan: Plan, is_grpc: bool, connections: int) -> None:
    """gRPC has many calls on a connection, REST one."""
    assert plan.connections_for(is_grpc=is_grpc) == connections


def test_begin_times() -> None:
    """An open loop begins as many requests as its rate says: in equal gaps, or at random, by the seed."""
    even = list(Plan(2, rate=50, even=True).begin_times(1))
    assert even == pytest.approx([n / 50 for n in range(1, 100)])
    random = list(Plan(100, rate=50).begin_times(1))
    assert len(random) == pytest.approx(5000, rel=0.1)
    assert random == sorted(random)
    assert random[-1] < 100
    gaps = [after - before for before, after in itertools.pairwise(random)]
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(0.37, abs=0.05)  # 1 / e
    assert random == list(Plan(100, rate=50).begin_times(1)) != list(Plan(100, rate=50).begin_times(2))


def test_merged_outcomes() -> None:
    """Outcomes of several processes add up; the busiest one's CPU counts, and decides whether the run is void."""
    one = Outcome(2.0, 10, Counter(OK=11), cpu_share=0.95)
    other = Outcome(2.0, 20, Counter({"OK": 20, "UNAVAILABLE": 1}), {"UNAVAILABLE": "busy"}, cpu_share=0.1)
    both = merged([one, other])
    assert (both.rate, both.requests, both.errors) == (15.0, 32, 1)
    assert both.texts == {"UNAVAILABLE": "busy"}
    assert both.void
    assert not other.void


def test_rounds() -> None:
    """Contenders run in turn, each round beginning with another one; ratios are taken round by round."""
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    found = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert Spread.of([3.0, 1.0, 2.0]).show() == "2.0 (1.0-3.0)"
    assert Spread.of([3.0]).show() == "3.0"
    assert ratio([2.0, 9.0, 1.0], [1.0, 3.0, 0.0]) == Spread(2.5, 2.0, 3.0)

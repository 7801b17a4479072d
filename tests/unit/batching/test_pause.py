"""How long a queue rests between two batches, learned from simulated callers."""

from __future__ import annotations

import itertools

import pytest

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.pause import PAUSES_S, Pause
from simulated_models import closed_loop

# What a batch costs the server beside the model, while nothing else gets done: a tiny model behind a busy front end.
OVERHEAD_S = 0.0004


def tiny(rows: int, running: int) -> float:
    """A model whose run costs next to nothing beside the batch itself."""
    return OVERHEAD_S + 0.000005 * rows


def heavy(rows: int, running: int) -> float:
    """A model whose rows cost what they cost, together or alone."""
    return 0.002 * rows


def rate(policy: AdaptivePolicy, cost: object, in_flight: int, gap_s: float) -> float:
    return closed_loop(policy, cost, in_flight, 1, 10.0, gap_s)[0]  # type: ignore[arg-type]


class Restless(AdaptivePolicy):
    """The same without any pause."""

    def may_begin(self, now: float) -> bool:
        return self._width.is_free

    def may_begin_at(self) -> float:
        return self._width.room_at(1.0)


def test_one_caller_never_waits() -> None:
    """With one request at a time no pause is ever tried: nobody could come in it."""
    policy = AdaptivePolicy(0.5, 1024, 1)
    assert rate(policy, tiny, 1, 0.0) == rate(Restless(0.5, 1024, 1), tiny, 1, 0.0)
    assert policy.pause_s == 0.0


@pytest.mark.parametrize("in_flight", [2, 8, 64])
@pytest.mark.parametrize("cost", [tiny, heavy])
@pytest.mark.parametrize("gap_s", [0.00001, 0.0001])
def test_it_never_costs_much(in_flight: int, cost: object, gap_s: float) -> None:
    """Whatever the callers and the model are, learning a pause loses at most a twentieth of what is done without."""
    without = rate(Restless(0.5, 1024, 1), cost, in_flight, gap_s)
    assert rate(AdaptivePolicy(0.5, 1024, 1), cost, in_flight, gap_s) > 0.95 * without


class Turnstile:
    """A front end that hands over one request after another, and cannot while a batch is begun or answered.

    Each batch takes `batch_s` of it, each request `request_s`; so rests that make batches larger make it faster.
    """

    def __init__(self, pause: Pause, batch_s: float, request_s: float, most: int) -> None:
        self.now = 0.0
        self._pause, self._batch_s, self._request_s, self._most = pause, batch_s, request_s, most

    def batch(self) -> int:
        begins = max(self.now, self._pause.over_at)
        rows = min(self._most, 1 + int((begins - self.now) / self._request_s))
        self._pause.begin(begins)
        self.now = begins + self._batch_s + (self._request_s if rows == 1 else 0.0)
        self._pause.end(self.now, rows, max(2, rows))
        return rows

    def rate(self, seconds: float) -> float:
        until, rows, began = self.now + seconds, 0, self.now
        while self.now < until:
            rows += self.batch()
        return rows / (self.now - began)


def test_where_batches_are_dear_it_rests() -> None:
    """Where a rest makes each batch larger and dearer than it is long, the longest is found, and more gets done."""
    pause = Pause()
    front_end = Turnstile(pause, 0.0004, 0.0001, 1000)
    before = front_end.rate(0.2)
    front_end.rate(30.0)
    assert pause.usual_s == PAUSES_S[-1]
    assert front_end.rate(1.0) > 2 * before


def test_it_ends_when_nobody_is_left_to_wait_for() -> None:
    """When there are too few callers for a long rest, shorter ones take its place, down to none."""
    pause = Pause()
    Turnstile(pause, 0.0004, 0.0001, 1000).rate(30.0)
    few = Turnstile(pause, 0.0004, 0.0001, 1)
    few.now = pause.over_at
    few.rate(200.0)
    assert pause.usual_s == 0.0


def test_after_idleness_nobody_waits() -> None:
    """The rest counts from the last batch; who comes later than that leaves at once."""
    pause = Pause()
    pause._trials.usual = pause._trials.chosen = 3
    pause.begin(10.0)
    pause.end(10.5, 1, 1)
    assert pause.over_at == 10.5 + PAUSES_S[3]


def test_slow_models_are_not_tried() -> None:
    """Beside a long run a pause is nothing, so nothing is tried."""
    pause = Pause()
    for number in itertools.count():
        now = number * 0.1
        if now > 100:
            break
        pause.begin(now)
        pause.end(now + 0.1, 8, 8)
        assert not pause.is_trying

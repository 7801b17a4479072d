"""Models as cost functions, and the loops that feed them to a batching policy: no threads, no clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.curve import ThroughputCurve

Cost = Callable[[int], float]
"""Rows → seconds of a run."""

COSTS: dict[str, Cost] = {
    "constant": lambda rows: 0.01,
    "linear": lambda rows: 0.01 * rows,
    "affine, cheap rows": lambda rows: 0.002 + 0.0001 * rows,
    "affine, dear rows": lambda rows: 0.02 + 0.001 * rows,
    "affine, one row takes long": lambda rows: 0.025 + 0.06 * rows,
    "steps of eight": lambda rows: 0.01 * -(-rows // 8),
    "cliff above 64": lambda rows: 0.002 + 0.0001 * rows * (1 if rows <= 64 else 4),
    "bad between 16 and 32": lambda rows: 0.002 + 0.0001 * rows * (2 if 16 < rows <= 32 else 1),
    "one row breaks the target": lambda rows: 0.8,
}


@dataclass(frozen=True)
class Ran:
    """A run that was simulated."""

    rows: int
    seconds: float


def saturate(
    curve: ThroughputCurve,
    cost: Cost,
    runs: int,
    *,
    noise: float = 0.0,
    spikes: float = 0.0,
    rows_at_least: int = 1,
    seen: set[int] | None = None,
    seed: int = 0,
) -> list[Ran]:
    """Runs of a queue on which there is always more than fits.

    Args:
        noise: Standard deviation of the time's logarithm.
        spikes: Share of the runs that take ten times as long.
        rows_at_least: Rows of each request: batches are never smaller.
        seen: Row counts that were run before; added to.
    """
    chance = random.Random(seed)
    seen = set() if seen is None else seen
    history = []
    for _ in range(runs):
        rows = max(rows_at_least, curve.limit)
        seconds = cost(rows) * chance.lognormvariate(0, noise) * (10 if chance.random() < spikes else 1)
        history.append(Ran(rows, seconds))
        curve.ran(rows, seconds, first=rows not in seen)
        seen.add(rows)
    return history


def best_rate(cost: Cost, target_s: float, max_rows: int) -> float:
    """Rows per second of the best power of two that keeps the target, or twice what one row takes."""
    allowed_s = max(target_s, 2 * cost(1))
    sizes = [1 << power for power in range(max_rows.bit_length())]
    return max(rows / cost(rows) for rows in sizes if cost(rows) <= allowed_s)


_LOOK = (0, 0, 0.0)  # an event: the queue may let a batch go


def closed_loop(
    policy: AdaptivePolicy,
    cost: Callable[[int, int], float],
    in_flight: int,
    threads: int,
    seconds: float,
    gap_s: float = 1e-4,
) -> tuple[float, list[int]]:
    """Callers that send their next row as soon as they are answered, one after another every `gap_s` seconds.

    Args:
        cost: (rows, batches that run, this one included) → seconds.

    Returns:
        Rows per second in the second half, and the rows of its batches.
    """
    events: list[tuple[float, int, tuple[int, int, float] | None]] = [
        (0.0, i, None) for i in range(in_flight)
    ]
    look_at = 0.0  # when the last look at the queue that nothing else causes is due
    count = in_flight
    waiting = running = 0
    sizes: list[int] = []
    now = 0.0
    while now < seconds:
        now, _, batch = heapq.heappop(events)
        if batch is _LOOK:
            pass
        elif batch is None:
            waiting += 1
        else:
            number, rows, ran_s = batch
            running -= 1
            policy.learn(rows, ran_s)
            policy.ended(number, now, rows, rows)
            if now > seconds / 2:
                sizes.append(rows)
            for i in range(rows):
                count += 1
                heapq.heappush(events, (now + gap_s * (i + 1), count, None))
        while waiting and running < threads and policy.may_begin(now):
            rows = min(waiting, policy.limit)
            waiting -= rows
            running += 1
            count += 1
            ran_s = cost(rows, running)
            heapq.heappush(events, (now + ran_s, count, (policy.began(now), rows, ran_s)))
        if waiting and running < threads and now < (at := policy.may_begin_at()) != look_at:
            look_at = at
            count += 1
            heapq.heappush(events, (at, count, _LOOK))
    for _, _, batch in events:
        if batch is not None and batch is not _LOOK:
            policy.ended(batch[0], now, batch[1], batch[1])
    return sum(sizes) / (seconds / 2), sizes

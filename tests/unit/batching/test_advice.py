"""One sentence of advice for each kind of queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyserve.batching.advice import LEAST_BATCHES, Figures, Rules, advice

STATIC = Rules(adaptive=False, max_rows=32, timeout_s=0.005, threads=2)
NO_TIMEOUT = replace(STATIC, timeout_s=0.0)
ADAPTIVE = Rules(adaptive=True, max_rows=64, timeout_s=0.0, threads=1, target_s=0.5)
# A hundred batches of ten rows, in runs of 2 ms.
HEALTHY = Figures(
    batches=100,
    tasks=1000,
    rows=1000,
    padded_rows=1000,
    single=2,
    full=10,
    mean_wait_s=0.001,
    mean_run_s=0.002,
)
SINGLE = replace(HEALTHY, tasks=116, rows=116, padded_rows=116, single=84, full=0)
FULL = replace(HEALTHY, tasks=3100, rows=3100, padded_rows=3100, full=91, mean_wait_s=0.04)


@pytest.mark.parametrize(
    ("rules", "figures", "expected"),
    [
        (
            STATIC,
            replace(HEALTHY, batches=0, rows=0, padded_rows=0),
            "0 batches so far: too few to say anything.",
        ),
        (STATIC, replace(HEALTHY, batches=1), "1 batch so far: too few to say anything."),
        (
            replace(ADAPTIVE, max_rows=1, indivisible=True),
            SINGLE,
            "Requests run alone, since the model gave outputs that cannot be told apart row by row.",
        ),
        (STATIC, HEALTHY, "Batches have 10 rows on average and requests wait 1 ms for runs of 2 ms: fine."),
        (ADAPTIVE, HEALTHY, "Batches have 10 rows on average and requests wait 1 ms for runs of 2 ms: fine."),
        (
            STATIC,
            replace(HEALTHY, padded_rows=1600),
            "38 % of the rows that ran were padding: batches have 10 rows on average, and allowed_batch_sizes has no "
            "size close above that.",
        ),
        (
            replace(ADAPTIVE, pads=True),
            replace(HEALTHY, padded_rows=1600),
            "38 % of the rows that ran were padding, since the model is compiled anew for each batch size: a model "
            "without compilation would not need it.",
        ),
        (
            STATIC,
            replace(SINGLE, mean_wait_s=0.0049),
            "84 % of batches have one row: requests wait 4.9 ms for others that do not come; set batch_timeout_micros "
            "to 0 (now 5000).",
        ),
        (
            STATIC,
            replace(SINGLE, mean_wait_s=0.0001),
            "84 % of batches have one row: requests come one at a time, or none of their threads is ever busy: a "
            "smaller num_batch_threads (now 2) would let more of them meet.",
        ),
        (
            NO_TIMEOUT,
            SINGLE,
            "84 % of batches have one row: no request waits for others, since batch_timeout_micros is 0; about 2000, "
            "the time of a run, would let some of them meet.",
        ),
        (
            ADAPTIVE,
            SINGLE,
            "84 % of batches have one row: requests come one at a time, so there is nothing to share; it costs them no "
            "waiting.",
        ),
        (
            STATIC,
            FULL,
            "91 % of batches are full and requests wait 40 ms for runs of 2 ms: raise max_batch_size (now 32), or "
            "num_batch_threads (now 2) if cores are idle.",
        ),
        (
            ADAPTIVE,
            FULL,
            "91 % of batches are full and requests wait 40 ms for runs of 2 ms: a limit of 64 rows is where rows stop "
            "getting cheaper, or where a run would take longer than --batching_target_latency_ms (500).",
        ),
        (
            STATIC,
            replace(HEALTHY, mean_wait_s=0.004, mean_run_s=0.001),
            "Requests wait 4 ms for runs of 1 ms, mostly for others to join them: a batch_timeout_micros below 1000 "
            "(now 5000) would cost fewer of them time.",
        ),
        (
            NO_TIMEOUT,
            replace(HEALTHY, mean_wait_s=1.5),
            "Requests wait 1.5 s for runs of 2 ms although batches are not full: every thread is busy, perhaps with "
            "other models; more cores or another server would help.",
        ),
        (
            replace(STATIC, max_rows=1, timeout_s=0.0),
            replace(SINGLE, single=100, full=100, mean_wait_s=0.1),
            "100 % of batches are full and requests wait 100 ms for runs of 2 ms: raise max_batch_size (now 1), or "
            "num_batch_threads (now 2) if cores are idle.",
        ),
    ],
)
def test_the_sentence(rules: Rules, figures: Figures, expected: str) -> None:
    """Each kind of queue is told the one thing that matters most."""
    assert advice(rules, figures) == expected


def test_short_times() -> None:
    """Times below a millisecond are given in microseconds."""
    assert "wait 50 µs for runs of 20.5 µs" in advice(
        ADAPTIVE, replace(HEALTHY, mean_wait_s=50e-6, mean_run_s=20.5e-6)
    )


def test_the_least_number_of_batches() -> None:
    """One batch fewer than needed says nothing yet."""
    assert "too few" in advice(STATIC, replace(HEALTHY, batches=LEAST_BATCHES - 1))
    assert "too few" not in advice(STATIC, replace(HEALTHY, batches=LEAST_BATCHES))

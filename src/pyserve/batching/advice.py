"""One sentence about what a queue's figures mean and what could be changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Fewer batches say little.
LEAST_BATCHES = 50
# Shares above which a thing is the thing to say.
_MOSTLY = 0.7
_WASTEFUL = 0.25
# Requests that wait so many times as long as a run takes have more before them than the batch that runs.
_CROWDED = 4.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a queue works by.

    Attributes:
        adaptive: Sizes are learned; then `max_rows` is what was learned so far, and nothing waits for others.
        max_rows: Rows of a full batch.
        timeout_s: How long a batch waits for more rows.
        threads: Batches that may run at once.
        target_s: How long a run may take, when sizes are learned.
        pads: Batches are padded to given sizes.
        indivisible: The model's outputs could not be told apart row by row, so requests run alone.
    """

    adaptive: bool
    max_rows: int
    timeout_s: float
    threads: int
    target_s: float = 0.0
    pads: bool = False
    indivisible: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What a queue has done.

    Attributes:
        batches: Runs.
        tasks: Requests, or pieces of them.
        rows: Of all requests.
        padded_rows: The same with padding.
        single: Batches of one row.
        full: Batches that no further row fitted into.
        mean_wait_s: Of a request, before its run.
        mean_run_s: Of a batch.
    """

    batches: int
    tasks: int
    rows: int
    padded_rows: int
    single: int
    full: int
    mean_wait_s: float
    mean_run_s: float


def advice(rules: Rules, figures: Figures) -> str:
    """The most useful thing to say about a queue, in one sentence."""
    found = figures
    if rules.indivisible:
        return "Requests run alone, since the model gave outputs that cannot be told apart row by row."
    if found.batches < LEAST_BATCHES:
        return f"{_count(found.batches, 'batch', 'batches')} so far: too few to say anything."
    if found.padded_rows - found.rows > _WASTEFUL * found.padded_rows:
        return _about_padding(rules, found)
    waits, runs = _time(found.mean_wait_s), _time(found.mean_run_s)
    if found.single > _MOSTLY * found.batches and rules.max_rows > 1:
        return f"{_percent(found.single, found.batches)} of batches have one row: " + _about_single(
            rules, found
        )
    crowded = found.mean_wait_s > _CROWDED * found.mean_run_s
    if found.full > _MOSTLY * found.batches and found.mean_wait_s > found.mean_run_s:
        return (
            f"{_percent(found.full, found.batches)} of batches are full and requests wait {waits} for runs of {runs}: "
            + _about_full(rules)
        )
    if not rules.adaptive and rules.timeout_s > found.mean_run_s and found.mean_wait_s > rules.timeout_s / 2:
        return (
            f"Requests wait {waits} for runs of {runs}, mostly for others to join them: "
            f"a batch_timeout_micros below {_micros(found.mean_run_s)} (now {_micros(rules.timeout_s)}) would cost "
            "fewer of them time."
        )
    if crowded:
        return (
            f"Requests wait {waits} for runs of {runs} although batches are not full: every thread is busy, perhaps "
            "with other models; more cores or another server would help."
        )
    mean = found.rows / found.batches
    return f"Batches have {mean:.3g} rows on average and requests wait {waits} for runs of {runs}: fine."


def _about_padding(rules: Rules, found: Figures) -> str:
    share = _percent(found.padded_rows - found.rows, found.padded_rows)
    mean = found.rows / found.batches
    if rules.adaptive:
        return (
            f"{share} of the rows that ran were padding, since the model is compiled anew for each batch size: "
            "a model without compilation would not need it."
        )
    return (
        f"{share} of the rows that ran were padding: batches have {mean:.3g} rows on average, "
        "and allowed_batch_sizes has no size close above that."
    )


def _about_single(rules: Rules, found: Figures) -> str:
    if rules.adaptive:
        return "requests come one at a time, so there is nothing to share; it costs them no waiting."
    if rules.timeout_s > 0 and found.mean_wait_s > rules.timeout_s / 2:
        return (
            f"requests wait {_time(found.mean_wait_s)} for others that do not come; "
            f"set batch_timeout_micros to 0 (now {_micros(rules.timeout_s)})."
        )
    if rules.timeout_s > 0:
        return (
            "requests come one at a time, or none of their threads is ever busy: "
            f"a smaller num_batch_threads (now {rules.threads}) would let more of them meet."
        )
    return (
        "no request waits for others, since batch_timeout_micros is 0; "
        f"about {_micros(max(found.mean_run_s, 1e-4))}, the time of a run, would let some of them meet."
    )


def _about_full(rules: Rules) -> str:
    if rules.adaptive:
        return (
            f"a limit of {_count(rules.max_rows, 'row')} is where rows stop getting cheaper, or where a run would "
            f"take longer than --batching_target_latency_ms ({rules.target_s * 1000:g})."
        )
    return f"raise max_batch_size (now {rules.max_rows}), or num_batch_threads (now {rules.threads}) if cores are idle."


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"

"""Outcomes as text for a terminal, and as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from pyserve.tools.bench.histogram import Histogram
from pyserve.tools.bench.load import VOID_SHARE, Outcome, Plan
from pyserve.tools.bench.rounds import Spread, ratio

PERCENTILES = (50.0, 95.0, 99.0)
_BAR = 40
_LINES = 12
# Behind its schedule by more than this part of the median latency, an open loop measures itself.
_LATE_PART = 0.25


def summary(outcome: Outcome) -> dict[str, Any]:
    """The figures of one outcome, for JSON; latencies in milliseconds."""
    latency = outcome.latency
    return {
        "requests_per_s": outcome.rate,
        "latency_ms": {
            **{f"p{percent:g}": latency.percentile(percent) * 1e3 for percent in PERCENTILES},
            "max": latency.max_s * 1e3,
            "mean": latency.mean_s * 1e3,
        },
        "requests": outcome.requests,
        "codes": dict(outcome.codes),
        "first_texts": outcome.texts,
        "lateness_ms_p99": outcome.lateness.percentile(99) * 1e3,
        "generator_cpu_share": outcome.cpu_share,
        "void": outcome.void,
    }


def document(plan: Plan, rounds: Mapping[str, Sequence[Outcome]], **about: Any) -> dict[str, Any]:
    """A whole run, for JSON: what was asked for, on which machine, and each round of each contender."""
    return {
        **about,
        "machine": machine(),
        "plan": {
            "duration_s": plan.duration_s,
            **({"rate": plan.rate, "even": plan.even} if plan.rate else {"in_flight": plan.in_flight}),
        },
        "rounds": {name: [summary(outcome) for outcome in outcomes] for name, outcomes in rounds.items()},
    }


def machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def table(name: str, outcomes: Sequence[Outcome], driver: str) -> list[str]:
    """One contender's figures: of its only round, or medians with their ranges."""
    columns = [
        (f"p{percent:g}", [outcome.latency.percentile(percent) * 1e3 for outcome in outcomes])
        for percent in PERCENTILES
    ]
    columns.append(("max", [outcome.latency.max_s * 1e3 for outcome in outcomes]))
    lines = [
        name,
        f"  requests/s   {Spread.of([outcome.rate for outcome in outcomes]).show()}",
        "  latency ms   "
        + "  ".join(f"{label} {Spread.of(values).show('.3g')}" for label, values in columns),
    ]
    codes: dict[str, int] = {}
    texts: dict[str, str] = {}
    for outcome in outcomes:
        texts = {**outcome.texts, **texts}
        for code, number in outcome.codes.items():
            codes[code] = codes.get(code, 0) + number
    lines.append("  answers      " + ", ".join(f"{code} {number}" for code, number in sorted(codes.items())))
    lines += [f"    {code}: {text}" for code, text in sorted(texts.items()) if text]
    share = max(outcome.cpu_share for outcome in outcomes)
    lines.append(f"  generator    {driver}, {share:.0%} of a core")
    return lines + [f"  {line}" for line in doubts(outcomes)]


def doubts(outcomes: Sequence[Outcome]) -> list[str]:
    """Why these figures may say little about the server."""
    found = []
    if void := sum(outcome.void for outcome in outcomes):
        which = "the run is" if len(outcomes) == 1 else f"{void} of {len(outcomes)} rounds are"
        found.append(
            f"VOID: {which} void: the load generator used {VOID_SHARE:.0%} of a core or more and measured itself; "
            "use more --processes, or another machine"
        )
    late = [
        outcome
        for outcome in outcomes
        if outcome.lateness.percentile(99) > _LATE_PART * outcome.latency.percentile(50) > 0
    ]
    if late:
        worst = max(outcome.lateness.percentile(99) for outcome in late) * 1e3
        found.append(
            f"note: one request of a hundred was begun {worst:.3g} ms late or more, which is part of its latency"
        )
    return found


def comparison(rounds: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """The second contender by the first, round by round: medians and ranges of ratios."""
    (first, base), (second, other) = rounds.items()
    lines = [f"{second} / {first}, {len(base)} rounds in turn"]
    lines.append("  requests/s   " + ratio([o.rate for o in other], [o.rate for o in base]).show(".2f"))
    for percent in PERCENTILES:
        spread = ratio(
            [o.latency.percentile(percent) for o in other], [o.latency.percentile(percent) for o in base]
        )
        lines.append(f"  {f'p{percent:g}':<12} {spread.show('.2f')}")
    return lines


def edges(histogram: Histogram, number: int = _LINES) -> list[float]:
    """Where to cut the values into `number` ranges of equal ratio, in seconds; empty when there are no values."""
    if not histogram.count:
        return []
    low, high = max(histogram.percentile(0), 1e-7), max(histogram.max_s, 2e-7)
    step = math.log(high / low) / number if high > low else 0.1
    return [low * math.exp(step * place) for place in range(number + 1)]


def bars(histogram: Histogram) -> list[str]:
    """Latencies as horizontal bars, each range as wide by ratio as the next; the number of answers behind each."""
    cuts = edges(histogram)
    if not cuts:
        return []
    counts = histogram.between(cuts)
    most = max(counts)
    return [
        f"  {low * 1e3:>9.3g} ms |{'█' * math.ceil(_BAR * count / most):<{_BAR}}| {count}"
        for low, count in zip(cuts, counts, strict=False)
    ]

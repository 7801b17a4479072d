"""The tail: p99 beside p50 at half the rate that saturates the server, in an open loop.

    python benchmarks/tail.py [--model half_plus_two] [--protocol grpc] [--batching off] [--rounds 7] [--seconds 5]

A closed loop with 64 requests in flight finds the saturating rate; then requests come at half of it, whatever becomes
of them: once at random (Poisson), as from many users, and once in equal gaps, in turn, round by round. A latency counts
from the moment at which its request was due. `late` is how late the generator itself began one request of a hundred:
that much of the tail may be the generator's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import models
from contenders import MODES, Contender, Driver, Sample, mode_works, rounds_of, server, spread, targets
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.rounds import Spread


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="half_plus_two")
    parser.add_argument("--protocol", default="grpc", choices=["grpc", "rest"])
    parser.add_argument("--batching", default="off", choices=list(MODES))
    parser.add_argument("--in_flight", type=int, default=64, help="of the closed loop that saturates")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    wanted = parser.parse_args(arguments)
    if not mode_works(wanted.batching):
        raise SystemExit(f"batching {wanted.batching}: pyserve has no flags for it yet")
    inputs = models.inputs(wanted.model)
    flags = MODES[wanted.batching]
    with (
        Generators() as generators,
        server({wanted.model: models.base_path(wanted.model)}, *flags) as process,
    ):
        driver = Driver(generators, "pyserve")
        target = targets(process)[wanted.protocol]
        full = driver.closed("saturated", target, wanted.model, inputs, wanted.in_flight, process.pid)
        (saturated,) = rounds_of([full], wanted.rounds, wanted.seconds).values()
        rate = spread(saturated, lambda sample: sample.outcome.rate)
        print(f"{wanted.in_flight} in flight: {rate.show('.0f')} requests/s{_doubt(saturated)}")

        def open_loop(even: bool) -> Contender:
            def load(seconds: float) -> Outcome:
                plan = Plan(seconds, rate=rate.median / 2, even=even)
                return driver.run(target, wanted.model, inputs, plan)

            return Contender("equal gaps" if even else "random gaps", load, (process.pid,))

        for name, samples in rounds_of(
            [open_loop(False), open_loop(True)], wanted.rounds, wanted.seconds
        ).items():
            p50, p99, late = (_percentile(samples, percent) for percent in (50, 99, None))
            by = Spread.of(
                [s.outcome.latency.percentile(99) / s.outcome.latency.percentile(50) for s in samples]
            )
            errors = sum(sample.outcome.errors for sample in samples)
            print(
                f"{rate.median / 2:.0f} requests/s, {name}: p50 {p50.show('.3g')} ms, p99 {p99.show('.3g')} ms, "
                f"p99 / p50 {by.show('.2f')}, late {late.show('.3g')} ms, errors {errors}{_doubt(samples)}"
            )


def _percentile(samples: Sequence[Sample], percent: float | None) -> Spread:
    """Of the latencies, in milliseconds; of the generator's lateness, the 99th, when `percent` is None."""
    if percent is None:
        return spread(samples, lambda sample: sample.outcome.lateness.percentile(99) * 1e3)
    return spread(samples, lambda sample: sample.outcome.latency.percentile(percent) * 1e3)


def _doubt(samples: Sequence[Sample]) -> str:
    return ", VOID: the load generator was the bottleneck" if any(s.outcome.void for s in samples) else ""


if __name__ == "__main__":
    main()

"""What the load generator itself can do, and what a request costs it: against servers that do next to nothing.

    python benchmarks/load_generator.py [--rounds 7] [--seconds 2] [--processes 1]

pyserve's own generator, h2load and wrk where they are installed, in turn, at 1, 8, 64 and 256 requests in flight, on
the canned answers of `echo.py bytes` (gRPC) and on its HTTP echo. Prints requests per second and microseconds of the
generator's CPU per request. Generator and server share the machine: what is printed is a lower bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import models
from contenders import Driver, echo
from pyserve.tools.bench import external
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.rounds import Spread, interleave

_MODEL = "half_plus_two"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--in_flight", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--processes", type=int, default=1)
    wanted = parser.parse_args(arguments)
    inputs = models.inputs(_MODEL)
    with Generators(wanted.processes) as generators, echo("bytes") as (grpc, _), echo("http") as (rest, _):
        for target in (grpc, rest):
            names = ["pyserve", *(name for name in external.DRIVERS if external.installed(name))]
            drivers = [Driver(generators, name) for name in names if name != "wrk" or not target.is_grpc]
            for in_flight in wanted.in_flight:
                plan = Plan(wanted.seconds, in_flight=in_flight)

                def load(driver: Driver) -> Outcome:
                    return driver.run(target, _MODEL, inputs, plan)  # noqa: B023

                results = interleave({d.name: (lambda d=d: load(d)) for d in drivers}, wanted.rounds)
                for name, outcomes in results.items():
                    rate = Spread.of([outcome.rate for outcome in outcomes])
                    cost = Spread.of(
                        [o.cpu_share * o.seconds / max(o.good_in_time, 1) * 1e6 for o in outcomes]
                    )
                    share = max(outcome.cpu_share for outcome in outcomes)
                    print(
                        f"{'gRPC' if target.is_grpc else 'REST'}, {in_flight:3} in flight, {name:>7}: "
                        f"{rate.show('.0f')} requests/s, {cost.show('.1f')} us of {share:.0%} of a core",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

"""Memory under large requests: where resident memory is after the first thousand, and after ten thousand.

    python benchmarks/memory.py [--requests 10000] [--rows 150000] [--in_flight 4] [--protocol grpc] [--batching off]

half_plus_two with 150,000 floats, 600 KB in and as much out. Prints the server's resident memory as it goes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import models
from contenders import MODES, Driver, mode_works, server, targets
from pyserve.tools.bench.load import Plan
from pyserve.tools.bench.processes import Generators

_MODEL = "half_plus_two"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=150_000, help="of four bytes each")
    parser.add_argument("--in_flight", type=int, default=4)
    parser.add_argument("--protocol", default="grpc", choices=["grpc", "rest"])
    parser.add_argument("--batching", default="off", choices=list(MODES))
    wanted = parser.parse_args(arguments)
    if not mode_works(wanted.batching):
        raise SystemExit(f"batching {wanted.batching}: pyserve has no flags for it yet")
    # One request may be a batch of its own: 150,000 rows are more than a batch usually has.
    parameters = f"max_batch_size {{ value: {wanted.rows * 4} }}"
    flags = MODES[wanted.batching]
    inputs = models.inputs(_MODEL, wanted.rows)
    step = max(1, wanted.requests // 10)
    with (
        Generators() as generators,
        server({_MODEL: models.base_path(_MODEL)}, *flags, parameters=parameters) as process,
    ):
        driver, target = Driver(generators, "pyserve"), targets(process)[wanted.protocol]
        print(f"      0 requests: {process.rss_bytes() / 2**20:7.1f} MiB")
        done = errors = 0
        seen: list[int] = []
        while done < wanted.requests:
            outcome = driver.run(target, _MODEL, inputs, Plan(0.5, in_flight=wanted.in_flight))
            done, errors = done + outcome.requests, errors + outcome.errors
            if done >= step * (len(seen) + 1):
                seen.append(process.rss_bytes())
                print(f"{done:7} requests: {seen[-1] / 2**20:7.1f} MiB", flush=True)
            if errors:
                print(outcome.codes, outcome.texts)
                return 1
        print(
            f"since the first tenth: {(seen[-1] - seen[0]) / 2**20:+.1f} MiB, at most {max(seen) / 2**20:.1f} MiB"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

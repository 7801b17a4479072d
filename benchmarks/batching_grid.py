"""Adaptive batching beside every static setting: max_batch {8, 32, 128} x timeout {0, 1, 5 ms} x threads {1, 2, 4}.

    python benchmarks/batching_grid.py [--models half_plus_two mlp_512 ...] [--in_flight 1 8 64 256] [--rounds 7]
                                       [--seconds 1] [--out out/benchmarks]

One server with adaptive batching, one without batching, and one for each number of threads, which serves the model once
for each maximum and timeout (their parameters are in the versions' batching_params.pbtxt). All of them are loaded in
turn, round by round. Prints for each model and load the best static setting, and the share of its requests per second
that adaptive batching has; at one request in flight the share of what an unbatched server has counts.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import models
import results
from contenders import MODES, Contender, Driver, Sample, mode_works, rounds_of, server, targets
from pyserve.dtypes import Array
from pyserve.tools.bench.plot import Chart, page
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.report import machine
from pyserve.tools.bench.rounds import Spread, ratio
from servers import ServerProcess

MAX_BATCH, TIMEOUT_MS, THREADS = (8, 32, 128), (0, 1, 5), (1, 2, 4)
_PER_MODEL = (*MODES["static"], "--enable_per_model_batching_parameters")
_HEAD = ("unbatched/s", "best static/s", "best static", "adaptive/s", "of the best", "of unbatched")
_WIDTHS = (22, 24, 28, 24, 20, 20)


def settings(name: str, directory: Path) -> dict[str, Path]:
    """The model once for each maximum and timeout, as base paths by name; files are linked, not copied."""
    found = {}
    version = models.version_path(name)
    for most, timeout_ms in itertools.product(MAX_BATCH, TIMEOUT_MS):
        base = directory / f"max_batch {most}, timeout {timeout_ms} ms"
        (base / "1").mkdir(parents=True)
        for entry in version.iterdir():
            (base / "1" / entry.name).symlink_to(entry.resolve())
        (base / "1" / "batching_params.pbtxt").write_text(
            f"max_batch_size {{ value: {most} }} batch_timeout_micros {{ value: {timeout_ms * 1000} }} "
            "max_enqueued_batches { value: 1000000 }\n"
        )
        found[base.name] = base
    return found


def contenders(
    driver: Driver,
    plain: Mapping[str, ServerProcess],
    grid: Mapping[int, ServerProcess],
    served: Sequence[str],
    name: str,
    inputs: Mapping[str, Array],
    in_flight: int,
) -> list[Contender]:
    """The servers without settings by mode, and each static setting of the grid."""
    found = [
        driver.closed(mode, targets(process)["grpc"], name, inputs, in_flight, process.pid)
        for mode, process in plain.items()
    ]
    for (threads, process), setting in itertools.product(grid.items(), served):
        label = f"{setting}, {threads} threads"
        found.append(driver.closed(label, targets(process)["grpc"], setting, inputs, in_flight, process.pid))
    return found


def judged(model: str, in_flight: int, found: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """One line of the table: requests per second of every setting in every round, and the best static one."""
    rates = {name: [sample.outcome.rate for sample in samples] for name, samples in found.items()}
    static = [name for name in rates if name not in MODES]
    best = max(static, key=lambda name: Spread.of(rates[name]).median)
    return {
        "model": model,
        "in_flight": in_flight,
        "best": best,
        "rates": rates,
        "void_rounds": sum(sample.outcome.void for samples in found.values() for sample in samples),
        "errors": sum(sample.outcome.errors for samples in found.values() for sample in samples),
    }


def cells(row: Mapping[str, Any]) -> list[str]:
    """A line below `_HEAD`; empty where adaptive batching was not there."""
    rates, best = row["rates"], row["best"]
    adaptive = rates.get("adaptive")
    return [
        Spread.of(rates["off"]).show(".0f"),
        Spread.of(rates[best]).show(".0f"),
        best.replace("max_batch ", "").replace(" timeout ", " ").replace(" threads", " thr."),
        Spread.of(adaptive).show(".0f") if adaptive else "",
        ratio(adaptive, rates[best]).show(".2f") if adaptive else "",
        ratio(adaptive, rates["off"]).show(".2f") if adaptive else "",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(models.MODELS))
    parser.add_argument("--in_flight", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--driver", default="auto", choices=["auto", "pyserve", "h2load"])
    parser.add_argument("--out", type=Path, default=results.OUT)
    wanted = parser.parse_args(arguments)
    if not mode_works("static"):
        print("skipped: pyserve has no flags for batching yet")
        return 0
    if not mode_works("adaptive"):
        print("adaptive: skipped, pyserve has no flags for it yet")
    rows: list[dict[str, Any]] = []
    with Generators() as generators:
        driver = Driver(generators, wanted.driver)
        print(f"load by {driver.name}, {wanted.rounds} rounds of {wanted.seconds:g} s; {machine()}")
        print(f"{'':>26} " + " ".join(f"{text:>{width}}" for text, width in zip(_HEAD, _WIDTHS, strict=True)))
        for name in wanted.models:
            inputs, base = models.inputs(name), models.base_path(name)
            with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
                served = settings(name, Path(directory))
                plain = {
                    mode: stack.enter_context(server({name: base}, *MODES[mode], rest=False))
                    for mode in ("off", "adaptive")
                    if mode_works(mode)
                }
                grid = {
                    threads: stack.enter_context(
                        server(
                            served,
                            *_PER_MODEL,
                            parameters=f"num_batch_threads {{ value: {threads} }}",
                            rest=False,
                        )
                    )
                    for threads in THREADS
                }
                for in_flight in wanted.in_flight:
                    all_of_them = contenders(driver, plain, grid, list(served), name, inputs, in_flight)
                    row = judged(name, in_flight, rounds_of(all_of_them, wanted.rounds, wanted.seconds))
                    rows.append(row)
                    shown = zip(cells(row), _WIDTHS, strict=True)
                    doubt = f"  VOID rounds: {row['void_rounds']}" if row["void_rounds"] else ""
                    doubt += f"  errors: {row['errors']}" if row["errors"] else ""
                    label = f"{name}, {in_flight} in flight"
                    print(f"{label:>26} " + " ".join(f"{t:>{w}}" for t, w in shown) + doubt, flush=True)
    document = {"machine": machine(), "driver": driver.name, "rounds": wanted.rounds, "rows": rows}
    results.write(wanted.out, "batching_grid", document, picture(rows))
    return 1 if any(row["errors"] for row in rows) else 0


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """A page with a chart for each model, the table, and below it every setting."""
    charts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        here = [row for row in rows if row["model"] == model]
        lines = {
            label: [(row["in_flight"], Spread.of(row["rates"][name(row)]).median) for row in here]
            for label, name in (
                ("unbatched", lambda row: "off"),
                ("best static", lambda row: row["best"]),
                ("adaptive", lambda row: "adaptive"),
            )
            if all(name(row) in row["rates"] for row in here)
        }
        charts.append(Chart(model, "requests in flight", "requests/s", lines, log_x=True))
    table = [["", *_HEAD]]
    table += [[f"{row['model']}, {row['in_flight']} in flight", *cells(row)] for row in rows]
    for row in rows:
        for setting, rates in row["rates"].items():
            label = f"{row['model']}, {row['in_flight']} in flight: {setting}"
            table.append([label, Spread.of(rates).show(".0f"), *[""] * (len(_HEAD) - 1)])
    return page("Adaptive batching beside every static setting", charts, table)


if __name__ == "__main__":
    sys.exit(main())

"""The whole picture: models × protocols × requests in flight × batching, beside the limits on both sides.

    python benchmarks/suite.py [--models half_plus_two mlp_512 ...] [--protocols grpc rest] [--in_flight 1 8 64 256]
                               [--batching off static adaptive] [--rounds 7] [--seconds 2] [--out out/benchmarks]
                               [--other grpc://HOST:PORT] [--other http://HOST:PORT] [--other_pid PID]
                               [--direct_rows 1 8]
    python benchmarks/suite.py --quick

Loaded in turn, round by round, in each cell: pyserve in each batching mode; `in process`, the model run directly from
as many threads (the limit); `echo`, the bare stack under the same requests (its ceiling); and other servers whose
addresses are given, with the models under the same names. Prints a row for each, and writes suite.json and suite.html
into --out. Figures are medians with their range; CPU is that of the server's processes per request. A row whose load
generator used 90 % of a core is marked VOID: it says nothing about the server.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
import results
from contenders import MODES, Contender, Driver, Sample, echo, mode_works, rounds_of, server, spread, targets
from in_process import InProcess
from pyserve.tools.bench.load import Outcome
from pyserve.tools.bench.plot import Chart, page
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.report import machine
from pyserve.tools.bench.rounds import Spread, figure
from pyserve.tools.bench.target import Target

_HEAD = ("requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU us", "RSS MiB", "generator", "errors")
_WIDTHS = (21, 8, 8, 8, 16, 8, 10, 7)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=list(models.MODELS))
    add("--protocols", nargs="+", default=["grpc", "rest"], choices=["grpc", "rest"])
    add("--in_flight", nargs="+", type=int, default=[1, 8, 64, 256])
    add("--batching", nargs="+", default=list(MODES), choices=list(MODES))
    add("--direct_rows", nargs="+", type=int, default=[1], help="of each run in process; figures are by row")
    add("--rounds", type=int, default=7)
    add("--seconds", type=float, default=2.0, help="of each round")
    add("--driver", default="auto", choices=["auto", "pyserve", "h2load", "wrk"])
    add("--processes", type=int, default=1, help="of pyserve's own load generator")
    add("--other", action="append", default=[], metavar="URL", help="another server with the same models")
    add("--other_pid", action="append", type=int, default=[], help="its processes, when they run here")
    add("--out", type=Path, default=results.OUT)
    add("--quick", action="store_true", help="one small model, one round: whether it works, no figures")
    found = parser.parse_args(arguments)
    if found.quick:
        found.models, found.in_flight, found.rounds, found.seconds = ["half_plus_two"], [1, 8], 1, 0.3
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    wanted = options(arguments)
    modes = [mode for mode in wanted.batching if mode_works(mode)]
    for mode in wanted.batching:
        if mode not in modes:
            print(f"batching {mode}: skipped, pyserve has no flags for it yet")
    versions = {name: models.version_path(name) for name in wanted.models}
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        driver = Driver(enter(Generators(wanted.processes)), wanted.driver)
        served = {
            mode: enter(server({n: p.parent for n, p in versions.items()}, *MODES[mode])) for mode in modes
        }
        direct = enter(InProcess(versions))
        echoes = {
            protocol: enter(echo({"grpc": "grpc", "rest": "http"}[protocol])) for protocol in wanted.protocols
        }
        others = {("grpc" if (t := Target.parse(url)).is_grpc else "rest"): t for url in wanted.other}
        print(f"load by {driver.name}, {wanted.rounds} rounds of {wanted.seconds:g} s; {machine()}")
        rows: list[dict[str, Any]] = []
        for model in wanted.models:
            inputs = models.inputs(model)
            for protocol in wanted.protocols:
                for in_flight in wanted.in_flight:

                    def closed(name: str, target: Target, *pids: int) -> Contender:
                        return driver.closed(name, target, model, inputs, in_flight, *pids)  # noqa: B023

                    def directly(rows: int) -> Contender:
                        sent, name = models.inputs(model, rows), "in process"  # noqa: B023

                        def load(seconds: float) -> Outcome:
                            return direct.run(model, sent, in_flight, seconds, rows)  # noqa: B023

                        return Contender(name if rows == 1 else f"{name}, {rows} rows", load, (direct.pid,))

                    contenders = [
                        closed(f"pyserve, batching {mode}", targets(process)[protocol], process.pid)
                        for mode, process in served.items()
                    ]
                    if protocol in others:
                        contenders.append(closed("other", others[protocol], *wanted.other_pid))
                    contenders += [directly(rows) for rows in wanted.direct_rows]
                    contenders.append(closed("echo", *echoes[protocol]))
                    print(f"\n{model}, {protocol}, {in_flight} in flight")
                    print(f"{'':>26} " + _line(_HEAD))
                    for name, samples in rounds_of(contenders, wanted.rounds, wanted.seconds).items():
                        rows.append(row(model, protocol, in_flight, name, samples))
                        print(
                            f"{name:>26} " + " ".join(f"{text:>20}" for text in cells(rows[-1])), flush=True
                        )
    about = {"machine": machine(), "driver": driver.name, "rounds": wanted.rounds, "seconds": wanted.seconds}
    results.write(wanted.out, "suite", {**about, "rows": rows}, picture(rows, about))
    return 1 if any(row["contender"].startswith("pyserve") and row["errors"] for row in rows) else 0


def row(model: str, protocol: str, in_flight: int, name: str, samples: list[Sample]) -> dict[str, Any]:
    """The figures of one contender in one cell; spreads as [median, low, high]."""

    def figures(of: Spread) -> list[float]:
        return [of.median, of.low, of.high]

    def percentile(percent: float) -> list[float]:
        return figures(spread(samples, lambda sample: sample.outcome.latency.percentile(percent) * 1e3))

    known = samples[0].cpu_s is not None
    return {
        "model": model,
        "protocol": protocol,
        "in_flight": in_flight,
        "contender": name,
        "requests_per_s": figures(spread(samples, lambda sample: sample.outcome.rate)),
        "p50_ms": percentile(50),
        "p95_ms": percentile(95),
        "p99_ms": percentile(99),
        "cpu_us": figures(spread(samples, lambda sample: (sample.cpu_s or 0) * 1e6)) if known else None,
        "rss_mib": max(sample.rss_bytes or 0 for sample in samples) / 2**20 if known else None,
        "generator_cpu_share": max(sample.outcome.cpu_share for sample in samples),
        "void_rounds": sum(sample.outcome.void for sample in samples),
        "errors": sum(sample.outcome.errors for sample in samples),
    }


def cells(found: dict[str, Any]) -> list[str]:
    """A row as text, below `_HEAD`."""

    def shown(key: str, form: str) -> str:
        return "" if found[key] is None else Spread(*found[key]).show(form)

    share = f"{found['generator_cpu_share']:.0%}"
    return [
        shown("requests_per_s", ".0f"),
        *(figure(found[key][0]) for key in ("p50_ms", "p95_ms", "p99_ms")),
        shown("cpu_us", ".0f"),
        "" if found["rss_mib"] is None else f"{found['rss_mib']:.0f}",
        f"VOID {share}" if found["void_rounds"] else share,
        str(found["errors"]),
    ]


def _line(texts: Sequence[str]) -> str:
    return " ".join(f"{text:>{width}}" for text, width in zip(texts, _WIDTHS, strict=True))


def picture(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """A page with two charts for each model and protocol, and all figures."""
    charts = []
    for model, protocol in dict.fromkeys((found["model"], found["protocol"]) for found in rows):
        here = [found for found in rows if (found["model"], found["protocol"]) == (model, protocol)]
        for key, label in (("requests_per_s", "requests/s"), ("cpu_us", "server CPU per request, µs")):
            lines: dict[str, list[tuple[float, float]]] = {}
            ranges: dict[str, list[tuple[float, float]]] = {}
            for found in here:
                if found[key] is not None:
                    lines.setdefault(found["contender"], []).append((found["in_flight"], found[key][0]))
                    ranges.setdefault(found["contender"], []).append((found[key][1], found[key][2]))
            title = f"{model}, {protocol}: {label}"
            charts.append(Chart(title, "requests in flight", label, lines, log_x=True, ranges=ranges))
    table = [["", "in flight", *_HEAD]]
    for found in rows:
        name = f"{found['model']}, {found['protocol']}: {found['contender']}"
        table.append([name, str(found["in_flight"]), *cells(found)])
    notes = ["VOID: the load generator was the bottleneck"] if any(r["void_rounds"] for r in rows) else []
    return page(
        f"pyserve benchmarks, {about['rounds']} rounds of {about['seconds']:g} s", charts, table, notes
    )


if __name__ == "__main__":
    sys.exit(main())

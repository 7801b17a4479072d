"""`pyserve bench`: put load on a model server, and say what came of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pyserve.cli.bench_progress import RoundProgress
from pyserve.codec.predict import ModelSpec
from pyserve.errors import InvalidArgumentError, ServingError, UnavailableError, file_error
from pyserve.tools.bench import external, report, request, rounds
from pyserve.tools.bench.histogram import Histogram
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.plot import Chart, page
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.request import Request
from pyserve.tools.bench.signature import fetch_signature
from pyserve.tools.bench.target import Target

EXIT_OK = 0
EXIT_PROBLEM = 1
_ROUNDS = 7
_FIRST_S = 1e-6  # a load of two requests, one after the other


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve bench` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    try:
        return _bench(options)
    except ServingError as error:
        print(f"{program}: {error.message}", file=sys.stderr)  # the code would be ours, not the server's
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
    return EXIT_PROBLEM


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        allow_abbrev=False,
        description="Calls a model again and again and prints requests per second, latencies and errors. Exit code 1 "
        "when an answer was not good.",
    )
    add = parser.add_argument
    add("url", metavar="URL", help="grpc://HOST:PORT, unix:PATH (gRPC), or http://HOST:PORT (REST)")
    add("--model", required=True, metavar="NAME")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="of the model, instead of the newest")
    which.add_argument("--label", metavar="NAME", help="version label, instead of the newest version")
    add("--signature", default="", metavar="NAME", help="instead of serving_default")
    add(
        "--input",
        metavar="INPUT",
        help="the request: JSON as REST takes it, a .json file of it, a .npy file, or a .npz file with an array by "
        "input; without it, numbers are made up from the signature that the server tells",
    )
    add("--rows", type=int, default=1, metavar="N", help="of a made-up request (default: 1)")
    loop = parser.add_mutually_exclusive_group()
    loop.add_argument(
        "--concurrency",
        type=int,
        default=1,
        metavar="N",
        help="closed loop: N requests in flight (default: 1)",
    )
    loop.add_argument(
        "--rate", type=float, metavar="R", help="open loop: R requests per second, whatever becomes of them"
    )
    add("--even", action="store_true", help="open loop: equal gaps, instead of random ones as of many users")
    add(
        "--connections",
        type=int,
        default=0,
        metavar="N",
        help="default: gRPC 8, REST one per request in flight",
    )
    add("--duration", type=float, default=10.0, metavar="S", help="seconds of a round (default: 10)")
    add("--warmup", type=float, default=1.0, metavar="S", help="seconds before, not counted (default: 1)")
    add(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="for answers after a round's end (default: 30)",
    )
    add("--compare", metavar="URL2", help="a second server, loaded in turn with the first, round by round")
    add("--rounds", type=int, metavar="N", help=f"rounds of each (default: 1; with --compare {_ROUNDS})")
    add("--processes", type=int, default=1, metavar="N", help="of the load generator (default: 1)")
    add("--driver", choices=external.DRIVERS, help="let this program make the load")
    add("--json", type=Path, metavar="FILE", help="write the figures of every round")
    add("--plot", type=Path, metavar="FILE.html", help="write a page with the latencies drawn")
    return parser


def _bench(options: argparse.Namespace) -> int:
    plan = Plan(
        duration_s=options.duration,
        in_flight=options.concurrency,
        rate=options.rate,
        even=options.even,
        connections=options.connections,
        timeout_s=options.timeout,
    )
    number = options.rounds or (_ROUNDS if options.compare else 1)
    if number < 1 or options.processes < 1 or options.rows < 1 or options.warmup < 0:
        raise InvalidArgumentError("--rounds, --processes and --rows must be positive, --warmup not negative")
    urls = [options.url, *([options.compare] if options.compare else [])]
    if len(set(urls)) < len(urls):
        raise InvalidArgumentError("--compare takes another address than the first")
    sent = {url: (target := Target.parse(url), _request(target, options)) for url in urls}
    with Generators(options.processes) as generators:
        for target, first in sent.values():
            _check(generators, target, first)
        with RoundProgress(number * len(sent), plan.duration_s) as progress:

            def load(url: str) -> Outcome:
                target, wanted = sent[url]

                def once(part: Plan, tell: Callable[[int], None] = lambda answers: None) -> Outcome:
                    if options.driver:
                        return external.run(options.driver, target, wanted, part)
                    return generators.run(target, wanted, part, tell)

                if options.warmup:
                    once(replace(plan, duration_s=options.warmup))
                return progress.watch(lambda tell: once(plan, tell))

            contenders = {url: (lambda url=url: load(url)) for url in urls}
            results = rounds.interleave(contenders, number)
    _print(results, plan, options)
    _write(results, plan, options)
    return EXIT_PROBLEM if any(outcome.errors for all in results.values() for outcome in all) else EXIT_OK


def _request(target: Target, options: argparse.Namespace) -> Request:
    spec = ModelSpec(options.model, options.version, options.label, options.signature)
    given = None if options.input is None else request.read_input(options.input)
    if isinstance(given, bytes) and not target.is_grpc:
        return request.predict(target, spec, given)
    signature = fetch_signature(target, spec)
    arrays = (
        request.made_up(signature, options.rows) if given is None else request.arrays_of(given, signature)
    )
    return request.predict(target, spec, arrays)


def _check(generators: Generators, target: Target, wanted: Request) -> None:
    """Look at an answer first: a load of refusals is nobody's wish."""
    outcome = generators.run(target, wanted, Plan(_FIRST_S))
    if outcome.errors:
        code = next(code for code in outcome.codes if code != "OK")
        raise UnavailableError(f"{target} answers {code}: {outcome.texts.get(code, '')}")


def _print(results: dict[str, list[Outcome]], plan: Plan, options: argparse.Namespace) -> None:
    loop = f"{plan.in_flight} in flight" if plan.rate is None else f"{plan.rate:g} requests/s, open loop"
    several = (
        f" in each of {len(next(iter(results.values())))} rounds" if options.compare or options.rounds else ""
    )
    print(f"{options.model}, {loop}, {plan.duration_s:g} s{several}")
    driver = (
        options.driver or f"pyserve in {options.processes} process{'es' if options.processes > 1 else ''}"
    )
    for url, outcomes in results.items():
        print("\n".join(report.table(url, outcomes, driver)))
        print("\n".join(report.bars(_latency(outcomes))))
    if options.compare:
        print("\n".join(report.comparison(results)))


def _latency(outcomes: Sequence[Outcome]) -> Histogram:
    total = Histogram()
    for outcome in outcomes:
        total.merge(outcome.latency)
    return total


def _write(results: dict[str, list[Outcome]], plan: Plan, options: argparse.Namespace) -> None:
    try:
        if options.json:
            about = {"model": options.model, "driver": options.driver or "pyserve"}
            options.json.write_text(json.dumps(report.document(plan, results, **about), indent=1) + "\n")
        if options.plot:
            options.plot.write_text(_page(results, options), encoding="utf-8")
    except OSError as error:
        raise file_error(error) from error


def _page(results: dict[str, list[Outcome]], options: argparse.Namespace) -> str:
    total = {url: _latency(outcomes) for url, outcomes in results.items()}
    curves = {url: [(s * 1e3, share * 100) for s, share in all.points()] for url, all in total.items()}
    spread = {
        url: [(low * 1e3, float(n)) for low, n in zip(cuts, all.between(cuts), strict=False)]
        for url, all in total.items()
        if (cuts := report.edges(all, 60))
    }
    charts = [
        Chart("Answers within a latency", "latency, ms", "% of answers", curves, log_x=True),
        Chart("Latency histogram", "latency, ms", "answers", spread, log_x=True),
    ]
    rows = [["", "requests/s", *(f"p{percent:g} ms" for percent in report.PERCENTILES), "max ms"]]
    for url, all in total.items():
        rate = rounds.Spread.of([outcome.rate for outcome in results[url]])
        row = [url, rate.show()]
        row += [f"{all.percentile(percent) * 1e3:.3g}" for percent in report.PERCENTILES]
        rows.append([*row, f"{all.max_s * 1e3:.3g}"])
    notes = [f"{url}: {doubt}" for url, outcomes in results.items() for doubt in report.doubts(outcomes)]
    return page(f"pyserve bench: {options.model}", charts, rows, notes)

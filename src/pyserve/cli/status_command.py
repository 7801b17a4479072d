"""`pyserve status`: which versions of which models a server has."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from pyserve.cli import remote
from pyserve.client import Client, RestClient
from pyserve.errors import ServingError
from pyserve.tools.remote import (
    ModelStatus,
    all_available,
    connect,
    model_statuses,
    status_rows,
    statuses_json,
)

_COLUMNS = ("model", "version", "state", "code", "message")


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve status` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    return remote.exit_code(program, lambda: _status(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = remote.parser(
        program,
        "Print the state of every version that a server has seen. Ends with 1 unless each model has an available one.",
        timeout_s=10.0,
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="names; none means all, which pyserve lists over REST"
    )
    parser.add_argument("--watch", action="store_true", help="go on, and print what changes, until Ctrl-C")
    parser.add_argument(
        "--interval_s", type=float, default=1.0, metavar="SECONDS", help="between two looks (default: 1)"
    )
    return parser


def _status(options: argparse.Namespace) -> int:
    if not options.models and not options.address.startswith("http://"):
        raise remote.UsageError("over gRPC a server cannot list its models: name them")
    try:
        client = connect(options.address, options.timeout_s)
    except ServingError as error:
        raise remote.usage(error) from None
    with client:
        if options.watch:
            return _watch(client, options)
        statuses = model_statuses(client, options.models)
    if options.json:
        print(statuses_json(statuses))
    else:
        remote.print_table(_COLUMNS, status_rows(statuses))
    return remote.EXIT_OK if all_available(statuses) else remote.EXIT_REFUSED


def _watch(client: Client | RestClient, options: argparse.Namespace) -> int:
    looks = _looks(client, options.models, options.interval_s)
    try:
        if options.json:
            _print_changes(statuses_json(statuses) for statuses in looks)
        elif sys.stdout.isatty():
            _draw(looks)
        else:
            shown: list[tuple[str, ...]] = []
            for statuses in looks:
                rows = status_rows(statuses)
                for row in rows:
                    if row not in shown:
                        print(remote.line(row), flush=True)
                shown = list(rows)
    except KeyboardInterrupt:
        pass
    return remote.EXIT_OK


def _looks(
    client: Client | RestClient, models: Sequence[str], interval_s: float
) -> Iterator[dict[str, ModelStatus]]:
    """What there is to see, for ever; a server that cannot be reached is part of it."""
    while True:
        try:
            yield model_statuses(client, models)
        except ServingError as error:
            yield dict.fromkeys(models or ["-"], error)
        time.sleep(interval_s)


def _print_changes(texts: Iterator[str]) -> None:
    last = ""
    for text in texts:
        if text != last:
            print(text, flush=True)
        last = text


def _draw(looks: Iterator[dict[str, ModelStatus]]) -> None:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for statuses in looks:
            live.update(remote.table(_COLUMNS, status_rows(statuses)), refresh=True)  # type: ignore[arg-type]

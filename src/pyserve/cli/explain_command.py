"""`pyserve explain`: how the batching of a running server does, and what to change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyserve.errors import ServingError
from pyserve.tools import explain

EXIT_OK = 0
EXIT_PROBLEM = 1

_BAR_WIDTH = 40


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve explain` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    try:
        reports = explain.fetch(options.url, options.model, options.version)
    except ServingError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_PROBLEM
    if options.json:
        sys.stdout.write(
            orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        )
    elif sys.stdout.isatty():
        _draw(reports)
    else:
        print("\n".join(plain(reports)))
    return EXIT_OK


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        allow_abbrev=False,
        description="Ask a running server what its batching does: parameters in force, sizes of batches, how full they "
        "are, padding, waiting and running times, and one sentence of advice for each queue.",
    )
    parser.add_argument(
        "url", metavar="URL", help="of its REST or admin port, for example http://localhost:8501"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="only this model; may be given several times",
    )
    parser.add_argument(
        "--version", type=int, metavar="N", help="of the models (default: the one that requests reach)"
    )
    parser.add_argument("--json", action="store_true", help="print what the server answers, as a list")
    return parser


def plain(reports: Sequence[explain.Report]) -> list[str]:
    """The reports as lines of text, for files and pipes."""
    lines: list[str] = []
    for report in reports:
        lines.append(explain.heading(report))
        for queue in report["queues"]:
            lines += ["", f"  {explain.queue_heading(queue)}"]
            lines += [
                f"    {text}" for text in (explain.parameters_text(queue), explain.totals_text(queue)) if text
            ]
            for chart in explain.charts(queue):
                lines.append(f"    {chart.title}")
                for bar in chart.bars:
                    drawn = "#" * round(bar.share * _BAR_WIDTH)
                    lines.append(f"      {bar.label:>16} {bar.count:>10} {bar.share:>6.1%} {drawn}".rstrip())
            lines.append(f"    {queue['advice']}")
        lines += [f"  {text}" for text in explain.alone_texts(report)]
        lines.append("")
    return lines[:-1]


def _draw(reports: Sequence[explain.Report]) -> None:
    """The same on a terminal, with tables."""
    console = Console(markup=False, highlight=False)
    for report in reports:
        console.rule(Text(explain.heading(report)), align="left")
        for queue in report["queues"]:
            console.print()
            console.print(explain.queue_heading(queue), style="bold")
            console.print(explain.parameters_text(queue), style="dim")
            console.print(explain.totals_text(queue))
            for chart in explain.charts(queue):
                table = Table(
                    title=chart.title, title_justify="left", box=None, show_header=False, pad_edge=False
                )
                table.add_column(justify="right", min_width=16)
                table.add_column(justify="right", min_width=10)
                table.add_column(justify="right", min_width=7)
                table.add_column(style="cyan")
                for bar in chart.bars:
                    drawn = "█" * max(1, round(bar.share * _BAR_WIDTH))
                    table.add_row(bar.label, str(bar.count), f"{bar.share:.1%}", drawn)
                console.print(table)
            console.print(queue["advice"], style="green")
        for text in explain.alone_texts(report):
            console.print(text)

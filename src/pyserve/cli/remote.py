"""What `predict`, `status` and `reload` have in common: their arguments, their exit codes, their tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pyserve.errors import Code, ServingError, file_error

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_TOO_LATE = 4

EXIT_CODES = (
    "Exit codes: 0 done; 1 the server said no (its code is printed); 2 wrong usage, or a file that cannot be read; "
    "3 the server cannot be reached, or is not available; 4 the time was over."
)
_BY_CODE = {Code.UNAVAILABLE: EXIT_UNREACHABLE, Code.DEADLINE_EXCEEDED: EXIT_TOO_LATE}


class UsageError(Exception):
    """Something that the server need not be asked for."""


def parser(program: str, description: str, *, timeout_s: float) -> argparse.ArgumentParser:
    """A parser with the arguments that all have."""
    made = argparse.ArgumentParser(program, description=description, epilog=EXIT_CODES, allow_abbrev=False)
    made.add_argument(
        "address", metavar="ADDRESS", help="host:port or unix:PATH for gRPC, http://host:port for REST"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument(
        "--timeout_s",
        type=float,
        default=timeout_s,
        metavar="SECONDS",
        help="limit of each call (default: %(default)s)",
    )
    return made


def exit_code(program: str, action: Callable[[], int]) -> int:
    """Do it; what went wrong goes to standard error and becomes an exit code."""
    try:
        return action()
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except ServingError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return _BY_CODE.get(error.code, EXIT_REFUSED)
    except OSError as error:
        print(f"{program}: {file_error(error)}", file=sys.stderr)
        return EXIT_REFUSED


def usage(error: ServingError) -> UsageError:
    """An error of this side's own as one of usage."""
    return UsageError(error.message)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere a line for each row, with tabs between."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(table(columns, rows))
        return
    for row in rows:
        print(line(row), flush=True)


def line(row: Sequence[str]) -> str:
    """A row as one line: tabs and line breaks in a cell become blanks."""
    return "\t".join(" ".join(cell.split()) if cell else "" for cell in row)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> object:
    """For rich."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, box=box.SIMPLE)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made

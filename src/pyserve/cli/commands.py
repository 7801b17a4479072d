"""Subcommands: what `pyserve` does when its first argument has no dash. Without one it is the server.

    pyserve warmup make ...     the command `warmup`, with everything behind it as its own arguments
    pyserve --port=8500 ...     the server

A command's module is imported when it is called, so that the server and `--help` do not pay for any.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

EXIT_UNKNOWN_COMMAND = 2
EXIT_INTERRUPTED = 130
"""What shells make of a process that Ctrl-C ended."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        name: The first argument.
        summary: A line for `pyserve --help`.
        module: Has `run(program, arguments) -> exit code`; `program` is what stands before the arguments.
    """

    name: str
    summary: str
    module: str


COMMANDS: tuple[Command, ...] = (
    Command("bench", "put load on a model server and print its figures", "pyserve.cli.bench_command"),
    Command(
        "warmup",
        "make and check files of requests that a version replays while it loads",
        "pyserve.cli.warmup_command",
    ),
    Command("inspect", "what a model is, and how to call it", "pyserve.cli.inspect_command"),
    Command(
        "convert", "make a version to serve out of what a model was saved as", "pyserve.cli.convert_command"
    ),
    Command("predict", "ask a server to run a model", "pyserve.cli.predict_command"),
    Command("status", "which versions of models a server has", "pyserve.cli.status_command"),
    Command("reload", "give a server a new list of models", "pyserve.cli.reload_command"),
    Command(
        "explain",
        "show what the batching of a running server does, with advice",
        "pyserve.cli.explain_command",
    ),
)


def is_command(arguments: Sequence[str]) -> bool:
    """Whether these arguments of `pyserve` call a command, known or not."""
    return bool(arguments) and not arguments[0].startswith("-")


def run(program: str, arguments: Sequence[str], table: Sequence[Command] = COMMANDS) -> int:
    """Run the command that the first argument names; the result is the process's exit code."""
    name, *rest = arguments
    by_name = {command.name: command for command in table}
    found = by_name.get(name)
    if found is None:
        print(unknown(program, name, table), file=sys.stderr)
        return EXIT_UNKNOWN_COMMAND
    try:
        code: int = importlib.import_module(found.module).run(f"{program} {name}", rest)
    except KeyboardInterrupt:
        print(f"{program} {name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def unknown(program: str, name: str, table: Sequence[Command] = COMMANDS) -> str:
    """What is said about a command that there is none of."""
    text = f"unknown command: {name if len(name) <= 100 else name[:100] + '...'}"
    near = difflib.get_close_matches(name, [command.name for command in table], n=1)
    if near:
        text += f"\nDid you mean {program} {near[0]}?"
    return f"{text}\n`{program} --help` lists every command and flag."


def usage(program: str, table: Sequence[Command] = COMMANDS) -> str:
    """The commands, for the end of the usage text."""
    lines = [f"Commands ({program} COMMAND --help tells more):"]
    lines += [f"\t{command.name:<33}\t{command.summary}" for command in table]
    return "\n".join(lines) + "\n"

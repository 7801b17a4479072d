"""Subcommands: which arguments call one, which one, and what is said about those that there are not."""

from __future__ import annotations

import sys
import types

import pytest

from pyserve.cli import commands
from pyserve.cli.commands import COMMANDS, Command
from pyserve.cli.main import main

TABLE = (Command("greet", "say hello", "greeting_command"), Command("part", "say goodbye", "no_such_module"))


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], False),
        (["--port=1"], False),
        (["-h"], False),
        (["greet"], True),
        (["gret", "--x"], True),
        ([""], True),
    ],
)
def test_a_first_argument_without_a_dash_is_a_command(arguments: list[str], called: bool) -> None:
    """With a dash, or without arguments, it is the server."""
    assert commands.is_command(arguments) is called


def test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets what stands behind it, and its exit code is the process's. No other is imported."""
    seen: list[tuple[str, list[str]]] = []
    module = types.ModuleType("greeting_command")

    def run(program: str, arguments: list[str]) -> int:
        seen.append((program, arguments))
        return 7

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greeting_command", module)
    assert commands.run("pyserve", ["greet", "--loud", "you"], TABLE) == 7
    assert seen == [("pyserve greet", ["--loud", "you"])]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with a line and a shell's exit code, not with a traceback."""
    module = types.ModuleType("greeting_command")

    def run(program: str, arguments: list[str]) -> int:
        raise KeyboardInterrupt

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greeting_command", module)
    assert commands.run("pyserve", ["greet"], TABLE) == 130
    assert capsys.readouterr().err == "pyserve greet: interrupted\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gret", "unknown command: gret\nDid you mean pyserve greet?\n"),
        ("zzz", "unknown command: zzz\n`pyserve --help` lists"),
        ("x" * 200, f"unknown command: {'x' * 100}...\n"),
    ],
)
def test_unknown(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command ends with exit code 2 and the nearest name."""
    assert commands.run("pyserve", [name], TABLE) == 2
    assert capsys.readouterr().err.startswith(said)


def test_main(capsys: pytest.CaptureFixture[str]) -> None:
    """`pyserve --help` lists every command, and `pyserve COMMAND` calls it."""
    assert main(["-h"]) == 0
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\t{command.name} " in text for command in COMMANDS)
    assert main(["warmpu"]) == 2
    assert "Did you mean pyserve warmup?" in capsys.readouterr().err


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`pyserve COMMAND --help` explains the command."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: pyserve {name}")

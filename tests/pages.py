"""The fenced blocks of a documentation page, for the tests that run them."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def steps(page: str) -> list[tuple[str, str]]:
    """(command, output) of every `$` line in the page's console blocks."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            found.append((command, output))
    return found


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def environment_with_pyserve(directory: Path) -> dict[str, str]:
    """The environment, with a command `pyserve` that runs this checkout; it is made in the directory."""
    programs = directory / "bin"
    programs.mkdir()
    script = programs / "pyserve"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pyserve "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

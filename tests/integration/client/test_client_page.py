"""What docs/client.md shows is what happens."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from pathlib import Path

import pytest

from pages import ROOT, environment_with_pyserve, python_blocks, steps
from servers import ServerProcess

PAGE = (ROOT / "docs" / "client.md").read_text()
BLOCKS = python_blocks(PAGE)


def with_ports(text: str, server: ServerProcess) -> str:
    """The server of the tests in place of the documented ports."""
    return text.replace("localhost:8500", f"localhost:{server.grpc_port}").replace(
        "localhost:8501", f"localhost:{server.rest_port}"
    )


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_examples(number: int, server: ServerProcess) -> None:
    """Each example prints what the comments behind its prints say."""
    code = BLOCKS[number]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(with_ports(code, server), f"example {number}", "exec"), {"__name__": "__main__"})
    expected = re.findall(r"print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert expected
    assert output.getvalue().splitlines() == expected


@pytest.mark.parametrize("step", steps(PAGE), ids=lambda step: step[0])
def test_commands(step: tuple[str, str], server: ServerProcess, tmp_path: Path) -> None:
    """Each command prints what the page shows, errors included."""
    command, output = step
    done = subprocess.run(
        ["sh", "-c", with_ports(command, server)],
        env=environment_with_pyserve(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.stdout == output

"""What docs/testing.md, the README and examples/testing show about the fake is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from plugin_runs import ROOT, run_pytest
from servers import ServerProcess

PAGE = (ROOT / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TESTS = [block for block in BLOCKS if "def test_" in block]
SCRIPTS = [block for block in BLOCKS if "def test_" not in block]


def test_tests_on_the_page(tmp_path: Path) -> None:
    """Every file of tests passes as it stands."""
    for number, block in enumerate(TESTS):
        (tmp_path / f"test_{number}.py").write_text(block)
    done = run_pytest(tmp_path)
    expected = sum(block.count("def test_") for block in TESTS)
    assert f"{expected} passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_scripts_on_the_page(number: int) -> None:
    """Every other block runs as it stands, in a process without warnings."""
    command = [sys.executable, "-W", "error", "-c", SCRIPTS[number]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"print\(error\)  # (.*)", SCRIPTS[number]):
        assert line in done.stdout


def test_the_page_has_blocks() -> None:
    """The pattern above finds what it is made for."""
    assert len(TESTS) == 4
    assert len(SCRIPTS) >= 4


def outcomes(**env: str) -> str:
    done = run_pytest(ROOT / "examples" / "testing", "-q", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_application_with_functions_and_recordings() -> None:
    """Its tests pass over a function and over recorded answers."""
    assert outcomes(MODEL_SERVER="").startswith("16 passed")


def test_the_application_with_a_real_server(server: ServerProcess) -> None:
    """Its tests pass against a server with the real model; those that need a fake are skipped."""
    assert outcomes(MODEL_SERVER=f"http://localhost:{server.rest_port}").startswith("2 passed, 6 skipped")


def test_readme() -> None:
    """The README's fake runs as it stands."""
    (code,) = re.findall(
        r"```python\n(from pyserve.testing.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(r"127.0.0.1:\d+ http://127.0.0.1:\d+\n", done.stdout), done.stderr

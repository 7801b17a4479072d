"""What the documentation shows as a session at the console happens so, command by command."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import ROOT, environment_with_pyserve, python_blocks, steps
from pyserve.codec.tensor_proto import decode
from pyserve.codec.tf_record import read_records
from pyserve.protos import tfs

# Times differ from run to run, sizes and versions from one TensorFlow to the next.
VARYING = re.compile(r"\b\d+\.\d{3} s\b|\b\d+ bytes in \d+ files?\b|(?<=of TensorFlow )[\d.]+")


def test_warmup_by_a_program(tmp_path: Path) -> None:
    """The page's program writes a file that holds what it says."""
    (code,) = python_blocks((ROOT / "docs" / "warmup.md").read_text())
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    (record,) = read_records(io.BytesIO((tmp_path / "tf_serving_warmup_requests").read_bytes()))
    request = tfs.PredictionLog.FromString(record).predict_log.request
    assert decode(request.inputs["x"]).tolist() == [1, 2, 5]


@pytest.mark.parametrize(("page", "programs"), [("warmup.md", False), ("models.md", True)])
def test_commands(page: str, programs: bool, tmp_path: Path) -> None:
    """Each command of a page prints what the page shows, in a directory that has the examples.

    Where the page's programs make what its commands work on, they are run first.
    """
    for code in python_blocks((ROOT / "docs" / page).read_text()) if programs else ():
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, timeout=100
        )
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    env = environment_with_pyserve(tmp_path)
    shown = steps((ROOT / "docs" / page).read_text())
    assert shown
    for command, output in shown:
        log = tmp_path / "stderr"
        with log.open("w") as stderr:
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                env=env,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                timeout=100,
            )
        # Of what goes to standard error only pyserve's own words count; TensorFlow says things as it starts.
        said = "".join(line for line in log.read_text().splitlines(True) if line.startswith("pyserve"))
        assert VARYING.sub("?", said + done.stdout) == VARYING.sub("?", output), command

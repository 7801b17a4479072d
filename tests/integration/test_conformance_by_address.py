"""The conformance suite put to a server by its address, as one puts it to TensorFlow Serving."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from served_models import served_models
from servers import TESTDATA_VARIABLE, ServerProcess, free_port

SUITE = Path(__file__).parents[1] / "conformance"
# What TensorFlow Serving needs to start with labels; it is harmless here.
FLAGS = ["--allow_version_labels_for_unavailable_models"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def suite(*arguments: str) -> tuple[int, dict[str, int], str]:
    """(exit code, outcome → count, output) of the quick files of the suite."""
    files = [SUITE / "test_grpc_models.py", SUITE / "test_rest.py"]
    done = run("-m", "pytest", "-p", "no:cacheprovider", *files, *arguments)
    summary = done.stdout.splitlines()[-1]
    counts = {outcome: int(number) for number, outcome in re.findall(r"(\d+) ([a-z]+)", summary)}
    return done.returncode, counts, done.stdout + done.stderr


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server started by hand, with the file that the command writes."""
    config = tmp_path_factory.mktemp("other") / "models.config"
    assert run(SUITE / "models_config.py", config).returncode == 0
    with ServerProcess([f"--model_config_file={config}", *FLAGS]) as server:
        yield server


def test_by_address(other: ServerProcess) -> None:
    """What every server must answer passes; what is only of pyserve is skipped, with its reason."""
    code, counts, output = suite(
        f"--grpc-address=localhost:{other.grpc_port}", f"--rest-address=localhost:{other.rest_port}"
    )
    assert code == 0, output
    assert counts["passed"] > 80
    assert counts["skipped"] >= 10
    assert "only of pyserve: unparsable protobuf is INTERNAL in TensorFlow Serving" in output


def test_by_one_address(other: ServerProcess) -> None:
    """Without an address for a protocol its tests are skipped; no server is started for them."""
    code, counts, output = suite(f"--grpc-address=localhost:{other.grpc_port}")
    assert code == 0, output
    assert counts["passed"] < 30 < counts["skipped"]
    assert "--rest-address is not given" in output


def test_the_address_is_what_is_asked() -> None:
    """Where nobody listens, nothing passes."""
    code, counts, output = suite(f"--rest-address=localhost:{free_port()}", "-k", "test_rest and rows")
    assert code == 1, output
    assert set(counts) <= {"failed", "deselected"}


def test_models_elsewhere(tmp_path: Path) -> None:
    """With a root the base paths are the server's; the models are the same."""
    config = tmp_path / "models.config"
    assert run(SUITE / "models_config.py", config, "--root=/models").returncode == 0
    paths = dict(re.findall(r'name: "(.*?)" base_path: "(.*?)"', config.read_text()))
    assert paths["half_plus_two"] == "/models/examples/half_plus_two"
    assert set(paths) == set(served_models())
    samples = {path for name, path in paths.items() if name.startswith("tfs_")}
    assert all(path.startswith("/models/tfs/saved_model_") for path in samples)
    assert bool(samples) is bool(os.environ.get(TESTDATA_VARIABLE))


def test_with_batching(tmp_path: Path) -> None:
    """A server that batches answers the whole suite, but for inputs without rows, which no batch can hold."""
    config = tmp_path / "models.config"
    assert run(SUITE / "models_config.py", config).returncode == 0
    with ServerProcess([f"--model_config_file={config}", "--enable_batching", *FLAGS]) as server:
        addresses = [
            f"--grpc-address=localhost:{server.grpc_port}",
            f"--rest-address=localhost:{server.rest_port}",
        ]
        done = run("-m", "pytest", "-p", "no:cacheprovider", SUITE, *addresses, "-k", "not scalar")
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 200

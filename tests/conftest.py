"""Fixtures shared by the suites: a real server process with every example model, and TensorFlow Serving's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import EXAMPLES, TESTDATA_VARIABLE, ServerProcess, config_text, testdata

# Sample models of TensorFlow Serving that load; served as tfs_<directory>.
TFS_MODELS = (
    "saved_model_half_plus_two_cpu",
    "saved_model_half_plus_two_tf2_cpu",
    "saved_model_half_plus_two_2_versions",
    "saved_model_half_plus_three",
    "saved_model_counter",
)


@pytest.fixture(scope="session")
def tfs_testdata() -> Path:
    """TensorFlow Serving's sample models; skips where they cannot be had."""
    directory = testdata()
    if directory is None:
        pytest.skip(f"{TESTDATA_VARIABLE} does not name TensorFlow Serving's sample models")
    return directory


def all_models() -> dict[str, Path]:
    """Name → base path of the example models, and of TensorFlow Serving's sample models where they are at hand."""
    models = {path.name: path for path in sorted(EXAMPLES.iterdir()) if (path / "1").is_dir()}
    if (directory := testdata()) is not None:
        models |= {f"tfs_{name}": directory / name for name in TFS_MODELS}
    return models


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server process with every model."""
    extra = {
        "half_plus_two": "model_version_policy { all {} } "
        'version_labels { key: "stable" value: 1 } version_labels { key: "gone" value: 77 }'
    }
    with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
        config.write(config_text(all_models(), extra))
        config.flush()
        with ServerProcess([f"--model_config_file={config.name}"]) as server:
            yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for want of TensorFlow Serving's sample models."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if TESTDATA_VARIABLE in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests were skipped because {TESTDATA_VARIABLE} does not name a directory with "
            "TensorFlow Serving's sample SavedModels"
        )

"""Directories that the server may not search: the operating system's own words with their code, never an INTERNAL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.version_config import options_of_version
from pyserve.backends.tflite.backend import TfLiteBackend
from pyserve.cli.main import main
from pyserve.config import TensorFlowOptions, TfLiteOptions
from pyserve.errors import PermissionDeniedError
from pyserve.inference.warmup_file import replay_file
from pyserve.protos import tfs
from pyserve.servable import ServableId

NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """As somebody whom file permissions hold back; root is not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A version directory that cannot be searched."""
    version = tmp_path / "1"
    version.mkdir()
    version.chmod(0)
    with without_privileges():
        yield version
    version.chmod(0o755)


def test_the_warm_up_file(closed: Path) -> None:
    """What cannot be searched has no warm-up file, as in TensorFlow Serving."""

    def never(log: tfs.PredictionLog) -> None:
        raise AssertionError

    assert replay_file(str(closed), never) is False


def test_tensorflow_lite(closed: Path) -> None:
    """The version is not complete, and a load of it says why."""
    backend = TfLiteBackend(TfLiteOptions(prefer_tflite_model=True), TensorFlowOptions())
    assert "cannot be read: Permission denied" in str(backend.incomplete_reason(str(closed)))
    with pytest.raises(PermissionDeniedError, match=r"model\.tflite; Permission denied"):
        backend.make_loader(ServableId("m", 1), str(closed)).load()


def test_files_behind_tensorflow(closed: Path) -> None:
    """An error of the operating system inside a load keeps its code."""
    with pytest.raises(PermissionError) as caught:
        (closed / "variables").is_dir()
    error = to_serving_error(caught.value)
    assert isinstance(error, PermissionDeniedError)
    assert error.message == f"{closed / 'variables'}; Permission denied"


def test_the_versions_own_options(closed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are logged with their code, and the version is loaded without them."""
    options = TensorFlowOptions()
    assert options_of_version(closed, options) is options
    assert "Failed to load saved model config: PERMISSION_DENIED: " in caplog.text


@pytest.mark.parametrize("action", [["make", "--request", "x"], ["check"]])
def test_the_warm_up_command(closed: Path, action: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and the exit code of a problem."""
    assert main(["warmup", action[0], str(closed / "saved_model.pb"), *action[1:]]) == 1
    said = capsys.readouterr().err
    assert said.startswith("pyserve warmup: PERMISSION_DENIED: ")
    assert said.count("\n") == 1

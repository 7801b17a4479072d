"""Which backend each platform gets from the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.backends.python import PythonBackend
from pyserve.config import PlatformOptions, ServerConfig, TfLiteOptions
from pyserve.server.server import _backend, _platforms
from python_models import write


@pytest.mark.parametrize("prefer_tflite_model", [False, True])
def test_handlers_run_only_where_they_may(prefer_tflite_model: bool, tmp_path: Path) -> None:
    """Whatever loads the model: a handler is waited for, and so run, with the flag alone."""
    write(tmp_path, handler="from . import missing")
    (tmp_path / "saved_model.pbtxt").touch()
    options = PlatformOptions(tflite=TfLiteOptions(prefer_tflite_model=prefer_tflite_model))
    backend = _backend(ServerConfig(), options)
    assert backend.incomplete_reason(str(tmp_path)) is None
    allowed = ServerConfig(allow_python_models=True, platforms={"fast": options})
    for backend in (_backend(allowed, options), _platforms(allowed)["fast"]):
        assert "imports missing.py" in str(backend.incomplete_reason(str(tmp_path)))


def test_our_own_platform() -> None:
    """It is there when it is allowed, beside those of a file."""
    assert _platforms(ServerConfig()) == {}
    platforms = _platforms(ServerConfig(allow_python_models=True, platforms={"fast": PlatformOptions()}))
    assert sorted(platforms) == ["fast", "python"]
    assert isinstance(platforms["python"], PythonBackend)

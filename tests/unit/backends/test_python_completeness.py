"""Whether the source files of a version are all there, without running any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.backends.python import HandlerBackend, PythonBackend
from pyserve.backends.python.completeness import incomplete_reason
from pyserve.backends.saved_model import SavedModelBackend
from pyserve.config import TensorFlowOptions
from python_models import write


@pytest.mark.parametrize(
    "files",
    [
        {"model": "import os\nfrom numpy import zeros"},
        {"model": "from . import a, b", "a": "", "b__c": ""},
        {"model": "from .a import anything", "a": ""},
        {"model": "from .a import anything", "a": "from .model import loop"},
        {"model": "from .b.c import x", "b____init__": "", "b__c": "from .d import y", "b__d": "from ..a import z",
         "a": ""},
        {"model": "from .b import anything", "b____init__": "anything = 1"},
        {"model": "from .. import beyond"},
        {"model": "from ..other import beyond"},
        {"model": "raise SystemExit"},
    ],
)  # fmt: skip
def test_complete(tmp_path: Path, files: dict[str, str]) -> None:
    """Everything that is imported relatively is there; nothing is run."""
    assert incomplete_reason(write(tmp_path, **files), "model.py") is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no model.py yet"),
        ({"model": "\n"}, "model.py is empty yet"),
        ({"model": "def predict("}, "model.py is not whole, or no Python: '(' was never closed"),
        ({"model": "import os\nfrom . import a"}, "model.py:2 imports a.py, which is not there yet"),
        ({"model": "from .a.b import c", "a__x": ""}, "model.py:1 imports a/b.py, which is not there yet"),
        ({"model": "def f():\n  from .a import x", "a": "from .b import y"}, "a.py:1 imports b.py, which"),
        (
            {"model": "from .a import x", "a": "x = ["},
            "a.py is not whole, or no Python: '[' was never closed",
        ),
    ],
)
def test_incomplete(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    """What is missing, or there in part, is said."""
    found = incomplete_reason(write(tmp_path, **files), "model.py")
    assert found is not None
    assert found.startswith(reason)


def test_a_named_pipe(tmp_path: Path) -> None:
    """It is not opened, which would hold up every model."""
    os.mkfifo(tmp_path / "model.py")
    assert PythonBackend().incomplete_reason(str(tmp_path)) == "there is no model.py yet"


def test_a_handler(tmp_path: Path) -> None:
    """The model comes first, then its handler; one that may not run need not be whole."""
    models = SavedModelBackend(TensorFlowOptions())
    backend = HandlerBackend(models, enabled=True)
    write(tmp_path, handler="from . import a")
    assert backend.incomplete_reason(str(tmp_path)) == "there is no saved_model.pb yet"
    (tmp_path / "saved_model.pbtxt").touch()
    assert str(backend.incomplete_reason(str(tmp_path))).startswith("handler.py:1 imports a.py")
    assert HandlerBackend(models, enabled=False).incomplete_reason(str(tmp_path)) is None

"""The import of TensorFlow as the process sees it, with another module in TensorFlow's place."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator

import pytest

from pyserve.backends.saved_model import SavedModelBackend, runtime
from pyserve.config import TensorFlowOptions
from pyserve.errors import FailedPreconditionError

LIMIT_S = 20.0


class Import:
    """Stands in for the import: waits for a gate, counts, and may fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.count = 0
        self.fails = False

    def __call__(self) -> object:
        self.count += 1
        assert self.gate.wait(LIMIT_S)
        if self.fails:
            raise FailedPreconditionError("not installed")
        return object()


@pytest.fixture
def importing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    stand_in = Import()
    for name, value in (("_module", None), ("_thread", None), ("_import", stand_in)):
        monkeypatch.setattr(runtime, name, value)
    yield stand_in
    stand_in.gate.set()
    end_of_import()


def end_of_import() -> None:
    if runtime._thread is not None:
        runtime._thread.join(LIMIT_S)
        assert not runtime._thread.is_alive()


def import_threads() -> int:
    return sum(thread.name == "pyserve-import" for thread in threading.enumerate())


def prepare() -> None:
    SavedModelBackend(TensorFlowOptions()).prepare(own_process=False)


def test_servers_share_one_import(importing: Import) -> None:
    """However many servers start while the import is at work, one thread imports, and none is left or made after."""
    for _ in range(3):
        prepare()
    assert import_threads() == 1
    importing.gate.set()
    end_of_import()
    ended = runtime._thread
    prepare()
    assert runtime._thread is ended
    assert (import_threads(), importing.count) == (0, 1)


def test_a_failed_import_is_tried_again(importing: Import) -> None:
    """An import that failed raises nothing on its thread, and the next server begins another."""
    importing.fails = True
    importing.gate.set()
    prepare()
    end_of_import()
    prepare()
    end_of_import()
    assert importing.count == 2


NAMES = ("TF_CPP_MIN_LOG_LEVEL", "TEST_TMPDIR")


@pytest.mark.parametrize("own", [None, "0"])
@pytest.mark.parametrize("writable", [True, False])
def test_the_environment_is_as_before(
    monkeypatch: pytest.MonkeyPatch, own: str | None, writable: bool
) -> None:
    """Variables are set for the import alone, and never over the user's own."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        if own is not None:
            monkeypatch.setenv(name, own)
    if not writable:

        def nowhere() -> str:
            raise FileNotFoundError("No usable temporary directory found")

        monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    before = dict(os.environ)
    with runtime._environment():
        expected = ("2", None if writable else "/tmp") if own is None else (own, own)
        assert tuple(os.environ.get(name) for name in NAMES) == expected
    assert dict(os.environ) == before


def test_the_environment_is_as_before_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that fails leaves nothing in the environment either."""
    monkeypatch.delenv(NAMES[0], raising=False)

    def fail() -> None:
        with runtime._environment():
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert NAMES[0] not in os.environ

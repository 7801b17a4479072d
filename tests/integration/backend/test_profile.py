"""TensorFlow's profiler as the backend uses it: what is recorded, and what is left behind when it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pyserve.backends.saved_model import SavedModelLoader
from pyserve.backends.saved_model.profile import record
from pyserve.config import TensorFlowOptions
from pyserve.errors import AlreadyExistsError, CancelledError
from pyserve.protos.tf import ProfileOptions
from servers import EXAMPLES


@pytest.fixture(scope="module")
def run() -> Callable[[], None]:
    """Runs a model a few times."""
    servable = SavedModelLoader(str(EXAMPLES / "half_plus_two" / "1"), TensorFlowOptions()).load()

    def run() -> None:
        for _ in range(10):
            servable.run("serving_default", {"x": np.ones(3, np.float32)}, ["y"])

    return run


@pytest.mark.parametrize("level", [0, 2, 3])
def test_a_profile(tmp_path: Path, run: Callable[[], None], level: int) -> None:
    """What the model did is in the file, and nothing else is left. (TensorFlow 2.21 cannot read the level.)"""
    file = tmp_path / "here.xplane.pb"
    anything = record(file, ProfileOptions(version=1, host_tracer_level=level, device_tracer_level=1), run)
    assert anything or level == 0
    assert list(tmp_path.iterdir()) == [file]
    assert (b"SessionRun" in file.read_bytes()) is anything


def test_nothing_happens(tmp_path: Path) -> None:
    """A profile of nothing is written too, and told apart."""
    assert not record(tmp_path / "here.xplane.pb", ProfileOptions(), lambda: None)


def test_a_wait_that_fails(tmp_path: Path, run: Callable[[], None]) -> None:
    """Its error is passed on, nothing is left, and the next profile is recorded over an older one."""

    def fail() -> None:
        run()
        raise CancelledError("gone")

    file = tmp_path / "here.xplane.pb"
    file.write_bytes(b"older")
    with pytest.raises(CancelledError, match="gone"):
        record(file, ProfileOptions(), fail)
    assert file.read_bytes() == b"older"
    assert record(file, ProfileOptions(), run)
    assert list(tmp_path.iterdir()) == [file]
    assert b"SessionRun" in file.read_bytes()


def test_somebody_else_records(tmp_path: Path, run: Callable[[], None]) -> None:
    """The program around the server may be recording itself; its profile goes on, and ours is refused."""
    with tf.profiler.experimental.Profile(str(tmp_path / "theirs")):
        with pytest.raises(AlreadyExistsError, match="Another profiler is running"):
            record(tmp_path / "here.xplane.pb", ProfileOptions(), run)
        run()
    (theirs,) = (tmp_path / "theirs").rglob("*.xplane.pb")
    assert b"SessionRun" in theirs.read_bytes()
    assert record(tmp_path / "here.xplane.pb", ProfileOptions(), run)

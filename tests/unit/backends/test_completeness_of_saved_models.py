"""`incomplete_reason` over version directories built from hand-made protos."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserve.backends.saved_model import incomplete_reason
from pyserve.protos import tf, to_text

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A whole version with variables and an asset."""
    target = tmp_path / "1"
    shutil.copytree(EXAMPLES / "half_plus_two" / "1", target)
    file = target / "saved_model.pb"
    proto = tf.SavedModel.FromString(file.read_bytes())
    asset = proto.meta_graphs[0].asset_file_def.add(filename="words.txt")
    asset.tensor_info.name = "words:0"
    file.write_bytes(proto.SerializeToString())
    (target / "assets").mkdir()
    (target / "assets" / "words.txt").write_text("a")
    return target


def cut(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])


def shard(version: Path) -> Path:
    (found,) = (version / "variables").glob("variables.data-*")
    return found


def test_a_whole_version_is_complete(version: Path) -> None:
    """Nothing is missing from a version as it was exported."""
    assert incomplete_reason(str(version)) is None


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.iterdir()) if (path / "1").is_dir()])
def test_the_examples_are_complete(name: str) -> None:
    """Each committed example counts as complete."""
    assert incomplete_reason(str(EXAMPLES / name / "1")) is None


BREAK: dict[str, tuple[Callable[[Path], object], str]] = {
    "no SavedModel": (lambda v: (v / "saved_model.pb").unlink(), "no saved_model.pb"),
    "empty SavedModel": (lambda v: cut(v / "saved_model.pb", 0), "no MetaGraph"),
    "SavedModel cut": (lambda v: cut(v / "saved_model.pb", 20_000), "Can't parse"),
    "no index": (lambda v: (v / "variables" / "variables.index").unlink(), "variables.index"),
    "no variables at all": (lambda v: shutil.rmtree(v / "variables"), "variables.index"),
    "index cut": (lambda v: cut(v / "variables" / "variables.index", 100), "not whole"),
    "no shard": (lambda v: shard(v).unlink(), "variables.data-00000-of-00001"),
    "shard one byte short": (lambda v: cut(shard(v), shard(v).stat().st_size - 1), "of at least"),
    "no asset": (lambda v: (v / "assets" / "words.txt").unlink(), "assets/words.txt"),
    "nothing": (lambda v: shutil.rmtree(v), "no saved_model.pb"),
}


@pytest.mark.parametrize("case", BREAK)
def test_what_is_missing_is_named(version: Path, case: str) -> None:
    """Each missing or short file makes the version incomplete, with a reason that names it."""
    action, expected = BREAK[case]
    action(version)
    reason = incomplete_reason(str(version))
    assert reason is not None
    assert expected in reason


PIPES = ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", [*PIPES, "assets/words.txt"])
def test_a_named_pipe_counts_as_missing(version: Path, name: str) -> None:
    """Where a file should be a pipe is never opened, which would wait for ever."""
    (version / name).unlink()
    os.mkfifo(version / name)
    assert Path(name).name in (incomplete_reason(str(version)) or "")


@pytest.mark.parametrize("name", PIPES)
def test_links_to_files_are_files(version: Path, tmp_path: Path, name: str) -> None:
    """A version made of links, as mounted volumes are, is complete; a link to nowhere is a missing file."""
    (version / name).rename(tmp_path / "elsewhere")
    (version / name).symlink_to(tmp_path / "elsewhere")
    assert incomplete_reason(str(version)) is None
    (tmp_path / "elsewhere").unlink()
    assert Path(name).name in (incomplete_reason(str(version)) or "")


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "model.tflite", "model.py", "export.meta"])
def test_other_kinds_of_versions_are_complete_when_there(tmp_path: Path, name: str) -> None:
    """Of files whose other needs are not known, presence is all that is asked."""
    assert incomplete_reason(str(tmp_path)) is not None
    (tmp_path / name).write_text("x")
    assert incomplete_reason(str(tmp_path)) is None


def test_a_plain_file_is_complete(tmp_path: Path) -> None:
    """A file in the place of a version directory is left to the load."""
    file = tmp_path / "1"
    file.write_text("x")
    assert incomplete_reason(str(file)) is None


def test_assets_of_tensorflow_1_are_looked_for(tmp_path: Path) -> None:
    """An asset that only a collection names is required as well."""
    target = tmp_path / "1"
    shutil.copytree(EXAMPLES / "tf1_linear" / "1", target)
    proto = tf.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    proto.meta_graphs[0].ClearField("asset_file_def")
    (target / "saved_model.pb").write_bytes(proto.SerializeToString())
    assert incomplete_reason(str(target)) is None
    (target / "assets" / "unit.txt").unlink()
    assert "unit.txt" in (incomplete_reason(str(target)) or "")


def test_text_form_is_not_parsed(version: Path) -> None:
    """A `.pbtxt` beside a missing `.pb` is complete whatever else is missing."""
    text = to_text(tf.SavedModel.FromString((version / "saved_model.pb").read_bytes()))
    (version / "saved_model.pb").unlink()
    (version / "saved_model.pbtxt").write_text(text)
    shutil.rmtree(version / "variables")
    assert incomplete_reason(str(version)) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_reason(version: Path) -> None:
    """A file without read permission is reported, not raised."""
    (version / "saved_model.pb").chmod(0)
    assert incomplete_reason(str(version)) is not None


def test_strange_paths_never_raise() -> None:
    """Even a path that the operating system refuses only gives a reason."""
    assert incomplete_reason("/no\0where") is not None

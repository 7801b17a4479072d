"""How a new version appears beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.errors import AlreadyExistsError, InvalidArgumentError, ServingError
from pyserve.tools.convert.publish import new_version, next_version


@pytest.mark.parametrize(
    ("there", "number"), [([], 1), (["1"], 2), (["7", "00000123"], 124), (["x", ".convert-1", "3.bak"], 1)]
)
def test_next_version(there: list[str], number: int, tmp_path: Path) -> None:
    """One more than the highest number, whatever else is there."""
    for name in there:
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == number


def test_a_version_appears_whole(tmp_path: Path) -> None:
    """While it is made there is no directory with a number; then it is there, readable for everybody."""
    base = tmp_path / "a" / "model"
    with new_version(base) as version:
        (version.path / "file").touch()
        assert [path.name.isdecimal() for path in base.iterdir()] == [False]
    assert version.path == base / "1"
    assert [path.name for path in base.iterdir()] == ["1"]
    assert (base / "1" / "file").exists()
    assert (base / "1").stat().st_mode & 0o777 == 0o755


def test_others_may_publish_meanwhile(tmp_path: Path) -> None:
    """The number is taken at the end."""
    with new_version(tmp_path) as version:
        (tmp_path / "1").mkdir()
    assert version.path == tmp_path / "2"


@pytest.mark.parametrize("is_new", [True, False])
def test_nothing_stays_of_what_fails(is_new: bool, tmp_path: Path) -> None:
    """An error removes the directory, and the model's if it was not there."""
    base = tmp_path / "model" if is_new else tmp_path

    def fail() -> None:
        with new_version(base) as version:
            (version.path / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_there(tmp_path: Path) -> None:
    """A number that is taken is refused before the work, and after it when somebody was faster."""
    (tmp_path / "3").mkdir()
    with pytest.raises(AlreadyExistsError, match=r"/3 is there already"), new_version(tmp_path, 3):
        raise AssertionError("no work is begun")
    with pytest.raises(AlreadyExistsError), new_version(tmp_path, 4):
        (tmp_path / "4").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_no_directory(tmp_path: Path) -> None:
    """A file in the place of the model's directory is named."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="file is no directory"), new_version(tmp_path / "file"):
        pass
    with pytest.raises(ServingError, match="Not a directory"), new_version(tmp_path / "file" / "model"):
        pass

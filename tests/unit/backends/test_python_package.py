"""Version directories as packages: nothing shared, nothing left behind, nothing written."""

from __future__ import annotations

import linecache
import os
import sys
from pathlib import Path

import pytest

from pyserve.backends.python.package import Package
from pyserve.servable import ServableId
from python_models import ID, modules, write


def test_versions_do_not_mix(tmp_path: Path) -> None:
    """Two versions, and two loads of one version, have modules and siblings of their own."""
    packages = [
        Package(ID, write(tmp_path / "1", model="from .sibling import who", sibling="who = ['one']")),
        Package(ID, write(tmp_path / "2", model="from .sibling import who", sibling="who = ['two']")),
        Package(ID, tmp_path / "1"),
    ]
    try:
        found = [package.import_module("model") for package in packages]
        assert [module.who for module in found] == [["one"], ["two"], ["one"]]
        assert found[0].who is not found[2].who
        assert len({module.__name__ for module in found}) == 3
    finally:
        for package in packages:
            package.forget()


def test_forget(tmp_path: Path) -> None:
    """Modules, inner packages included, leave the process, and so do the lines kept for tracebacks; others stay."""
    other = Package(ID, write(tmp_path / "10", model=""))
    other.import_module("model")
    package = Package(ID, write(tmp_path / "1", model="from .inner import leaf", inner__leaf="a = 1"))
    module = package.import_module("model")
    file = str(module.__file__)
    assert linecache.getline(file, 1)
    cached = set(sys.path_importer_cache)
    assert len(modules()) == 6
    package.forget()
    assert len(modules()) == 2
    assert file not in linecache.cache
    assert set(sys.path_importer_cache) == cached
    assert not [path for path in cached if path.startswith(str(tmp_path))]
    other.forget()
    assert modules() == []


def test_late_imports(tmp_path: Path) -> None:
    """A sibling may be imported when a function first needs it."""
    package = Package(
        ID,
        write(tmp_path, model="def late():\n    from . import sibling\n    return sibling.a", sibling="a=1"),
    )
    try:
        assert package.import_module("model").late() == 1
    finally:
        package.forget()


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no bytecode, and a file of equal size and time is read anew."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # whatever the tests run with
    for text in ("a = 1", "a = 2"):
        package = Package(ID, write(tmp_path, model=text))
        os.utime(tmp_path / "model.py", (1, 1))
        assert package.import_module("model").a == int(text[-1])
        package.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


def test_the_finder_minds_its_own_business(tmp_path: Path) -> None:
    """Other imports go their way, and a missing module is missing in the usual way."""
    package = Package(ServableId("a-b.c/d", 3), write(tmp_path, model="from . import nothing"))
    assert package.name.startswith("pyserve_version_a_b_c_d_3_")
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        package.import_module("model")
    with pytest.raises(ModuleNotFoundError, match=rf"No module named '{package.name}\.other'"):
        package.import_module("other")
    package.forget()
    assert not [path for path in sys.path_importer_cache if path.startswith(str(tmp_path))]
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_anywhere'"):
        __import__("no_such_module_anywhere")

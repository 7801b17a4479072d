"""A version directory as a Python package of its own, whose modules leave the process with the version.

Each load makes a package with a name that no other has, so versions never share a module, and neither do two loads of
one version. Its files import each other relatively (`from .text import words`): what they import absolutely is the
process's, shared by all versions.
"""

from __future__ import annotations

import importlib
import itertools
import linecache
import re
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

from pyserve.servable import ServableId

_PREFIX = "pyserve_version_"
_numbers = itertools.count(1)
_lock = threading.Lock()  # held while the finder is installed


class Package:
    """The code of one version. Making one imports nothing.

    Args:
        id: For the package's name, which shows in logs and tracebacks.
        directory: Where its modules are. An `__init__.py` is not needed, and not run.
    """

    def __init__(self, id: ServableId, directory: Path) -> None:
        self.directory = directory
        model = re.sub(r"\W", "_", id.name)
        self.name = f"{_PREFIX}{model}_{id.version}_{next(_numbers)}"

    def import_module(self, name: str) -> ModuleType:
        """Run a module of the directory, once.

        Raises:
            ModuleNotFoundError: There is none of this name.
            BaseException: Whatever its code raises; `forget` is to be called then too.
        """
        _install_finder()
        if self.name not in sys.modules:
            package = ModuleType(self.name)
            package.__spec__ = ModuleSpec(self.name, None, is_package=True)
            package.__path__ = [str(self.directory)]
            sys.modules[self.name] = package
        return importlib.import_module(f"{self.name}.{name}")

    def forget(self) -> None:
        """Take the package's modules out of the process. They are freed when nobody uses them any more."""
        for name in list(sys.modules):
            if name == self.name or name.startswith(self.name + "."):
                file = getattr(sys.modules.pop(name, None), "__file__", None)
                linecache.cache.pop(str(file), None)  # kept by whoever logs a traceback


class _Source(SourceFileLoader):
    """Compiles at each import, without bytecode files.

    A version directory is not ours to write into, and bytecode is told from that of a file replaced within the same
    second by its size alone.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _Finder(MetaPathFinder):
    """Finds the modules of version packages, and of nothing else; keeps nothing between two questions."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith(_PREFIX):
            return None
        kinds = ((ExtensionFileLoader, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES))
        for directory in path:
            if (spec := FileFinder(directory, *kinds).find_spec(fullname)) is not None:
                return spec
        # Python's own finder would look in the same place, and keep what it has seen of the directory for ever.
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


_finder = _Finder()


def _install_finder() -> None:
    """Once per process, and for good: an import of another thread may be walking through the list."""
    with _lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)

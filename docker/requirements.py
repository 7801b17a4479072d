"""Print the packages that pyserve itself needs, one per line, from its pyproject.toml.

The image installs them before it copies the source, so that a change of the source reuses their layer. Runs in the
build, on the base image's Python; standard library only.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path) -> list[str]:
    """The dependencies without any extra: TensorFlow is what the two image targets differ in."""
    dependencies: list[str] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return dependencies


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]))))

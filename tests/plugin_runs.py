"""pytest runs of their own with pyserve's plugin, loaded the way an installation loads it: by its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_pytest(
    directory: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the tests of a directory, with what pyproject.toml declares as entry points and no other configuration."""
    with tempfile.TemporaryDirectory() as site:
        _install(Path(site))
        path = os.pathsep.join([site, str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "-W", "error"]
        command += [f"--rootdir={directory}", *arguments]
        return subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=100,
        )


def _install(site: Path) -> None:
    """What an installation writes about entry points; harmless beside a real one, whose names are the same."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = site / "pyserve_plugin-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pyserve-plugin\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in declared.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))

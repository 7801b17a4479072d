"""The clients of examples/clients, each run as it is against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages import ROOT
from servers import ServerProcess

CLIENTS = ROOT / "examples" / "clients"
# Node's packages stay here between runs; fetching them takes longer than all else.
PACKAGES = ROOT / "out" / "node_client"


def run(
    *command: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
    )


def check(
    *command: object, version: int = 2, env: dict[str, str] | None = None, cwd: Path | None = None
) -> None:
    """A client predicts for its own numbers and for given ones."""
    done = run(*command, env=env, cwd=cwd)
    assert (done.stdout, done.returncode) == (f"version {version}: 2.5 3 4.5\n", 0), done.stderr
    done = run(*command, "3", "-1", env=env, cwd=cwd)
    assert (done.stdout, done.returncode) == (f"version {version}: 3.5 1.5\n", 0), done.stderr


def refused(*command: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """A client without a server says why, and fails."""
    done = run(*command, env=env, cwd=cwd)
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr


def test_with_pyserve(server: ServerProcess) -> None:
    """By gRPC and by REST."""
    check(sys.executable, CLIENTS / "with_pyserve.py", f"localhost:{server.grpc_port}")
    check(sys.executable, CLIENTS / "with_pyserve.py", f"http://localhost:{server.rest_port}")
    refused(sys.executable, CLIENTS / "with_pyserve.py", "localhost:1")


def test_without_pyserve(server: ServerProcess) -> None:
    """Isolated from every installed package: the standard library is enough."""
    check(sys.executable, "-I", "-S", CLIENTS / "without_pyserve.py", f"http://localhost:{server.rest_port}")


def test_light(server: ServerProcess, tmp_path: Path) -> None:
    """Stubs are made and used; neither TensorFlow nor pyserve comes along."""
    made = run("sh", CLIENTS / "light" / "make_stubs.sh", tmp_path, env={"PYTHON": sys.executable})
    assert made.returncode == 0, made.stderr
    env = {"PYTHONPATH": str(tmp_path)}
    check(sys.executable, CLIENTS / "light" / "client.py", f"localhost:{server.grpc_port}", env=env)
    refused(sys.executable, CLIENTS / "light" / "client.py", "localhost:1", env=env)
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['client.py', 'localhost:{server.grpc_port}']\n"
        f"try: runpy.run_path({str(CLIENTS / 'light' / 'client.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('tensorflow.python', 'pyserve') if name in sys.modules])"
    )
    assert run(sys.executable, "-c", code, env=env).stdout.endswith("\n[]\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(server: ServerProcess) -> None:
    """Status, predictions, and an error with its HTTP status."""
    done = run("sh", CLIENTS / "half_plus_two.sh", f"http://localhost:{server.rest_port}")
    assert done.returncode == 0, done.stderr
    said = re.sub(r"\s+", " ", done.stdout)
    for part in ('"state": "AVAILABLE"', '"predictions": [2.5, 3.0, 4.5 ]', '"outputs": [2.5]', "HTTP 404"):
        assert part in said
    assert '"error": "Servable not found for request: Latest(nope)"' in said


@pytest.fixture(scope="module")
def node_client() -> Path:
    """The directory of the Node client with its packages; skips where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    manifest = (CLIENTS / "node" / "package.json").read_text()
    installed = PACKAGES / "installed"
    if not installed.exists() or installed.read_text() != manifest:
        PACKAGES.mkdir(parents=True, exist_ok=True)
        (PACKAGES / "package.json").write_text(manifest)
        done = run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=PACKAGES)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the packages: {done.stderr.strip().splitlines()[-1:]}")
        installed.write_text(manifest)
    shutil.copy(CLIENTS / "node" / "client.js", PACKAGES)
    return PACKAGES


def test_node(server: ServerProcess, node_client: Path) -> None:
    """The official gRPC library for Node, with our .proto files."""
    env = {"PROTOS": str(ROOT / "protos")}
    check("node", node_client / "client.js", f"localhost:{server.grpc_port}", env=env)
    refused("node", node_client / "client.js", "localhost:1", env=env)


def test_every_client_is_run_here() -> None:
    """And those that are for other servers' users know nothing of pyserve."""
    tests = Path(__file__).read_text()
    files = [
        path
        for path in CLIENTS.rglob("*")
        if path.suffix in (".py", ".js", ".sh") and "tutorials" not in path.parts
    ]
    files = [path for path in files if "node_modules" not in path.parts]
    assert len(files) == 6
    for path in files:
        assert f'"{path.name}"' in tests
        if path.name != "with_pyserve.py":
            assert "import pyserve" not in path.read_text()
            assert "from pyserve" not in path.read_text()

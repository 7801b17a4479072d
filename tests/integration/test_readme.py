"""What the README shows is what happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from servers import EXAMPLES, ServerProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_curl(server: ServerProcess) -> None:
    """The request of the README's curl call gets the answer that stands below it."""
    shown = re.search(
        r"\$ curl -d '(?P<body>[^']*)' http://localhost:8501(?P<path>\S+)\n(?P<answer>( {4}.*\n)+)", README
    )
    assert shown is not None
    url = f"http://localhost:{server.rest_port}{shown['path']}"
    with urllib.request.urlopen(url, shown["body"].encode(), timeout=30) as answer:
        assert json.loads(answer.read()) == json.loads(shown["answer"])


@pytest.mark.parametrize("client", ["PredictionServiceStub", "pyserve.client"])
def test_grpc_client(client: str, server: ServerProcess) -> None:
    """Each gRPC client runs as it stands, and prints what its last comment says."""
    (code,) = (block for block in blocks("python") if client in block)
    code = code.replace("localhost:8500", f"localhost:{server.grpc_port}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == code.rsplit("# ", 1)[1].strip(), done.stderr


def test_embedded() -> None:
    """The embedded server runs as it stands, with the model's real place."""
    (code,) = (block for block in blocks("python") if "with Server(config)" in block)
    code = code.replace("/models/half_plus_two", str(EXAMPLES / "half_plus_two"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    ports = done.stdout.split()
    assert len(ports) == 2, done.stderr
    assert all(port.isdigit() for port in ports)


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_links(page: str) -> None:
    """Every link to a file of the repository leads somewhere."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target

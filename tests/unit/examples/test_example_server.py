"""examples/serve.py: the calls that it prints go to the ports that its arguments open."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "serve.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_serve", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "grpc", "rest"),
    [
        (["--port=9000", "--rest_api_port=9001"], 9000, 9001),
        (["--port", "9000", "--rest_api_port", "9001"], 9000, 9001),
        (["--port=9000"], 9000, None),
        (["--rest_api_port=9001"], 8500, 9001),
        (["--port=0", "--rest_api_port=9001"], None, 9001),
        (["--port=9000", "--rest_api_port=9000"], 9000, None),
        (["--port=x"], None, None),
    ],
)
def test_calls(script: ModuleType, arguments: list[str], grpc: int | None, rest: int | None) -> None:
    """A port that the server does not open is not called."""
    text = script.calls(arguments)
    assert ("grpc.insecure_channel" in text) is (grpc is not None)
    assert ("curl" in text) is (rest is not None)
    assert grpc is None or f'"localhost:{grpc}"' in text
    assert rest is None or f"http://localhost:{rest}/v1" in text

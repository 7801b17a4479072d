"""The pytest plugin in pytest runs of its own."""

from __future__ import annotations

import re
from pathlib import Path

from plugin_runs import run_pytest

FIXTURES = """
import numpy as np
import pytest

def half(x):
    return {"y": x / 2}

@pytest.fixture(scope="session")
def shared(session_model_server):
    return session_model_server({"m": half})

def ask(server):
    return server.client.predict("m", {"x": np.float32([2.0])})["y"].tolist()
"""


def outcome(directory: Path, code: str, *arguments: str) -> tuple[dict[str, int], str]:
    """(outcome → count, output) of a file of tests."""
    (directory / "test_it.py").write_text(FIXTURES + code)
    done = run_pytest(directory, *arguments)
    counts = re.findall(r"(\d+) (passed|failed|error|errors)\b", done.stdout.splitlines()[-1])
    return {name: int(number) for number, name in counts}, done.stdout + done.stderr


def test_fixtures(tmp_path: Path) -> None:
    """The factory's servers end with the test, the session's live on and forget what the test before did."""
    counts, output = outcome(
        tmp_path,
        """
import threading
seen = []

def test_factory(model_server):
    first, second = model_server({"m": half}), model_server({"m": lambda x: {"y": x}}, labels={"m": {"stable": 1}})
    assert (ask(first), ask(second)) == ([1.0], [2.0])
    seen.append(first)

def test_it_was_stopped():
    with pytest.raises(Exception, match="not running"):
        seen[0].grpc_address

@pytest.mark.pyserve_models({"m": lambda x: {"y": x * 10}}, labels={"m": {"stable": 1}})
class TestMarker:
    def test_of_the_class(self, model_server):
        assert ask(model_server()) == [20.0]

    @pytest.mark.pyserve_models({"m": half})
    def test_closest(self, model_server):
        assert ask(model_server(enable_grpc_healthcheck_service=True)) == [1.0]

def test_without_models(model_server):
    with pytest.raises(ValueError, match="needs models, or the test the marker pyserve_models"):
        model_server()

def test_shared(shared):
    shared.model("m").fail("UNAVAILABLE", times=None)
    shared.model("m").hold()
    shared.client.status("m")

def test_shared_again(shared):
    assert shared.requests() == []
    assert ask(shared) == [1.0]

def test_last():
    assert not [thread for thread in threading.enumerate() if "pytest" in thread.name]
""",
        "--strict-markers",
    )
    assert counts == {"passed": 8}, output


def test_a_failure_shows_the_last_requests(tmp_path: Path) -> None:
    """Beside a failed test stands what its servers were asked; beside a passed one nothing."""
    counts, output = outcome(
        tmp_path,
        """
def test_fails(model_server, shared):
    server = model_server({"m": half, "n": half})
    assert ask(server) == [3.0]

def test_fails_with_the_shared_one(shared):
    shared.client.status("m")
    assert False

def test_passes(shared):
    ask(shared)
""",
        "-rP",
    )
    assert counts == {"failed": 2, "passed": 1}, output
    of_own, of_shared = "pyserve: requests to m, n", "pyserve: requests to m -"
    assert output.count(of_own) == 1
    assert output.count(of_shared) == 1
    own, shared = output.split(of_own)[1].split(of_shared)
    assert "gRPC Predict m: x=float[1] {2.0} → OK by version 1" in own
    assert "gRPC GetModelStatus m → OK" in shared
    assert "Predict" not in shared.split("____")[0]


def test_it_costs_nothing_when_unused(tmp_path: Path) -> None:
    """Without a test that asks for a server the plugin imports neither numpy nor gRPC, nor anything of pyserve."""
    (tmp_path / "test_it.py").write_text(
        """
import sys

def test_modules(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("pyserve")
    assert not {"numpy", "grpc", "google.protobuf", "aiohttp", "asyncio", "tensorflow"} & set(sys.modules)
    assert {name for name in sys.modules if name.startswith("pyserve")} == {"pyserve", "pyserve.pytest_plugin"}
"""
    )
    plugins = ["no:hypothesispytest", "no:xdist", "no:pytest_cov", "no:timeout"]
    done = run_pytest(tmp_path, *(f"-p{plugin}" for plugin in plugins))
    assert done.returncode == 0, done.stdout


def test_under_xdist(tmp_path: Path) -> None:
    """Each worker has servers of its own."""
    counts, output = outcome(
        tmp_path,
        """
@pytest.mark.parametrize("number", range(12))
def test_many(number, model_server, shared):
    assert ask(model_server({"m": lambda x: {"y": x + number}})) == [number + 2.0]
    assert ask(shared) == [1.0]
    shared.model("m").assert_called_once()
""",
        "-n2",
    )
    assert counts == {"passed": 12}, output

"""What docs/custom.md and examples/custom show is what happens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from grpc_calls import Stubs, predict_request
from pages import ROOT, python_blocks
from pyserve.client import Client
from servers import EXAMPLES, ServerProcess

CUSTOM = ROOT / "examples" / "custom"
STRING = 7


def test_the_page(tmp_path: Path) -> None:
    """Blocks that begin with a file's name are that file; each other prints what the comments behind its prints say."""
    shutil.copytree(EXAMPLES / "half_plus_two" / "1", tmp_path / "texts" / "1")
    programs = []
    for block in python_blocks((ROOT / "docs" / "custom.md").read_text()):
        if (name := re.match(r"# (\S+\.py)\n", block)) is None:
            programs.append(block)
            continue
        file = tmp_path / name[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    assert len(programs) == 2
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
        expected = re.findall(r"print\(.*\)  # (.*)$", program, re.MULTILINE)
        assert done.stdout.splitlines() == expected, done.stderr


@pytest.fixture(scope="module")
def custom_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The examples, served by their own configuration."""
    config = tmp_path_factory.mktemp("custom") / "models.config"
    config.write_text((CUSTOM / "models.config").read_text().replace("/examples/custom", str(CUSTOM)))
    with ServerProcess([f"--model_config_file={config}", "--allow_python_models"]) as server:
        yield server


def shown() -> list[tuple[str, str]]:
    """(curl command, JSON) of the README."""
    text = (CUSTOM / "README.md").read_text()
    return re.findall(r"^    (curl .*)\n    (\{.*\})$", text, re.MULTILINE)


@pytest.mark.parametrize("step", shown(), ids=lambda step: step[0])
def test_examples_over_rest(step: tuple[str, str], custom_server: ServerProcess) -> None:
    """Each call of the README has its answer."""
    command, answer = step
    command = command.replace("localhost:8501", f"localhost:{custom_server.rest_port}")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == json.loads(answer)


def test_examples_over_grpc(custom_server: ServerProcess) -> None:
    """The same by TensorFlow Serving's stubs, and the handler's own error."""
    assert len(shown()) == 2

    def request(model: str, name: str, *texts: bytes) -> object:
        return predict_request(
            model, {name: {"dtype": STRING, "shape": [len(texts)], "string_val": list(texts)}}
        )

    with Stubs(custom_server.grpc_port) as stubs:
        found = stubs.prediction.Predict(request("language", "text", b"she was here", b"xyz"), timeout=30)
        assert list(found.outputs["language"].string_val) == [b"english", b"?"]
        found = stubs.prediction.Predict(request("sentences", "sentence", b"The lazy fox", b""), timeout=30)
        assert list(found.outputs["ids"].int64_val) == [0, -1, 3, -2, -2, -2]
        assert list(found.outputs["length"].int_val) == [3, 0]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(request("sentences", "sentence", b"fox " * 1001), timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "A sentence has 1001 words; at most 1000 are allowed"


def test_a_handler_has_the_signatures_that_it_declares(custom_server: ServerProcess) -> None:
    """Callers see the handler's, not the model's."""
    with Client(f"localhost:{custom_server.grpc_port}") as client:
        signatures = client.metadata("sentences").signatures
        assert set(signatures) == {"serving_default"}
        assert set(signatures["serving_default"].inputs) == {"sentence"}
        assert np.array_equal(client.predict("sentences", {"sentence": []})["length"], [])

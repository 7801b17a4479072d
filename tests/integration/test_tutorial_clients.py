"""The tutorial clients of examples/clients/tutorials, each run as it is against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from servers import EXAMPLES, ServerProcess, config_text

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "examples" / "clients" / "tutorials"


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def client(name: str, *arguments: object) -> str:
    """What a client prints; it must succeed."""
    done = python(CLIENTS / name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Place:
    """A server with the models of the tutorials, and pictures red.jpg, green.jpg, blue.jpg."""

    server: ServerProcess
    pictures: Path
    warmup_file: Path

    @property
    def grpc(self) -> str:
        return f"--server=localhost:{self.server.grpc_port}"

    @property
    def rest(self) -> str:
        return f"--server=localhost:{self.server.rest_port}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The classifier of pictures has warm-up requests, written by their client, when the server starts."""
    directory = tmp_path_factory.mktemp("tutorials")
    resnet = directory / "resnet"
    made = python(ROOT / "tests" / "image_model.py", resnet, directory)
    assert made.returncode == 0, made.stderr
    file = resnet / "1" / "assets.extra" / "tf_serving_warmup_requests"
    assert client("write_warmup.py", resnet / "1", directory / "red.jpg") == f"{file}: 2 requests\n"
    models = {name: EXAMPLES / name for name in ("half_plus_two", "mlp")} | {"resnet": resnet}
    config = directory / "models.config"
    config.write_text(config_text(models))
    with ServerProcess([f"--model_config_file={config}"]) as server:
        yield Place(server, directory, file)


def test_half_plus_two_by_rest(place: Place) -> None:
    """Status and predictions."""
    assert client("half_plus_two_rest.py", place.rest, 3, 4.5) == (
        "version 2 is AVAILABLE\n3 / 2 + 2 = 3.5\n4.5 / 2 + 2 = 4.25\n"
    )


def test_half_plus_two_by_grpc(place: Place) -> None:
    """Predict and Regress."""
    assert client("half_plus_two_grpc.py", place.grpc, 3, 4.5) == (
        "version 2\n3 / 2 + 2 = 3.5\n4.5 / 2 + 2 = 4.25\nregress: 3.5 4.25\n"
    )


def test_digits(place: Place, tmp_path: Path) -> None:
    """Of many concurrent requests each answer is held against its own image's label."""
    images = np.random.default_rng(5).integers(0, 256, (80, 28, 28), np.uint8)
    rows = (images.reshape(80, 784).astype(np.float32) / 255.0).tolist()
    url = f"http://localhost:{place.server.rest_port}/v1/models/mlp:predict"
    with urllib.request.urlopen(url, json.dumps({"instances": rows}).encode(), 30) as answer:
        labels = np.array([each["classes"] for each in json.load(answer)["predictions"]])
    assert len(set(labels.tolist())) > 1
    labels[:40:2] = (labels[:40:2] + 1) % 10
    file = tmp_path / "digits.npz"
    np.savez(file, images=images, labels=labels)
    assert client("mnist_client.py", file, place.grpc) == "80 answers, error rate 25.0 %\n"
    few = client("mnist_client.py", file, place.grpc, "--num_tests=40", "--concurrency=1")
    assert few == "40 answers, error rate 50.0 %\n"


def test_digits_for_a_model_that_is_not_there(place: Place, tmp_path: Path) -> None:
    """The client ends, with the server's words."""
    file = tmp_path / "digits.npz"
    np.savez(file, images=np.zeros((3, 28, 28), np.uint8), labels=np.zeros(3, int))
    done = python(CLIENTS / "mnist_client.py", file, place.grpc, "--model=nope")
    assert done.returncode == 1
    assert done.stderr.count("NOT_FOUND: Servable not found for request: Latest(nope)\n") == 3


@pytest.mark.parametrize(("name", "number"), [("red", 0), ("blue", 2)])
def test_pictures_by_rest(place: Place, name: str, number: int) -> None:
    """Encoded bytes in JSON reach the model as they are."""
    said = client("resnet_rest.py", place.pictures / f"{name}.jpg", place.rest)
    assert re.fullmatch(rf"class {number}, \d+\.\d ms per request\n", said)


def test_pictures_by_grpc(place: Place) -> None:
    """Encoded bytes in a tensor of strings, a row per picture, keep their order."""
    pictures = [place.pictures / f"{name}.jpg" for name in ("green", "red", "blue")]
    said = client("resnet_grpc.py", *pictures, place.grpc)
    assert re.sub(r"0\.9\d", "0.9", said) == (
        "green.jpg: class 1, probability 0.9\nred.jpg: class 0, probability 0.9\nblue.jpg: class 2, probability 0.9\n"
    )


def test_warmup(place: Place) -> None:
    """The server has replayed the file that the client wrote."""
    said = f"Finished reading warmup data for model at {place.warmup_file}. Number of warmup records read: 2."
    assert said in place.server.log


def test_clients_know_nothing_of_pyserve() -> None:
    """They are what a user of TensorFlow Serving has; and each is run above."""
    tests = Path(__file__).read_text()
    scripts = sorted(CLIENTS.glob("*.py"))
    assert scripts
    for script in scripts:
        assert "pyserve" not in script.read_text()
        assert f'"{script.name}"' in tests

"""The container's entry point script, run by a real shell, with a server in its place that tells how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENTRY_POINT = ROOT / "docker" / "tf_serving_entrypoint.sh"

# One line for the process id, then one for each argument.
FAKE_SERVER = "#!/bin/sh\nprintf '%s\\n' $$ \"$@\"\nexit 7\n"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the script runs in a Linux container")


class Outcome:
    """What the script did: the fake server's process id and arguments, the script's own id and exit code."""

    def __init__(self, directory: Path, environment: dict[str, str], arguments: list[str]) -> None:
        server = directory / "tensorflow_model_server"
        server.write_text(FAKE_SERVER)
        server.chmod(0o755)
        process = subprocess.Popen(
            ["/bin/sh", str(ENTRY_POINT), *arguments],
            env={"PATH": f"{directory}:{os.defpath}", **environment},
            cwd=directory,
            stdout=subprocess.PIPE,
            text=True,
        )
        output, _ = process.communicate(timeout=30)
        server_process, *self.arguments = output.splitlines()
        self.same_process = int(server_process) == process.pid
        self.exit_code = process.returncode


IMAGE_ENVIRONMENT = {"MODEL_BASE_PATH": "/models", "MODEL_NAME": "model"}


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, [], ["--model_name=model", "--model_base_path=/models/model"]),
        ({"MODEL_NAME": "resnet"}, [], ["--model_name=resnet", "--model_base_path=/models/resnet"]),
        (
            {"MODEL_BASE_PATH": "/data/all models", "MODEL_NAME": "a b"},
            [],
            ["--model_name=a b", "--model_base_path=/data/all models/a b"],
        ),
        (
            {},
            ["--port=9000", "--model_config_file=/c/models.config"],
            [
                "--model_name=model",
                "--model_base_path=/models/model",
                "--port=9000",
                "--model_config_file=/c/models.config",
            ],
        ),
        (
            {},
            ["--saved_model_tags=serve, gpu", "*", "", "$HOME"],
            [
                "--model_name=model",
                "--model_base_path=/models/model",
                "--saved_model_tags=serve, gpu",
                "*",
                "",
                "$HOME",
            ],
        ),
    ],
    ids=["defaults", "model name", "blanks", "container arguments", "nothing is expanded"],
)
def test_server_gets_ports_model_and_then_every_container_argument(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], expected: list[str]
) -> None:
    """The two ports and the model of the environment come first, the container's arguments last, as they are."""
    outcome = Outcome(tmp_path, IMAGE_ENVIRONMENT | environment, arguments)
    assert outcome.arguments == ["--port=8500", "--rest_api_port=8501", *expected]


def test_server_takes_the_place_of_the_shell(tmp_path: Path) -> None:
    """The server runs in the script's own process, so it gets the container's signals, and its exit code counts."""
    outcome = Outcome(tmp_path, IMAGE_ENVIRONMENT, [])
    assert outcome.same_process
    assert outcome.exit_code == 7


def test_script_can_be_run_by_name() -> None:
    """Manifests name the script itself, so it is executable and says which shell runs it."""
    assert ENTRY_POINT.stat().st_mode & 0o111 == 0o111
    assert ENTRY_POINT.read_text().startswith("#!/bin/sh\n")

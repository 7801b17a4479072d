"""Check a built image in real containers: what manifests written for tensorflow/serving rely on, and what is safer.

    python3 tests/container/check_image.py --engine docker pyserve

Needs a container engine with Docker's command line, on Linux, and nothing else; not a test of pytest's, since it
takes an image. It prints what it does. Each check starts a container of its own, and removes it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = Path(__file__).resolve().parents[2] / "examples" / "models" / "half_plus_two"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 30
HEALTHCHECK = ["/opt/pyserve/bin/python3", "-IS", "/opt/pyserve/healthcheck.py"]
# As strict as an orchestrator can be: nothing can be written, no privilege is left.
LOCKED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]

GRPC_CALL = """
import sys, grpc
from pyserve.protos import tfs
channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
request = tfs.PredictRequest()
request.model_spec.name = "resnet"
x = request.inputs["x"]
x.dtype = 1
x.tensor_shape.dim.add().size = 3
x.float_val.extend([1.0, 2.0, 5.0])
print(list(tfs.PredictResponse.FromString(call(request.SerializeToString(), timeout=10)).outputs["y"].float_val))
"""


class Engine:
    """A container engine's command line."""

    def __init__(self, command: str, image: str, run_options: str) -> None:
        self.command = shlex.split(command)
        self.image = image
        self.run_options = shlex.split(run_options)

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        result = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: exit code {result.returncode}\n{result.stderr}")
        return result

    @contextmanager
    def container(self, options: list[str], arguments: list[str]) -> Iterator[Container]:
        """A running container with the example model at /models/resnet."""
        shown = ["run", *options, "IMAGE", *arguments]
        print(f"   $ {shlex.join(shown)}")
        mount = ["--volume", f"{MODEL}:/models/resnet:ro"]
        command = ["run", "--detach", *self.run_options, *mount, *options, self.image, *arguments]
        container = Container(self, self.call(*command).stdout.split()[-1])
        try:
            yield container
        except BaseException:
            print(self.call("logs", container.name, check=False).stderr[-4000:])
            raise
        finally:
            self.call("rm", "--force", container.name, check=False)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A container that ends by itself."""
        return self.call("run", "--rm", *self.run_options, self.image, *arguments, check=False)


class Container:
    """One running container."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def execute(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.engine.call("exec", self.name, *command, check=check)

    def health(self) -> int:
        """Exit code of the health check, run in the container."""
        return self.execute(*HEALTHCHECK, check=False).returncode

    def stop(self) -> tuple[int, float]:
        """Stop it as an orchestrator does: exit code, seconds."""
        begun = time.monotonic()
        self.engine.call("stop", "--time", str(STOP_LIMIT_S), self.name)
        taken = time.monotonic() - begun
        state = self.engine.call("inspect", "--format", "{{.State.ExitCode}}", self.name)
        return int(state.stdout), taken

    def wait_until_healthy(self) -> float:
        begun = time.monotonic()
        while self.health() != 0:
            if time.monotonic() - begun > START_LIMIT_S:
                raise AssertionError("the server does not come up")
            time.sleep(0.1)
        return time.monotonic() - begun


def expect(what: str, found: object, wanted: object) -> None:
    """Print what was found; anything else than wanted ends the check."""
    print(f"     {what}: {found}")
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def predict(port: int) -> Any:
    """The answer of the example model over REST, through the published port."""
    url = f"http://127.0.0.1:{port}/v1/models/resnet:predict"
    with urllib.request.urlopen(url, b'{"instances": [1.0, 2.0, 5.0]}', timeout=10) as answer:
        return json.load(answer)


def expect_clean_stop(container: Container) -> None:
    code, taken = container.stop()
    print(f"     stopped in {taken:.1f} s")
    expect("exit code after SIGTERM", code, 0)
    if taken > STOP_LIMIT_S / 2:
        raise AssertionError("the stop took as long as if the signal had been lost")


def check_configuration(engine: Engine) -> None:
    """Ports, environment, entry point, user, health check and labels are there for whoever inspects the image."""
    image = json.loads(engine.call("image", "inspect", engine.image).stdout)[0]
    config = image["Config"]
    expect("ports", sorted(config["ExposedPorts"]), ["8500/tcp", "8501/tcp"])
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    expect("MODEL_BASE_PATH", environment["MODEL_BASE_PATH"], "/models")
    expect("MODEL_NAME", environment["MODEL_NAME"], "model")
    expect("entry point", config["Entrypoint"], ["/usr/bin/tf_serving_entrypoint.sh"])
    expect("user", config["User"], "10001:0")
    health = config.get("Healthcheck") or image.get("Healthcheck") or {}  # Docker's place, podman's place
    expect("health check", health.get("Test"), ["CMD", *HEALTHCHECK])
    expect("license label", config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0")


def check_classic_command(engine: Engine) -> None:
    """The command of TensorFlow Serving's documentation works, as root as there, over REST and gRPC."""
    port = free_port()
    options = ["--publish", f"127.0.0.1:{port}:8501", "--env", "MODEL_NAME=resnet", "--user", "0"]
    with engine.container(options, []) as container:
        print(f"     healthy after {container.wait_until_healthy():.1f} s")
        expect("REST predict", predict(port), {"predictions": [2.5, 3.0, 4.5]})
        answer = container.execute("/opt/pyserve/bin/python3", "-c", GRPC_CALL, "8500").stdout.strip()
        expect("gRPC predict", answer, "[2.5, 3.0, 4.5]")
        command = container.execute("cat", "/proc/1/cmdline").stdout.split("\0")
        expect("process 1", command[1], "/usr/bin/tensorflow_model_server")
        expect("its user", container.execute("id", "-u").stdout.strip(), "0")
        expect_clean_stop(container)


def check_any_user_and_nothing_writable(engine: Engine) -> None:
    """Any user, nothing but read-only file systems, no privileges: it serves, writes nothing, and stops."""
    for user in ("10001:0", "1000660000:0", "54321:54321"):
        port = free_port()
        options = [
            "--publish",
            f"127.0.0.1:{port}:8501",
            "--env",
            "MODEL_NAME=resnet",
            "--user",
            user,
            *LOCKED,
        ]
        if "podman" in engine.command[0]:
            options.append(
                "--read-only-tmpfs=false"
            )  # else podman makes /tmp and others writable all the same
        with engine.container(options, []) as container:
            container.wait_until_healthy()
            expect("REST predict", predict(port), {"predictions": [2.5, 3.0, 4.5]})
            expect("its user", container.execute("id", "-u").stdout.strip(), user.split(":")[0])
            written = container.execute("touch", "/tmp/x", check=False)
            expect("/tmp can be written", written.returncode == 0, False)
            expect("files in /dev/shm", container.execute("ls", "-A", "/dev/shm").stdout, "")
            expect_clean_stop(container)


def check_arguments_win(engine: Engine) -> None:
    """Container arguments change ports and models; the entry point named by a manifest is there; health follows."""
    config = MODEL.parents[2] / "out" / "container_check.config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(
        'model_config_list { config { name: "resnet" base_path: "/models/resnet" model_platform: "tensorflow" } }'
    )
    port = free_port()
    options = ["--publish", f"127.0.0.1:{port}:9001", "--volume", f"{config}:/config/models.config:ro"]
    options += ["--entrypoint", "/usr/bin/tf_serving_entrypoint.sh"]
    flags = ["--port=9000", "--rest_api_port=9001", "--model_config_file=/config/models.config"]
    try:
        with engine.container(options, flags) as container:
            container.wait_until_healthy()
            expect("REST predict", predict(port), {"predictions": [2.5, 3.0, 4.5]})
            expect_clean_stop(container)
    finally:
        config.unlink()


def check_server_by_name(engine: Engine) -> None:
    """The server named by a manifest is there; without REST its health is that the gRPC port accepts connections."""
    options = ["--entrypoint", "/usr/bin/tensorflow_model_server"]
    flags = ["--port=8500", "--model_name=resnet", "--model_base_path=/models/resnet"]
    with engine.container(options, flags) as container:
        container.wait_until_healthy()
        answer = container.execute("/opt/pyserve/bin/python3", "-c", GRPC_CALL, "8500").stdout.strip()
        expect("gRPC predict", answer, "[2.5, 3.0, 4.5]")
        expect_clean_stop(container)


def check_health_tells_a_hung_server(engine: Engine) -> None:
    """A server that has stopped answering is reported, and one that goes on is healthy again."""
    with engine.container(["--env", "MODEL_NAME=resnet"], []) as container:
        container.wait_until_healthy()
        engine.call("kill", "--signal", "STOP", container.name)
        expect("health check of a hung server", container.health(), 1)
        engine.call("kill", "--signal", "CONT", container.name)
        expect("health check once it goes on", container.health(), 0)
        expect_clean_stop(container)


def check_exit_codes(engine: Engine) -> None:
    """What ends by itself ends with the server's own exit code and text."""
    version = engine.run("--version")
    expect("--version, exit code", version.returncode, 0)
    expect("--version, first words", version.stdout.split(":")[0], "TensorFlow ModelServer")
    expect("TensorFlow is found", "not installed" not in version.stdout, True)
    expect("unknown flag, exit code", engine.run("--prot=8500").returncode, 2)
    expect("bad value, exit code", engine.run("--port=http").returncode, 255)


CHECKS: tuple[Callable[[Engine], None], ...] = (
    check_configuration,
    check_classic_command,
    check_any_user_and_nothing_writable,
    check_arguments_win,
    check_server_by_name,
    check_health_tells_a_hung_server,
    check_exit_codes,
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("--engine", default="docker", help="the engine's command, with its global options")
    parser.add_argument("--run-options", default="", help="more options for each container")
    options = parser.parse_args()
    engine = Engine(options.engine, options.image, options.run_options)
    for check in CHECKS:
        print(f"-- {(check.__doc__ or check.__name__).strip()}", flush=True)
        try:
            check(engine)
        except (AssertionError, OSError, urllib.error.URLError) as error:
            print(f"FAILED: {error}")
            return 1
    print("all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

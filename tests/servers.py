"""Real server processes for tests: start one, wait for its ports, read its log, end it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

EXAMPLES = Path(__file__).parents[1] / "examples" / "models"
TESTDATA_VARIABLE = "PYSERVE_TFS_TESTDATA"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 40.0


def testdata() -> Path | None:
    """The directory with TensorFlow Serving's sample models, where the environment names one."""
    directory = os.environ.get(TESTDATA_VARIABLE)
    return Path(directory) if directory else None


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def config_text(models: Mapping[str, PurePath], extra: Mapping[str, str] | None = None) -> str:
    """A ModelServerConfig; `extra` holds further fields by model name."""
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {(extra or {}).get(name, "")} }}\n'
        for name, path in models.items()
    )
    return "model_config_list {\n" + entries + "}\n"


class ServerProcess:
    """`python -m pyserve` with free ports and the given arguments; a context manager.

    Attributes:
        grpc_port, rest_port: Where it listens, once `start` has returned.
        log: Everything that it wrote so far, standard error and output together.
    """

    def __init__(
        self, arguments: Sequence[str], *, env: dict[str, str] | None = None, rest: bool = True
    ) -> None:
        self.grpc_port = free_port()
        self.rest_port = free_port() if rest else 0
        self._command = [
            sys.executable,
            "-m",
            "pyserve",
            f"--port={self.grpc_port}",
            f"--rest_api_port={self.rest_port}",
            *arguments,
        ]
        self._env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", **(env or {})}
        self._output = tempfile.NamedTemporaryFile(prefix="pyserve-test-", suffix=".log")  # noqa: SIM115
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> str:
        return self._output.name

    @property
    def log(self) -> str:
        return Path(self.log_path).read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def add(self, *arguments: str) -> None:
        """Put further arguments behind the others, before the start; the last of several wins."""
        self._command += arguments

    def launch(self) -> None:
        """Start the process and return at once."""
        self.process = subprocess.Popen(
            self._command,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._env,
            stdin=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Start the process and wait until its ports are open."""
        self.launch()
        self.wait_for_log("Exporting HTTP/REST API" if self.rest_port else "Running gRPC ModelServer")

    def wait_for_log(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the log holds a text; fails when the process ends first, or the time is over."""
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            if self.process.poll() is not None:
                raise AssertionError(f"pyserve ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in the log within {timeout_s} s:\n{self.log}")
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process with a signal; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"pyserve did not stop:\n{self.log}") from None

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGTERM)
        self._output.close()

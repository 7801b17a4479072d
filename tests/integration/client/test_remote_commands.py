"""`pyserve predict`, `status` and `reload` against a real server: what they print, and how they end."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echo_clients import NUMBERS
from echo_servers import echo_server
from pyserve import Server
from pyserve.cli.main import main
from servers import config_text, free_port


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, output, error output."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse's way
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def addresses(server: Server) -> tuple[str, str]:
    return f"localhost:{server.grpc_port}", f"http://localhost:{server.rest_port}"


@pytest.fixture(params=[0, 1], ids=["grpc", "rest"])
def address(request: pytest.FixtureRequest, echo: Server) -> str:
    return addresses(echo)[request.param]


def test_predict(capsys: pytest.CaptureFixture[str], address: str, tmp_path: Path) -> None:
    """A line for each output: name, dtype, shape, values; from JSON and from files."""
    np.save(tmp_path / "x.npy", NUMBERS)
    (tmp_path / "x.json").write_text("[1, 2, 5]")
    for value in ("[1, 2, 5]", f"@{tmp_path}/x.npy", f"@{tmp_path}/x.json"):
        code, out, _ = ask(capsys, "predict", address, "echo", "--signature=float", f"--input=x={value}")
        assert (code, out) == (0, "y\tfloat\t[3]\t[1.0, 2.0, 5.0]\n")


def test_predict_json(capsys: pytest.CaptureFixture[str], address: str, tmp_path: Path) -> None:
    """One object; bytes of a file go as one string."""
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8")
    call = (
        "predict",
        address,
        "echo",
        "--signature=string",
        f"--input=x=@{tmp_path}/x.jpg",
        "--json",
        "--version=1",
    )
    code, out, _ = ask(capsys, *call, "--output=y")
    assert code == 0
    assert json.loads(out) == {
        "model": "echo",
        "version": 1,
        "dtypes": {"y": "string"},
        "outputs": {"y": [{"b64": "/9g="}]},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nope", "--input=x=[1]"], 1, "NOT_FOUND: Servable not found for request: Latest(nope)"),
        (["echo", "--input=x=[1]", "--signature=zz"], 1, "zz"),
        (
            ["echo", "--input=x=[1.5]", "--signature=int32"],
            1,
            "INVALID_ARGUMENT: input 'x': values of float64",
        ),
        (
            ["echo", "--input=x=[1]", "--signature=gate", "--timeout_s=0.2"],
            4,
            "DEADLINE_EXCEEDED: ",
        ),
        (["echo", "--input=x"], 2, "expected ALIAS=JSON or ALIAS=@FILE"),
        (["echo", "--input=x=@/no/such.npy"], 2, "/no/such.npy; No such file or directory"),
        (["echo", "--input=x=1", "--input=x=2"], 2, "an input is given twice"),
        (["echo", "--version=1", "--label=a"], 2, "not allowed with argument"),
        (["echo", "--nonsense"], 2, "unrecognized arguments: --nonsense"),
        ([], 2, "the following arguments are required"),
    ],
)
def test_predict_that_fails(
    capsys: pytest.CaptureFixture[str], address: str, arguments: list[str], code: int, said: str
) -> None:
    """The exit code says who said no; the reason goes to standard error."""
    found, out, err = ask(capsys, "predict", address, *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert err.splitlines()[-1].startswith("pyserve predict: ")


@pytest.mark.parametrize("command", [("predict", "m"), ("status", "m"), ("reload", os.devnull)])
def test_nobody_there(capsys: pytest.CaptureFixture[str], command: tuple[str, str]) -> None:
    """Exit code 3, at once."""
    for address in (f"localhost:{free_port()}", f"http://localhost:{free_port()}"):
        if command[0] == "reload" and address.startswith("http"):
            continue
        code, _, err = ask(capsys, command[0], address, command[1])
        assert (code, "UNAVAILABLE" in err) == (3, True)


def test_status(capsys: pytest.CaptureFixture[str], address: str) -> None:
    """A line for each version; 1 when a model has none that is available."""
    assert ask(capsys, "status", address, "echo") == (0, "echo\t1\tAVAILABLE\tOK\t\n", "")
    code, out, _ = ask(capsys, "status", address, "echo", "nope")
    assert code == 1
    assert out.splitlines()[1] == "nope\t-\t-\tNOT_FOUND\tCould not find any versions of model nope"
    code, out, _ = ask(capsys, "status", address, "echo", "--json")
    assert json.loads(out)["models"]["echo"][0]["state"] == "AVAILABLE"


def test_status_of_all_models(capsys: pytest.CaptureFixture[str], echo: Server) -> None:
    """Over REST pyserve lists them; over gRPC nobody does."""
    grpc, rest = addresses(echo)
    assert ask(capsys, "status", rest)[1] == "echo\t1\tAVAILABLE\tOK\t\n"
    code, _, err = ask(capsys, "status", grpc)
    assert (code, err) == (2, "pyserve status: over gRPC a server cannot list its models: name them\n")
    assert ask(capsys, "status", "https://localhost")[0] == 2


class Watcher:
    """`pyserve status --watch` as a process of its own."""

    def __init__(self, *arguments: str, stdout: Any = subprocess.PIPE) -> None:
        command = [sys.executable, "-m", "pyserve", "status", "--watch", "--interval_s=0.1", *arguments]
        self.process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        assert self.process.stderr.read() == ""
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[Server]:
    with echo_server(tmp_path) as server:
        yield server


def test_watch(changing: Server, tmp_path: Path) -> None:
    """What changes is printed as it changes, the server's end too; Ctrl-C ends it."""
    watcher = Watcher(addresses(changing)[0], "echo")
    assert watcher.line() == "echo\t1\tAVAILABLE\tOK\t\n"
    time.sleep(0.5)  # a few looks at which nothing is new
    (tmp_path / "echo" / "2").mkdir()
    seen = ""
    while "echo\t2\tAVAILABLE\tOK\t\n" not in seen or "echo\t1\tEND\tOK\t\n" not in seen:
        seen += watcher.line()
    assert "echo\t1\tAVAILABLE" not in seen
    assert seen.count("echo\t2\tAVAILABLE") == 1
    changing.stop()
    while not (line := watcher.line()).startswith("echo\t-\t-\tUNAVAILABLE\t"):
        assert re.match(r"echo\t\d\t", line), line
    assert watcher.stop() == 0


def test_watch_json(changing: Server, tmp_path: Path) -> None:
    """An object for each change, on a line."""
    watcher = Watcher(addresses(changing)[1], "--json")
    first = json.loads(watcher.line())["models"]["echo"]
    assert [each["version"] for each in first] == [1]
    (tmp_path / "echo" / "2").mkdir()
    while json.loads(watcher.line())["models"]["echo"][0]["state"] != "AVAILABLE":
        pass
    assert watcher.stop() == 0


def read_until(descriptor: int, text: str) -> str:
    """What a terminal shows, up to a text."""
    seen, deadline = b"", time.monotonic() + 60
    while text.encode() not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(descriptor, 4096)
    return seen.decode()


def test_on_a_terminal(changing: Server) -> None:
    """Tables; that of --watch is drawn anew when something changes."""
    ours, theirs = pty.openpty()
    address = addresses(changing)[0]
    watcher = Watcher(address, "echo", stdout=theirs)
    shown = read_until(ours, "AVAILABLE")
    assert "model" in shown
    assert "─" in shown
    assert watcher.stop() == 0
    call = [sys.executable, "-m", "pyserve", "predict", address, "echo", "--signature=float", "--input=x=[2]"]
    subprocess.run(call, stdout=theirs, check=True, timeout=60)
    shown = read_until(ours, "[2.0]")
    assert "dtype" in shown
    assert "─" in shown
    os.close(theirs)
    os.close(ours)


def test_reload(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, changing: Server, tmp_path: Path
) -> None:
    """From a file or standard input; what the server refuses ends with 1, what is no config with 2."""
    grpc, rest = addresses(changing)
    (tmp_path / "other" / "1").mkdir(parents=True)
    config = tmp_path / "models.config"
    config.write_text(config_text({"echo": tmp_path / "echo", "other": tmp_path / "other"}))
    assert ask(capsys, "reload", grpc, config) == (0, "reloaded: echo other\n", "")
    assert ask(capsys, "status", grpc, "other")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(config_text({"echo": tmp_path / "echo"})))
    assert ask(capsys, "reload", grpc, "-", "--json") == (0, '{"models": ["echo"]}\n', "")
    config.write_text(config_text({"echo": tmp_path / "nowhere"}))
    code, out, err = ask(capsys, "reload", grpc, config)
    assert (code, out) == (1, "")
    assert err.startswith("pyserve reload: NOT_FOUND: ")
    config.write_text("nonsense")
    code, _, err = ask(capsys, "reload", grpc, config)
    assert (code, "Invalid protobuf file" in err) == (2, True)
    assert ask(capsys, "reload", grpc, tmp_path / "none")[0] == 2
    assert ask(capsys, "reload", rest, os.devnull) == (
        2,
        "",
        "pyserve reload: a reload needs the gRPC address, host:port\n",
    )


@pytest.mark.parametrize("command", ["predict", "status", "reload"])
def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """For scripts."""
    code, out, _ = ask(capsys, command, "--help")
    assert code == 0
    assert "Exit codes: 0 done; 1 the server said no" in " ".join(out.split())

"""`pyserve inspect`: every call that it prints runs; paths are read without TensorFlow; servers are asked."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dtype_samples import IN_JSON, SENDABLE
from echo_servers import echo_server
from pyserve import Server
from pyserve.cli.main import main
from servers import EXAMPLES, ServerProcess, free_port

MODELS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["inspect", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def outcomes(signature: Mapping[str, Any]) -> dict[str, str]:
    """What each printed call of a signature prints, by its name."""
    return {
        way: run_shell(call) if way == "curl" else run_python(call)
        for way, call in signature["calls"].items()
        if not all(line.startswith("#") for line in call.splitlines())
    }


def run_shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "error" not in answer, (command, answer)
    return done.stdout


def run_python(code: str) -> str:
    output = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(output):
        warnings.simplefilter("ignore")  # those of TensorFlow's import
        exec(compile(code, "call", "exec"), {})
    return output.getvalue()


@pytest.mark.parametrize("model", MODELS)
def test_calls_from_a_path(model: str, server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Each call that a path gives is answered by a server with that model; only what has no inputs has no curl."""
    found = inspect(
        capsys,
        str(EXAMPLES / model),
        f"--grpc_address=localhost:{server.grpc_port}",
        f"--http_url=http://localhost:{server.rest_port}",
    )
    assert found["model"] == model
    assert found["signatures"]
    for signature in found["signatures"].values():
        done = outcomes(signature)
        assert done.keys() == {"tensorflow_serving_api", "pyserve_client"} | (
            {"curl"} if signature["inputs"] else set()
        )
        assert all(done.values())


@pytest.mark.parametrize("form", ["grpc", "rest", "url"])
def test_a_server(form: str, server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """gRPC, REST and a model's URL tell the same, and as much as the files; calls go to the address given."""
    where = {
        "grpc": [f"localhost:{server.grpc_port}", "half_plus_two"],
        "rest": [f"http://localhost:{server.rest_port}/", "half_plus_two"],
        "url": [f"http://localhost:{server.rest_port}/v1/models/half_plus_two"],
    }[form]
    found = inspect(capsys, *where)
    files = inspect(capsys, str(EXAMPLES / "half_plus_two"))
    assert (found["model"], found["version"], found["other_versions"]) == ("half_plus_two", 2, [1])
    for key, signature in files["signatures"].items():
        assert {**found["signatures"][key], "calls": None} == {**signature, "calls": None}
    calls = found["signatures"]["serving_default"]["calls"]
    if form == "grpc":
        assert "2.5" in run_python(calls["pyserve_client"])
        assert "2.5" in run_python(calls["tensorflow_serving_api"])
    else:
        assert "2.5" in run_shell(calls["curl"])
        assert "the features of the examples" in found["signatures"]["classify_x_to_y"]["calls"]["curl"]


def test_a_version_of_a_server(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that was asked for is in the calls."""
    found = inspect(capsys, f"http://localhost:{server.rest_port}/v1/models/half_plus_two/versions/1")
    assert (found["version"], found["other_versions"]) == (1, [2])
    call = found["signatures"]["serving_default"]["calls"]["curl"]
    assert "/versions/1:predict" in call
    assert run_shell(call)
    found = inspect(capsys, f"localhost:{server.grpc_port}", "half_plus_two", "--version=1")
    said = run_python(found["signatures"]["serving_default"]["calls"]["tensorflow_serving_api"])
    assert re.search(r"version {\s+value: 1\s", said)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with echo_server(tmp_path_factory.mktemp("echo")) as server:
        yield server


def test_every_dtype(echo: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The calls of a model with every dtype run; REST shows those that JSON carries. One model need not be named."""
    found = inspect(
        capsys, f"http://localhost:{echo.rest_port}", f"--grpc_address=localhost:{echo.grpc_port}"
    )
    assert found["model"] == "echo"
    ways = {
        dtype.name: {way for way, said in outcomes(found["signatures"][dtype.name]).items() if said}
        for dtype in SENDABLE
    }
    assert {name for name, run in ways.items() if "curl" in run} == set(IN_JSON)
    assert {name for name, run in ways.items() if "pyserve_client" not in run} == set()
    # Those are what TensorFlow's own function does not take.
    unmade = {name for name, run in ways.items() if "tensorflow_serving_api" not in run}
    assert unmade == {name for name in ways if "qint" in name or "quint" in name or name.endswith("fnuz")}


def test_no_tensorflow_for_a_path() -> None:
    """Neither a SavedModel nor what it would take to serve it brings TensorFlow into the process."""
    code = (
        "import sys\nfrom pyserve.cli.main import main\n"
        f"assert main(['inspect', {str(EXAMPLES / 'half_plus_two')!r}]) == 0\n"
        "assert not {name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras'}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "serving_default" in done.stdout


def test_a_terminal() -> None:
    """On a terminal there are colours and tables; calls are never broken into lines."""
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pyserve", "inspect", str(EXAMPLES / "mlp")],
        stdout=writer,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "60"},
    )
    os.close(writer)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that the other side has gone
        while chunk := os.read(reader, 65536):
            shown += chunk
    os.close(reader)
    assert process.wait(60) == 0
    assert b"\x1b[" in shown
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().replace("\r\n", "\n")
    assert "python3 -c 'import json; print(json.dumps({\"instances\": [[1.0] * 784]}))' | curl" in plain
    assert re.search(r"output +probabilities +float +\[\?, 10\]", plain)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{rest}"], 1, "name the model: half_plus_three, half_plus_two, "),
        (["{grpc}"], 1, "name the model"),
        (["{rest}/v1/nonsense"], 2, "Malformed request"),
        (["{rest}/v1/models/m/labels/x"], 2, "name a version, not a label"),
        (["{grpc}", "no_such"], 1, "NOT_FOUND"),
        (["{grpc}", "half_plus_two", "--version=9"], 1, "NOT_FOUND"),
        (["localhost:{closed}", "m"], 3, "UNAVAILABLE"),
    ],
)
def test_bad_addresses(
    arguments: list[str], code: int, said: str, server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be asked is one sentence and an exit code."""
    names = {
        "{rest}": f"http://localhost:{server.rest_port}",
        "{grpc}": f"localhost:{server.grpc_port}",
        "{closed}": str(free_port()),
    }
    given = []
    for argument in arguments:
        for name, value in names.items():
            argument = argument.replace(name, value)
        given.append(argument)
    assert main(["inspect", *given]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1

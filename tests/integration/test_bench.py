"""`pyserve bench` against real servers, well-behaved and other ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from function_servers import add_version, function_server
from pyserve import Server
from pyserve.cli.main import main
from pyserve.codec.predict import ModelSpec
from pyserve.errors import UnavailableError
from pyserve.tools.bench import external, generator
from pyserve.tools.bench.generator import Generator
from pyserve.tools.bench.load import Plan
from pyserve.tools.bench.request import predict
from pyserve.tools.bench.target import Target
from servers import free_port

X = {"x": np.ones(1, np.float32)}
SHORT = ["--duration=0.3", "--warmup=0"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    models = {"m": add_version(directory, "m")}
    with function_server(models, grpc_socket_path=str(directory / "socket")) as server:
        server.wait_until_available("m", 10)
        yield server


@pytest.fixture(scope="module")
def urls(server: Server, directory: Path) -> dict[str, str]:
    return {
        "grpc": f"grpc://localhost:{server.grpc_port}",
        "rest": f"http://localhost:{server.rest_port}",
        "unix": f"unix:{directory / 'socket'}",
    }


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("grpc", ["--concurrency=8", "--processes=2"]),
        ("rest", ["--concurrency=4", '--input={"instances": [1.0, 2.0]}']),
        ("unix", ["--rows=10"]),
        ("grpc", ["--rate=100", "--even"]),
        ("rest", ["--rate=100"]),
    ],
)
def test_loads(
    kind: str, arguments: list[str], urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Closed and open loops over each protocol: every answer is good, and the figures agree with each other."""
    file = tmp_path / "figures.json"
    assert main(["bench", urls[kind], "--model=m", *SHORT, f"--json={file}", *arguments]) == 0
    printed = capsys.readouterr().out
    assert urls[kind] in printed
    assert "█" in printed
    ((figures,),) = json.loads(file.read_text())["rounds"].values()
    assert figures["codes"] == {"OK": figures["requests"]}
    assert 0 < figures["requests_per_s"] * 0.3 <= figures["requests"] + 1e-6
    latency = figures["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    if "--rate=100" in arguments:
        assert figures["requests"] == pytest.approx(30, abs=25)  # at random; equal gaps make 29
        assert figures["requests"] == 29 or "--even" not in arguments


def test_comparison(urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two servers in turn, seven rounds of each, their ratio, and a page with both."""
    arguments = ["--model=m", "--duration=0.05", "--warmup=0.02", f"--plot={tmp_path / 'page.html'}"]
    assert main(["bench", urls["grpc"], *arguments, f"--compare={urls['rest']}"]) == 0
    printed = capsys.readouterr().out
    assert f"{urls['rest']} / {urls['grpc']}, 7 rounds in turn" in printed
    page = (tmp_path / "page.html").read_text()
    assert page.count("<polyline") == 4
    assert all(urls[kind] in page for kind in ("grpc", "rest"))


@pytest.mark.parametrize("driver", external.DRIVERS)
def test_other_drivers(driver: str, urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """h2load and wrk make the load where they are installed."""
    if not external.installed(driver):
        pytest.skip(f"{driver} is not installed")
    for kind in ("grpc", "rest") if driver == "h2load" else ("rest",):
        assert main(["bench", urls[kind], "--model=m", *SHORT, "--concurrency=4", f"--driver={driver}"]) == 0
        printed = capsys.readouterr().out
        assert f"generator    {driver}, " in printed
        assert "answers      OK " in printed


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("grpc", ["--model=none"], "NOT_FOUND: Servable not found for request: Latest(none)"),
        ("rest", ["--model=none"], "NOT_FOUND: Servable not found for request: Latest(none)"),
        ("grpc", ["--model=m", "--signature=s"], 'no signature "s"; it has serving_default'),
        ("rest", ["--model=m", '--input={"instances": ["a"]}'], "answers 400: "),
        ("grpc", ["--model=m", "--version=7"], "NOT_FOUND"),
        ("rest", ["--model=m", "--duration=0"], "duration and timeout must be positive"),
        ("rest", ["--model=m", "--rounds=-1"], "must be positive"),
        ("rest", ["--model=m", "--input=words"], "--input takes a JSON body"),
        ("grpc", ["--model=m", "--driver=wrk", "--warmup=0"], "wrk"),
    ],
)
def test_refusals(
    kind: str, arguments: list[str], said: str, urls: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work is said in one line, before any load."""
    assert main(["bench", urls[kind], *arguments]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """An address where nobody listens is named."""
    for url in (f"grpc://localhost:{free_port()}", f"http://localhost:{free_port()}"):
        assert main(["bench", url, "--model=m"]) == 1
        assert f"pyserve bench: {url}: " in capsys.readouterr().err


def test_progress_where_there_is_no_terminal(urls: dict[str, str], tmp_path: Path) -> None:
    """As a process of its own, piped: plain figures on standard output, nothing else, and no TensorFlow."""
    code = (
        "import sys\nfrom pyserve.cli import bench_progress\nbench_progress._LINE_S = 0.1\n"
        "from pyserve.cli.main import main\n"
        "if __name__ == '__main__':\n"
        f"    assert main(['bench', {urls['rest']!r}, '--model=m', '--duration=0.5', '--warmup=0']) == 0\n"
        "    assert not [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'uvloop', 'aiohttp')]\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("m, 1 in flight, 0.5 s\n")
    assert done.stderr.startswith("round 1 of 1: 0 s, ")


def test_progress_on_a_terminal(urls: dict[str, str]) -> None:
    """A moving bar on standard error says which round it is and how many answers there are."""
    terminal, end = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "pyserve",
        "bench",
        urls["rest"],
        "--model=m",
        "--duration=0.5",
        "--warmup=0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(terminal, 4096):
                shown += data
        os.close(terminal)
        assert process.stdout is not None
        assert process.stdout.read().startswith("m, 1 in flight, 0.5 s\n")
    assert process.returncode == 0
    assert re.search(rb"round 1 of 1, [1-9]\d* answers", shown)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def ignores_interrupts(pid: str) -> bool:
    """Whether a process leaves an interrupt to its parent: a generator process does, and what Python adds to it."""
    (mask,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) & 1 << (signal.SIGINT - 1))


def test_interrupt(urls: dict[str, str]) -> None:
    """An interrupt ends the load at once, generator processes included."""
    command = [sys.executable, "-m", "pyserve", "bench", urls["rest"], "--model=m", "--duration=60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 20
        while sum(map(ignores_interrupts, children(process.pid))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == "pyserve bench: interrupted\n"
    assert process.returncode == 1


def test_own_share(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator knows what it uses itself: little at a low rate, and much once it never sleeps."""
    target = Target.parse(urls["rest"])

    def share() -> float:
        return Generator(target, predict(target, ModelSpec("m"), X), Plan(0.3, rate=20)).run().cpu_share

    resting = share()
    monkeypatch.setattr(generator._Selector, "wait", lambda self, timeout_s: self.select(0))
    assert share() > 3 * resting > 0


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[Target]:
    """A TCP server that does with each connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Target(False, "127.0.0.1", listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_bad_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Answers that are not good are counted by their code, with what the first one said; the exit code tells."""
    served = itertools.count()

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1000):
                status = b"200 OK" if next(served) < 20 else b"503 Busy"
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nfull")

    with listener(serve) as target:
        assert main(["bench", str(target), "--model=m", "--input={}", "--duration=0.2", "--warmup=0"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"answers      503 \d+, OK \d+\n    503: full\n", printed)


def test_server_that_hangs_up() -> None:
    """A connection that is closed under a request counts as lost, and another one takes its place."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.recv(1000)

    with listener(serve) as target:
        outcome = Generator(target, predict(target, ModelSpec("m"), X), Plan(0.3, in_flight=2)).run()
    assert outcome.codes["OK"] > 2
    assert outcome.codes["connection lost"] > 2
    assert abs(outcome.codes["OK"] - outcome.codes["connection lost"]) <= 2
    assert outcome.texts["connection lost"] == "closed by the server"


def test_server_that_never_answers() -> None:
    """Requests without an answer are counted when the time is over, and no longer waited for."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1000):
                pass

    with listener(serve) as target:
        outcome = Generator(
            target, predict(target, ModelSpec("m"), X), Plan(0.1, in_flight=3, timeout_s=0.1)
        ).run()
        assert outcome.codes == {"no answer": 3}
        flood = Plan(0.2, rate=5000, timeout_s=0.1)
        outcome = Generator(target, predict(target, ModelSpec("m"), X), flood).run()
    assert outcome.codes["no answer"] == generator._MOST_CONNECTIONS
    assert outcome.codes["not begun"] > 500
    assert outcome.good_in_time == 0


def test_server_that_speaks_something_else() -> None:
    """What is no HTTP is lost, and says what came."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-nothing\r\n\r\n")
            connection.recv(1000)

    with listener(serve) as target:
        outcome = Generator(target, predict(target, ModelSpec("m"), X), Plan(0.1)).run()
    assert set(outcome.codes) == {"connection lost"}
    assert "no answer of HTTP/1.1" in outcome.texts["connection lost"]


def test_server_that_goes_away() -> None:
    """When nobody listens any more, the load ends and says so; with nobody from the beginning there is none."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        gone.wait(10)
        connection.close()

    gone = threading.Event()
    found = []
    with listener(serve) as target:
        request = predict(target, ModelSpec("m"), X)
        thread = threading.Thread(target=lambda: found.append(Generator(target, request, Plan(30)).run()))
        thread.start()
        time.sleep(0.2)
    gone.set()
    thread.join(10)
    (outcome,) = found
    assert outcome.codes == {"OK": 1, "connection lost": 1}
    with pytest.raises(UnavailableError, match=str(target)):
        Generator(target, request, Plan(1)).run()


def test_slow_server() -> None:
    """A closed loop goes on until each request in flight was answered twice: two rounds make a rate, none does not."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1000):
                time.sleep(0.2)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with listener(serve) as target:
        outcome = Generator(target, predict(target, ModelSpec("m"), X), Plan(0.05, in_flight=4)).run()
    assert outcome.good_in_time == 8
    assert outcome.seconds >= 0.4
    assert outcome.errors == 0

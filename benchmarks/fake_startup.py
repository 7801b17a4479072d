"""What the fake, the client and the server cost side by side: import, start, footprint; and what 1,000 starts leave.

    python benchmarks/fake_startup.py [--rounds 7] [--starts 1000]

Each round measures, one after the other, each in a process of its own: importing it, bringing it to its first answer
(the fake: a start; the client: a call to a fake in another process; the server: exec to the first answered
request with half_plus_two), resident memory and threads then. Medians with their ranges.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from servers import EXAMPLES, ServerProcess

ROOT = Path(__file__).resolve().parents[1]

_PROBE = """
import json, re, sys, time

def kernel(field):
    with open("/proc/self/status") as status:
        return int(re.search(field + r":\\s+(\\d+)", status.read())[1])

def report(**found):
    print(json.dumps({**found, "rss_mib": kernel("VmRSS") / 1024, "threads": kernel("Threads")}))
"""

_FAKE = (
    _PROBE
    + """
began = time.perf_counter()
from pyserve.testing import serve
imported = time.perf_counter()
with serve({"half_plus_two": lambda x: {"y": x * 0.5 + 2.0}}) as server:
    first = time.perf_counter()
    starts = []
    for _ in range(5):
        again = time.perf_counter()
        with serve({"half_plus_two": lambda x: {"y": x * 0.5 + 2.0}}):
            starts.append(time.perf_counter() - again)
    report(import_ms=(imported - began) * 1e3, ready_ms=(first - imported) * 1e3, again_ms=sorted(starts)[2] * 1e3)
"""
)

_CLIENT = (
    _PROBE
    + """
began = time.perf_counter()
from pyserve.client import Client
client = Client(sys.argv[1])
imported = time.perf_counter()
client.predict("half_plus_two", {"x": [1.0]})
report(import_ms=(imported - began) * 1e3, ready_ms=(time.perf_counter() - imported) * 1e3)
"""
)

_SERVER_IMPORT = (
    _PROBE
    + """
began = time.perf_counter()
import pyserve.cli.main, pyserve.server, tensorflow
report(import_ms=(time.perf_counter() - began) * 1e3)
"""
)

_LEAKS = (
    _PROBE
    + """
import gc, os, threading
from pathlib import Path
import numpy as np
from pyserve.testing import serve

def footprint():
    gc.collect()
    return {
        "Python threads": len(threading.enumerate()),
        "kernel threads": kernel("Threads"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "variables": len(os.environ),
        "RSS MiB": round(kernel("VmRSS") / 1024, 1),
    }

def once():
    with serve({"m": lambda x: {"y": x * 0.5 + 2.0}}) as server:
        server.client.predict("m", {"x": np.float32([1.0])})

total = int(sys.argv[1])
for number in range(total + 1):
    once()
    if number in (1, total // 10, total // 2, total):
        print(json.dumps({"starts": number, **footprint()}))
"""
)


def probe(code: str, *arguments: str) -> list[dict[str, Any]]:
    """What a process of its own reports, a line each."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def server() -> dict[str, float]:
    """The server as a process, to its first answer."""
    process = ServerProcess([f"--model_base_path={EXAMPLES / 'half_plus_two'}", "--model_name=half_plus_two"])
    url = f"http://localhost:{process.rest_port}/v1/models/half_plus_two:predict"
    began = time.perf_counter()
    process.launch()
    try:
        while True:
            try:
                with urllib.request.urlopen(url, b'{"instances": [1.0]}', timeout=5) as answer:
                    answer.read()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.005)
        ready_ms = (time.perf_counter() - began) * 1e3
        assert process.process is not None
        status = Path(f"/proc/{process.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        rss_mib = int(fields["VmRSS"].split()[0]) / 1024
        return {"ready_ms": ready_ms, "rss_mib": rss_mib, "threads": int(fields["Threads"])}
    finally:
        process.stop()


def measured() -> dict[str, dict[str, float]]:
    """One round."""
    from pyserve.testing import serve

    with serve({"half_plus_two": lambda x: {"y": x * 0.5 + 2.0}}) as fake:
        client = probe(_CLIENT, fake.grpc_address)[0]
    imported = probe(_SERVER_IMPORT)[0]["import_ms"]
    return {"fake": probe(_FAKE)[0], "client": client, "server": {"import_ms": imported, **server()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--starts", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    measured()  # reads the files once
    rounds = [measured() for _ in range(arguments.rounds)]
    units = {"import_ms": "ms", "ready_ms": "ms", "again_ms": "ms", "rss_mib": "MiB", "threads": ""}
    for what in ("fake", "client", "server"):
        for figure, unit in units.items():
            values = [each[what][figure] for each in rounds if figure in each[what]]
            if values:
                median, low, high = statistics.median(values), min(values), max(values)
                print(f"{what:>7} {figure:>10}: {median:8.1f} ({low:.1f} to {high:.1f}) {unit}")
    for line in probe(_LEAKS, str(arguments.starts)):
        print(", ".join(f"{name} {value}" for name, value in line.items()))


if __name__ == "__main__":
    main()

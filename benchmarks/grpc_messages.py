"""Large messages by engine: how fast, and with how much memory, a bare echo handler gets and gives them.

    python benchmarks/grpc_messages.py [--rounds 3] [--largest 256]

Both servers run at once; a grpcio client sends messages of 1, 16, 64 and `--largest` MiB to each in turn. Prints the
medians of the time for both ways, and the server's peak of resident memory so far.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import grpc

from grpc_calls import UNLIMITED
from grpc_engines import METHOD, echo

MIB = 2**20


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=256)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        servers = {engine: stack.enter_context(echo(engine)) for engine in ("grpcio", "native")}
        calls = {
            engine: stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", UNLIMITED)).unary_unary(
                METHOD
            )
            for engine, (port, _) in servers.items()
        }
        for size in sorted({1, 16, 64, arguments.largest}):
            content = bytes(size * MIB)
            seen: dict[str, list[float]] = {engine: [] for engine in servers}
            for _ in range(arguments.rounds):
                for engine, call in calls.items():
                    began = time.monotonic()
                    if call(content, timeout=600) != content:
                        raise RuntimeError(f"{engine} answered something else")
                    seen[engine].append(time.monotonic() - began)
            for engine, times in seen.items():
                print(
                    f"{size:4} MiB, {engine:>6}: {statistics.median(times) * 1e3:7.1f} ms, "
                    f"peak {peak_mib(servers[engine][1]):5.0f} MiB",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())

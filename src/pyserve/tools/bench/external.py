"""Load generators of others, where they are installed: h2load for both protocols, wrk for REST.

Both do closed loops only. h2load sees HTTP's status of a gRPC call and not gRPC's own, which comes behind it: what a
server answers is looked at by the request that goes ahead of every load.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pyserve.errors import InvalidArgumentError, NotFoundError, UnavailableError
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.request import Request
from pyserve.tools.bench.target import Target

DRIVERS = ("h2load", "wrk")
_SLACK_S = 30.0

_WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("%s", "rb")
wrk.body = file:read("*all")
file:close()
function done(summary, latency, requests)
  io.write("\\n{\\"duration_us\\":" .. summary.duration .. ",\\"requests\\":" .. summary.requests)
  for name, count in pairs(summary.errors) do io.write(",\\"" .. name .. "\\":" .. count) end
  io.write(",\\"latency\\":[")
  for index = 1, #latency do
    local value, count = latency(index)
    if index > 1 then io.write(",") end
    io.write("[" .. tonumber(value) .. "," .. tonumber(count) .. "]")
  end
  io.write("]}\\n")
end
"""


def installed(name: str) -> bool:
    return shutil.which(name) is not None


def run(driver: str, target: Target, request: Request, plan: Plan) -> Outcome:
    """Put a closed loop on a target by one of `DRIVERS`.

    Raises:
        NotFoundError: It is not installed.
        InvalidArgumentError: It cannot do what is asked for.
        UnavailableError: It could not do it.
    """
    if not installed(driver):
        raise NotFoundError(f"{driver} is not installed; without --driver pyserve makes the load itself")
    if plan.rate is not None:
        raise InvalidArgumentError(f"{driver} makes no open loop; leave out --driver or --rate")
    if target.path:
        raise InvalidArgumentError(f"{driver} is not driven over unix sockets; leave out --driver")
    if driver == "wrk" and request.is_grpc:
        raise InvalidArgumentError("wrk does not speak gRPC; take h2load, or leave out --driver")
    with tempfile.TemporaryDirectory(prefix="pyserve-bench-") as directory:
        body = Path(directory, "body")
        body.write_bytes(request.framed)
        if driver == "wrk":
            return _wrk(target, request, plan, body)
        return _h2load(target, request, plan, body)


def _h2load(target: Target, request: Request, plan: Plan, body: Path) -> Outcome:
    connections = plan.connections_for(is_grpc=request.is_grpc)
    streams = max(1, plan.in_flight // connections)
    log = body.with_name("log")
    command = [
        "h2load",
        "-t1",
        f"-D{math.ceil(plan.duration_s * 1000)}ms",
        f"-c{connections}",
        f"-m{streams}",
    ]
    command += [f"-d{body}", f"--log-file={log}"]
    if request.is_grpc:
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    else:
        command += ["--h1", "-H", "content-type: application/json"]
    command.append(f"http://{target.authority}{request.path}")
    _, cpu_share = _ran(command, plan)
    rows = [(int(a), int(b), int(c)) for a, b, c, *_ in map(str.split, log.read_text().splitlines())]
    return of_log(rows, plan.duration_s, cpu_share)


def of_log(rows: Sequence[tuple[int, int, int]], seconds: float, cpu_share: float) -> Outcome:
    """What h2load's log says: (start in microseconds, HTTP status or -1, microseconds taken) of each request."""
    outcome = Outcome(seconds, cpu_share=cpu_share)
    if not rows:
        raise UnavailableError("h2load got no answer")
    end = min(start for start, _, _ in rows) + seconds * 1e6
    for start, status, taken in rows:
        code = "OK" if status == 200 else "failed" if status < 0 else str(status)
        outcome.codes[code] += 1
        if code == "OK":
            outcome.latency.add(taken / 1e6)
            outcome.good_in_time += start + taken <= end
    return outcome


def _wrk(target: Target, request: Request, plan: Plan, body: Path) -> Outcome:
    script = body.with_name("script.lua")
    script.write_text(_WRK_SCRIPT % body)
    connections = plan.connections_for(is_grpc=False)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(plan.duration_s)}s", f"-s{script}"]
    command += [f"--timeout={math.ceil(plan.timeout_s)}s", f"http://{target.authority}{request.path}"]
    output, cpu_share = _ran(command, plan)
    found = [line for line in output.splitlines() if line.startswith('{"duration_us"')]
    if not found:
        raise UnavailableError(f"wrk: {output.strip()[-300:]}")
    return of_wrk(json.loads(found[-1]), cpu_share)


def of_wrk(found: dict[str, object], cpu_share: float) -> Outcome:
    """What our script for wrk printed: its summary, and (microseconds, number) of the latencies."""
    numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
    outcome = Outcome(numbers.pop("duration_us") / 1e6, cpu_share=cpu_share)
    answered = int(numbers.pop("requests"))
    for name, count in numbers.items():  # connect, read, write, timeout; status: answers of 400 and above
        if count:
            outcome.codes[name] += int(count)
    outcome.good_in_time = answered - outcome.codes["status"]
    outcome.codes["OK"] += outcome.good_in_time
    latencies = found["latency"]
    assert isinstance(latencies, list)
    for value, count in latencies:
        outcome.latency.add(value / 1e6, count)
    return outcome


def _ran(command: Sequence[str], plan: Plan) -> tuple[str, float]:
    """Run a driver to its end: what it printed, and its share of a core."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        limit = began + plan.duration_s + plan.timeout_s + _SLACK_S
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > limit:
                process.kill()
            time.sleep(0.01)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits for it again
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise UnavailableError(f"{command[0]} ended with {process.returncode}: {text.strip()[-300:]}")
    return text, (used.ru_utime + used.ru_stime) / seconds

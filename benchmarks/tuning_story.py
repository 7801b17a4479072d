"""Tuning, step by step: what each step gains a client that classifies images with ResNet50V2.

    python benchmarks/tuning_story.py [--rounds 7] [--seconds 10] [--model resnet50v2] [--out out/benchmarks]

1. full client         TensorFlow and tensorflow-serving-api, one image a call, one call after the other
2. light client        the same without TensorFlow
3. threads             the light client with 8 threads
4. client-side batch   the light client with 8 images a call
5. server-side batch   8 threads with one image a call each; the server makes the batches (static; adaptive)

Each step is a process of its own in every round, the steps in turn. Prints images per second, the seconds until a
client is ready, its CPU per image and the server's, with ranges; writes tuning_story.json and tuning_story.html.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import models
import results
import usage
from contenders import MODES, mode_works, server
from pyserve.tools.bench.plot import Chart, page
from pyserve.tools.bench.report import machine
from pyserve.tools.bench.rounds import Spread, interleave

_CLIENT = Path(__file__).with_name("story_client.py")
_SEVERAL = 8
_HEAD = ("images/s", "client ready s", "client CPU ms", "server CPU ms")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story."""

    name: str
    client: str
    threads: int = 1
    rows: int = 1
    batching: str = "off"


STEPS = (
    Step("1 full client", "full"),
    Step("2 light client", "light"),
    Step(f"3 {_SEVERAL} threads", "light", threads=_SEVERAL),
    Step(f"4 {_SEVERAL} images a call", "light", rows=_SEVERAL),
    Step("5 server batches, static", "light", threads=_SEVERAL, batching="static"),
    Step("5 server batches, adaptive", "light", threads=_SEVERAL, batching="adaptive"),
)


def run(step: Step, model: str, port: int, pid: int, seconds: float) -> list[float]:
    """One round of a step: the figures of `_HEAD`."""
    command = [sys.executable, str(_CLIENT), step.client, f"localhost:{port}", model]
    command += [str(step.threads), str(step.rows), str(seconds)]
    before = usage.cpu_s([pid])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{step.name}:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    server_cpu = usage.cpu_s([pid]) - before
    images = found["images"]
    # The call that connects is the server's work too, and not among the counted images.
    per_image = server_cpu / (images + step.rows)
    return [images / found["seconds"], found["ready_s"], found["cpu_s"] / images * 1e3, per_image * 1e3]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each step in each round")
    parser.add_argument("--model", default="resnet50v2")
    parser.add_argument("--out", type=Path, default=results.OUT)
    wanted = parser.parse_args(arguments)
    steps = [step for step in STEPS if mode_works(step.batching)]
    for step in STEPS:
        if step not in steps:
            print(f"{step.name}: skipped, pyserve has no flags for it yet")
    base = models.base_path(wanted.model)
    with contextlib.ExitStack() as stack:
        served = {
            mode: stack.enter_context(server({wanted.model: base}, *MODES[mode], rest=False))
            for mode in dict.fromkeys(step.batching for step in steps)
        }

        def once(step: Step) -> list[float]:
            process = served[step.batching]
            return run(step, wanted.model, process.grpc_port, process.pid, wanted.seconds)

        found = interleave({step.name: (lambda step=step: once(step)) for step in steps}, wanted.rounds)
    spreads = {
        name: [Spread.of(column) for column in zip(*rounds, strict=True)] for name, rounds in found.items()
    }
    table = [["", *_HEAD]]
    table += [[name, *(figure.show(".2f") for figure in figures)] for name, figures in spreads.items()]
    for row in table:
        print(f"{row[0]:>26} " + " ".join(f"{text:>24}" for text in row[1:]))
    about = {"machine": machine(), "model": wanted.model, "rounds": found, "figures": _HEAD}
    charts = [
        Chart(
            f"{wanted.model}: {label}",
            "step",
            label,
            {label: [(place, figures[column].median) for place, figures in enumerate(spreads.values(), 1)]},
            ranges={label: [(figures[column].low, figures[column].high) for figures in spreads.values()]},
        )
        for column, label in enumerate(_HEAD)
    ]
    results.write(wanted.out, "tuning_story", about, page("Tuning, step by step", charts, table))


if __name__ == "__main__":
    main()

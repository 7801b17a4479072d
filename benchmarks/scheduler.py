"""What batching gains in process, with no transport: at the scheduler, and from bytes to bytes.

    python benchmarks/scheduler.py [--rounds 7] [--seconds 2] [--in_flight 64] [--modes off static adaptive]
                                  [--tasks_model mlp_512]

A whole server core without a port, once for each batching mode, each in a process of its own, in turn, round by round:

1. `tasks`: mlp_512, one row a task, 64 tasks at the scheduler: rows per second, by 64 threads that submit one and wait,
   and by one thread that keeps 64 waiting, as the event loop does. Batched by unbatched is the gain.
2. `calls`: half_plus_two, 64 requests at once through codec, router, queue and model on an event loop, answers encoded:
   microseconds of CPU per request.

`rows a run` is the mean size of a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import models
from child import Child
from contenders import MODES, STATIC, mode_works
from pyserve.codec.predict import ModelSpec, encode_request
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.bench.rounds import Spread, interleave, ratio
from servers import config_text

_CALLS_MODEL = "half_plus_two"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_BATCH_SIZE = ":tensorflow:serving:batching_session:processed_batch_size"
_WAYS = ("tasks by threads", "tasks by one thread", "calls")


class Figures(NamedTuple):
    """Of one round."""

    per_s: float
    cpu_us: float
    rows_a_run: float


def make(flags: Sequence[str], parameters: str, tasks_model: str) -> Callable[[str, int, float], Figures]:
    """Start a core with both models; what is returned runs one round of one of `_WAYS`."""
    from pyserve.backends.saved_model import SavedModelBackend
    from pyserve.cli.configure import server_config
    from pyserve.cli.flags import parse
    from pyserve.cli.table import FLAGS
    from pyserve.codec.text_file import read_text
    from pyserve.lifecycle.monitor import Monitor
    from pyserve.server.core import Core

    with tempfile.TemporaryDirectory() as directory:
        batching, served = Path(directory, "batching"), Path(directory, "models")
        batching.write_text(parameters)
        served.write_text(config_text({name: models.base_path(name) for name in (tasks_model, _CALLS_MODEL)}))
        arguments = [f"--model_config_file={served}", *(flag.format(parameters=batching) for flag in flags)]
        config = server_config(parse(arguments, FLAGS), read_text)
        core = Core(config, SavedModelBackend(config.tensorflow), Monitor())
        core.start(own_process=True)
        core.wait_for_first_results(lambda: False)

    def run(way: str, in_flight: int, seconds: float) -> Figures:
        before, cpu, began = _batches(core), time.process_time(), time.perf_counter()
        if way == "calls":
            done = _calls(core, in_flight, seconds)
        elif way == "tasks by threads":
            done = _tasks(core, tasks_model, in_flight, 1, seconds)
        else:
            done = _tasks(core, tasks_model, 1, in_flight, seconds)
        taken, used = time.perf_counter() - began, time.process_time() - cpu
        rows, runs = (now - then for now, then in zip(_batches(core), before, strict=True))
        return Figures(done / taken, used / done * 1e6, rows / runs if runs else 1.0)

    return run


def _tasks(core: Any, model: str, threads: int, each: int, seconds: float) -> int:
    """Threads that keep `each` tasks waiting; how many tasks were answered."""
    inputs = models.inputs(model)
    end = time.perf_counter() + seconds
    counts = [0] * threads
    errors: list[Exception] = []

    def submit(answers: queue.SimpleQueue[Any]) -> None:
        with core.prediction.open(model) as request:
            task = request.task(request.signature(DEFAULT_SIGNATURE), inputs, (), None)
        task.on_answer = answers.put
        core.scheduler.submit(task)

    def one(number: int) -> None:
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(each):
            submit(answers)
        waiting = each
        while waiting:
            task = answers.get()
            waiting -= 1
            if task.error is not None:
                errors.append(task.error)
                return
            counts[number] += 1
            if time.perf_counter() < end:
                submit(answers)
                waiting += 1

    workers = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(counts)


def _calls(core: Any, in_flight: int, seconds: float) -> int:
    """Requests as bytes through the gRPC handler and its dispatcher; how many were answered."""
    from pyserve.transport.dispatch import Dispatcher
    from pyserve.transport.tfs_methods import handlers

    data = encode_request(ModelSpec(_CALLS_MODEL), models.inputs(_CALLS_MODEL))
    handler = handlers(core.prediction, core.models)[_PREDICT]
    end = time.perf_counter() + seconds
    done = 0

    async def client(dispatcher: Dispatcher) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await dispatcher.answer(lambda: handler(data, None), len(data))
            done += 1

    async def clients() -> None:
        with ThreadPoolExecutor(1) as threads:
            dispatcher = Dispatcher(core.scheduler.submit, threads)
            await asyncio.gather(*(client(dispatcher) for _ in range(in_flight)))

    try:
        import uvloop
    except ImportError:
        asyncio.run(clients())
    else:
        uvloop.run(clients())
    return done


def _batches(core: Any) -> tuple[float, float]:
    """Rows and runs of all batches so far, as the metrics page has them."""
    from pyserve.observe.prometheus import page

    text = page([core.metrics.processed_batch_size])
    found = [
        re.findall(rf"^{_BATCH_SIZE}_{part}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        for part in ("sum", "count")
    ]
    rows, runs = (sum(map(float, values)) for values in found)
    return rows, runs


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--in_flight", type=int, default=64)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--tasks_model", default="mlp_512")
    wanted = parser.parse_args(arguments)
    modes = [mode for mode in wanted.modes if mode_works(mode)]
    for mode in wanted.modes:
        if mode not in modes:
            print(f"batching {mode}: skipped, pyserve has no flags for it yet")
    for name in (wanted.tasks_model, _CALLS_MODEL):
        models.base_path(name)
    with contextlib.ExitStack() as stack:
        cores = {
            mode: stack.enter_context(Child(make, MODES[mode], STATIC, wanted.tasks_model)) for mode in modes
        }
        for way in _WAYS:

            def once(mode: str, seconds: float = wanted.seconds) -> Figures:
                figures: Figures = cores[mode].ask(way, wanted.in_flight, seconds)  # noqa: B023
                return figures

            for mode in modes:
                once(mode, 0.3)
            results = interleave({mode: (lambda mode=mode: once(mode)) for mode in modes}, wanted.rounds)
            for mode, rounds in results.items():
                rate, cpu, rows = (Spread.of(column) for column in zip(*rounds, strict=True))
                gain = ""
                if mode != "off" and "off" in results:
                    by = ratio([f.per_s for f in rounds], [f.per_s for f in results["off"]])
                    gain = f", {by.show('.2f')} x unbatched"
                print(
                    f"{way:>20}, batching {mode:<8}: {rate.show('.0f')} rows/s, {cpu.show('.1f')} us CPU a row, "
                    f"{rows.show('.1f')} rows a run{gain}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

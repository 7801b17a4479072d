"""What the benchmarks load side by side: our servers, those of others, bare echoes; and how a load is put on one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import usage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pyserve.cli.flags import State
from pyserve.cli.table import FLAGS
from pyserve.codec.predict import ModelSpec
from pyserve.dtypes import Array
from pyserve.tools.bench import external, request
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.processes import Generators
from pyserve.tools.bench.rounds import Spread, interleave
from pyserve.tools.bench.target import Target
from servers import ServerProcess, config_text, free_port

STATIC = """max_batch_size { value: 64 } batch_timeout_micros { value: 1000 } num_batch_threads { value: 2 }
max_enqueued_batches { value: 1000000 }
"""
MODES: Mapping[str, Sequence[str]] = {
    "off": (),
    "static": ("--enable_batching", "--batching_parameters_file={parameters}"),
    "adaptive": ("--enable_batching", "--batching_mode=adaptive"),
}
"""How requests are batched, as flags of the server."""

_WARMUP_S = 0.3
_LARGE_BYTES = 1 << 16
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one contender: the load's outcome, and what the server used meanwhile.

    Attributes:
        cpu_s: Per request; None when the server's process is not ours to look at.
        rss_bytes: At the end of the round; None likewise.
    """

    outcome: Outcome
    cpu_s: float | None
    rss_bytes: int | None


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that answers requests.

    Attributes:
        name: As the table shows it.
        load: Puts load on it for some seconds.
        pids: Its processes; none when they are not known.
    """

    name: str
    load: Callable[[float], Outcome]
    pids: tuple[int, ...] = ()

    def measure(self, seconds: float) -> Sample:
        before = usage.cpu_s(self.pids)
        outcome = self.load(seconds)
        used = usage.cpu_s(self.pids) - before
        if not self.pids:
            return Sample(outcome, None, None)
        return Sample(outcome, used / max(outcome.requests, 1), usage.rss_bytes(self.pids))


def rounds_of(contenders: Sequence[Contender], rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Every contender in turn, round by round, after a short load of each that is not counted."""
    for contender in contenders:
        contender.load(min(_WARMUP_S, seconds))
    return interleave({c.name: (lambda c=c: c.measure(seconds)) for c in contenders}, rounds)


def spread(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Spread:
    return Spread.of([figure(sample) for sample in samples])


def flag_works(name: str) -> bool:
    """Whether pyserve has a flag, and does what it says."""
    return any(flag.name == name and flag.state is State.IMPLEMENTED for flag in FLAGS)


def mode_works(mode: str) -> bool:
    return all(flag_works(flag.removeprefix("--").partition("=")[0]) for flag in MODES[mode])


@contextlib.contextmanager
def server(
    models: Mapping[str, Path], *flags: str, parameters: str = STATIC, rest: bool = True
) -> Iterator[ServerProcess]:
    """A pyserve process with these models, by base path; `{parameters}` in a flag is a file with that text."""
    with tempfile.TemporaryDirectory(prefix="pyserve-benchmark-") as directory:
        config, batching = Path(directory, "models.config"), Path(directory, "batching.config")
        config.write_text(config_text(models))
        batching.write_text(parameters)
        filled = [flag.format(parameters=batching) for flag in flags]
        with ServerProcess([f"--model_config_file={config}", *filled], rest=rest) as process:
            yield process


@contextlib.contextmanager
def echo(kind: str) -> Iterator[tuple[Target, int]]:
    """A bare echo of `echo.py`: where it listens, and its process."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("echo.py")), kind, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Target(kind != "http", "127.0.0.1", port), process.pid
        finally:
            process.kill()


def targets(process: ServerProcess) -> dict[str, Target]:
    """Where a server process listens, by protocol."""
    found = {"grpc": Target(True, "127.0.0.1", process.grpc_port)}
    if process.rest_port:
        found["rest"] = Target(False, "127.0.0.1", process.rest_port)
    return found


class Driver:
    """What makes the load: h2load where it is installed, or our own generator.

    Our own it is for open loops, and for large requests unless another was named: those go to models that take long,
    and h2load counts only what ends within its time.

    Args:
        generators: Of our own.
        name: `auto`, `pyserve`, or one of `external.DRIVERS`.
    """

    def __init__(self, generators: Generators, name: str = "auto") -> None:
        self._generators = generators
        self._chooses = name == "auto"
        if self._chooses:
            name = "h2load" if external.installed("h2load") else "pyserve"
        self.name = name

    def run(self, target: Target, model: str, inputs: Mapping[str, Array], plan: Plan) -> Outcome:
        """Put a load of predict requests on a target.

        Raises:
            ServingError: The driver cannot do it, or the server cannot be reached.
        """
        plan = replace(plan, timeout_s=_TIMEOUT_S)
        wanted = request.predict(target, ModelSpec(model), inputs)
        name = "h2load" if self.name == "wrk" and target.is_grpc else self.name
        large = self._chooses and len(wanted.body) > _LARGE_BYTES
        if name == "pyserve" or plan.rate is not None or large:
            return self._generators.run(target, wanted, plan)
        return external.run(name, target, wanted, plan)

    def closed(
        self, name: str, target: Target, model: str, inputs: Mapping[str, Array], in_flight: int, *pids: int
    ) -> Contender:
        """A contender under a closed loop."""
        return Contender(
            name, lambda seconds: self.run(target, model, inputs, Plan(seconds, in_flight=in_flight)), pids
        )

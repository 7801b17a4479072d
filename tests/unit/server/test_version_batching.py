"""What a version's batching is: the server's parameters, its platform's, or those of its own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batching_fakes import ID, Doubling, Requests, answer_of
from pyserve.batching.policy import BatchRun
from pyserve.batching.scheduler import Scheduler
from pyserve.config import BatchingParameters, PlatformOptions, ServerConfig, TensorFlowOptions
from pyserve.errors import InvalidArgumentError
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.observe.metrics import Histogram
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.server.version_batching import BatchMetrics, VersionBatching, run_threads, thread_name

SMALL = BatchingParameters(max_batch_size=2)


def opened(config: ServerConfig, path: Path, platform: str = "tensorflow") -> tuple[Scheduler, Requests]:
    scheduler = Scheduler(1)
    requests = Requests(Doubling())
    batching = VersionBatching(config, lambda name: platform, scheduler, ServingMetrics())
    batching.open(ID, str(path), requests.servable)
    return scheduler, requests


def limit(scheduler: Scheduler, requests: Requests) -> int | None:
    """The largest request that the version takes; None when it is not batched."""
    task = requests.task(np.float32(1))
    scheduler.run_now(task)
    if task.error is None:
        return None
    task = requests.task(np.zeros((100_000,), np.float32))
    scheduler.run_now(task)
    return int(str(answer_of(task)).rpartition(" ")[2])


def test_without_batching(tmp_path: Path) -> None:
    """Every task runs alone, whatever files a version has."""
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    config = ServerConfig(enable_per_model_batching_parameters=True)
    assert limit(*opened(config, tmp_path)) is None


def test_the_parameters_of_the_server(tmp_path: Path) -> None:
    """They hold for every version; files in its directory are not looked at."""
    (tmp_path / "batching_params.pbtxt").write_text("nonsense")
    assert limit(*opened(ServerConfig(batching=SMALL), tmp_path)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", 1000),
        ("max_batch_size { value: 3 } num_batch_threads { value: 0 } thread_pool_name { value: 'x' }", 3),
    ],
)
def test_the_parameters_of_a_version(text: str | None, expected: int | None, tmp_path: Path) -> None:
    """Its file counts alone, nothing of the server's is merged in; without one the version is not batched."""
    if text is not None:
        (tmp_path / "batching_params.pbtxt").write_text(text)
    config = ServerConfig(batching=SMALL, enable_per_model_batching_parameters=True)
    assert limit(*opened(config, tmp_path)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Invalid protobuf file: '{}'"),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    """The load fails."""
    file = tmp_path / "batching_params.pbtxt"
    file.write_text(text)
    with pytest.raises(InvalidArgumentError) as caught:
        opened(ServerConfig(batching=SMALL, enable_per_model_batching_parameters=True), tmp_path)
    assert caught.value.message == message.format(file)


def test_the_parameters_of_a_platform(tmp_path: Path) -> None:
    """With a platform config file those of the model's platform count, and the flags' do not."""
    platforms = {"a": PlatformOptions(batching=SMALL), "b": PlatformOptions()}
    config = ServerConfig(batching=BatchingParameters(), platforms=platforms)
    assert [limit(*opened(config, tmp_path, name)) for name in ("a", "b", "c")] == [2, None, None]


def test_sizes_to_warm_up(tmp_path: Path) -> None:
    """Every size that batches are padded to."""
    parameters = BatchingParameters(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    for config, sizes in ((ServerConfig(batching=parameters), [2, 4, 8]), (ServerConfig(), ())):
        batching = VersionBatching(config, lambda name: "", Scheduler(1), ServingMetrics())
        assert batching.open(ID, str(tmp_path), Doubling()) == sizes


def test_a_version_that_is_gone_is_closed(tmp_path: Path) -> None:
    """Its lines go with it; not when it has come back meanwhile."""
    scheduler = Scheduler(1)
    monitor = Monitor()
    batching = VersionBatching(ServerConfig(), lambda name: "", scheduler, ServingMetrics())
    batching.close_when_gone(monitor)
    requests = Requests(Doubling())

    def answer() -> object:
        task = requests.task([1])
        scheduler.run_now(task)
        return answer_of(task)

    batching.open(ID, str(tmp_path), requests.servable)
    for state in (State.LOADING, State.AVAILABLE, State.UNLOADING):
        monitor.publish(ServableState(ID, state))
        assert answer() == [2]
    back = Monitor()
    back.subscribe(
        lambda state: back.publish(ServableState(ID, State.START)) if state.state is State.END else None
    )
    batching.close_when_gone(back)
    back.publish(ServableState(ID, State.END))
    assert answer() == [2]
    monitor.publish(ServableState(ID, State.END))
    assert answer() == "INTERNAL: Servable {name: m version: 1} takes no tasks"


def test_metrics_of_batches() -> None:
    """What TensorFlow Serving counts, by its names: an input per tensor, a wait per task, the rest per run."""
    metrics = ServingMetrics()
    observer = BatchMetrics(metrics)
    observer.taken([3, 4], 2)
    observer.ran(BatchRun(rows=5, padded_rows=8, waits_s=[0.001, 0.002], ran_s=0.5))

    def seen(histogram: Histogram) -> dict[tuple[str, ...], tuple[int, float]]:
        return {labels: (found.count, found.sum) for labels, found in histogram.values().items()}

    assert seen(metrics.input_batch_size) == {(): (4, 14)}
    assert seen(metrics.queuing_latency) == {("",): (2, pytest.approx(3000))}
    assert seen(metrics.padding_size) == {("8",): (1, 3)}
    assert seen(metrics.processed_batch_size) == {(): (1, 8)}
    assert metrics.wrapped_run_count.values() == {(): 1}


@pytest.mark.parametrize(
    ("config", "threads", "name"),
    [
        (ServerConfig(num_run_threads=5), 5, "pyserve-run"),
        (ServerConfig(tensorflow=TensorFlowOptions(inter_op_parallelism=6)), 7, "pyserve-run"),
        (ServerConfig(), 5, "pyserve-run"),
        (ServerConfig(batching=SMALL, num_run_threads=9), 4, "batch_threads"),
        (
            ServerConfig(batching=BatchingParameters(num_batch_threads=7, thread_pool_name="mine")),
            7,
            "mine",
        ),
        (
            ServerConfig(
                platforms={
                    "a": PlatformOptions(),
                    "b": PlatformOptions(batching=BatchingParameters(num_batch_threads=2)),
                    "c": PlatformOptions(batching=BatchingParameters(num_batch_threads=3)),
                }
            ),
            3,
            "batch_threads",
        ),
    ],
)
def test_threads(config: ServerConfig, threads: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many runs of a model, and what the threads are called."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert (run_threads(config), thread_name(config)) == (threads, name)

"""Versions that are batched adaptively: what runs alone, what is never refused, upper limits, and what is reported."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batching_fakes import ID, Doubling, Requests, answer_of, spec
from pyserve.backends.function import predict_signature
from pyserve.batching.scheduler import Scheduler
from pyserve.config import AdaptiveBatching, BatchingParameters, PlatformOptions, ServerConfig
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.server.version_batching import VersionBatching

ADAPTIVE = ServerConfig(adaptive_batching=AdaptiveBatching())


class House:
    """One version in a scheduler of one run at a time."""

    def __init__(self, config: ServerConfig, path: Path, servable: Doubling | None = None) -> None:
        self.scheduler = Scheduler(1)
        self.requests = Requests(servable or Doubling())
        self.batching = VersionBatching(config, lambda name: "a", self.scheduler, ServingMetrics())
        self.batching.open(ID, str(path), self.requests.servable)

    def ask(self, x: Array | Sequence[float], **task: Any) -> list[float] | str:
        """The answer to one request, run on this thread."""
        made = self.requests.task(x, **task)
        self.scheduler.run_now(made)
        return answer_of(made, made.outputs[0])

    def ask_together(self, inputs: Sequence[Sequence[float]]) -> list[list[float] | str]:
        """Answers of requests that wait before the first thread comes."""
        tasks = [self.requests.task(x) for x in inputs]
        for task in tasks:
            self.scheduler.submit(task)
        self.scheduler.start()
        for _ in tasks:
            assert self.requests.answered.acquire(timeout=30)
        assert self.scheduler.stop(30)
        return [answer_of(task) for task in tasks]

    @property
    def report(self) -> Any:
        return self.batching.reports.json(ID)


def test_requests_share_runs(tmp_path: Path) -> None:
    """What waits together runs together, within what has been learned."""
    house = House(ADAPTIVE, tmp_path)
    assert house.ask_together([[n] for n in range(200)]) == [[2 * n] for n in range(200)]
    (queue,) = house.report["queues"]
    assert queue["requests"] == queue["rows"] == 200
    assert queue["batches"] < 200
    assert len(house.requests.servable.runs) == queue["batches"]
    assert house.requests.released == 200


@pytest.mark.parametrize("x", [np.float32(1), np.zeros((0,), np.float32), np.ones((5000,), np.float32)])
def test_nothing_is_refused(x: Array, tmp_path: Path) -> None:
    """Scalars, no rows and very many rows are answered as without batching."""
    assert House(ADAPTIVE, tmp_path).ask(x) == (2 * x).tolist()


@pytest.mark.parametrize(
    ("shape_of_x", "shape_of_y", "stateless", "alone"),
    [
        ((None,), (None, 3), True, None),
        (None, None, True, None),
        ((), (None,), True, "an input or output has no first dimension of any size"),
        ((None,), (), True, "an input or output has no first dimension of any size"),
        ((4, None), (None,), True, "an input or output has no first dimension of any size"),
        ((None,), (None,), False, None),
        (None, (None,), False, None),
        ((None,), None, False, "the model may have state, and the shape of an output is not declared"),
    ],
)
def test_which_signatures_are_batched(
    shape_of_x: tuple[int | None, ...] | None,
    shape_of_y: tuple[int | None, ...] | None,
    stateless: bool,
    alone: str | None,
    tmp_path: Path,
) -> None:
    """Those with free first dimensions; for the others the report says why not."""
    servable = Doubling(stateless=("s",) if stateless else ())
    signature = predict_signature([spec("x", shape=shape_of_x)], [spec("y", shape=shape_of_y)], "s")
    servable.signatures = {"s": signature}
    house = House(ADAPTIVE, tmp_path, servable)
    assert house.ask([1, 2]) == [2, 4]
    assert [kind["why"] for kind in house.report["alone"]] == ([] if alone is None else [alone])
    assert len(house.report["queues"]) == (alone is None)


def test_outputs_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """The requests of such a batch run again alone, and all later ones at once alone."""
    servable = Doubling(lambda x: np.asarray([x.sum()], np.float32))
    house = House(ADAPTIVE, tmp_path, servable)
    for _ in range(30):
        house.ask([1.0])  # learns that two rows may be tried
    assert house.ask_together([[n, n] for n in range(1, 100)]) == [[2 * n] for n in range(1, 100)]
    assert max(map(len, servable.runs)) > 2
    (queue,) = house.report["queues"]
    assert queue["advice"].startswith("Requests run alone")
    assert queue["parameters"]["rows learned"] == 1


def test_a_model_with_state_is_not_run_again(tmp_path: Path) -> None:
    """Its requests fail once, when nobody could have known; later ones run alone."""
    servable = Doubling(lambda x: np.asarray([x.sum()], np.float32), stateless=())
    house = House(ADAPTIVE, tmp_path, servable)
    for _ in range(30):
        house.ask([1.0])
    runs = len(servable.runs)
    answers = house.ask_together([[n, n] for n in range(1, 100)])
    failed = [answer for answer in answers if isinstance(answer, str)]
    assert failed
    assert all(answer.startswith("FAILED_PRECONDITION") for answer in failed)
    assert len(failed) + len(servable.runs) - runs - 1 == len(answers)
    assert answers[-1] == [2 * 99]


def test_parameters_are_upper_limits(tmp_path: Path) -> None:
    """max_batch_size bounds batches, not requests; the queue is bounded; sizes to pad to are not looked at."""
    parameters = BatchingParameters(max_batch_size=4, max_enqueued_batches=3, allowed_batch_sizes=(8,))
    house = House(replace(ADAPTIVE, batching=parameters), tmp_path)
    assert house.ask(np.ones((9,), np.float32)) == [2] * 9
    answers = house.ask_together([[n] for n in range(20)])
    assert answers[:12] == [[2 * n] for n in range(12)]
    assert set(answers[12:]) == {
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; 12 rows are waiting and at "
        "most 12 may"
    }
    assert max(map(len, house.requests.servable.runs[1:])) <= 4
    with pytest.raises(InvalidArgumentError, match="input_batch_size_limit must be positive"):
        House(replace(ADAPTIVE, batching=BatchingParameters(max_batch_size=0)), tmp_path)


def test_requests_of_other_inner_shapes(tmp_path: Path) -> None:
    """They are padded to run together when the parameters say so, and run apart otherwise."""
    for pads, width in ((True, 3), (False, 2)):
        parameters = BatchingParameters(pad_variable_length_inputs=pads)
        servable = Doubling()
        house = House(replace(ADAPTIVE, batching=parameters), tmp_path, servable)
        for _ in range(30):
            house.ask(np.ones((1, 1), np.float32))
        servable.runs.clear()
        tasks = [house.requests.task(np.ones((1, inner), np.float32)) for inner in (2, 3)]
        for task in tasks:
            house.scheduler.submit(task)
        house.scheduler.start()
        assert house.scheduler.stop(30)
        assert np.shape(tasks[0].result["y"] if tasks[0].result else None) == (1, width)


def test_files_of_versions(tmp_path: Path) -> None:
    """With parameters per model the version's own file sets the limits; without one it is not batched."""
    config = replace(ADAPTIVE, enable_per_model_batching_parameters=True)
    without = House(config, tmp_path)
    assert without.ask([1]) == [2]
    assert without.report["note"] == "requests run alone: the version has no batching_params.pbtxt"
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    house = House(config, tmp_path)
    house.ask_together([[n] for n in range(20)])
    assert max(map(len, house.requests.servable.runs)) <= 2


def test_platforms(tmp_path: Path) -> None:
    """The mode holds for every platform, whose parameters are the limits."""
    platforms = {"a": PlatformOptions(batching=BatchingParameters(max_batch_size=2)), "b": PlatformOptions()}
    house = House(replace(ADAPTIVE, platforms=platforms), tmp_path)
    house.ask_together([[n] for n in range(20)])
    assert max(map(len, house.requests.servable.runs)) <= 2
    assert house.report["note"].startswith("adaptive")


def test_reports_of_static_batching(tmp_path: Path) -> None:
    """The parameters in force are told, defaults filled in."""
    house = House(
        ServerConfig(batching=BatchingParameters(max_batch_size=4, batch_timeout_micros=100)), tmp_path
    )
    assert house.ask([1]) == [2]
    assert house.report["note"] == "static: batches by parameters"
    (queue,) = house.report["queues"]
    assert (queue["signatures"], queue["outputs"], queue["batches"]) == (["s"], ["y"], 1)
    assert queue["parameters"] == {
        "max_batch_size": 4,
        "batch_timeout_micros": 100,
        "max_enqueued_batches": 10,
        "num_batch_threads": 1,
        "allowed_batch_sizes": [],
        "pad_variable_length_inputs": False,
        "enable_large_batch_splitting": False,
        "max_execution_batch_size": 4,
    }


def test_a_version_that_was_closed_has_no_report(tmp_path: Path) -> None:
    """Nothing is kept of a version that is gone."""
    house = House(ADAPTIVE, tmp_path)
    house.ask([1])
    house.batching.reports.close(ID)
    house.batching.reports.close(ID)
    assert house.report["queues"] == []
    assert house.report["note"] == "requests run alone: the version is not open"


def test_reports_while_queues_appear(tmp_path: Path) -> None:
    """Asking while new sets of outputs get their queues breaks nothing."""
    house = House(ADAPTIVE, tmp_path)
    over = threading.Event()
    seen: list[int] = []

    def ask_reports() -> None:
        while not over.is_set():
            seen.append(len(house.report["queues"]))

    thread = threading.Thread(target=ask_reports)
    thread.start()
    try:
        for outputs in (("y",), ("z",), ("y", "z")):
            for _ in range(20):
                house.ask([1], outputs=outputs)
    finally:
        over.set()
        thread.join()
    assert len(house.report["queues"]) == 3
    assert seen == sorted(seen)

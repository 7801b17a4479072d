"""Requests of EAS that warm a version up: how often, and what a failure means."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.batching.task import Task
from pyserve.config import EasOptions, EasService
from pyserve.dtypes import Array
from pyserve.errors import InternalError, InvalidArgumentError, ServingError
from pyserve.inference.eas_warmup import warm_up_by_eas
from pyserve.protos import eas
from pyserve.servable import ServableId, TensorSpec

ID = ServableId("m", 1)


def request_of(*values: float, signature_name: str = "") -> bytes:
    message = eas.PredictRequest(signature_name=signature_name)
    x = message.inputs["x"]
    x.dtype = 1
    x.array_shape.dim.append(len(values))
    x.float_val.extend(values)
    return message.SerializeToString()


class Model:
    """Keeps what it was run with; `broken` fails."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        x, y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))
        self.servable = FunctionServable(
            [
                (predict_signature([x], [y]), self._run),
                (predict_signature([x], [y], "broken"), self._fail),
            ]
        )

    def _run(self, x: Array) -> Mapping[str, Array]:
        self.runs.append(x.tolist())
        return {"y": x}

    def _fail(self, x: Array) -> Mapping[str, Array]:
        self.runs.append(x.tolist())
        raise InternalError("broken")

    def warm_up(self, *requests: bytes, must_succeed: bool = False) -> None:
        service = EasService(warm_up=requests, keepalive_s=0.001)
        options = EasOptions({"m": service}, warm_up_must_succeed=must_succeed)
        warm_up_by_eas(options, ID, self.servable, Task.run)


def test_each_request_is_run_five_times() -> None:
    """One after the other, in their order; a service without requests is left alone."""
    model = Model()
    model.warm_up(request_of(1), request_of(2, 3))
    assert model.runs == [[1]] * 5 + [[2, 3]] * 5
    warm_up_by_eas(EasOptions(), ID, model.servable, Task.run)
    assert len(model.runs) == 10


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (request_of(1, signature_name="broken"), InternalError),
        (request_of(1, signature_name="none"), InvalidArgumentError),
        (b"\xff", InvalidArgumentError),
    ],
)
def test_failures(request_: bytes, error: type[ServingError], caplog: pytest.LogCaptureFixture) -> None:
    """Logged, and the next request has its turn; or the load's failure."""
    model = Model()
    with caplog.at_level(logging.ERROR):
        model.warm_up(request_, request_of(7))
    assert "Warm-up request 1 of servable {name: m version: 1} failed" in caplog.text
    assert model.runs[-5:] == [[7]] * 5
    with pytest.raises(error):
        model.warm_up(request_, must_succeed=True)


def test_the_limit_is_a_long_one() -> None:
    """Not that of a request: the first runs of a model are slow."""
    left: list[float] = []

    def run(task: Task) -> None:
        left.append(task.time_left())
        task.run()

    model = Model()
    warm_up_by_eas(EasOptions({"m": EasService(warm_up=(request_of(1),))}), ID, model.servable, run)
    assert all(50 < time_left <= 60 for time_left in left)

"""Predict as bytes over a Python callable with a default: what fills in, and what is refused with the handle back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.call import Call
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.lifecycle.monitor import Monitor
from pyserve.protos import tfs
from pyserve.servable import (
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    ServableHandle,
    ServableId,
    Signature,
    TensorSpec,
)
from pyserve.transport.tfs_methods import handlers

x, factor, y = (TensorSpec(alias, dtypes.FLOAT, None, f"{alias}:0") for alias in ("x", "factor", "y"))
SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    {"x": x, "factor": factor},
    {"y": y},
    {"factor": np.array(10.0, np.float32)},
)


def multiplied(x: Array, factor: Array) -> Mapping[str, Array]:
    return {"y": x * factor}


class House:
    """The handler over one servable, with a count of the handles that are out."""

    def __init__(self) -> None:
        self.handles = 0
        self._servable = FunctionServable([(SIGNATURE, multiplied)])
        router = Router(self._acquire, dict)
        table = handlers(PredictionService(router), ModelService(Monitor(), router))
        self._predict = table["/tensorflow.serving.PredictionService/Predict"]

    def _acquire(self, name: str, version: int | None) -> ServableHandle:
        self.handles += 1
        return ServableHandle(ServableId(name, 1), self._servable, self._release)

    def _release(self) -> None:
        self.handles -= 1

    def predict(self, **inputs: float) -> list[float]:
        request = tfs.PredictRequest()
        request.model_spec.name = "m"
        for alias, value in inputs.items():
            request.inputs[alias].dtype = dtypes.FLOAT.number
            request.inputs[alias].tensor_shape.SetInParent()
            request.inputs[alias].float_val.append(value)
        call = self._predict(request.SerializeToString(), None)
        assert isinstance(call, Call)
        call.task.run()
        assert call.task.result is not None
        return list(tfs.PredictResponse.FromString(call.finish(call.task.result)).outputs["y"].float_val)


def test_a_default_fills_in() -> None:
    """An input with a default may be left out, or sent."""
    house = House()
    assert house.predict(x=2.0) == [20.0]
    assert house.predict(x=2.0, factor=3.0) == [6.0]
    assert house.handles == 0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": 1.0, "q": 1.0},
            "Inputs contains invalid name. Used request inputs: x, request input: q,x",
        ),
        (
            {"factor": 1.0},
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {factor}, or default input alias set: factor",
        ),
        (
            {"x": 1.0, "factor": 1.0, "q": 1.0},
            "input size does not match signature: 3!=2 len({factor,q,x}) != len({factor,x}). Sent extra: {q}. "
            "Missing but required: {}.",
        ),
    ],
)
def test_what_a_default_does_not_excuse(inputs: dict[str, float], message: str) -> None:
    """An unknown name in the place of a defaulted one, a missing input without a default, one too many."""
    house = House()
    with pytest.raises(InvalidArgumentError) as caught:
        house.predict(**inputs)
    assert caught.value.message == message
    assert house.handles == 0

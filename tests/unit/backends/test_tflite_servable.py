"""The servable over interpreters, with one that needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.tflite.pool import Pool
from pyserve.backends.tflite.servable import Runnable, TfLiteServable
from pyserve.dtypes import Array
from pyserve.errors import DeadlineExceededError, FailedPreconditionError
from pyserve.protos import tfs
from pyserve.servable import PREDICT_METHOD, Signature, TensorSpec


class Doubler:
    def run(self, key: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * 2, "key": np.array(key.encode(), object)}


def servable(pool: Pool[Runnable] | None = None) -> TfLiteServable:
    specs = {alias: TensorSpec(alias, dtypes.FLOAT, (None,), f"{alias}:0") for alias in ("x", "y", "key")}
    x = {"x": specs.pop("x")}
    return TfLiteServable(
        {"s": Signature("s", PREDICT_METHOD, x, specs)}, pool or Pool(Doubler, 1, Doubler())
    )


def test_run() -> None:
    """The wanted outputs come, and no others."""
    model = servable()
    assert list(model.run("s", {"x": np.ones(2, np.float32)}, ["y"])) == ["y"]
    assert model.run("s", {"x": np.ones(2, np.float32)}, ["y", "key"])["y"].tolist() == [2, 2]


def test_signature_def_map() -> None:
    """Metadata shows the signatures."""
    message = tfs.SignatureDefMap.FromString(servable().signature_def_map)
    info = message.signature_def["s"].inputs["x"]
    assert (info.name, info.dtype, [dim.size for dim in info.tensor_shape.dim]) == ("x:0", 1, [-1])


def test_no_interpreter_in_time() -> None:
    """A run waits for an interpreter no longer than it may."""
    pool: Pool[Runnable] = Pool(Doubler, 1, Doubler())
    with pool.borrow(), pytest.raises(DeadlineExceededError):
        servable(pool).run("s", {"x": np.ones(1)}, ["y"], 0.0)


def test_unloaded() -> None:
    """After unloading nothing runs; unloading twice does no harm."""
    model = servable()
    model.unload()
    model.unload()
    with pytest.raises(FailedPreconditionError):
        model.run("s", {"x": np.ones(1)}, ["y"])

"""Any part of a graph by the names of its tensors and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelServable
from pyserve.errors import Code, ServingError
from pyserve.servable import RunsTensors


@pytest.fixture
def servable(
    load: Callable[..., SavedModelServable], build: Callable[..., Path], tf: Any
) -> SavedModelServable:
    v1 = tf.compat.v1

    def make(session: Any) -> Mapping[str, Any]:
        del session
        x = v1.placeholder(tf.float32, [None], "x")
        count = v1.get_variable("count", initializer=0.0, use_resource=True)
        y = tf.add(x, count, name="y")
        with tf.control_dependencies([count.assign_add(1.0)]):
            tf.no_op("advance")
        return {"s": ({"x": x}, {"y": y})}

    return load(build(make))


def test_feeds_fetches_and_targets(servable: SavedModelServable) -> None:
    """Tensors are fed and fetched by name, with or without `:0`; operations run for their effect."""
    assert isinstance(servable, RunsTensors)
    x = np.array([1.0, 2.0], np.float32)
    assert servable.run_tensors({"x:0": x}, ["y:0"], [])["y:0"].tolist() == [1.0, 2.0]
    assert servable.run_tensors({}, [], ["advance"], timeout_s=30.0) == {}
    found = servable.run_tensors({"x": x}, ["y", "count/Read/ReadVariableOp:0"], [])
    assert found["y"].tolist() == [2.0, 3.0]
    assert found["count/Read/ReadVariableOp:0"].shape == ()


@pytest.mark.parametrize(
    ("fetch", "target", "timeout_s", "code"),
    [
        ("nope:0", "advance", None, Code.NOT_FOUND),
        ("y:7", "advance", None, Code.NOT_FOUND),
        ("y:0", "nope", None, Code.NOT_FOUND),
        ("count:0", "advance", None, Code.UNIMPLEMENTED),
        ("y:0", "advance", None, Code.INVALID_ARGUMENT),  # x is not fed
        ("y:0", "advance", 0.0, Code.DEADLINE_EXCEEDED),
    ],
)
def test_refusals(
    servable: SavedModelServable, fetch: str, target: str, timeout_s: float | None, code: Code
) -> None:
    """What the graph does not have, or cannot give, is told by its code."""
    with pytest.raises(ServingError) as caught:
        servable.run_tensors({}, [fetch], [target], timeout_s)
    assert caught.value.code is code


def test_unloaded(servable: SavedModelServable) -> None:
    """Nothing runs after the unload."""
    servable.unload()
    with pytest.raises(ServingError) as caught:
        servable.run_tensors({}, ["y:0"], [])
    assert caught.value.code is Code.FAILED_PRECONDITION

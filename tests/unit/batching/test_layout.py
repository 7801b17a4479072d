"""Which tasks may share a batch: those that feed and fetch the same tensors."""

from __future__ import annotations

import numpy as np
import pytest

from batching_fakes import Doubling, Graph, Requests, spec
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.batching.graph_task import GraphTask
from pyserve.batching.joint_task import JointTask
from pyserve.batching.layout import of_signature
from pyserve.servable import OutputOf


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (("s", ["y"]), ("s", ["y"]), True),
        (("s", ["y"]), ("s", ["y2"]), True),  # two names of one tensor
        (("s", ["y"]), ("t", ["a"]), True),
        (("s", ["y"]), ("u", ["y"]), False),
        (("s", ["y"]), ("twice", ["y"]), False),
    ],
)
def test_graphs(one: tuple[str, list[str]], other: tuple[str, list[str]], together: bool) -> None:
    """With a graph the tensors decide, whatever signatures call them."""
    servable = Graph()
    assert (of_signature(servable, *one).key == of_signature(servable, *other).key) is together


def test_sets_of_outputs() -> None:
    """Predict with and without an output_filter never share a batch; the order of the names does not matter."""
    servable = Doubling()
    keys = [of_signature(servable, "s", outputs).key for outputs in (["y", "z"], ["z", "y"], ["y"])]
    assert keys[0] == keys[1] != keys[2]


def test_without_a_graph_names_of_tensors_mean_nothing() -> None:
    """Two functions with tensors of the same names are two things."""
    signatures = [predict_signature([spec("x", "in:0")], [spec("y", "out:0")], key) for key in "ab"]
    servable = FunctionServable([(signature, lambda x: {"y": x}) for signature in signatures])
    assert of_signature(servable, "a", ["y"]).key != of_signature(servable, "b", ["y"]).key


def test_joint_tasks() -> None:
    """They share batches by what they compute, in whatever order and under whatever names."""
    requests = Requests(Graph())
    one, other = OutputOf("s", "y"), OutputOf("u", "y")

    def key(**wanted: OutputOf) -> object:
        return JointTask(requests.handle(), wanted, np.ones(1)).layout().key

    assert key(a=one, b=other) == key(x=other, y=one)
    assert key(a=one, b=other) != key(a=one)


def test_graph_tasks_run_alone() -> None:
    """A SessionRun shares no batch."""
    assert GraphTask(Requests(Graph()).handle(), {}, [], []).batch_key() is None


@pytest.mark.parametrize(
    ("shape_in", "shape_out", "free"),
    [
        ((None,), (None, 3), True),
        (None, None, True),
        ((2,), (None,), False),
        ((None,), (), False),
        ((), (None,), False),
    ],
)
def test_free_first_dimensions(
    shape_in: tuple[int | None, ...] | None, shape_out: tuple[int | None, ...] | None, free: bool
) -> None:
    """Whether a signature is declared for any number of rows."""
    signature = predict_signature([spec("x", shape=shape_in)], [spec("y", shape=shape_out), spec("z")], "s")
    servable = FunctionServable([(signature, lambda x: {"y": x})])
    assert of_signature(servable, "s", ["y"]).free is free
    assert of_signature(servable, "s", ["z"]).free is (free or shape_in == (None,))

"""Several signatures in one run of a session: one state, one feed per tensor, TensorFlow's own refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelServable
from pyserve.backends.saved_model import servable as servable_module
from pyserve.errors import Code, ServingError
from pyserve.protos import tf as protos
from pyserve.protos import tfs
from pyserve.servable import JointlyRunnable, OutputOf

Load = Callable[..., SavedModelServable]
Make = Callable[..., Path]
ROWS = np.array([b"a", b"b"], object)


@pytest.fixture
def counter(load: Load, build: Make, tf: Any) -> SavedModelServable:
    """Signatures `low` and `high` share a counter that each run of it advances, and one input; `other` has its own."""
    v1 = tf.compat.v1

    def make(session: Any) -> Mapping[str, Any]:
        del session
        rows = v1.placeholder(tf.string, [None], "rows")
        other = v1.placeholder(tf.string, [None], "other")
        count = v1.get_variable("count", initializer=0.0, use_resource=True)
        advanced = count.assign_add(1.0, read_value=True)
        ones = tf.ones_like(rows, tf.float32)
        return {
            "low": ({"inputs": rows}, {"outputs": tf.identity(ones * advanced, "low")}),
            "high": ({"inputs": rows}, {"outputs": tf.identity(ones * (advanced + 100.0), "high")}),
            "other": ({"inputs": other}, {"outputs": tf.strings.length(other, name="lengths")}),
            "echo": ({"inputs": rows}, {"outputs": rows}),
            "number": ({"inputs": v1.placeholder(tf.float32, [None], "number")}, {"outputs": ones}),
        }

    return load(build(make))


def test_signatures_see_one_state(counter: SavedModelServable) -> None:
    """A counter that two signatures advance is advanced once, and both see the same count."""
    assert isinstance(counter, JointlyRunnable)
    wanted = {"a": OutputOf("high", "outputs"), "b": OutputOf("low", "outputs")}
    for count in (1.0, 2.0):
        found = counter.run_jointly(wanted, ROWS)
        assert {name: array.tolist() for name, array in found.items()} == {
            "a": [count + 100.0] * 2,
            "b": [count] * 2,
        }
    alone = counter.run("low", {"inputs": ROWS}, ["outputs"])
    assert alone["outputs"].tolist() == [3.0, 3.0]


def test_every_input_is_fed(counter: SavedModelServable) -> None:
    """Signatures with inputs of their own get the same array; an output may be an input, or be wanted twice."""
    wanted = {
        "lengths": OutputOf("other", "outputs"),
        "echo": OutputOf("echo", "outputs"),
        "again": OutputOf("echo", "outputs"),
        "count": OutputOf("low", "outputs"),
    }
    found = counter.run_jointly(wanted, ROWS, timeout_s=30.0)
    assert found["lengths"].tolist() == [1, 1]
    assert found["echo"].tolist() == found["again"].tolist() == [b"a", b"b"]
    assert found["count"].tolist() == [1.0, 1.0]


def failure(servable: SavedModelServable, *keys: str, timeout_s: float | None = None) -> ServingError:
    with pytest.raises(ServingError) as caught:
        servable.run_jointly({key: OutputOf(key, "outputs") for key in keys}, ROWS, timeout_s)
    return caught.value


def test_refusals(counter: SavedModelServable) -> None:
    """A wrong type, an unknown signature and time that is over fail the whole run; so does an unloaded servable."""
    wrong = failure(counter, "low", "number")
    assert wrong.code is Code.INVALID_ARGUMENT
    assert wrong.message.endswith("to be float but string is provided")
    assert failure(counter, "low", "nope").code is Code.NOT_FOUND
    assert failure(counter, "low", "high", timeout_s=0.0).code is Code.DEADLINE_EXCEEDED
    counter.unload()
    assert failure(counter, "low", "high").code is Code.FAILED_PRECONDITION


def test_programs_are_limited(counter: SavedModelServable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit stateless signatures run apart, with the same answer; those with state never do."""
    monkeypatch.setattr(servable_module, "MAX_PROGRAMS", 0)
    apart: list[object] = []
    run_apart = servable_module.run_apart
    monkeypatch.setattr(
        servable_module, "run_apart", lambda *arguments: apart.append(1) or run_apart(*arguments)
    )
    stateless = {"a": OutputOf("other", "outputs"), "b": OutputOf("echo", "outputs")}
    found = counter.run_jointly(stateless, ROWS)
    assert (found["a"].tolist(), found["b"].tolist()) == ([1, 1], [b"a", b"b"])
    assert len(apart) == 1
    found = counter.run_jointly({"a": OutputOf("low", "outputs"), "b": OutputOf("high", "outputs")}, ROWS)
    assert (found["a"][0], found["b"][0]) == (1.0, 101.0)
    assert len(apart) == 1


def test_element_types_are_those_of_the_graph(load: Load, build: Make, tf: Any) -> None:
    """A SignatureDef that declares another type than its tensor has is served by the tensor's."""
    v1 = tf.compat.v1

    def make(session: Any) -> Mapping[str, Any]:
        del session
        rows = v1.placeholder(tf.string, [None], "rows")
        return {"s": ({"inputs": rows}, {"outputs": tf.strings.length(rows)})}

    path = build(make)
    file = path / "saved_model.pb"
    model = protos.SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].signature_def["s"].inputs["inputs"].dtype = 1
    model.meta_graphs[0].signature_def["s"].outputs["outputs"].dtype = 1
    file.write_bytes(model.SerializeToString())
    servable = load(path)
    declared = servable.signatures["s"]
    assert declared.inputs["inputs"].dtype.name == "string"
    assert declared.outputs["outputs"].dtype.name == "int32"
    assert servable.run("s", {"inputs": ROWS}, ["outputs"])["outputs"].tolist() == [1, 1]
    # Metadata stays as it was declared.
    shown = tfs.SignatureDefMap.FromString(servable.signature_def_map)
    assert shown.signature_def["s"].inputs["inputs"].dtype == 1

"""Names, orders, shapes and element types across the border to TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.saved_model import SavedModelServable
from pyserve.backends.saved_model.servable import MAX_PROGRAMS
from pyserve.dtypes import DType
from pyserve.errors import Code, ServingError
from pyserve.protos import tf as protos

Load = Callable[..., SavedModelServable]
Make = Callable[..., Path]
KEY = "serving_default"


def test_many_outputs_of_one_type_keep_their_names(tf: Any, load: Load, export: Make) -> None:
    """Outputs declared unsorted, two of them one tensor, come back under their own names."""
    names = ["zeta", "b10", "b9", "Alpha", "alpha", "m", "_u", "b1"]

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def f(x: Any) -> Any:
        outputs = {name: x + float(number) for number, name in enumerate(names)}
        outputs["twin"] = outputs["b9"]
        return outputs

    servable = load(export(f))
    results = servable.run(KEY, {"x": np.array(10, np.float32)}, [*names, "twin"])
    assert [float(results[name]) for name in names] == [10.0 + number for number in range(len(names))]
    assert results["twin"] == results["b9"]
    assert servable.run(KEY, {"x": np.array(1, np.float32)}, ["twin", "m"]) == {"twin": 3, "m": 6}


def test_many_inputs_of_one_type_keep_their_names(tf: Any, load: Load, export: Make) -> None:
    """Inputs whose names sort differently from their declaration reach their own places."""
    names = ["z", "a", "m", "q", "b"]

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name) for name in names])
    def f(z: Any, a: Any, m: Any, q: Any, b: Any) -> Any:
        return {"y": z + 10 * a + 100 * m + 1000 * q + 10000 * b}

    inputs = {name: np.array(number + 1, np.float32) for number, name in enumerate(names)}
    results = load(export(f)).run(KEY, dict(reversed(inputs.items())), ["y"])
    assert results["y"] == 54321


def test_passthrough_outputs(tf: Any, load: Load, export: Make) -> None:
    """An output that is an input comes back as it was sent."""

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.string, "s")]
    )
    def f(x: Any, s: Any) -> Any:
        return {"s": s, "x": x, "y": x + 1}

    sent = {"x": np.array([1, 2], np.float32), "s": np.array([b"\0a\0", b""], object)}
    results = load(export(f)).run(KEY, sent, ["s", "x", "y"])
    assert results["s"].tolist() == [b"\0a\0", b""]
    assert results["x"].tolist() == [1, 2]
    assert results["y"].tolist() == [2, 3]


def test_a_tensor_that_is_fed_and_fetched(tf: Any, load: Load, build: Make) -> None:
    """In a TensorFlow 1 graph an output may be the placeholder itself, alone or beside others."""

    def make(session: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        return {KEY: ({"x": x}, {"x": x, "y": x * 2, "twin": x}), "only": ({"x": x}, {"x": x})}

    servable = load(build(make))
    x = np.array([1, 2], np.float32)
    results = servable.run(KEY, {"x": x}, ["twin", "y", "x"])
    assert {alias: array.tolist() for alias, array in results.items()} == {
        "twin": [1, 2], "y": [2, 4], "x": [1, 2],
    }  # fmt: skip
    assert servable.run("only", {"x": x}, ["x"])["x"].tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (1, 2, 3, 1), (1, 1, 1, 1, 1, 1, 1)])
def test_declared_shapes_are_not_enforced(tf: Any, load: Load, export: Make, shape: tuple[int, ...]) -> None:
    """A request of another rank or size succeeds as long as the graph's operations take it."""

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def f(x: Any) -> Any:
        return {"y": x * 2}

    x = np.ones(shape, np.float32)
    y = load(export(f)).run(KEY, {"x": x}, ["y"])["y"]
    assert y.shape == shape
    assert isinstance(y, np.ndarray)


CARRIED = [dtype for dtype in dtypes.ALL if dtype.numpy is not None]


def sample(dtype: DType) -> Any:
    if dtype.is_string:
        return np.array([[b"a\0", b"", b"\0"], [b"\xff\xfe", b"long" * 20, b"x"]], object)
    assert dtype.numpy is not None
    numbers = np.array([[1, 0, 1], [1, 1, 0]])
    if dtype.numpy.fields:
        (inner,) = (kind for kind, *_ in dtype.numpy.fields.values())
        return numbers.astype(inner).view(dtype.numpy)
    return numbers.astype(dtype.numpy)


@pytest.mark.parametrize("dtype", CARRIED, ids=lambda dtype: str(dtype.name))
def test_every_dtype_goes_in_and_out(tf: Any, load: Load, build: Make, dtype: DType) -> None:
    """Each element type keeps its dtype, shape and values, from scalars to empty and transposed arrays."""

    def make(session: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.as_dtype(dtype.number))
        return {KEY: ({"x": x}, {"y": tf.identity(x)})}

    servable = load(build(make))
    whole = sample(dtype)
    for x in (whole, whole[0, 0:1].reshape(()), whole[:0], whole.T, whole[:, ::2], whole[None]):
        y = servable.run(KEY, {"x": x}, ["y"])["y"]
        assert isinstance(y, np.ndarray)
        assert y.dtype == dtype.numpy
        assert y.shape == x.shape
        assert y.tolist() == x.tolist()
        assert dtypes.of_array(y) is dtype


def test_foreign_byte_order(tf: Any, load: Load, export: Make) -> None:
    """Big-endian arrays are read by value, not by their bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def f(x: Any) -> Any:
        return {"y": x + 1}

    servable = load(export(f))
    assert servable.run(KEY, {"x": np.array([1, 2], ">f4")}, ["y"])["y"].tolist() == [2, 3]


def test_results_do_not_change_later(tf: Any, load: Load, build: Make) -> None:
    """An array that was handed out stays as it is when the variable behind it changes."""

    def make(session: Any) -> Any:
        outputs: dict[str, Any] = {}
        for resource in (False, True):
            with tf.compat.v1.variable_scope(f"v{resource}"):
                v = tf.compat.v1.get_variable("v", initializer=tf.zeros([1000]), use_resource=resource)
            outputs[f"get{resource}"] = ({}, {"v": tf.identity(v)})
            outputs[f"raw{resource}"] = ({}, {"v": v.value() if resource else v})
            with tf.control_dependencies([v.assign_add(tf.ones([1000]))]):
                outputs[f"add{resource}"] = ({}, {"v": tf.constant(0)})
        return outputs

    servable = load(build(make))
    for resource in (False, True):
        for way in ("get", "raw"):
            before = servable.run(f"{way}{resource}", {}, ["v"])["v"]
            kept = before.copy()
            for _ in range(3):
                servable.run(f"add{resource}", {}, ["v"])
            assert (before == kept).all()
            after = servable.run(f"{way}{resource}", {}, ["v"])["v"]
            assert (after == kept + 3).all()


def test_only_wanted_outputs_are_computed(tf: Any, load: Load, build: Make) -> None:
    """An output that was not asked for neither runs nor fails: partial fetches are TensorFlow Serving's."""

    def make(session: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.float32, [])
        bad = tf.compat.v1.Print(x, [])
        with tf.control_dependencies([tf.compat.v1.assert_greater(x, 100.0)]):
            bad = tf.identity(bad)
        return {KEY: ({"x": x}, {"good": x + 1, "bad": bad})}

    servable = load(build(make))
    x = {"x": np.array(1, np.float32)}
    assert servable.run(KEY, x, ["good"])["good"] == 2
    with pytest.raises(ServingError):
        servable.run(KEY, x, ["bad"])


def test_output_filters_cannot_fill_the_memory(tf: Any, load: Load, export: Make) -> None:
    """Every set of outputs is answered right, also beyond the number that gets a graph of its own."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def f(x: Any) -> Any:
        return {f"y{number}": x + float(number) for number in range(6)}

    servable = load(export(f))
    x = {"x": np.array(1, np.float32)}
    for bits in range(1, 64):
        wanted = [f"y{number}" for number in range(6) if bits >> number & 1]
        results = servable.run(KEY, x, list(reversed(wanted)))
        assert {alias: float(value) for alias, value in results.items()} == {
            alias: 1.0 + int(alias[1]) for alias in wanted
        }
    assert len(set(servable._programs.values())) <= MAX_PROGRAMS + 1


def add_default(graph: protos.MetaGraphDef) -> None:
    value = graph.signature_def[KEY].defaults["b"]
    value.dtype = protos.DT_FLOAT
    value.tensor_shape.SetInParent()
    value.float_val.append(5)


def test_defaults_are_part_of_the_signature(tf: Any, load: Load, export: Make) -> None:
    """An input with a default carries it as an array, for whoever fills in requests."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "a"), tf.TensorSpec([], tf.float32, "b")])
    def f(a: Any, b: Any) -> Any:
        return {"y": a + b}

    servable = load(export(f, add_default))
    defaults = servable.signatures[KEY].defaults
    assert {alias: float(value) for alias, value in defaults.items()} == {"b": 5}
    results = servable.run(KEY, {"a": np.array(1, np.float32), **defaults}, ["y"])
    assert results["y"] == 6


def test_one_bad_signature_leaves_the_others_alone(tf: Any, load: Load, export: Make) -> None:
    """Sparse, composite, missing and damaged tensors are refused where they are called, and nowhere else."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def f(x: Any) -> Any:
        return {"y": x + 1}

    def edit(graph: protos.MetaGraphDef) -> None:
        good = graph.signature_def[KEY]
        for key in ("sparse", "composite", "missing", "baddefault"):
            graph.signature_def[key].CopyFrom(good)
        graph.signature_def["sparse"].inputs["x"].coo_sparse.values_tensor_name = "v:0"
        graph.signature_def["composite"].outputs["y"].composite_tensor.SetInParent()
        graph.signature_def["missing"].outputs["y"].name = "nowhere:0"
        graph.signature_def["baddefault"].defaults["x"].dtype = protos.DT_RESOURCE

    servable = load(export(f, edit))
    x = {"x": np.array(1, np.float32)}
    assert servable.run(KEY, x, ["y"])["y"] == 2
    for key, code in (
        ("sparse", Code.UNIMPLEMENTED),
        ("composite", Code.UNIMPLEMENTED),
        ("missing", Code.FAILED_PRECONDITION),
        ("baddefault", Code.INVALID_ARGUMENT),
        ("__saved_model_init_op", Code.UNIMPLEMENTED),
    ):
        assert key in servable.signatures
        assert key not in servable.stateless
        for _ in range(2):
            with pytest.raises(ServingError) as caught:
                servable.run(key, x, list(servable.signatures[key].outputs))
            assert caught.value.code is code


def test_stateless_is_told_from_the_graph(tf: Any, load: Load, export: Make) -> None:
    """Reading variables is stateless, also in functions of functions; writing and random numbers are not."""
    v = tf.Variable(1.0)
    spec = [tf.TensorSpec([], tf.float32, "x")]

    @tf.function(input_signature=spec)
    def reads(x: Any) -> Any:
        return {"y": tf.cond(x > 0, lambda: x * v, lambda: v.read_value())}

    @tf.function(input_signature=spec)
    def writes(x: Any) -> Any:
        return {"y": tf.cond(x > 0, lambda: v.assign_add(x).read_value(), lambda: x)}

    @tf.function(input_signature=spec)
    def random(x: Any) -> Any:
        return {"y": x + tf.random.uniform([])}

    servable = load(export({"reads": reads, "writes": writes, "random": random}, variables=[v]))
    assert servable.stateless == {"reads"}
    for key in ("reads", "writes", "random"):
        servable.run(key, {"x": np.array(1, np.float32)}, ["y"])


def test_keras_export(tf: Any, load: Load, tmp_path: Path) -> None:
    """A model exported by Keras computes what Keras computes."""
    del tf
    import keras

    inputs = keras.Input((4,), name="features")
    outputs = keras.layers.Dense(3, activation="relu")(keras.layers.BatchNormalization()(inputs))
    model = keras.Model(inputs, outputs)
    model.export(str(tmp_path / "keras"), verbose=False)
    servable = load(tmp_path / "keras")
    signature = servable.signatures[KEY]
    (alias,), (result,) = signature.inputs, signature.outputs
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        servable.run(KEY, {alias: x}, [result])[result], model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )
    assert KEY in servable.stateless

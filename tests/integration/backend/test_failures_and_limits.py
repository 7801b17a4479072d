"""Errors of models and files in TensorFlow Serving's words, and runs that take too long."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelBackend, SavedModelLoader, SavedModelServable
from pyserve.config import LoadOptions, ModelConfig, TensorFlowOptions
from pyserve.errors import Code, ServingError
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor, State
from pyserve.lifecycle.source import FileSystemSource
from pyserve.protos import tf as protos
from pyserve.protos import to_text
from pyserve.servable import ServableId

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
Load = Callable[..., SavedModelServable]
Make = Callable[..., Path]
KEY = "serving_default"


def float_array(*values: float) -> Any:
    return np.array(values, np.float32)


def failure(
    servable: SavedModelServable, inputs: dict[str, Any], timeout_s: float | None = None
) -> ServingError:
    with pytest.raises(ServingError) as caught:
        servable.run(KEY, inputs, list(servable.signatures[KEY].outputs), timeout_s)
    return caught.value


def test_a_wrong_dtype_has_tensorflows_text(load: Load) -> None:
    """The runtime's own check of element types answers, word for word."""
    error = failure(load(EXAMPLES / "half_plus_two" / "1"), {"x": np.array([1.0])})
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message == "Expects arg[0] to be float but double is provided"


def test_an_error_in_the_graph_keeps_its_text_and_node(tf: Any, load: Load, build: Make) -> None:
    """What an operation says arrives as C++ says it, with the node, without Python's account of it."""

    def make(session: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        n = tf.compat.v1.placeholder(tf.int32, [])
        return {KEY: ({"x": x, "n": n}, {"y": tf.reshape(x, [n, -1], name="fold")})}

    servable = load(build(make))
    for _ in range(3):  # on the session's threads and on the caller's
        error = failure(servable, {"x": float_array(1, 2, 3, 4), "n": np.array(3, np.int32)})
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message == (
            "Input to reshape is a tensor with 4 values, but the requested shape requires a multiple of 3"
            "\n\t [[{{node fold}}]]"
        )
        servable.run(KEY, {"x": float_array(1, 2, 3, 4), "n": np.array(2, np.int32)}, ["y"])


def test_strings_that_are_none_are_refused(load: Load) -> None:
    """An object array with something else than bytes is TensorFlow's own error, not a crash."""
    error = failure(load(EXAMPLES / "vocabulary" / "1"), {"words": np.array([object()], object)})
    assert "Unsupported object type" in error.message


def endless(tf: Any) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "n")])
    def f(n: Any) -> Any:
        return {"y": tf.while_loop(lambda i: i < n, lambda i: (i + 1,), (tf.constant(0, tf.int64),))[0]}

    return f


def test_a_run_over_its_time_ends(tf: Any, load: Load, export: Make) -> None:
    """A long run is stopped soon after its limit with C++'s text, however often short ones came before."""
    servable = load(export(endless(tf)))
    for _ in range(20):
        assert servable.run(KEY, {"n": np.array(1)}, ["y"], 30)["y"] == 1
    started = time.monotonic()
    error = failure(servable, {"n": np.array(8_000_000)}, 0.2)
    assert time.monotonic() - started < 5
    assert (error.code, error.message) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    assert servable.run(KEY, {"n": np.array(2)}, ["y"], 30)["y"] == 2


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_no_time_left_at_all(load: Load, timeout_s: float) -> None:
    """A run whose time was over before it began does not begin."""
    error = failure(load(EXAMPLES / "half_plus_two" / "1"), {"x": float_array(1)}, timeout_s)
    assert error.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout_s", [1e-9, 1e12, float("inf")])
def test_extreme_limits_are_limits(load: Load, timeout_s: float) -> None:
    """The least limit and the largest are passed on as such; neither means "none" by an overflow."""
    servable = load(EXAMPLES / "half_plus_two" / "1")
    servable.run(KEY, {"x": float_array(1)}, ["y"])
    assert servable.run(KEY, {"x": float_array(1)}, ["y"], timeout_s)["y"] == 2.5


def test_other_threads_go_on_during_a_run(tf: Any, load: Load, export: Make) -> None:
    """TensorFlow does not hold Python's lock while it computes."""
    servable = load(export(endless(tf)))
    ticks = 0
    thread = threading.Thread(target=lambda: servable.run(KEY, {"n": np.array(200_000)}, ["y"], 60))
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.001)
    thread.join()
    assert ticks >= 5


def load_error(path: Path, *tags: str) -> ServingError:
    options = TensorFlowOptions(saved_model_tags=frozenset(tags or ("serve",)))
    with pytest.raises(ServingError) as caught:
        SavedModelLoader(str(path), options).load()
    return caught.value


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A copy of a version, to damage."""
    return Path(shutil.copytree(EXAMPLES / "half_plus_two" / "1", tmp_path / "1"))


def test_missing_tags(version: Path) -> None:
    """Tags that no MetaGraph has are NOT_FOUND with TensorFlow's text."""
    error = load_error(version, "train")
    assert error.code is Code.NOT_FOUND
    assert error.message.startswith(
        "Could not find meta graph def matching supplied tags: { train }. To inspect"
    )


def test_a_missing_shard(tf: Any, version: Path) -> None:
    """A checkpoint without its data is TensorFlow's own error, and the next load works when it is there."""
    del tf
    (shard,) = (version / "variables").glob("variables.data-*")
    content = shard.read_bytes()
    shard.unlink()
    assert load_error(version).code is Code.NOT_FOUND
    shard.write_bytes(content[:-1])
    assert load_error(version).code in (Code.OUT_OF_RANGE, Code.DATA_LOSS)
    shard.write_bytes(content)
    SavedModelLoader(str(version), TensorFlowOptions()).load().unload()


def test_a_missing_asset(tf: Any, tmp_path: Path) -> None:
    """A table whose file is missing is TensorFlow's own error."""
    del tf
    path = Path(shutil.copytree(EXAMPLES / "vocabulary" / "1", tmp_path / "1"))
    shutil.rmtree(path / "assets")
    error = load_error(path)
    assert error.code is Code.NOT_FOUND
    assert "words.txt" in error.message


def test_an_unknown_op(tf: Any, version: Path) -> None:
    """An operation that TensorFlow does not know fails the load and is named."""
    del tf
    file = version / "saved_model.pb"
    proto = protos.SavedModel.FromString(file.read_bytes())
    proto.meta_graphs[0].graph_def.node.add(name="strange", op="NoSuchOp")
    file.write_bytes(proto.SerializeToString())
    error = load_error(version)
    assert error.code is Code.NOT_FOUND
    assert "NoSuchOp" in error.message


@pytest.mark.timeout(60)
def test_variables_that_are_missing(tf: Any, version: Path) -> None:
    """A graph with variables and no index of them is NOT_FOUND by name, instead of a version that always fails."""
    del tf
    index = version / "variables" / "variables.index"
    index.unlink()
    expected = f"{index} is missing, but the graph has variables to restore from it"
    error = load_error(version)
    assert (error.code, error.message) == (Code.NOT_FOUND, expected)
    os.mkfifo(index)
    assert load_error(version).message == expected
    shutil.rmtree(version / "variables")
    assert load_error(version).message == expected


@pytest.mark.parametrize("variables_copied", [True, False])
def test_a_model_without_variables(tf: Any, load: Load, export: Make, variables_copied: bool) -> None:
    """A model without variables serves with the empty checkpoint that TensorFlow 2 writes, and without it."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def f(x: Any) -> Any:
        return {"y": x + 1}

    path = export(f)
    assert (path / "variables" / "variables.index").is_file()
    if not variables_copied:
        shutil.rmtree(path / "variables")
    assert load(path).run(KEY, {"x": float_array(1)}, ["y"])["y"] == 2


def test_keras_and_tensorflow_1_without_variables(tf: Any, load: Load, build: Make, tmp_path: Path) -> None:
    """What Keras and TensorFlow 1 export of models without variables is served."""
    layers = tf.keras.layers
    tf.keras.Sequential([layers.Input((2,)), layers.Rescaling(2.0)]).export(
        str(tmp_path / "k"), verbose=False
    )
    keras = load(tmp_path / "k")
    (alias,) = keras.signatures[KEY].inputs
    (output,) = keras.signatures[KEY].outputs
    assert keras.run(KEY, {alias: np.ones((1, 2), np.float32)}, [output])[output].tolist() == [[2, 2]]

    def make(session: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        return {KEY: ({"x": x}, {"y": x + 1})}

    assert load(build(make)).run(KEY, {"x": float_array(1)}, ["y"])["y"] == 2


@pytest.mark.parametrize("in_time", [True, False])
def test_variables_that_come_late(
    tf: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, in_time: bool
) -> None:
    """While variables are missing the attempts fail by name and the old version serves; a later retry finds them."""
    del tf
    source, base = EXAMPLES / "half_plus_two", tmp_path / "m"
    shutil.copytree(source / "1", base / "1")
    options = LoadOptions(
        file_system_poll_wait_seconds=0.05,
        max_num_load_retries=10_000 if in_time else 1,
        load_retry_interval_micros=100_000,
        incomplete_version_wait_s=0.3,
    )
    backend, monitor = SavedModelBackend(TensorFlowOptions()), Monitor()
    manager = Manager(backend.make_loader, monitor, options)
    files = FileSystemSource(
        manager.aspire, lambda _, path: backend.incomplete_reason(path), options, on_poll=monitor.wake
    )
    files.set_models([ModelConfig("m", str(base))])
    manager.start()
    files.start()
    try:
        first, second = ServableId("m", 1), ServableId("m", 2)
        missing = "variables/variables.index is missing, but the graph has variables"

        def state(id: ServableId) -> State | None:
            found = monitor.state(id)
            return found.state if found is not None else None

        assert monitor.wait(lambda: state(first) is State.AVAILABLE, 60)
        shutil.copytree(source / "2", base / "2", ignore=shutil.ignore_patterns("variables"))
        assert monitor.wait(lambda: caplog.text.count(missing) >= 2, 60)
        assert manager.available_versions("m") == [1]
        if not in_time:
            assert monitor.wait(lambda: state(second) is State.END, 60)
            found = monitor.state(second)
            assert found is not None
            assert found.status.code is Code.NOT_FOUND
            assert missing in found.status.message
        shutil.copytree(source / "2" / "variables", base / "2" / "variables")
        if in_time:
            assert monitor.wait(lambda: manager.available_versions("m") == [2], 60)
        else:
            assert monitor.wait(lambda: "m version: 2} is complete now" in caplog.text, 60)
            assert manager.available_versions("m") == [1]
        with manager.acquire("m") as handle:
            handle.servable.run(KEY, {"x": float_array(1)}, ["y"])
    finally:
        files.stop()
        assert manager.stop(60)


def test_text_form(load: Load, version: Path) -> None:
    """A SavedModel in text form serves like the binary one."""
    file = version / "saved_model.pb"
    (version / "saved_model.pbtxt").write_text(to_text(protos.SavedModel.FromString(file.read_bytes())))
    file.unlink()
    assert load(version).run(KEY, {"x": float_array(1)}, ["y"])["y"] == 2.5


def test_several_tags(load: Load, version: Path) -> None:
    """Of several MetaGraphs the one with exactly the configured tags is served."""
    file = version / "saved_model.pb"
    proto = protos.SavedModel.FromString(file.read_bytes())
    other = proto.meta_graphs.add()
    other.CopyFrom(proto.meta_graphs[0])
    other.meta_info_def.tags.append("gpu")
    other.signature_def["second"].CopyFrom(other.signature_def[KEY])
    file.write_bytes(proto.SerializeToString())
    assert "second" not in load(version).signatures
    assert "second" in load(version, "gpu", "serve").signatures


def test_a_placement_of_elsewhere(load: Load, version: Path) -> None:
    """A model that was exported with its nodes on a GPU is served without one."""
    file = version / "saved_model.pb"
    proto = protos.SavedModel.FromString(file.read_bytes())
    for node in proto.meta_graphs[0].graph_def.node:
        node.device = "/device:GPU:7"
    file.write_bytes(proto.SerializeToString())
    assert load(version).run(KEY, {"x": float_array(1)}, ["y"])["y"] == 2.5


def test_after_unload(load: Load) -> None:
    """A run that comes too late is refused, made before or not; a second unload does no harm."""
    servable = load(EXAMPLES / "half_plus_two" / "1")
    servable.run(KEY, {"x": float_array(1)}, ["y"])
    servable.unload()
    servable.unload()
    for _ in range(2):
        assert failure(servable, {"x": float_array(1)}).code is Code.FAILED_PRECONDITION

"""Placement and replicas on logical CPU devices: where operations ran, what replicas share, what unloading frees.

`device_count` gives a session several CPUs, which TensorFlow tells apart as it does GPUs.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import threading
import urllib.request
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve import Server
from pyserve.backends.saved_model import ReplicatedServable, SavedModelLoader, SavedModelServable
from pyserve.cli.configure import server_config
from pyserve.codec.session_config import parse_session_config
from pyserve.codec.tf_record import encode_record
from pyserve.config import TensorFlowOptions
from pyserve.errors import DeadlineExceededError, FailedPreconditionError, InvalidArgumentError, ServingError
from pyserve.inference.warmup import zeros_for
from pyserve.protos import tfs

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
KEY = "serving_default"
FOUR_CPUS = 'device_count { key: "CPU" value: 4 }'
OPTIONS = TensorFlowOptions(session_config=parse_session_config(FOUR_CPUS, "test"))

LoadOn = Callable[..., Any]


@pytest.fixture
def load_on(tf: Any) -> Iterator[LoadOn]:
    """Loads a version on devices, of which there are four."""
    del tf
    loaded: list[Any] = []

    def load_on(path: Path, *devices: str) -> Any:
        servable = SavedModelLoader(str(path), OPTIONS, devices).load()
        loaded.append(servable)
        return servable

    yield load_on
    for servable in loaded:
        servable.unload()


def executed(tf: Any, servable: SavedModelServable, **inputs: Any) -> dict[str, set[str]]:
    """Devices on which operations of each type stand in the graph as TensorFlow runs it, after all its rewriting."""
    assert servable._session is not None
    signature = servable.signatures[KEY]
    metadata = tf.compat.v1.RunMetadata()
    servable._session._session.run(
        [spec.tensor_name for spec in signature.outputs.values()],
        {signature.inputs[alias].tensor_name: value for alias, value in inputs.items()},
        options=tf.compat.v1.RunOptions(output_partition_graphs=True),
        run_metadata=metadata,
    )
    devices: dict[str, set[str]] = defaultdict(set)
    for graph in metadata.partition_graphs:
        for node in graph.node:
            devices[node.op].add(node.device.partition("/device:")[2])
    return devices


@pytest.fixture
def words(tf: Any, export: Any) -> Path:
    """Words → numbers: a table, a variable, a loop inside a function; the last step names a device itself."""
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0]), 0.0)
    factor = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def numbers(word: Any) -> Any:
        found = table.lookup(word) * factor
        _, squared = tf.while_loop(
            lambda step, value: step < 2, lambda step, value: (step + 1, tf.square(value)), (0, found)
        )
        with tf.device("/CPU:3"):
            return {"y": tf.negative(squared)}

    return export(numbers, variables=[factor, table])  # type: ignore[no-any-return]


WORDS = np.array([b"a", b"b", b"?"], object)
STEPS = {"HashTableV2", "LookupTableFindV2", "VarHandleOp", "ReadVariableOp", "Mul", "Square", "Merge"}


def test_operations_run_on_the_device(tf: Any, load_on: LoadOn, words: Path) -> None:
    """What names no device runs on the model's, in functions and loops too; requests come and go through CPU:0."""
    for devices, expected in ((), "CPU:0"), (("CPU:1",), "CPU:1"), (("CPU:2",), "CPU:2"):
        servable = load_on(words, *devices)
        assert isinstance(servable, SavedModelServable)
        ran = executed(tf, servable, word=WORDS)
        assert {step: ran[step] for step in STEPS} == {step: {expected} for step in STEPS}
        assert ran["Neg"] == {"CPU:3"}
        assert ran["_Arg"] == ran["_Retval"] == {"CPU:0"}
        for _ in range(20):
            y = servable.run(KEY, {"word": WORDS}, ["y"], 30)["y"]
        assert y.tolist() == [-16, -256, 0]


def test_string_inputs_stay_on_the_cpu(load_on: LoadOn, words: Path) -> None:
    """The placeholder of a string is not put on the model's device; that of numbers is."""

    def device_of_input(servable: SavedModelServable, alias: str) -> str:
        assert servable._session is not None
        name = servable.signatures[KEY].inputs[alias].tensor_name
        return str(servable._session._graph.get_tensor_by_name(name).op.device)

    assert device_of_input(load_on(words, "CPU:2"), "word") == "/device:CPU:0"
    assert device_of_input(load_on(EXAMPLES / "mlp" / "1", "CPU:2"), "images") == "/device:CPU:2"


@pytest.mark.parametrize(
    "name", ["mlp", "half_plus_two", "two_in_six_out", "vocabulary", "tf1_linear", "tf1_counter"]
)
def test_the_answers_are_the_same(load_on: LoadOn, name: str) -> None:
    """Every example model, those of TensorFlow 1 with reference variables included, answers alike on each replica."""
    path = EXAMPLES / name / "1"
    plain, replicated = load_on(path), load_on(path, "CPU:1", "CPU:2")
    assert isinstance(replicated, ReplicatedServable)
    assert replicated.signatures.keys() == plain.signatures.keys()
    assert (replicated.stateless, replicated.signature_def_map) == (plain.stateless, plain.signature_def_map)
    for key in sorted(plain.stateless):
        signature = plain.signatures[key]
        inputs = zeros_for(signature)
        assert inputs is not None
        outputs = sorted(signature.outputs)
        try:
            expected: dict[str, Any] | type[ServingError] = plain.run(key, inputs, outputs)
        except ServingError as error:
            expected = type(error)
        for replica in replicated.replicas:
            if isinstance(expected, type):
                with pytest.raises(expected):
                    replica.run(key, inputs, outputs)
            else:
                np.testing.assert_equal(replica.run(key, inputs, outputs), expected)


@pytest.fixture
def meeting(tf: Any, export: Any) -> Path:
    """A run that leaves a file and does not end before it sees another; it tells how many runs its replica began."""
    begun = tf.Variable(0)

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.string, "mine"), tf.TensorSpec([], tf.string, "other")]
    )
    def meet(mine: Any, other: Any) -> Any:
        count = begun.assign_add(1)
        with tf.control_dependencies([tf.io.write_file(mine, "here")]):
            rounds = tf.while_loop(
                lambda rounds: tf.equal(tf.size(tf.io.matching_files(other)), 0),
                lambda rounds: [rounds + 1],
                [0],
            )[0]
        return {"count": count, "rounds": rounds}

    return export(meet, variables=[begun])  # type: ignore[no-any-return]


def test_replicas_run_at_the_same_time(load_on: LoadOn, meeting: Path, tmp_path: Path) -> None:
    """Two runs that wait for each other meet, each the first one of its replica."""
    servable = load_on(meeting, "CPU:1", "CPU:2")
    files = [str(tmp_path / name).encode() for name in ("left", "right")]

    def run(mine: bytes, other: bytes) -> int:
        inputs = {"mine": np.array(mine, object), "other": np.array(other, object)}
        return int(servable.run(KEY, inputs, ["count", "rounds"], 60)["count"])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, files, reversed(files))) == [1, 1]


def test_a_busy_replica_is_passed_over(load_on: LoadOn, meeting: Path, tmp_path: Path) -> None:
    """While one replica waits, every other run goes to the idle one."""
    servable = load_on(meeting, "CPU:1", "CPU:2")
    files = [tmp_path / name for name in ("first", "last", "met")]
    first, last, met = (np.array(str(file).encode(), object) for file in files)
    files[2].touch()
    counts: list[int] = []

    def run(mine: Any, other: Any) -> None:
        counts.append(
            int(servable.run(KEY, {"mine": mine, "other": other}, ["count", "rounds"], 60)["count"])
        )

    waiting = threading.Thread(target=run, args=(first, last))
    waiting.start()
    while not files[0].exists():
        assert waiting.is_alive()
    for _ in range(5):
        run(met, met)
    assert counts == [1, 2, 3, 4, 5]
    run(last, met)
    waiting.join()
    assert counts[5:] in ([6, 1], [1, 6])


def test_a_run_on_a_device_keeps_its_deadline(tf: Any, load_on: LoadOn, export: Any) -> None:
    """A loop without end on another device than that of its input is ended."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "n")])
    def count(n: Any) -> Any:
        return {"y": tf.while_loop(lambda i: i < n, lambda i: [i + 1], [tf.constant(0, tf.int64)])[0]}

    servable = load_on(export(count), "CPU:1", "CPU:2")
    for _ in servable.replicas:
        with pytest.raises(DeadlineExceededError):
            servable.run(KEY, {"n": np.array(2**62)}, ["y"], 0.2)
        assert servable.run(KEY, {"n": np.array(3)}, ["y"], 30)["y"] == 3


def test_variables_and_tables_are_those_of_a_replica(
    tf: Any, load_on: LoadOn, export: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What one replica writes the other does not see; the log says so of the signatures that write."""
    count = tf.Variable(0)
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    @tf.function(input_signature=[tf.TensorSpec([1], tf.string, "key")])
    def put(key: Any) -> Any:
        with tf.control_dependencies([table.insert(key, [7])]):
            return {"count": count.assign_add(1)}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.string, "key")])
    def get(key: Any) -> Any:
        return {"value": table.lookup(key), "count": count.read_value()}

    path = export({"put": put, "get": get}, variables=[count, table])
    load_on(path, "CPU:1")
    assert "replicas keeps for itself" not in caplog.text
    servable = load_on(path, "CPU:1", "CPU:2")
    assert f"{path}: what signatures put keep between requests, each of the 2 replicas keeps" in caplog.text
    left, right = servable.replicas
    key = {"key": np.array([b"k"], object)}

    def state(replica: SavedModelServable) -> tuple[int, int]:
        found = replica.run("get", key, ["value", "count"])
        return int(found["value"][0]), int(found["count"])

    servable.run("put", key, ["count"])
    assert (state(left), state(right)) == ((7, 1), (-1, 0))
    counts = [int(servable.run("put", key, ["count"])["count"]) for _ in range(3)]
    assert counts == [1, 2, 2]


def test_devices_that_the_graph_names_are_told(
    tf: Any, load_on: LoadOn, export: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that was exported for a GPU is loaded all the same, and the log says what does not move."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(x: Any) -> Any:
        with tf.device("/GPU:0"):
            return {"y": x * 2}

    path = export(double)
    servable = load_on(path, "CPU:1")
    assert f"{path}: operations that were exported for /device:GPU:0 stay there, not on CPU:1" in caplog.text
    assert servable.run(KEY, {"x": np.ones(1, np.float32)}, ["y"])["y"] == 2


def test_unknown_devices(load_on: LoadOn) -> None:
    """The load fails and names the devices that are not there, and those that are."""
    with pytest.raises(InvalidArgumentError) as caught:
        load_on(EXAMPLES / "mlp" / "1", "CPU:1", "XPU:0", "CPU:4")
    here = [f"CPU:{number}" for number in range(4)]
    assert caught.value.message.startswith(
        "device_map: there is no XPU:0 and no CPU:4; TensorFlow's devices are "
    )
    assert caught.value.message.endswith(", ".join(here)) or "GPU:0" in caught.value.message


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_unloading_frees_every_replica(tf: Any, export: Any) -> None:
    """Each replica holds the variables once more. After an unload no graph is left, and the next load finds room."""
    size = 32 << 20
    weights = tf.Variable(np.ones(size // 4, np.float32))

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "place")])
    def weight(place: Any) -> Any:
        return {"y": weights.read_value()[place]}

    path = export(weight, variables=[weights])

    def load() -> ReplicatedServable:
        servable = SavedModelLoader(str(path), OPTIONS, ["CPU:1", "CPU:2", "CPU:3"]).load()
        assert isinstance(servable, ReplicatedServable)
        for replica in servable.replicas:
            assert replica.run(KEY, {"place": np.array(5, np.int32)}, ["y"])["y"] == 1
        return servable

    first = load()
    one = resident_bytes()
    second = load()
    two = resident_bytes()
    assert (
        two - one > 1.8 * size
    )  # TensorFlow's allocator had at most one free piece of the size, from the restore
    graphs = [weakref.ref(replica._session._graph) for replica in second.replicas]  # type: ignore[union-attr]
    second.unload()
    assert [graph() for graph in graphs] == [None] * 3
    for replica in second.replicas:
        with pytest.raises(FailedPreconditionError, match="unloaded"):
            replica.run(KEY, {"place": np.array(5, np.int32)}, ["y"])
    third = load()
    assert resident_bytes() - two < 0.5 * size
    first.unload()
    third.unload()


def test_a_replica_that_fails_takes_the_others_along(tf: Any, tmp_path: Path) -> None:
    """A version whose initialisation works once only is not loaded on two devices, and leaves no session behind."""
    v1 = tf.compat.v1
    mark, path = str(tmp_path / "mark"), tmp_path / "once"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        first = v1.debugging.assert_equal(tf.size(tf.io.matching_files(mark)), 0, message="the second time")
        with tf.control_dependencies([first]):
            leave = tf.io.write_file(mark, "")
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": x + 1.0})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={KEY: signature}, main_op=tf.group(leave)
        )
        builder.save()

    def open_sessions() -> int:
        gc.collect()
        found = [thing for thing in gc.get_objects() if type(thing) is v1.Session]
        return sum(not session._closed for session in found)

    before = open_sessions()
    with pytest.raises(InvalidArgumentError, match="the second time") as caught:
        SavedModelLoader(str(path), OPTIONS, ["CPU:1", "CPU:2"]).load()
    assert open_sessions() == before
    del caught  # until here its traceback has kept alive whatever the load has made
    Path(mark).unlink()
    SavedModelLoader(str(path), OPTIONS, ["CPU:1"]).load().unload()


PLATFORMS = f"""
platform_configs {{ key: "tensorflow" value {{ source_adapter_config {{
  [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {{
    legacy_config {{ enable_model_warmup: true session_config {{ {FOUR_CPUS} }} }} }} }} }} }}
"""


def served(tmp_path: Path, device_map: str, flag: str, text: str) -> Server:
    """A server of the model `mlp`, which has four CPUs by what a file says."""
    model, file = tmp_path / "mlp", tmp_path / "config"
    shutil.copytree(EXAMPLES / "mlp", model)
    file.write_text(text)
    flags = {
        "model_name": "mlp",
        "model_base_path": str(model),
        "device_map": device_map,
        flag: str(file),
        "max_num_load_retries": 0,
        "port": 0,
        "grpc_socket_path": str(tmp_path / "grpc"),
        "host": "127.0.0.1",
    }
    config = server_config(flags, lambda path: Path(path).read_text())
    return Server(replace(config, rest_api_port=0))


@pytest.mark.parametrize(
    ("flag", "text"), [("tensorflow_session_config_file", FOUR_CPUS), ("platform_config_file", PLATFORMS)]
)
def test_a_server_with_a_device_map(tf: Any, tmp_path: Path, flag: str, text: str) -> None:
    """From the flag to answers: both replicas have run the recorded request, and answer eight clients alike."""
    images = np.random.default_rng(3).random((4, 784), np.float32)
    prepared = served(tmp_path, "mlp=CPU:1|CPU:3", flag, text)
    record = tfs.PredictionLog()
    record.predict_log.request.inputs["images"].MergeFromString(
        tf.make_tensor_proto(images).SerializeToString()
    )
    extra = tmp_path / "mlp" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(encode_record(record.SerializeToString()))
    with prepared as server:
        assert server._core is not None
        with server._core.manager.acquire("mlp", None) as handle:
            replicas = handle.servable.replicas  # type: ignore[attr-defined]
            assert [bool(replica._programs) for replica in replicas] == [True, True]
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/mlp:predict"
        body = json.dumps({"instances": images.tolist()}).encode()

        def ask(number: int) -> Any:
            with urllib.request.urlopen(url, body, timeout=30) as answer:
                return [row["probabilities"] for row in json.load(answer)["predictions"]]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(40)))
        ran = [executed(tf, replica, images=images)["ReadVariableOp"] for replica in replicas]
    np.testing.assert_allclose(answers, [answers[0]] * 40, rtol=1e-5)
    assert ran == [{"CPU:1"}, {"CPU:3"}]


def test_a_server_with_an_unknown_device(tf: Any, tmp_path: Path) -> None:
    """The start ends with what is wrong."""
    del tf
    with pytest.raises(
        ServingError, match=r"device_map: there is no GPU:7; TensorFlow's devices are .*CPU:3"
    ):
        served(tmp_path, "mlp=CPU:0|GPU:7", "tensorflow_session_config_file", FOUR_CPUS).start(60)

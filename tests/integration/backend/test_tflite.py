"""TensorFlow Lite models, converted on the spot: signatures, types, shapes, threads, errors, and the whole server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batching_fakes import Noted
from pyserve.backends.saved_model import SavedModelServable
from pyserve.backends.tflite import TfLiteBackend, TfLiteServable
from pyserve.backends.tflite.model_file import TYPES, read_signatures
from pyserve.batching.parameters import StaticPolicy
from pyserve.batching.policy import QueueRules
from pyserve.batching.scheduler import Scheduler
from pyserve.batching.task import Task
from pyserve.cli.main import main
from pyserve.config import BatchingParameters, TensorFlowOptions, TfLiteOptions
from pyserve.device_map import DeviceMap
from pyserve.errors import Code, DataLossError, ServingError
from pyserve.servable import Servable, ServableHandle, ServableId
from servers import ServerProcess


def floats(*shape: int, value: float = 1.0) -> Any:
    return np.full(shape, value, np.float32)


def strings(value: object) -> Any:
    array = np.empty(np.shape(value), object)
    array[...] = value
    return array


def converted(tf: Any, functions: Mapping[str, Any], directory: Path, **settings: Any) -> bytes:
    """The functions as one model, each under its key as a signature."""
    module = tf.Module()
    module.functions = list(functions.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.saved_model.save(module, str(directory), signatures=dict(functions))
        converter = tf.lite.TFLiteConverter.from_saved_model(str(directory), signature_keys=list(functions))
        for name, value in settings.items():
            setattr(converter, name, value)
        model: bytes = converter.convert()
    return model


@pytest.fixture(scope="module")
def several(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model with three signatures: numbers, strings, integers."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], tf.float32, "x"), tf.TensorSpec([None, 3], tf.float32, "w")]
    )
    def numbers(x: Any, w: Any) -> Any:
        return {"y": x * 0.5 + 2.0, "z": x + w}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, "s")])
    def text(s: Any) -> Any:
        return {"t": tf.identity(s)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "i")])
    def integers(i: Any) -> Any:
        return {"double": i * 2, "large": i > 5}

    functions = {"serving_default": numbers, "text": text, "integers": integers}
    return converted(tf, functions, tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def nameless(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model without signatures, as older converters made them."""
    del tmp_path_factory

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], tf.float32, "x"), tf.TensorSpec([None, 3], tf.float32, "w")]
    )
    def numbers(x: Any, w: Any) -> Any:
        return x * 0.5 + 2.0, x + w

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([numbers.get_concrete_function()])
        model: bytes = converter.convert()
    return model


Load = Callable[..., Servable]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Load]:
    """Loads a version directory with this model as a server would."""
    loaded: list[Servable] = []

    def serve(model: bytes, interpreters: int = 1) -> Servable:
        path = tmp_path / "1"
        path.mkdir(exist_ok=True)
        (path / "model.tflite").write_bytes(model)
        options = TfLiteOptions(prefer_tflite_model=True, num_tflite_pools=interpreters)
        servable = (
            TfLiteBackend(options, TensorFlowOptions()).make_loader(ServableId("m", 1), str(path)).load()
        )
        assert isinstance(servable, TfLiteServable)
        loaded.append(servable)
        return servable

    yield serve
    for servable in loaded:
        servable.unload()


def test_signatures(several: bytes, serve: Load) -> None:
    """Signatures are those that the converter wrote, with free dimensions and TensorFlow's types."""
    signatures = serve(several).signatures
    assert sorted(signatures) == ["integers", "serving_default", "text"]
    assert {a: (s.dtype.name, s.shape) for a, s in signatures["serving_default"].inputs.items()} == {
        "x": ("float", (None, 3)),
        "w": ("float", (None, 3)),
    }
    assert {a: s.dtype.name for a, s in signatures["integers"].outputs.items()} == {
        "double": "int64",
        "large": "bool",
    }


def test_batches(several: bytes, serve: Load) -> None:
    """Tasks of a signature share runs; those of another one do not, though tensors have the same names."""
    servable = serve(several)
    rules = QueueRules(StaticPolicy(BatchingParameters(max_batch_size=8)), Noted())
    scheduler = Scheduler(1)
    scheduler.open(ServableId("m", 1), servable, lambda layout: rules)
    answered = threading.Semaphore(0)

    def task(key: str, outputs: list[str], **inputs: Any) -> Task:
        handle = ServableHandle(ServableId("m", 1), servable, lambda: None)
        made = Task(handle, key, inputs, outputs)
        made.on_answer = lambda task: answered.release()
        return made

    numbers = [
        task("serving_default", ["y", "z"], x=floats(rows, 3, value=rows), w=floats(rows, 3))
        for rows in (1, 2, 3)
    ]
    integers = [task("integers", ["double"], i=np.array([rows, rows])) for rows in (1, 2)]
    for one in (*numbers, *integers):
        scheduler.submit(one)
    scheduler.start()
    for _ in range(5):
        assert answered.acquire(timeout=30)
    assert scheduler.stop(30)
    for rows, one in enumerate(numbers, 1):
        assert one.result is not None, one.error
        np.testing.assert_array_equal(one.result["y"], floats(rows, 3, value=rows * 0.5 + 2))
        np.testing.assert_array_equal(one.result["z"], floats(rows, 3, value=rows + 1))
    assert [one.result["double"].tolist() for one in integers if one.result] == [[2, 2], [4, 4]]
    assert isinstance(rules.observer, Noted)
    assert sorted(run.rows for run in rules.observer.runs) == [4, 6]


@pytest.mark.parametrize("rows", [1, 4, 0, 2])
def test_rows(several: bytes, serve: Load, rows: int) -> None:
    """Inputs are resized to what comes, none included; outputs can be chosen."""
    servable = serve(several)
    x = floats(rows, 3)
    found = servable.run("serving_default", {"x": x, "w": x}, ["y", "z"])
    assert found["y"].tolist() == (x * 0.5 + 2).tolist()
    assert found["z"].tolist() == (x + x).tolist()
    assert list(servable.run("serving_default", {"x": x, "w": x}, ["z"])) == ["z"]


def test_without_signatures(nameless: bytes, serve: Load) -> None:
    """`serving_default` has the model's tensors by their names."""
    servable = serve(nameless)
    signature = servable.signatures["serving_default"]
    assert sorted(signature.inputs) == ["w", "x"]
    assert sorted(signature.outputs) == ["Identity", "Identity_1"]
    for rows in (1, 3):
        x = floats(rows, 3, value=rows)
        found = servable.run("serving_default", {"x": x, "w": x}, sorted(signature.outputs))
        assert found["Identity"].tolist() == (x * 0.5 + 2).tolist()
        assert found["Identity_1"].tolist() == (x + x).tolist()


@pytest.mark.parametrize(
    "value",
    [
        [b"a", b""],
        [b"\0", b"x\0"],
        [],
        b"scalar",
        b"x\0",
        b"\0",
        b"",
        [[b"a", "é".encode()]],
        [b"x" * 100_000],
    ],
)
def test_strings(several: bytes, serve: Load, value: object) -> None:
    """Strings arrive byte for byte, in any shape."""
    found = serve(several).run("text", {"s": strings(value)}, ["t"])["t"]
    assert found.dtype == object
    assert found.tolist() == strings(value).tolist()


def test_other_layouts(several: bytes, serve: Load) -> None:
    """Arrays in another byte order or order of memory mean the same."""
    servable = serve(several)
    assert servable.run("integers", {"i": np.array([1, 6], ">i8")}, ["double", "large"])[
        "double"
    ].tolist() == [2, 12]
    x = np.arange(12, dtype=np.float32).reshape(3, 4).T
    assert (
        servable.run("serving_default", {"x": x, "w": floats(4, 3)}, ["z"])["z"].tolist() == (x + 1).tolist()
    )


def test_quantised(tf: Any, serve: Load, tmp_path: Path) -> None:
    """A model with quantised inputs and outputs takes and gives the integers as they are."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
    def layer(x: Any) -> Any:
        return {"y": tf.matmul(x, tf.constant(np.eye(4, dtype=np.float32)))}

    samples = [[np.linspace(-1, 1, 4, dtype=np.float32)[None]] for _ in range(8)]
    model = converted(
        tf,
        {"serving_default": layer},
        tmp_path / "saved",
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: iter(samples),
        inference_input_type=tf.int8,
        inference_output_type=tf.int8,
    )
    servable = serve(model)
    assert servable.signatures["serving_default"].inputs["x"].dtype.name == "int8"
    found = servable.run("serving_default", {"x": np.array([[-100, 0, 50, 100]], np.int8)}, ["y"])["y"]
    assert found.dtype == np.int8
    assert np.abs(found.astype(int) - [[-100, 0, 50, 100]]).max() <= 2


def test_a_failed_run_harms_no_other(several: bytes, serve: Load) -> None:
    """Shapes that do not fit are INTERNAL with TensorFlow Lite's reason; the interpreter is as good as before."""
    servable = serve(several)
    for _ in range(3):
        with pytest.raises(ServingError, match="Failed to invoke TfLite interpreter: ") as caught:
            servable.run("serving_default", {"x": floats(2, 3), "w": floats(4, 3)}, ["y"])
        assert caught.value.code is Code.INTERNAL
        assert (
            servable.run("serving_default", {"x": floats(2, 3), "w": floats(2, 3)}, ["z"])["z"].tolist()
            == [[2.0] * 3] * 2
        )


def test_threads(several: bytes, serve: Load) -> None:
    """Many threads on few interpreters, with changing shapes and signatures: every answer is the right one."""
    servable = serve(several, interpreters=2)
    wrong: list[object] = []

    def work(seed: int) -> None:
        for step in range(150):
            rows = (seed + step) % 5 + 1
            x = floats(rows, 3, value=seed * 1000 + step)
            found = servable.run("serving_default", {"x": x, "w": x}, ["z"])["z"]
            if not np.array_equal(found, x + x):
                wrong.append(found)
            text = f"{seed}-{step}".encode()
            if servable.run("text", {"s": strings([text])}, ["t"])["t"].tolist() != [text]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("damage", "code", "text"),
    [
        (
            lambda model: b"no model at all" * 5,
            Code.INVALID_ARGUMENT,
            "Cannot build FlatBufferModel from buffer.",
        ),
        (
            lambda model: model[: len(model) // 2],
            Code.INVALID_ARGUMENT,
            "Cannot build FlatBufferModel from buffer.",
        ),
    ],
)
def test_damaged_files(
    several: bytes, serve: Load, damage: Callable[[bytes], bytes], code: Code, text: str
) -> None:
    """A file that is no whole model fails the load, and only that."""
    with pytest.raises(ServingError, match=text) as caught:
        serve(damage(several))
    assert caught.value.code is code


def test_devices(several: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model that has a place in the device map is served on the CPU, and the log says so."""
    file = tmp_path / "model.tflite"
    file.write_bytes(several)
    options, devices = TfLiteOptions(prefer_tflite_model=True), DeviceMap({"m": ("GPU:0",)})
    backend = TfLiteBackend(options, TensorFlowOptions(), devices)
    for name, said in (("other", False), ("m", True)):
        backend.make_loader(ServableId(name, 1), str(tmp_path)).load().unload()
        assert (f"device_map has no effect on {file}: TensorFlow Lite runs on the CPU" in caplog.text) == said


def test_foreign_operations(tf: Any, serve: Load, tmp_path: Path) -> None:
    """A model with operations that TensorFlow Lite does not have fails the load, and says which."""

    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, "x")])
    def inverse(x: Any) -> Any:
        return {"y": tf.linalg.inv(x)}

    model = converted(tf, {"serving_default": inverse}, tmp_path / "saved", allow_custom_ops=True)
    with pytest.raises(ServingError, match="MatrixInverse") as caught:
        serve(model)
    assert caught.value.code is Code.INTERNAL


def test_without_the_file_the_saved_model_is_loaded(tf: Any, tmp_path: Path) -> None:
    """A version without model.tflite is served as ever; a missing file of either kind gives the usual error."""
    del tf
    examples = Path(__file__).parents[3] / "examples" / "models"
    backend = TfLiteBackend(TfLiteOptions(prefer_tflite_model=True), TensorFlowOptions())
    loader = backend.make_loader(ServableId("m", 1), str(examples / "half_plus_two" / "1"))
    servable = loader.load()
    assert isinstance(servable, SavedModelServable)
    servable.unload()
    with pytest.raises(ServingError, match="does not appear to contain a SavedModel bundle"):
        backend.make_loader(ServableId("m", 1), str(tmp_path)).load()


def test_no_warning_reaches_the_user(nameless: bytes, tmp_path: Path) -> None:
    """That TensorFlow's interpreter is to move is not shown to those who serve, even with every warning an error."""
    (tmp_path / "model.tflite").write_bytes(nameless)
    code = (
        "from pathlib import Path\n"
        "from pyserve.backends.tflite.interpreter import Interpreter\n"
        f"model = Path({str(tmp_path / 'model.tflite')!r}).read_bytes()\n"
        "Interpreter(model); Interpreter(model)\n"
    )
    # TensorFlow's import itself may warn; from then on nothing may.
    code = "import tensorflow, warnings\nwarnings.simplefilter('error')\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_the_server(several: bytes, tmp_path: Path) -> None:
    """With the flag a server answers from model.tflite over REST, metadata included."""
    version = tmp_path / "lite" / "1"
    version.mkdir(parents=True)
    (version / "model.tflite").write_bytes(several)
    arguments = [
        "--model_name=lite",
        f"--model_base_path={version.parent}",
        "--prefer_tflite_model",
        "--num_tflite_pools=2",
    ]
    with ServerProcess(arguments) as server:
        url = f"http://localhost:{server.rest_port}/v1/models/lite"

        def predict(body: object) -> Any:
            with urllib.request.urlopen(f"{url}:predict", json.dumps(body).encode(), timeout=30) as answer:
                return json.loads(answer.read())

        rows = [{"x": [1, 2, 3], "w": [0, 0, 1]}, {"x": [0, 0, 0], "w": [5, 5, 5]}]
        assert predict({"instances": rows}) == {
            "predictions": [{"y": [2.5, 3.0, 3.5], "z": [1.0, 2.0, 4.0]}, {"y": [2.0] * 3, "z": [5.0] * 3}]
        }
        assert predict({"signature_name": "text", "instances": ["a", "bc"]}) == {"predictions": ["a", "bc"]}
        with urllib.request.urlopen(f"{url}/metadata", timeout=30) as answer:
            signatures = json.loads(answer.read())["metadata"]["signature_def"]["signature_def"]
        assert signatures["integers"]["inputs"]["i"]["dtype"] == "DT_INT64"


@pytest.mark.parametrize("name", ["several", "nameless"])
def test_signatures_without_tensorflow(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, serve: Load
) -> None:
    """The file itself tells the signatures that the interpreter does."""
    model: bytes = request.getfixturevalue(name)
    (tmp_path / "model.tflite").write_bytes(model)
    found, loaded = read_signatures(tmp_path / "model.tflite"), serve(model).signatures
    assert found.keys() == loaded.keys()
    for key, signature in found.items():
        assert signature.inputs == loaded[key].inputs
        assert signature.outputs == loaded[key].outputs


def test_types() -> None:
    """The numbers of types are those of TensorFlow Lite's schema."""
    from tensorflow.lite.python.schema_py_generated import TensorType

    names = {"float32": "float", "float64": "double", "float16": "half"}
    known = {number: name.lower() for name, number in vars(TensorType).items() if isinstance(number, int)}
    for number, name in enumerate(TYPES):
        assert names.get(known.get(number, name), known.get(number, name)) == name


def test_a_file_that_is_cut_off_tells_nothing(several: bytes, tmp_path: Path) -> None:
    """Wherever it is cut, the signatures are those of the whole file, or the file is said to be damaged."""
    file = tmp_path / "model.tflite"
    file.write_bytes(several)
    whole = read_signatures(file)
    for size in range(8, len(several), 7):
        file.write_bytes(several[:size])
        with contextlib.suppress(DataLossError):
            assert read_signatures(file) == whole


def test_inspect(several: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pyserve inspect` shows a version that holds such a model."""
    (tmp_path / "m" / "4").mkdir(parents=True)
    (tmp_path / "m" / "4" / "model.tflite").write_bytes(several)
    assert main(["inspect", str(tmp_path / "m"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["files"]["format"]) == (4, "TensorFlow Lite")
    assert found["signatures"]["text"]["calls"]["curl"].startswith("curl -d")

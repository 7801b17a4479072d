"""`pyserve convert`: each kind of source becomes a version that a server loads and that answers as it should."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from pyserve.cli.main import main
from pyserve.client import Client
from pyserve.inference.warmup_file import PATH_IN_VERSION
from servers import EXAMPLES, ServerProcess, config_text

pytestmark = pytest.mark.timeout(300)  # the first test waits for all conversions
MAKER = Path(__file__).parents[1] / "convertible_models.py"  # imports TensorFlow
ROWS = [[1.0, 1.0], [0.5, 2.0]]
SUMS = [[5.0], [7.0]]

# Model → arguments, where {} is the directory of the sources. Each adds a version.
CONVERSIONS: dict[str, list[str]] = {
    "keras": ["{}/line.keras"],
    "h5": ["{}/line.h5"],
    "frozen": ["{}/frozen.pb", "--input", "x", "--output", "sum=y:0"],
    "tf1": ["{}/tf1", "--input", "x", "--input", "word", "--output", "y", "--output", "id=id/LookupTableFindV2"],
    "tf2": ["{}/tf2/ckpt-1", "--meta_graph", "{}/tf2"],
    "renamed": [
        "{}/pixels",
        "--rename_signature=serving_default=from_pixels",
        "--rename_input=from_pixels:pixels=picture",
        "--rename_output=means=colour",
        "--keep_signature=serving_default",
        "--keep_signature=scaled",
        "--default_signature=scaled",
    ],
    "images": [
        "{}/pixels",
        "--rename_signature=serving_default=from_pixels",
        "--image_signature=from_files",
        "--image_of=from_pixels",
        "--image_mean=0,10,0",
        "--image_std=255,10,1",
        "--default_signature=from_files",
        "--request={}/image.json",
    ],
    "planes": [
        "{}/pixels",
        "--image_signature=from_files",
        "--image_of=planes",
        "--image_size=2x3",
        "--image_channels_first",
        "--image_std=2",
        "--image_resize=nearest",
        "--image_alias=file",
    ],
    "loop": ["{}/loop.pb", "--input=x", "--output=y", "--image_signature=from_files"],
    "tags": ["{}/many", "--saved_model_tags=serve,gpu", "--tags=serve", "--version=7"],
    "tf1_savedmodel": [str(EXAMPLES / "tf1_linear"), "--default_signature=prediction"],
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources")
    done = subprocess.run(
        [sys.executable, str(MAKER), str(directory)],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    body = {"instances": [encoded(directory / "red.png")]}
    (directory / "image.json").write_text(json.dumps(body))
    return directory


def encoded(file: Path) -> dict[str, str]:
    return {"b64": base64.b64encode(file.read_bytes()).decode()}


def convert(sources: Path, target: Path, arguments: list[str]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of TensorFlow and Keras
        return main(
            [
                "convert",
                arguments[0].format(sources),
                str(target),
                *(a.format(sources) for a in arguments[1:]),
            ]
        )


@pytest.fixture(scope="module")
def models(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    for name, arguments in CONVERSIONS.items():
        assert convert(sources, base / name, arguments) == 0, name
    (sources / "tf1" / "words.txt").unlink()  # a version needs nothing but itself
    return {name: base / name for name in CONVERSIONS}


@pytest.fixture(scope="module")
def server(models: Mapping[str, Path]) -> Iterator[ServerProcess]:
    """A server with everything that was converted."""
    config = next(iter(models.values())).parent / "models.config"
    config.write_text(config_text(models))
    with ServerProcess([f"--model_config_file={config}"]) as server:
        yield server


@pytest.fixture(scope="module")
def served(server: ServerProcess) -> Iterator[Client]:
    with Client(f"localhost:{server.grpc_port}") as client:
        yield client


@pytest.mark.parametrize(
    ("model", "output"), [("keras", "output_0"), ("h5", "output_0"), ("frozen", "sum"), ("tf2", "y")]
)
def test_sums(model: str, output: str, served: Client) -> None:
    """Keras files, a frozen graph and a checkpoint by objects compute what they were saved with."""
    assert served.predict(model, {"x": ROWS})[output].tolist() == SUMS


def test_a_checkpoint_with_its_meta_graph(served: Client, models: Mapping[str, Path]) -> None:
    """Variables by reference are restored, tables are filled from the file that came along, devices are forgotten."""
    done = served.predict("tf1", {"x": ROWS, "word": ["fox", "dog"]})
    assert done["y"].tolist() == SUMS
    assert done["id"].tolist() == [2, -1]
    assert [file.name for file in (models["tf1"] / "1" / "assets").iterdir()] == ["words.txt"]


def test_renamed(served: Client) -> None:
    """Signatures and aliases have their new names, and only those; serving_default is what was chosen."""
    signatures = served.metadata("renamed").signatures
    assert signatures.keys() - {"__saved_model_init_op"} == {"serving_default", "from_pixels", "scaled"}
    pixels = np.ones((1, 4, 6, 3), np.float32)
    done = served.predict("renamed", {"picture": pixels}, signature="from_pixels")
    assert done["colour"].tolist() == [[1, 1, 1]]
    assert served.predict("renamed", {"pixels": pixels, "factor": 3.0})["colour"].tolist() == [[3, 3, 3]]


def test_images(served: Client, server: ServerProcess, sources: Path) -> None:
    """A signature of encoded images answers a REST request with base64, and its pixels are those of the picture."""
    body = json.dumps({"instances": [encoded(sources / "red.png")] * 2}).encode()
    url = f"http://localhost:{server.rest_port}/v1/models/images:predict"
    with urllib.request.urlopen(url, body, timeout=30) as answer:
        assert json.load(answer) == {"predictions": [[1.0, -1.0, 0.0]] * 2}
    # Who sends pixels is served as before.
    pixels = np.full((1, 4, 6, 3), 0.5, np.float32)
    done = served.predict("images", {"pixels": pixels}, signature="from_pixels")
    assert done["means"].tolist() == [[0.5, 0.5, 0.5]]
    assert served.predict("images", {"pixels": pixels, "factor": 4.0}, signature="scaled")[
        "means"
    ].tolist() == [[2.0, 2.0, 2.0]]


def test_planes(served: Client, sources: Path) -> None:
    """Images for a model that takes channels first, as bytes, of a size that it does not declare: 255 / 2 is 128."""
    red = (sources / "red.png").read_bytes()
    done = served.predict("planes", {"file": [red]}, signature="from_files")
    assert done["sums"].tolist() == [[6 * 128, 0, 0]]
    with pytest.raises(Exception, match="Unknown image file format"):
        served.predict("planes", {"file": [b"none"]}, signature="from_files")


def test_images_for_a_loop_of_tensorflow_1(served: Client, sources: Path) -> None:
    """The loop runs for images as it does for pixels, each in a frame of its own."""
    done = served.predict(
        "loop", {"image_bytes": [(sources / "red.png").read_bytes()]}, signature="from_files"
    )
    assert done["y"][0, 0, 0].tolist() == [7, 6, 6]
    assert served.predict("loop", {"x": np.zeros((1, 4, 6, 3), np.float32)})["y"][0, 3, 5].tolist() == [
        6,
        6,
        6,
    ]


def test_tags_and_version(served: Client, models: Mapping[str, Path]) -> None:
    """The MetaGraph with the tags that were asked for is served under new ones, under the number that was asked for."""
    assert [path.name for path in models["tags"].iterdir()] == ["7"]
    prediction = served.predict("tags", {"x": [1.0]})
    assert (prediction["y"].tolist(), prediction.version) == ([2.0], 7)


def test_a_saved_model_of_tensorflow_1(served: Client) -> None:
    """Assets, tables and variables by reference come along."""
    done = served.predict("tf1_savedmodel", {"x": [1.0, 2.0]})
    assert done["y"].tolist() == [2.0, 5.0]
    assert done["unit"].tolist() == [b"degrees", b"degrees"]


def test_requests_become_the_warmup_file(models: Mapping[str, Path]) -> None:
    """--request leaves a warm-up file that the server replays."""
    assert (models["images"] / "1" / PATH_IN_VERSION).is_file()


def test_tensorflow_sees_the_new_names(models: Mapping[str, Path]) -> None:
    """tf.saved_model.load gives the new signatures too, not those of the object graph."""
    code = (
        "import tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(models['images'] / '1')!r})\n"
        "made = loaded.signatures['from_pixels'](pixels=tf.ones([1, 4, 6, 3]))\n"
        "print(sorted(set(loaded.signatures) - {'__saved_model_init_op'}), made['means'].numpy().tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == (
        "['from_files', 'from_pixels', 'planes', 'scaled', 'serving_default'] [[1.0, 1.0, 1.0]]"
    )


def test_the_next_version(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that has versions gets the next number, and the output is what inspect prints."""
    target = tmp_path / "model"
    shutil.copytree(EXAMPLES / "half_plus_two", target)
    (target / "12").mkdir()
    assert convert(sources, target, [str(EXAMPLES / "half_plus_two"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["version"], made["model"], made["other_versions"]) == (13, "model", [2, 1])
    assert sorted(path.name for path in target.iterdir()) == ["1", "12", "13", "2"]
    assert main(["inspect", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_a_warmup_file_that_does_not_fit(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that still fits stays; one that names what is renamed would fail the load, and is left out with a note."""
    model = tmp_path / "model"
    shutil.copytree(EXAMPLES / "half_plus_two" / "1", model / "1")
    (tmp_path / "body.json").write_text('{"instances": [1.0]}')
    assert main(["warmup", "make", str(model), "--request", str(tmp_path / "body.json")]) == 0
    assert convert(sources, tmp_path / "same", [str(model), "--default_signature=serving_default"]) == 0
    assert (tmp_path / "same" / "1" / PATH_IN_VERSION).is_file()
    capsys.readouterr()
    assert convert(sources, tmp_path / "other", [str(model), "--rename_input=x=z"]) == 0
    assert not (tmp_path / "other" / "1" / PATH_IN_VERSION).exists()
    assert "note: the warm-up file does not fit any more and is left out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{}/none.keras"], 1, "none.keras; No such file or directory"),
        (["{}/custom.keras"], 1, "Keras cannot make a SavedModel of it: Could not locate class 'Unheard'"),
        (["{}/custom.keras", "--import=no_such"], 1, "module no_such cannot be imported"),
        (["{}/frozen.pb"], 2, "has no signature: name its tensors with --input and --output"),
        (["{}/frozen.pb", "--input=x", "--output=z"], 1, 'no tensor "z"; outputs to choose from: y'),
        (["{}/frozen.pb", "--input=x", "--input=x:0", "--output=y"], 2, "--input names something twice"),
        (["{}/red.png"], 1, "red.png is none of saved_model.pb, saved_model.pbtxt, model.tflite"),
        (["{}/model.onnx"], 1, "model.onnx is an ONNX model, which is not read"),
        (
            ["{}/tf1"],
            2,
            "inputs to choose from: x, word\n  outputs to choose from: id/LookupTableFindV2, Sum",
        ),
        (
            ["{}/tf1", "--input=x", "--output=y"],
            1,
            "words.txt, which the graph reads, is neither there nor in",
        ),
        (["{}/tf1", "--meta_graph={}/none.meta"], 1, "none.meta; No such file or directory"),
        (["{}/tf1", "--meta_graph={}/tf2"], 1, "is a checkpoint by names; give its .meta file"),
        (["{}/tf2/ckpt-1"], 1, "is a checkpoint without a graph: give its .meta file"),
        (["{}/tf2/alien", "--meta_graph={}/tf2"], 1, "does not fit the SavedModel"),
        (["{}/pixels", "--saved_model_tags=gpu"], 1, "Could not find meta graph def matching supplied tags"),
        (
            ["{}/pixels", "--keep_signature=no"],
            1,
            'no signature "no"; the model has planes, scaled, serving_default',
        ),
        (["{}/pixels", "--rename_signature=scaled=planes"], 1, 'two signatures would have the name "planes"'),
        (["{}/pixels", "--rename_input=scaled:x=z"], 1, 'no input "x" in scaled; there are factor, pixels'),
        (["{}/pixels", "--image_signature=scaled"], 1, 'there is a signature "scaled" already'),
        (
            ["{}/pixels", "--image_signature=i", "--image_size=9x9"],
            1,
            "is declared with 4 x 6 pixels, not 9 x 9",
        ),
        (["{}/pixels", "--image_signature=i", "--image_mean=1,2"], 1, "mean has 2 values, expected 1 or 3"),
        (["{}/pixels", "--image_signature=i", "--image_of=planes"], 1, "does not declare the size of images"),
        (["{}/tf2", "--image_signature=i"], 1, "which input of signature"),
        (["{}/pixels", "--request={}/none.json"], 1, "none.json; No such file or directory"),
        (["{}/pixels", "--request={}/image.json"], 1, "image.json: "),
        (["{}/pixels", "--version=1"], 1, "1 is there already"),
    ],
)
def test_bad_input(
    arguments: list[str],
    code: int,
    said: str,
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One clear sentence, an exit code, and nothing written."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    assert convert(sources, tmp_path / "m", arguments) == code
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


def test_layers_of_their_own(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Keras model with layers that a module registers converts once the module is named."""
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='mine')\n"
        "class Unheard(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert convert(sources, tmp_path / "m", ["{}/custom.keras", "--import=my_layers"]) == 0
    assert (tmp_path / "m" / "1" / "saved_model.pb").is_file()


def test_what_does_not_run_is_not_published(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version whose variables are damaged fails the trial; the model's directory is not even made."""
    broken = tmp_path / "broken"
    shutil.copytree(sources / "tf2" / "1", broken / "1")
    data = broken / "1" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(bytes(len(data.read_bytes())))
    assert convert(sources, tmp_path / "m", [str(broken)]) == 1
    assert "DATA_LOSS" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()

"""Makes the example SavedModels of this directory: one function per model, deterministic, TensorFlow only.

    python make_models.py [directory] [name ...]

Without arguments every model is made again beside this file. README.md shows a request and its answer for
each.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
v1 = tf.compat.v1


class Linear(tf.Module):
    """y = slope * x + intercept, also for serialized tf.Examples with a float feature `x`."""

    def __init__(self, slope: float, intercept: float) -> None:
        super().__init__()
        self.slope = tf.Variable(slope, name="a")
        self.intercept = tf.Variable(intercept, name="b")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def predict(self, x: Any) -> Any:
        return {"y": self.slope * x + self.intercept}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs: Any) -> Any:
        return {"scores": self._of_examples(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs: Any) -> Any:
        return {"outputs": self._of_examples(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress_plus_one(self, inputs: Any) -> Any:
        return {"outputs": self._of_examples(inputs) + 1.0}

    def _of_examples(self, inputs: Any) -> Any:
        feature = tf.io.FixedLenFeature([1], tf.float32)
        return self.slope * tf.io.parse_example(inputs, {"x": feature})["x"] + self.intercept


def half_plus_two(directory: Path) -> None:
    """y = 0.5 x + 2 in two versions; the second has one more signature, `regress_x_to_y2` (0.5 x + 3)."""
    for version in (1, 2):
        model = Linear(0.5, 2.0)
        signatures = {
            "serving_default": model.predict,
            "classify_x_to_y": model.classify,
            "regress_x_to_y": model.regress,
        }
        methods = {"classify_x_to_y": CLASSIFY, "regress_x_to_y": REGRESS}
        if version == 2:
            signatures["regress_x_to_y2"] = model.regress_plus_one
            methods["regress_x_to_y2"] = REGRESS
        _save(model, directory / str(version), signatures, methods)


def half_plus_three(directory: Path) -> None:
    """y = 0.5 x + 3."""
    model = Linear(0.5, 3.0)
    signatures = {"serving_default": model.predict, "tensorflow/serving/regress": model.regress}
    _save(model, directory / "1", signatures, {"tensorflow/serving/regress": REGRESS})


class Classifier(tf.Module):
    """A digit classifier, 784 - 32 - 10, with random weights of a fixed seed: for load, not for accuracy."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(7)
        self.hidden = tf.Variable(rng.normal(0, 0.05, (784, 32)).astype(np.float32), name="hidden")
        self.output = tf.Variable(rng.normal(0, 0.3, (32, 10)).astype(np.float32), name="output")

    @tf.function(input_signature=[tf.TensorSpec([None, 784], tf.float32, "images")])
    def predict(self, images: Any) -> Any:
        logits = tf.nn.relu(images @ self.hidden) @ self.output
        return {"probabilities": tf.nn.softmax(logits), "classes": tf.argmax(logits, axis=1)}


def mlp(directory: Path) -> None:
    """Images of 784 floats to probabilities of 10 classes."""
    model = Classifier()
    _save(model, directory / "1", {"serving_default": model.predict})


class Vocabulary(tf.Module):
    """Words to numbers and back, by a file of words."""

    WORDS = ("the", "quick", "brown", "fox", "jumps")

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = tf.saved_model.Asset(file)
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self.ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(self.file, tf.string, whole, tf.int64, number), -1
        )
        self.words = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(self.file, tf.int64, number, tf.string, whole), "?"
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def encode(self, words: Any) -> Any:
        return {"ids": self.ids.lookup(words)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "ids")])
    def decode(self, ids: Any) -> Any:
        return {"words": self.words.lookup(ids)}


def vocabulary(directory: Path) -> None:
    """Strings, lookup tables and an asset file; signatures `serving_default` (words to ids) and `decode`."""
    with _scratch_directory():
        file = Path("words.txt")
        file.write_text("\n".join(Vocabulary.WORDS) + "\n", encoding="utf-8")
        model = Vocabulary(str(file))
        _save(model, directory / "1", {"serving_default": model.encode, "decode": model.decode})


class Arithmetic(tf.Module):
    """Names of inputs and outputs do not sort as they are declared: whoever mixes them up shows here."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "right"),
            tf.TensorSpec([None], tf.float32, "left"),
        ]
    )
    def predict(self, right: Any, left: Any) -> Any:
        return {
            "sum": left + right,
            "difference": left - right,
            "quotient": left / right,
            "product": left * right,
            "minimum": tf.minimum(left, right),
            "maximum": tf.maximum(left, right),
        }


def two_in_six_out(directory: Path) -> None:
    """Six results of two numbers."""
    model = Arithmetic()
    _save(model, directory / "1", {"serving_default": model.predict})


def tf1_linear(directory: Path) -> None:
    """A TensorFlow 1 graph: y = 3 x - 1, its unit from a table; signature `prediction`, `legacy_init_op`."""
    graph = v1.Graph()
    with _scratch_directory(), graph.as_default(), v1.Session(graph=graph) as session:
        file = Path("unit.txt")
        file.write_text("degrees\n", encoding="utf-8")
        path = tf.constant(str(file), name="unit_file")
        graph.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.int64, number, tf.string, whole), "?"
        )
        x = v1.placeholder(tf.float32, [None], name="x")
        weight = v1.get_variable("weight", initializer=3.0, use_resource=False)
        bias = v1.get_variable("bias", initializer=-1.0, use_resource=False)
        y = tf.add(weight * x, bias, name="y")
        unit = tf.identity(table.lookup(tf.zeros_like(x, tf.int64)), name="unit")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        _build(
            session,
            directory / "1",
            {"prediction": ({"x": x}, {"y": y, "unit": unit})},
            assets_collection=graph.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=tf.group(v1.tables_initializer(), name="legacy_init_op"),
        )


def tf1_counter(directory: Path) -> None:
    """A TensorFlow 1 graph with state: `get_counter`, `incr_counter`, `reset_counter`, without inputs."""
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        counter = v1.get_variable("counter", initializer=0.0, use_resource=False)
        outputs = {
            "get_counter": tf.identity(counter, name="current"),
            "incr_counter": tf.identity(v1.assign_add(counter, 1.0), name="incremented"),
            "reset_counter": tf.identity(v1.assign(counter, 0.0), name="reset"),
        }
        session.run(v1.global_variables_initializer())
        _build(session, directory / "1", {key: ({}, {"output": tensor}) for key, tensor in outputs.items()})


MODELS: Mapping[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        half_plus_two,
        half_plus_three,
        mlp,
        vocabulary,
        two_in_six_out,
        tf1_linear,
        tf1_counter,
    )
}


def _save(
    model: tf.Module, directory: Path, signatures: Mapping[str, Any], methods: Mapping[str, str] | None = None
) -> None:
    """Export for TensorFlow 2, then write the method names, which the exporter cannot."""
    tf.saved_model.save(model, str(directory), signatures=dict(signatures))
    file = directory / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for key, method in (methods or {}).items():
        proto.meta_graphs[0].signature_def[key].method_name = method
    file.write_bytes(proto.SerializeToString(deterministic=True))
    # The fingerprint is that of the file as the exporter left it.
    (directory / "fingerprint.pb").unlink(missing_ok=True)
    for empty in ("assets", "variables"):
        if (directory / empty).is_dir() and not any((directory / empty).iterdir()):
            (directory / empty).rmdir()


def _build(
    session: Any,
    directory: Path,
    signatures: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    **options: Any,
) -> None:
    """Export for TensorFlow 1."""
    builder = v1.saved_model.Builder(str(directory))
    definitions = {
        key: v1.saved_model.build_signature_def(
            {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in inputs.items()},
            {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        for key, (inputs, outputs) in signatures.items()
    }
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=definitions, **options)
    builder.save()


@contextlib.contextmanager
def _scratch_directory() -> Iterator[None]:
    """Work in an empty directory, so that file names in graphs are the same whoever makes them."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        yield


def make(directory: Path, names: list[str] | None = None) -> None:
    """Make models below a directory; what was there under their names is replaced."""
    for name in names or MODELS:
        shutil.rmtree(directory / name, ignore_errors=True)
        MODELS[name](directory.resolve() / name)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent, sys.argv[2:])

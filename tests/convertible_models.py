"""Makes one model in every form that `pyserve convert` takes. Run in a process of its own: it imports TensorFlow.

python convertible_models.py DIRECTORY

line.keras, line.h5        [?, 2] → [?, 1], the weighted sum with weights 2 and 3
custom.keras               a layer that Keras does not know when it loads the file
frozen.pb                  the same sum, weights as constants, `x` → `y`
tf1/line.ckpt.*            the same by TensorFlow 1's Saver, with a table from a file: `x` → `y`, `word` → `id`
tf2/1, tf2/ckpt-1.*        a SavedModel with the weights 0, and a checkpoint with those of the sum
pixels/1                   [?, 4, 6, 3] floats → the mean of each channel, beside a factor that is 2 in `scaled`
many/1                     MetaGraphs with the tags `serve`, and `serve` and `gpu`
red.png                    4 x 6 pixels
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
WEIGHTS = [[2.0], [3.0]]


def by_keras(directory: Path) -> None:
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, use_bias=False, name="y")])
    model.layers[0].set_weights([np.array(WEIGHTS, np.float32)])
    model.save(directory / "line.keras")
    model.save(directory / "line.h5")

    @keras.saving.register_keras_serializable(package="mine")  # type: ignore[untyped-decorator]
    class Unheard(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((2,)), Unheard()]).save(directory / "custom.keras")


def frozen(directory: Path) -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        tf.matmul(x, tf.constant(WEIGHTS), name="y")
    (directory / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())


def loop(directory: Path) -> None:
    v1.disable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 6, 3], "x")
        two = tf.constant(2.0)
        _, more = tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x + two), (0, x))
        tf.identity(more, name="y")
    v1.enable_control_flow_v2()
    (directory / "loop.pb").write_bytes(graph.as_graph_def().SerializeToString())


def by_saver(directory: Path) -> None:
    directory.mkdir()
    words = directory / "training" / "words.txt"
    words.parent.mkdir()
    words.write_text("the\nquick\nfox\n")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        weights = v1.get_variable("weights", initializer=WEIGHTS, use_resource=False)
        y = tf.matmul(x, weights, name="y")
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(words),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        table.lookup(v1.placeholder(tf.string, [None], "word"), name="id")
        v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(directory / "line.ckpt"))
    words.rename(directory / "words.txt")  # where the graph does not look for it, beside the checkpoint
    # As a cluster would have written it: its machines are not those that serve.
    meta = directory / "line.ckpt.meta"
    graph = v1.MetaGraphDef.FromString(meta.read_bytes())
    for node in graph.graph_def.node:
        node.device = "/job:ps/task:0"
    meta.write_bytes(graph.SerializeToString())


class Line(tf.Module):
    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.weights = tf.Variable(weights)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def run(self, x: Any) -> Any:
        return {"y": tf.matmul(x, self.weights)}


def by_checkpoint(directory: Path) -> None:
    directory.mkdir()
    empty = Line(tf.zeros([2, 1]))
    tf.saved_model.save(empty, str(directory / "1"), signatures={"serving_default": empty.run})
    tf.train.Checkpoint(model=Line(tf.constant(WEIGHTS)), step=tf.Variable(1)).write(
        str(directory / "ckpt-1")
    )
    tf.train.Checkpoint(other=tf.Variable(1.0)).write(str(directory / "alien"))


class Pixels(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 6, 3], tf.float32, "pixels")])
    def means(self, pixels: Any) -> Any:
        return {"means": tf.reduce_mean(pixels, [1, 2]) * self.factor}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4, 6, 3], tf.float32, "pixels"),
            tf.TensorSpec([], tf.float32, "factor"),
        ]
    )
    def scaled(self, pixels: Any, factor: Any) -> Any:
        return {"means": tf.reduce_mean(pixels, [1, 2]) * self.factor * factor}

    @tf.function(input_signature=[tf.TensorSpec([None, 3, None, None], tf.uint8, "planes")])
    def planes(self, planes: Any) -> Any:
        return {"sums": tf.reduce_sum(tf.cast(planes, tf.int32), [2, 3])}


def of_pixels(directory: Path) -> None:
    model = Pixels()
    signatures = {"serving_default": model.means, "scaled": model.scaled, "planes": model.planes}
    tf.saved_model.save(model, str(directory / "pixels" / "1"), signatures=signatures)
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    (directory / "red.png").write_bytes(tf.io.encode_png(red).numpy())


def many(directory: Path) -> None:
    builder = v1.saved_model.Builder(str(directory))
    for number, tags in enumerate((["serve"], ["serve", "gpu"])):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], "x")
            y = tf.add(x, float(number), name="y")
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            v1.get_variable("unused", initializer=1.0)
            session.run(v1.global_variables_initializer())
            arguments = {"signature_def_map": {"serving_default": signature}}
            if number == 0:
                builder.add_meta_graph_and_variables(session, tags, **arguments)
            else:
                builder.add_meta_graph(tags, **arguments)
    builder.save()


def main(directory: Path) -> None:
    by_keras(directory)
    frozen(directory)
    loop(directory)
    by_saver(directory / "tf1")
    by_checkpoint(directory / "tf2")
    of_pixels(directory)
    many(directory / "many" / "1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

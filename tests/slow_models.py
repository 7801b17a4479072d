"""SavedModels that take their time, made on the spot: run as a script with a directory.

slow/1       `serving_default` multiplies matrices `rounds` times, about 50 µs each, and answers `rounds`
slow_load/1  its initialisation does not end
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make(directory: Path) -> None:
    """Make both models, in a process of its own so that this one needs no TensorFlow."""
    subprocess.run([sys.executable, __file__, str(directory)], check=True, capture_output=True, timeout=100)


def _main(directory: str) -> None:
    import tensorflow as tf

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "rounds")])
        def __call__(self, rounds: tf.Tensor) -> dict[str, tf.Tensor]:
            matrix = tf.eye(64)
            count = tf.constant(0, tf.int64)
            count, matrix = tf.while_loop(
                lambda count, matrix: count < rounds,
                lambda count, matrix: (count + 1, tf.matmul(matrix, matrix)),
                (count, matrix),
            )
            return {"rounds": count + tf.cast(tf.reduce_sum(matrix) * 0, tf.int64)}

    slow = Slow()
    tf.saved_model.save(slow, f"{directory}/slow/1", signatures=slow.__call__.get_concrete_function())

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        endless = v1.while_loop(lambda i: i < 2**62, lambda i: i + 1, [tf.constant(0, tf.int64)])
        builder = v1.saved_model.Builder(f"{directory}/slow_load/1")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": x + 1.0})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature}, main_op=tf.group(endless)
        )
        builder.save()


if __name__ == "__main__":
    _main(sys.argv[1])

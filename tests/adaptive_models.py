"""SavedModels that adaptive batching must treat with care, made on the spot: run as a script with a directory.

scalar/1      `serving_default` takes a scalar
summing/1     `serving_default` answers x, and the sum of x, whose shape is not declared
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

    class Scalar(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2.0 * x}

    class Summing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            total = tf.reduce_sum(x)
            # Neither an export nor a loader can tell its rank.
            return {"y": x, "sum": tf.compat.v1.placeholder_with_default(total, None)}

    for name, model in (("scalar", Scalar()), ("summing", Summing())):
        tf.saved_model.save(model, f"{directory}/{name}/1", signatures=model.__call__.get_concrete_function())


if __name__ == "__main__":
    _main(sys.argv[1])

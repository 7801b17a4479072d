"""SavedModels that show what batching does, made on the spot: run as a script with a directory.

checked/1   `serving_default` answers `y = 2 x`; a negative x fails the run with INVALID_ARGUMENT
counting/1  the same, and counts its runs, failed ones included, which `count` answers for each row of x
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

    x_spec = tf.TensorSpec([None], tf.float32, "x")

    class Checked(tf.Module):
        @tf.function(input_signature=[x_spec])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
                return {"y": 2.0 * x}

    checked = Checked()
    tf.saved_model.save(
        checked, f"{directory}/checked/1", signatures=checked.__call__.get_concrete_function()
    )

    class Counting(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.runs = tf.Variable(0.0)

        @tf.function(input_signature=[x_spec])
        def run(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            self.runs.assign_add(1.0)
            with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
                return {"y": 2.0 * x}

        @tf.function(input_signature=[x_spec])
        def count(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"runs": self.runs + 0.0 * x}

    counting = Counting()
    signatures = {"serving_default": counting.run, "count": counting.count}
    tf.saved_model.save(counting, f"{directory}/counting/1", signatures=signatures)


if __name__ == "__main__":
    _main(sys.argv[1])

"""The models that the benchmarks serve: those of examples/, and larger ones that are made on the spot and kept.

    python benchmarks/models.py [NAME ...]        make those that are missing, print where they are

What is made goes to $PYSERVE_BENCH_CACHE, or ~/.cache/pyserve-benchmarks. Weights are random: for load, not for
accuracy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pyserve.dtypes import Array
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.bench.request import made_up
from pyserve.tools.warmup import read_signatures

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "models"
_MADE = {
    "mlp_512": """
rng = np.random.default_rng(7)
class Mlp(tf.Module):
    def __init__(self):
        self.hidden = tf.Variable(rng.normal(0, 0.05, (784, 512)).astype(np.float32))
        self.output = tf.Variable(rng.normal(0, 0.05, (512, 10)).astype(np.float32))
    @tf.function(input_signature=[tf.TensorSpec([None, 784], tf.float32, "images")])
    def predict(self, images):
        return {"probabilities": tf.nn.softmax(tf.nn.relu(images @ self.hidden) @ self.output)}
model = Mlp()
tf.saved_model.save(model, path, signatures={"serving_default": model.predict})
""",
    "resnet50v2": """
tf.keras.utils.set_random_seed(7)
model = tf.keras.applications.ResNet50V2(weights=None)
spec = tf.TensorSpec([None, 224, 224, 3], tf.float32, "images")
predict = tf.function(lambda images: {"probabilities": model(images, training=False)}, input_signature=[spec])
holder = tf.Module()
# The plain variables, not the Keras model: with it each is exported twice, and the one that runs is not restored.
holder.weights, holder.predict = [variable.value for variable in model.variables], predict
tf.saved_model.save(holder, path, signatures={"serving_default": predict})
""",
}
MODELS = ("half_plus_two", "mlp_512", "resnet50v2", "vocabulary", "two_in_six_out")


def cache() -> Path:
    given = os.environ.get("PYSERVE_BENCH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "pyserve-benchmarks"


def base_path(name: str) -> Path:
    """A model's base path; makes the model first, in a process of its own, when it is missing."""
    if name not in _MADE:
        if not (EXAMPLES / name).is_dir():
            raise SystemExit(f"there is no model {name}; there are {', '.join(MODELS)}")
        return EXAMPLES / name
    base = cache() / name
    if not (base / "1").is_dir():
        print(f"making {name} in {base}", file=sys.stderr)
        arriving = base / "arriving"
        shutil.rmtree(arriving, ignore_errors=True)
        code = f"import sys\nimport numpy as np, tensorflow as tf\npath = sys.argv[1]\n{_MADE[name]}"
        done = subprocess.run([sys.executable, "-c", code, str(arriving)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name} could not be made:\n{done.stderr[-3000:]}")
        arriving.rename(base / "1")
    return base


def version_path(name: str) -> Path:
    """The directory of a model's newest version."""
    return max(
        (path for path in base_path(name).iterdir() if path.name.isdecimal()), key=lambda p: int(p.name)
    )


def inputs(name: str, rows: int = 1) -> dict[str, Array]:
    """A request for a model."""
    return made_up(read_signatures(version_path(name))[DEFAULT_SIGNATURE], rows)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        print(base_path(wanted))

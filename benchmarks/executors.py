"""What one run of a model costs in process: our executor beside TensorFlow's raw op and its public signature call.

    python benchmarks/executors.py [--rounds 9] [--calls 2000]

One request at a time, numpy arrays in and out, the three in turn, round by round. `raw op` is
`tf.raw_ops.StatefulPartitionedCall` on the loaded function; `signature` is `loaded.signatures[...](**tensors)`;
`run` is `SavedModelServable.run`, which feeds a session. Prints the median time per call of each with its range.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import models
from pyserve.backends.saved_model import SavedModelLoader
from pyserve.config import TensorFlowOptions

MODELS = ("half_plus_two", "mlp", "two_in_six_out", "vocabulary")


def contenders(name: str) -> dict[str, Callable[[], object]]:
    """Three ways to run a model on the same input."""
    import tensorflow as tf

    path, inputs = str(models.version_path(name)), models.inputs(name)
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    aliases = sorted(function.structured_input_signature[1])
    captured = list(function.captured_inputs)
    types = [output.dtype for output in function.outputs]

    def raw_op() -> object:
        arguments = [tf.constant(inputs[alias]) for alias in aliases] + captured
        return [t.numpy() for t in tf.raw_ops.StatefulPartitionedCall(args=arguments, Tout=types, f=function)]

    def signature() -> object:
        found = function(**{alias: tf.constant(value) for alias, value in inputs.items()})
        return {key: value.numpy() for key, value in found.items()}

    servable = SavedModelLoader(path, TensorFlowOptions()).load()
    outputs = sorted(servable.signatures["serving_default"].outputs)

    def run(keep: object = loaded) -> object:
        return servable.run("serving_default", inputs, outputs)

    return {"signature": signature, "raw op": raw_op, "run": run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    print(
        f"microseconds per call, one request at a time, {arguments.rounds} rounds of {arguments.calls} calls"
    )
    for name in MODELS:
        ways = contenders(name)
        times: dict[str, list[float]] = {way: [] for way in ways}
        for way in ways.values():
            for _ in range(200):
                way()
        for _ in range(arguments.rounds):
            for way, call in ways.items():
                began = time.perf_counter()
                for _ in range(arguments.calls):
                    call()
                times[way].append((time.perf_counter() - began) / arguments.calls * 1e6)
        row = ", ".join(
            f"{w} {statistics.median(t):.1f} ({min(t):.1f}-{max(t):.1f})" for w, t in times.items()
        )
        print(f"{name:>15}: {row}")


if __name__ == "__main__":
    main()

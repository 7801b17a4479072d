"""Many loads at once, many runs at once, what unloading gives back, and TensorFlow's private parts."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelLoader, SavedModelServable, runtime, session
from pyserve.config import TensorFlowOptions

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
Load = Callable[..., SavedModelServable]
KEY = "serving_default"


def test_the_private_way_into_sessions_is_there(tf: Any, load: Load) -> None:
    """The canary: this TensorFlow still has what the fast path needs."""
    del tf
    assert load(EXAMPLES / "half_plus_two" / "1")._session.direct  # type: ignore[union-attr]


def test_everything_works_without_the_private_way(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Should TensorFlow change inside, models load and answer through its public parts, with a warning."""
    monkeypatch.setattr(session, "_direct_run", lambda graph, session: None)
    linear = load(EXAMPLES / "tf1_linear" / "1")
    assert "slow public way" in caplog.text
    results = linear.run("prediction", {"x": np.array([1], np.float32)}, ["y", "unit"], 30)
    assert results["y"].tolist() == [2]
    assert results["unit"].tolist() == [b"degrees"]
    counter = load(EXAMPLES / "tf1_counter" / "1")
    assert counter.run("incr_counter", {}, ["output"])["output"].shape == ()
    mlp = load(EXAMPLES / "mlp" / "1")
    for _ in range(3):
        mlp.run(KEY, {"images": np.zeros((2, 784), np.float32)}, ["classes"])
    with pytest.raises(Exception, match="Cannot feed value"):
        mlp.run(KEY, {"images": np.zeros((2, 7), np.float32)}, ["classes"])


def test_trial_of_a_changed_session_falls_back(tf: Any) -> None:
    """A session that lacks a private part is noticed when it is opened, not in a request."""
    with tf.Graph().as_default() as graph:
        session_ = tf.compat.v1.Session(graph=graph)

    class Changed:
        def __getattr__(self, name: str) -> Any:
            if name == "_call_tf_sessionrun":
                raise AttributeError(name)
            return getattr(session_, name)

    assert session._direct_run(graph, session_) is not None
    assert session._direct_run(graph, Changed()) is None
    session_.close()


def test_parallel_loads(tf: Any) -> None:
    """Eight threads that load, run and unload different models at the same time do not disturb each other."""
    del tf
    models = [("half_plus_two", 2.0), ("half_plus_three", 3.0)]

    def once(number: int) -> float:
        name, plus = models[number % 2]
        servable = SavedModelLoader(str(EXAMPLES / name / "1"), TensorFlowOptions()).load()
        y = servable.run(KEY, {"x": np.array([number], np.float32)}, ["y"])["y"]
        servable.unload()
        return float(y[0]) - number / 2 - plus

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(once, range(80))) == [0.0] * 80
    assert gc.isenabled()


def test_parallel_runs(load: Load) -> None:
    """Eight threads on one servable each get their own answers, short runs on their own threads included."""
    servable = load(EXAMPLES / "two_in_six_out" / "1")
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(300):
            left = np.full(1 + (number + step) % 50, number, np.float32)
            results = servable.run(KEY, {"left": left, "right": left * 2}, ["sum", "difference"], 60)
            if (results["sum"] != left * 3).any() or (results["difference"] != -left).any():
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


SWAPS = """
import gc, sys
import numpy as np
from pyserve.backends.saved_model import SavedModelLoader, freeze_imported, runtime
from pyserve.config import TensorFlowOptions

runtime.tensorflow()
freeze_imported()

def rss_kb():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])

def swap():
    servable = SavedModelLoader(sys.argv[1], TensorFlowOptions()).load()
    servable.run("serving_default", {"x": np.ones((1, 16), np.float32)}, ["y"])
    servable.unload()

for _ in range(15):
    swap()
before, objects = rss_kb(), len(gc.get_objects())
for _ in range(int(sys.argv[2])):
    swap()
print(rss_kb() - before, len(gc.get_objects()) - objects)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_unloading_gives_memory_back(tf: Any, export: Any) -> None:
    """Loading, running and unloading a model of 200 operations over and over does not grow the process."""
    weights = [tf.Variable(np.eye(16, dtype=np.float32)) for _ in range(60)]

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, "x")])
    def f(x: Any) -> Any:
        for weight in weights:
            x = tf.nn.relu(x @ weight)
        return {"y": x}

    path = export(f, variables=weights)
    swaps = 40
    ran = subprocess.run(
        [sys.executable, "-c", SWAPS, str(path), str(swaps)], capture_output=True, text=True, check=True
    )
    grown_kb, objects = map(int, ran.stdout.split())
    # What leaks at all leaks megabytes per swap (its kernels) or thousands of objects (its graph).
    assert grown_kb / swaps < 150
    assert abs(objects) < 2000


THREADS = """
import logging, os, sys
logging.basicConfig(format="%(message)s")
from pyserve.backends.saved_model import SavedModelLoader, runtime
from pyserve.config import TensorFlowOptions

if sys.argv[2] == "live":
    runtime.tensorflow().constant(1) + 1
for intra in (3, 5):
    options = TensorFlowOptions(intra_op_parallelism=intra, inter_op_parallelism=2)
    SavedModelLoader(sys.argv[1], options).load().unload()
print(runtime.tensorflow().config.threading.get_intra_op_parallelism_threads())
"""


@pytest.mark.parametrize(
    ("state", "reported", "warnings"),
    [
        ("fresh", "3", ["stay at 3 and 2"]),
        ("live", "0", ["already running in this process", "stay at 3 and 2"]),
    ],
)
def test_thread_counts_are_the_processs(state: str, reported: str, warnings: list[str]) -> None:
    """The first counts are taken, later ones and those for a live TensorFlow only warned about."""
    path = str(EXAMPLES / "half_plus_two" / "1")
    ran = subprocess.run(
        [sys.executable, "-c", THREADS, path, state], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == reported
    assert ran.stderr.count("TensorFlow is already running") == (state == "live")
    for warning in warnings:
        assert warning in ran.stderr


WITHOUT = """
import sys
sys.modules["tensorflow"] = None if sys.argv[2] == "none" else sys.modules.get("x")
if sys.argv[2] == "none":
    import importlib.abc
    del sys.modules["tensorflow"]
    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "tensorflow":
                raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    sys.meta_path.insert(0, Missing())
from pyserve.backends.saved_model import SavedModelLoader
from pyserve.config import TensorFlowOptions
try:
    SavedModelLoader(sys.argv[1], TensorFlowOptions()).load()
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (
            "none",
            "FAILED_PRECONDITION: Serving a SavedModel needs TensorFlow, which is not installed: "
            "pip install 'pyserve[tensorflow]'",
        ),
        ("broken", "FAILED_PRECONDITION: TensorFlow cannot be imported: "),
    ],
)
def test_without_tensorflow(how: str, text: str) -> None:
    """Where TensorFlow is missing or broken, the load says so in one sentence."""
    code = (
        WITHOUT
        if how == "none"
        else WITHOUT.replace('name="tensorflow")', 'name="tensorflow.core")').replace('== "none"', '!= ""')
    )
    path = str(EXAMPLES / "half_plus_two" / "1")
    ran = subprocess.run([sys.executable, "-c", code, path, how], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(text)
    assert len(ran.stdout.strip().splitlines()) == 1


def test_the_op_registry_is_there(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: stateful operations are told apart; without the registry all count as stateful."""
    del tf
    expected = {
        "AddV2": False,
        "RandomUniform": True,
        "AssignAddVariableOp": True,
        "Assign": True,
        "ScatterAdd": True,
        "NoSuchOp": True,
        "ParseExampleV2": False,
        "PyFunc": True,
    }
    assert {op: runtime.is_stateful(op) for op in expected} == expected
    monkeypatch.setitem(sys.modules, "tensorflow.python.framework.op_def_registry", None)
    import tensorflow.python.framework as framework

    monkeypatch.delattr(framework, "op_def_registry", raising=False)
    assert runtime.is_stateful("AddV2")

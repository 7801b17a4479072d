"""TensorFlow's options, seen in what TensorFlow does: rewritten graphs, its threads, its devices, its refusals.

Options of one session are tested here beside others; those that belong to a whole process, in a process of their
own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelLoader, SavedModelServable, runtime
from pyserve.cli.configure import server_config
from pyserve.codec.session_config import parse_session_config
from pyserve.config import TensorFlowOptions
from pyserve.errors import DeadlineExceededError, NotFoundError
from pyserve.protos import tfs
from servers import ServerProcess

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
KEY = "serving_default"
IMAGES = np.random.default_rng(1).random((4, 784), np.float32)

LoadWith = Callable[..., SavedModelServable]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads thread names in /proc")


@pytest.fixture
def load_with(tf: Any) -> Iterator[LoadWith]:
    """Loads a version with a session config in text format, and further options."""
    del tf
    loaded: list[SavedModelServable] = []

    def load_with(text: str = "", path: Path = EXAMPLES / "mlp" / "1", **options: Any) -> SavedModelServable:
        made = TensorFlowOptions(session_config=parse_session_config(text, "test"), **options)
        servable = SavedModelLoader(str(path), made).load()
        assert isinstance(servable, SavedModelServable)
        loaded.append(servable)
        return servable

    yield load_with
    for servable in loaded:
        servable.unload()


def session_of(servable: SavedModelServable) -> Any:
    assert servable._session is not None
    return servable._session._session


def executed_ops(tf: Any, servable: SavedModelServable, feeds: dict[str, Any], output: str) -> Counter[str]:
    """The operations of the graph as TensorFlow runs it, after all its rewriting."""
    signature = servable.signatures[KEY]
    metadata = tf.compat.v1.RunMetadata()
    session_of(servable).run(
        signature.outputs[output].tensor_name,
        {signature.inputs[alias].tensor_name: value for alias, value in feeds.items()},
        options=tf.compat.v1.RunOptions(output_partition_graphs=True),
        run_metadata=metadata,
    )
    return Counter(node.op for graph in metadata.partition_graphs for node in graph.node)


def mlp_ops(tf: Any, servable: SavedModelServable) -> Counter[str]:
    return executed_ops(tf, servable, {"images": IMAGES}, "probabilities")


def probabilities(servable: SavedModelServable) -> Any:
    return servable.run(KEY, {"images": IMAGES}, ["probabilities"])["probabilities"]


def test_mixed_precision_rewrites_the_graph(tf: Any, load_with: LoadWith) -> None:
    """With bfloat16 the executed graph has casts around its products, and the results have 8 significant bits."""
    obstacle = runtime.bfloat16_obstacle()
    if obstacle is not None:
        pytest.skip(f"no bfloat16 here: {obstacle}")
    plain, mixed = load_with(), load_with(bfloat16_mixed_precision=True)
    assert mlp_ops(tf, plain)["Cast"] == 0
    assert mlp_ops(tf, mixed)["Cast"] >= 2
    exact, rounded = probabilities(plain), probabilities(mixed)
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, rtol=0.1, atol=1e-3)


def test_bfloat16_questions_can_be_asked(tf: Any) -> None:
    """The canary: TensorFlow still says by itself whether it can compute in bfloat16, and whether it is in use."""
    del tf
    from tensorflow.python.eager import context
    from tensorflow.python.util import _pywrap_util_port, _pywrap_utils

    assert isinstance(_pywrap_util_port.IsMklEnabled(), bool)
    assert isinstance(_pywrap_utils.IsDataTypeSupportedByOneDNNOnThisCPU(14), bool)
    assert isinstance(context.context()._initialized, bool)


def test_the_session_config_decides_about_optimizers(tf: Any, load_with: LoadWith) -> None:
    """Without the meta optimizer the model's function is not inlined."""
    assert mlp_ops(tf, load_with())["StatefulPartitionedCall"] == 0
    off = load_with("graph_options { rewrite_options { disable_meta_optimizer: true } }")
    assert mlp_ops(tf, off)["StatefulPartitionedCall"] == 1


def test_a_version_decides_about_its_own_optimizers(tf: Any, load_with: LoadWith, tmp_path: Path) -> None:
    """assets.extra/saved_model_config.pb turns the meta optimizer off for its version alone."""
    path = tmp_path / "1"
    shutil.copytree(EXAMPLES / "mlp" / "1", path)
    overrides = tfs.SessionOverrides(disable_meta_optimizer=True)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "saved_model_config.pb").write_bytes(
        tfs.SavedModelConfig(session_overrides=overrides).SerializeToString()
    )
    assert mlp_ops(tf, load_with(path=path))["StatefulPartitionedCall"] == 1
    assert mlp_ops(tf, load_with())["StatefulPartitionedCall"] == 0


def test_the_session_config_asks_for_xla(tf: Any, load_with: LoadWith) -> None:
    """With a JIT level, and only with it, the model runs as one XLA cluster, with the same results."""
    plain = load_with()
    jit = load_with("graph_options { optimizer_options { global_jit_level: ON_1 cpu_global_jit: true } }")
    assert mlp_ops(tf, plain)["_XlaRun"] == 0
    assert mlp_ops(tf, jit)["_XlaRun"] == 1
    np.testing.assert_allclose(probabilities(jit), probabilities(plain), rtol=1e-4)


def test_the_session_config_reaches_tensorflow(tf: Any, load_with: LoadWith) -> None:
    """Devices, executor, refusal of partition graphs: TensorFlow acts on each, or names it in its error."""
    several = load_with('device_count { key: "CPU" value: 3 }')
    assert [device.device_type for device in session_of(several).list_devices()] == ["CPU"] * 3
    with pytest.raises(NotFoundError, match="executor type: NONE"):
        load_with('experimental { executor_type: "NONE" }')
    silent = load_with("experimental { disable_output_partition_graphs: true }")
    with pytest.raises(tf.errors.InvalidArgumentError, match="disable_output_partition_graphs is true"):
        mlp_ops(tf, silent)


def test_the_session_config_limits_runs(tf: Any, load_with: LoadWith, export: Any) -> None:
    """`operation_timeout_in_ms` ends a run that brings no limit of its own."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "n")])
    def count(n: Any) -> Any:
        return {"y": tf.while_loop(lambda i: i < n, lambda i: [i + 1], [0])[0]}

    servable = load_with("operation_timeout_in_ms: 50", export(count))
    assert servable.run(KEY, {"n": np.array(3, np.int32)}, ["y"])["y"] == 3
    with pytest.raises(DeadlineExceededError):
        servable.run(KEY, {"n": np.array(2**31 - 1, np.int32)}, ["y"])


@linux
@pytest.mark.parametrize(
    ("text", "name", "threads"),
    [
        ("use_per_session_threads: true", "tf_Compute", os.cpu_count()),
        ("session_inter_op_thread_pool { num_threads: 3 }", "tf_Compute0", 3),
    ],
)
def test_the_session_config_makes_thread_pools(
    load_with: LoadWith, text: str, name: str, threads: int
) -> None:
    """A session of its own pool has as many threads more as the pool was given."""
    load_with()
    before = thread_names(os.getpid())
    load_with(text)
    assert thread_names(os.getpid())[name] - before[name] == threads


def thread_names(pid: int) -> Counter[str]:
    """How many threads of a process bear each name. TensorFlow names its pools, all but the intra-op one."""
    names: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            names[(task / "comm").read_text().strip()] += 1
        except OSError:  # the thread has ended meanwhile
            continue
    return names


def test_tags_choose_the_meta_graph(tf: Any, load: Any, tmp_path: Path) -> None:
    """Of two MetaGraphs in one SavedModel the one with exactly the tags is served."""
    v1 = tf.compat.v1
    path = tmp_path / "two"
    builder = v1.saved_model.Builder(str(path))
    for number, tags in enumerate((["serve"], ["serve", "gpu"])):
        graph = v1.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            added = v1.get_variable("added", initializer=10.0)
            session.run(v1.global_variables_initializer())
            y = x + added if number == 0 else x - added
            info = v1.saved_model.build_tensor_info
            signature = v1.saved_model.build_signature_def(
                {"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"
            )
            add = builder.add_meta_graph if number else builder.add_meta_graph_and_variables
            add(*(() if number else (session,)), tags, signature_def_map={KEY: signature})
    builder.save()

    def answer(flag: str) -> float:
        flags = {"model_base_path": "/m", "saved_model_tags": flag}
        tags = server_config(flags, lambda path: "").tensorflow.saved_model_tags
        return float(load(path, *tags).run(KEY, {"x": np.array([1], np.float32)}, ["y"])["y"][0])

    assert (answer("serve"), answer("serve,gpu"), answer("gpu,serve")) == (11.0, -9.0, -9.0)
    with pytest.raises(NotFoundError, match=r"\{ gpu \}"):
        answer("gpu")


def test_idle_gpu_options_are_named_once(load_with: LoadWith, caplog: pytest.LogCaptureFixture) -> None:
    """Where TensorFlow sees no GPU, GPU options are warned about, once per process."""
    if runtime.tensorflow().config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU here")
    runtime._warned.clear()
    text = "GPU options have no effect: TensorFlow sees no GPU here"
    runtime.warn_of_idle_options(TensorFlowOptions(), {"CPU"})
    assert text not in caplog.messages
    for _ in range(2):
        load_with("gpu_options { allow_growth: true }")
    assert caplog.messages.count(text) == 1


OWN_PROCESS = """
import logging, sys
import numpy as np
logging.basicConfig(format="%(message)s")
from pyserve.backends.saved_model import SavedModelLoader, runtime
from pyserve.config import TensorFlowOptions

if "live" in sys.argv:
    runtime.tensorflow().constant(1) + 1
for fraction in (0.25, 0.5):
    options = TensorFlowOptions(per_process_gpu_memory_fraction=fraction, bfloat16_mixed_precision=True)
    servable = SavedModelLoader(sys.argv[1], options).load()
    servable.run("serving_default", {"images": np.ones((1, 784), np.float32)}, ["classes"])
    print(servable._session._session._config.gpu_options.per_process_gpu_memory_fraction)
print(runtime.eager_context_is_live())
if "live" not in sys.argv:
    # TensorFlow's own answer: it refuses this as soon as an eager context exists.
    runtime.tensorflow().config.threading.set_inter_op_parallelism_threads(7)
"""


@pytest.mark.parametrize("state", ["fresh", "live"])
def test_gpu_options_and_eager_contexts(state: str) -> None:
    """The first GPU options stay; pyserve makes no eager context, and warns where one was there before it."""
    ran = subprocess.run(
        [sys.executable, "-c", OWN_PROCESS, str(EXAMPLES / "mlp" / "1"), state],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["0.25", "0.25", str(state == "live")]
    assert ran.stderr.count("GPU options are set once per process") == 1
    assert ran.stderr.count("GPU options may come too late") == (state == "live")
    assert (
        ran.stderr.count("bfloat16 mixed precision has no effect: this TensorFlow runs without oneDNN") == 1
    )


JIT = """
import sys
import numpy as np
import tensorflow as tf

weight = tf.Variable(np.eye(4, dtype=np.float32))

@tf.function(jit_compile=True)
def compiled(x):
    return tf.nn.relu(x @ weight) + 1.0

@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
def predict(x):
    return {"y": compiled(x)}

module = tf.Module()
module.weight = weight
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": predict})

from pyserve.backends.saved_model import SavedModelLoader
from pyserve.config import TensorFlowOptions

servable = SavedModelLoader(sys.argv[1], TensorFlowOptions()).load()
print(servable.run("serving_default", {"x": np.array([[1, 2, 3, -4]], np.float32)}, ["y"])["y"].tolist())
"""


def test_xla_is_never_disabled(tmp_path: Path) -> None:
    """A model that was exported with `jit_compile=True` is compiled by XLA, whatever the flags say."""
    ran = subprocess.run(
        [sys.executable, "-c", JIT, str(tmp_path / "jit")],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[[2.0, 3.0, 4.0, 1.0]]"
    assert "Compiled cluster using XLA!" in ran.stderr


@linux
def test_a_server_with_every_option(tmp_path: Path) -> None:
    """In a real process: thread counts, precision and devices; what the file says beside the flags is named."""
    session = tmp_path / "session"
    session.write_text(
        "intra_op_parallelism_threads: 1 inter_op_parallelism_threads: 9 log_device_placement: true"
    )
    model = f"--model_base_path={EXAMPLES / 'mlp'}"
    with ServerProcess(
        [
            model,
            f"--tensorflow_session_config_file={session}",
            "--tensorflow_intra_op_parallelism=9",
            "--tensorflow_inter_op_parallelism=5",
            "--mixed_precision=bfloat16",
            "--per_process_gpu_memory_fraction=0.5",
            "--xla_cpu_compilation_enabled=true",
            "--num_run_threads=2",
        ]
    ) as server:
        assert thread_names(server.pid)["tf_Compute"] == 5
        nameless = unnamed_threads(server.pid)
        mixed = predict(server)
        assert "(VarHandleOp): /job:localhost/replica:0/task:0/device:CPU:0" in server.log
        for field in ("intra_op_parallelism_threads", "inter_op_parallelism_threads"):
            assert f"{field} in '{session}' is ignored: --tensorflow_" in server.log
        assert "not supported" not in server.log
    with ServerProcess([model, "--tensorflow_session_parallelism=3", "--num_run_threads=2"]) as server:
        assert thread_names(server.pid)["tf_Compute"] == 3
        # The same server but for 3 intra-op threads instead of 9.
        assert nameless - unnamed_threads(server.pid) == 6
        plain = predict(server)
    np.testing.assert_allclose(mixed, plain, rtol=0.1, atol=1e-3)
    assert (mixed != plain).any() == (runtime.bfloat16_obstacle() is None)


def predict(server: ServerProcess) -> Any:
    url = f"http://localhost:{server.rest_port}/v1/models/default:predict"
    with urllib.request.urlopen(
        url, json.dumps({"instances": IMAGES.tolist()}).encode(), timeout=30
    ) as answer:
        return np.array([row["probabilities"] for row in json.load(answer)["predictions"]])


def unnamed_threads(pid: int) -> int:
    """Threads that bear the program's name, among them TensorFlow's intra-op pool; once loading threads have ended."""

    def count() -> int:
        names = thread_names(pid)
        return names["python"] + names[f"python3.{sys.version_info.minor}"]

    lowest = count()
    for _ in range(10):
        time.sleep(0.05)
        lowest = min(lowest, count())
    return lowest


def test_a_refused_session_config_ends_the_start(tmp_path: Path) -> None:
    """A field that is not supported is named before TensorFlow is even imported, exit code 255."""
    file = tmp_path / "session"
    file.write_text("experimental { use_tfrt: true }")
    ran = subprocess.run(
        [sys.executable, "-m", "pyserve", "--model_base_path=/m", f"--tensorflow_session_config_file={file}"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 255
    assert ran.stdout == (
        f"Failed to start server. Error: INVALID_ARGUMENT: Session config file '{file}' sets what is not "
        "supported: experimental.use_tfrt. Remove it\n"
    )

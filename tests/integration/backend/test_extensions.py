"""Custom operations and modules, loaded into a process before its models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grpc_calls import Stubs, predict_request
from pyserve.backends.saved_model import load_extensions
from pyserve.errors import FailedPreconditionError, NotFoundError
from servers import ServerProcess

SOURCE = Path(__file__).with_name("triple_op.cc")
# The operation is made, and a model that uses it, in a process that may keep it for good.
MAKE = """
import subprocess, sys
import tensorflow as tf

source, directory = sys.argv[1:]
library = f"{directory}/triple.so"
flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
subprocess.run(["g++", "-shared", "-fPIC", "-o", library, source, *flags], check=True)
triple = tf.load_op_library(library).pyserve_test_triple
module = tf.Module()
module.f = tf.function(lambda x: {"y": triple(x=x)}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
tf.saved_model.save(module, f"{directory}/m/1", signatures=module.f)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the compiled operation `triple.so`, and a model `m` that uses it."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ to compile an operation with")
    directory = tmp_path_factory.mktemp("op")
    done = subprocess.run(
        [sys.executable, "-c", MAKE, SOURCE, directory], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return directory


def test_a_model_with_a_custom_operation(made: Path, tmp_path: Path) -> None:
    """It is served by a process that was given the library; a module was imported after it."""
    (tmp_path / "registers.py").write_text(
        "import tensorflow as tf\n"
        "from tensorflow.python.framework import op_def_registry\n"
        "print('imported', op_def_registry.get('PyserveTestTriple') is not None)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    flags = ["--model_name=m", f"--model_base_path={made / 'm'}", "--import=registers,json"]
    server = ServerProcess(
        [*flags, f"--load_op_library={made / 'triple.so'}"], rest=False, env={"PYTHONPATH": path}
    )
    with server, Stubs(server.grpc_port) as stubs:
        request = predict_request("m", {"x": {"dtype": 1, "shape": [2], "float_val": [1.0, 5.0]}})
        assert list(stubs.prediction.Predict(request, timeout=30).outputs["y"].float_val) == [3.0, 15.0]
        server.wait_for_log("imported True")
        server.wait_for_log("Imported json")


def test_what_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    """At once, with exit code 255, naming the flag and the file."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyserve",
            "--port=1",
            f"--model_base_path={tmp_path}",
            "--load_op_library=/no.so",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 255
    assert "--load_op_library: there is no file /no.so" in done.stdout


@pytest.mark.usefixtures("tf")
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names its flag, what it was given, and why it cannot be had."""
    with pytest.raises(NotFoundError, match=r"--load_op_library: there is no file /no\.so"):
        load_extensions(["/no.so"], [], own_process=False)
    library = tmp_path / "text.so"
    library.write_text("no library")
    with pytest.raises(FailedPreconditionError, match=rf"--load_op_library: {library} cannot be loaded: .*"):
        load_extensions([str(library)], [], own_process=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ends.py").write_text("raise SystemExit(3)")
    for module, why in (("no_such_module", "ModuleNotFoundError: No module"), ("ends", "SystemExit: 3")):
        with pytest.raises(FailedPreconditionError, match=f"--import: {module} cannot be imported: {why}"):
            load_extensions([], [module], own_process=False)

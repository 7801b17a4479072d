"""Code as a servable: its interface, its errors, and that nothing of it stays."""

from __future__ import annotations

import gc
import logging
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.dtypes import Array
from pyserve.errors import Code, FailedPreconditionError, InvalidArgumentError, NotFoundError, ServingError
from pyserve.protos import tfs
from pyserve.servable import Servable
from python_models import ID, load, modules

X = np.array([1, 2], np.float32)


def run(servable: Servable, key: str = "serving_default", **inputs: Array) -> Any:
    return servable.run(key, inputs or {"x": X}, ["y"])["y"].tolist()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test loads or fails to load, its modules have gone."""
    yield
    gc.collect()
    assert modules() == []


FORMS = {
    "functions of the module": "X_TO_Y\ndef predict(inputs): return {'y': inputs['x'] + 1}",
    "an object": """
        class Model:
            X_TO_Y
            def predict(self, inputs): return {'y': inputs['x'] + 1}
        def load(path): return Model()
        """,
    "an object, and signatures of the module": """
        X_TO_Y
        class Model:
            def predict(self, inputs): return {'y': inputs['x'] + 1}
        def load(path): return Model()
        """,
    "a load that only prepares": """
        X_TO_Y
        def load(path):
            global one
            one = len(path.name)
        def predict(inputs): return {'y': inputs['x'] + one}
        """,
    "signatures that load makes": """
        from types import SimpleNamespace
        def load(path):
            signatures = {"serving_default": {"inputs": {"x": "float"}, "outputs": {"y": "float"}}}
            return SimpleNamespace(signatures=signatures, predict=lambda inputs: {'y': inputs['x'] + 1})
        """,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, tmp_path: Path) -> None:
    """What is looked for is found on what load returns, then in the module."""
    servable = load(tmp_path / "1", model=FORMS[form])
    assert run(servable) == [2, 3]
    message = tfs.SignatureDefMap.FromString(servable.signature_def_map)
    assert message.signature_def["serving_default"].inputs["x"].name == "serving_default_x:0"
    servable.unload()


TWO = """
signatures = {
    key: {"inputs": {"x": "float"}, "outputs": {"y": "float"}} for key in ("serving_default", "minus")
}
"""


def test_several_signatures(tmp_path: Path) -> None:
    """predict is told which one is asked for."""
    servable = load(
        tmp_path,
        model=TWO
        + "def predict(inputs, signature_key):"
        + "\n  return {'y': inputs['x'] * (-1 if signature_key == 'minus' else 1)}",
    )
    assert run(servable) == [1, 2]
    assert run(servable, "minus") == [-1, -2]
    servable.unload()


def test_stateless(tmp_path: Path) -> None:
    """Nothing is, unless the code says so."""
    for text, keys in (
        ("", set()),
        ("stateless = True", {"serving_default", "minus"}),
        ("stateless = ['minus']", {"minus"}),
    ):
        servable = load(tmp_path, model=f"{TWO}\n{text}\ndef predict(inputs, *, signature_key): ...")
        assert servable.stateless == keys
        servable.unload()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def predict(inputs): ...", "model.py has no signatures, and what load returned has none"),
        ("X_TO_Y", "model.py has no predict(inputs), and what load returned has none"),
        ("X_TO_Y\npredict = 3", "model.py: predict is no function but 3"),
        ("X_TO_Y\nasync def predict(inputs): ...", "model.py: predict is a coroutine function"),
        (
            TWO + "def predict(inputs): ...",
            "model.py has the signatures minus, serving_default: predict needs",
        ),
        (
            "X_TO_Y\nstateless = 'x'\ndef predict(inputs): ...",
            "model.py: stateless: expected True, False or keys of signatures, was 'x'",
        ),
        (
            "signatures = {'a': 1}\ndef predict(inputs): ...",
            "model.py: signatures['a']: expected a mapping with",
        ),
    ],
)
def test_refused_interfaces(text: str, message: str, tmp_path: Path) -> None:
    """A version without what it must offer is not loaded, and the error says what is missing."""
    with pytest.raises(InvalidArgumentError) as caught:
        load(tmp_path, model=text)
    assert caught.value.message.startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model": "a = 1\nb = c"}, "/model.py:2: NameError: name 'c' is not defined"),
        ({"model": "a = 1\nb = ("}, "/model.py:2: SyntaxError: '(' was never closed"),
        ({"model": "from . import a", "a": "\n\n1 / 0"}, "/a.py:3: ZeroDivisionError: division by zero"),
        ({"model": "import a", "a": ""}, "/model.py:1: ModuleNotFoundError: No module named 'a'; a file of the same "
         "version is imported by `from . import a`"),
        ({"model": "import sys\nsys.exit('bye')"}, "/model.py:2: SystemExit: bye"),
        ({"model": "X_TO_Y\ndef load(): ...\ndef predict(i): ..."}, ": TypeError: load() takes 0 positional"),
        ({"model": "import json\njson.loads('{')"}, "/model.py:2: JSONDecodeError: Expecting property name"),
    ],
)  # fmt: skip
def test_load_errors(files: dict[str, str], message: str, tmp_path: Path, caplog: Any) -> None:
    """What the code raises names the innermost of its own lines; the log has the traceback."""
    with pytest.raises(ServingError) as caught:
        load(tmp_path, **files)
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message.startswith(f"{tmp_path}{message}")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info
    caplog.clear()


def test_errors_of_ours_pass(tmp_path: Path, caplog: Any) -> None:
    """A ServingError is the code's own word, at the load and at a run."""
    text = "from pyserve.errors import *\n"
    with pytest.raises(NotFoundError, match="no weights"):
        load(tmp_path, model=text + "raise NotFoundError('no weights')")
    servable = load(
        tmp_path, model=text + "X_TO_Y\ndef predict(inputs): raise ResourceExhaustedError('too long')"
    )
    with pytest.raises(ServingError) as caught:
        run(servable)
    assert str(caught.value) == "RESOURCE_EXHAUSTED: too long"
    servable.unload()
    assert not caplog.records


def test_no_model(tmp_path: Path) -> None:
    """Without a file the error is that of TensorFlow Serving for a missing model."""
    with pytest.raises(NotFoundError, match=f"Could not find model.py at {tmp_path}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "code", "message", "logged"),
    [
        (
            "inputs['x'] @ np.ones((3, 3))",
            Code.INVALID_ARGUMENT,
            "ValueError: matmul: .* (model.py:4)",
            False,
        ),
        ("inputs['z']", Code.INTERNAL, "KeyError: 'z' (model.py:4)", True),
        ("sys.exit()", Code.INTERNAL, "SystemExit (model.py:4)", True),
        ("[][1:].pop()", Code.INTERNAL, "IndexError: pop from empty list (model.py:4)", True),
        (
            "np.empty((1 << 40, 1 << 15))",
            Code.RESOURCE_EXHAUSTED,
            "Not enough memory to run the model",
            False,
        ),
        ("inputs['x'].fill(1)", Code.INVALID_ARGUMENT, "ValueError: .*read-only.* (model.py:4)", False),
        ("None", Code.INTERNAL, "predict of model.py gave a NoneType, expected a mapping", False),
        ("{'z': 1}", Code.INTERNAL, "predict of model.py gave {z}, expected {y}", False),
        ("{'y': 'no'}", Code.INTERNAL, 'predict of model.py: "y" has the type <U2, expected float', False),
    ],
)
def test_run_errors(text: str, code: Code, message: str, logged: bool, tmp_path: Path, caplog: Any) -> None:
    """A ValueError is the caller's, everything else the model's, which the log shows with its traceback."""
    servable = load(
        tmp_path, model=f"X_TO_Y\nimport sys, numpy as np\ndef predict(inputs):\n    return {text}"
    )
    with pytest.raises(ServingError) as caught:
        run(servable)
    assert caught.value.code is code
    head, _, tail = message.partition(".*")
    assert caught.value.message.startswith(head)
    assert tail.rpartition(".*")[2] in caught.value.message
    assert [record.message for record in caplog.records] == (
        [f"predict of {tmp_path}/model.py failed"] if logged else []
    )
    caplog.clear()
    del caught
    servable.unload()


def test_only_what_is_wanted(tmp_path: Path) -> None:
    """All outputs are computed, those that are wanted are given."""
    text = 'signatures = {"s": {"inputs": {}, "outputs": {"a": "float", "b": "float"}}}'
    servable = load(tmp_path, model=f"{text}\ndef predict(inputs): return {{'a': 1, 'b': 2}}")
    assert list(servable.run("s", {}, ["b"])) == ["b"]
    servable.unload()


def test_unload(tmp_path: Path, caplog: Any) -> None:
    """The code's own unload is run once, its failure is logged, and nothing runs any more."""
    text = "X_TO_Y\ndef predict(inputs): ...\ndef unload(): print('gone', 1 / 0)"
    servable = load(tmp_path, model=text)
    servable.unload()
    servable.unload()
    assert [record.message for record in caplog.records] == [f"unload of {tmp_path}/model.py failed"]
    caplog.clear()
    with pytest.raises(FailedPreconditionError):
        run(servable)


LEAKY = """
import itertools
X_TO_Y
class Model:
    def __init__(self):
        self.me, self.weights = self, list(range(10_000))
    def predict(self, inputs):
        if not inputs["x"].size:
            raise RuntimeError("empty")
        return {"y": inputs["x"]}
def load(path):
    return Model()
"""


@pytest.fixture
def no_logs() -> Iterator[None]:
    """Records hold tracebacks, and pytest holds records."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_logs")
def test_unloading_frees_it(tmp_path: Path) -> None:
    """Modules, classes and objects are gone after the unload, a failed request or not."""
    servable = load(tmp_path, model=LEAKY)
    module = sys.modules[next(name for name in modules() if name.endswith(".model"))]
    remains = [weakref.ref(module), weakref.ref(module.Model)]
    run(servable)
    with pytest.raises(ServingError):
        run(servable, x=X[:0])
    del module
    servable.unload()
    assert [ref() for ref in remains] == [None, None]


@pytest.mark.usefixtures("no_logs")
def test_many_loads(tmp_path: Path) -> None:
    """Loads, failed ones too, leave no object behind."""

    def cycle() -> None:
        servable = load(tmp_path, model=LEAKY)
        run(servable)
        servable.unload()
        with pytest.raises(ServingError):
            load(tmp_path, model=LEAKY + "\n1 / 0")

    for _ in range(3):
        cycle()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        cycle()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_the_package_is_named_after_the_model(tmp_path: Path) -> None:
    """Tracebacks and loggers show which version speaks."""
    servable = load(tmp_path, model="X_TO_Y\ndef predict(inputs): ...")
    assert any(name.startswith(f"pyserve_version_{ID.name}_{ID.version}_") for name in modules())
    servable.unload()

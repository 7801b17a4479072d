"""A handler around another servable: what it sees, what it changes, and when it is not run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.dtypes import Array
from pyserve.errors import InternalError, InvalidArgumentError, ServingError
from pyserve.servable import PREDICT_METHOD, Servable, Signature, TensorSpec
from python_models import load_handler, modules

X = np.array([1, 2], np.float32)


class Model(FunctionServable):
    """half_plus_two, and an initialisation signature as SavedModels have one. Its own loader."""

    def __init__(self) -> None:
        self.unloads = 0
        nothing = TensorSpec("init", dtypes.DType(0, "invalid", None, None), None)
        x, y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))
        super().__init__(
            [
                (predict_signature([x], [y]), self.half_plus_two),
                (Signature("init", PREDICT_METHOD, {}, {"init": nothing}), dict),
            ]
        )

    def half_plus_two(self, x: Array) -> Mapping[str, Array]:
        if x.ndim != 1:
            raise InvalidArgumentError("rank")
        return {"y": x / 2 + 2}

    def load(self) -> Servable:
        return self

    def unload(self) -> None:
        self.unloads += 1
        super().unload()


def test_signatures_of_the_model(tmp_path: Path) -> None:
    """A handler without signatures has those of the model that can be called."""
    model = Model()
    servable = load_handler(
        tmp_path,
        model,
        handler="def predict(inputs, model): return model.predict({'x': inputs['x'] * 10})",
    )
    assert servable is not model
    assert list(servable.signatures) == ["serving_default"]
    assert servable.run("serving_default", {"x": X}, ["y"])["y"].tolist() == [7, 12]
    servable.unload()
    servable.unload()
    assert model.unloads == 1
    assert modules() == []


TEXTS = """
import numpy as np
class Handler:
    signatures = {"serving_default": {"inputs": {"text": "string"}, "outputs": {"answer": "string"}}}
    stateless = True
    def __init__(self, model):
        self.model = model
    def predict(self, inputs):
        found = self.model.predict({"x": [float(text) for text in inputs["text"]]}, outputs=["y"])
        return {"answer": [f"{y:g}" for y in found["y"]]}
def load(path, model):
    assert list(model.signatures) == ["serving_default", "init"]
    return Handler(model)
"""


def test_signatures_of_its_own(tmp_path: Path) -> None:
    """A handler with signatures has these and no others; Python's floats become the model's."""
    servable = load_handler(tmp_path, Model(), handler=TEXTS)
    texts = np.array([b"1", b"2.5"], object)
    result = servable.run("serving_default", {"text": texts}, ["answer"])
    assert result["answer"].tolist() == [b"2.5", b"3.25"]
    assert servable.stateless == {"serving_default"}
    with pytest.raises(
        InvalidArgumentError, match=r"could not convert string to float: b'x' \(handler.py:9\)"
    ):
        servable.run("serving_default", {"text": np.array([b"x"], object)}, ["answer"])
    servable.unload()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("{'x': ['a']}", 'signature "serving_default": "x" has the type <U1, expected float'),
        ("{'z': 1}", 'signature "serving_default" gave {z}, expected {x}'),
        ("inputs, 'other'", 'The model has no signature "other"; it has init, serving_default'),
        ("inputs, outputs=['z']", 'signature "serving_default" has no output "z"'),
        ("{'x': [[1.0]]}", "rank"),
    ],
)
def test_wrong_calls_of_the_model(call: str, message: str, tmp_path: Path) -> None:
    """What a handler gives wrongly is named; what the model says is passed on."""
    servable = load_handler(
        tmp_path, Model(), handler=f"def predict(inputs, model): return model.predict({call})"
    )
    with pytest.raises(ServingError, match=message):
        servable.run("serving_default", {"x": X}, ["y"])
    servable.unload()


def test_a_broken_handler(tmp_path: Path) -> None:
    """The version is not loaded, and the model is not left in memory."""
    model = Model()
    with pytest.raises(InternalError, match=r"handler\.py:1: ZeroDivisionError"):
        load_handler(tmp_path, model, handler="1 / 0")
    assert model.unloads == 1
    assert modules() == []


def test_no_handler(tmp_path: Path) -> None:
    """The model is served as it is."""
    model = Model()
    assert load_handler(tmp_path, model) is model


def test_a_handler_that_may_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The model is served as it is, and a warning says so."""
    model = Model()
    assert load_handler(tmp_path, model, enabled=False, handler="1 / 0") is model
    assert f"{tmp_path}{os.sep}handler.py is not run: --allow_python_models is not given" in caplog.text

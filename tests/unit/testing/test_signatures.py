"""What a callable takes and gives, found out without a server."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from unittest.mock import Mock

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from pyserve import dtypes
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, Signature, TensorSpec
from pyserve.testing.signatures import array_of, signature, signature_of


class TensorFlowDType:
    """What TensorFlow's dtypes look like from outside."""

    as_numpy_dtype = np.float16


class TensorFlowSpec:
    """What `tf.TensorSpec` looks like from outside; its shape's rank is unknown."""

    dtype = TensorFlowDType()

    class shape:
        rank = None


class Outputs(TypedDict):
    ids: NDArray[np.int32]
    score: Annotated[Any, (np.float64, (None, 2))]


def typed(words: str, flag: bool, image: Annotated[Any, TensorSpec("", dtypes.BOOL, (None, 3))]) -> Outputs:
    raise AssertionError("not to be called: its outputs are declared")


def read(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(inputs, outputs) of a callable: alias → (dtype's name, shape)."""
    found = signature_of("serving_default", function)
    return tuple(
        {alias: (spec.dtype.name, spec.shape) for alias, spec in specs.items()}
        for specs in (found.inputs, found.outputs)
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("function", "inputs", "outputs"),
    [
        (lambda x: {"y": x * 0.5 + 2.0}, {"x": ("float", None)}, {"y": ("float", None)}),
        (lambda: {"n": 1}, {}, {"n": ("int64", None)}),
        (lambda x: {"a": [0.5], "b": "text"}, {"x": ("float", None)}, {"a": ("float", None), "b": ("string", None)}),
        (
            typed,
            {"words": ("string", None), "flag": ("bool", None), "image": ("bool", (None, 3))},
            {"ids": ("int32", None), "score": ("double", (None, 2))},
        ),
        (
            signature(inputs={"x": np.int8, "y": ("bfloat16", [None, -1, 2])}, outputs={"z": TensorFlowSpec()})(Mock()),
            {"x": ("int8", None), "y": ("bfloat16", (None, None, 2))},
            {"z": ("half", None)},
        ),
        (
            signature(inputs=[TensorSpec("x", dtypes.STRING, ())], outputs={"y": np.zeros((2, 3))})(Mock()),
            {"x": ("string", ())},
            {"y": ("double", (2, 3))},
        ),
        (
            functools.partial(lambda x, y: {"z": x + y}, y=np.float32(1)),
            {"x": ("float", None), "y": ("float", None)},
            {"z": ("float", None)},
        ),
        ("".join, None, None),
    ],
    ids=["lambda", "no input", "lists", "annotations", "decorator", "specs", "partial", "builtin"],
)  # fmt: skip
def test_signatures(function: Any, inputs: Any, outputs: Any) -> None:
    """Decorator, annotations and a trial run say what goes in and what comes out, in this order."""
    if inputs is None:
        with pytest.raises(TypeError, match="names no input"):
            signature_of("serving_default", function)
    else:
        assert read(function) == (inputs, outputs)


def test_methods() -> None:
    """Classify and regress take serialized examples by `inputs`; the method is declared."""
    for method, name in (("classify", CLASSIFY_METHOD), ("regress", REGRESS_METHOD)):
        function = signature(method=method, outputs={"outputs": float})(lambda inputs: {})
        found = signature_of("key", function)
        assert found.method_name == name
        assert found.inputs["inputs"].dtype is dtypes.STRING
    assert signature_of("key", lambda x: {"y": x}).method_name == PREDICT_METHOD
    with pytest.raises(ValueError, match="method: expected one of"):
        signature(method="guess")


def test_names_of_tensors() -> None:
    """Tensors have the names that an export gives them; messages show them, and their order counts."""
    found = signature_of("key", lambda b, a: {"z": a, "y": b})
    assert [spec.tensor_name for spec in found.inputs.values()] == ["key_b:0", "key_a:0"]
    assert found.outputs["y"].tensor_name == "StatefulPartitionedCall:0"
    assert found.outputs["z"].tensor_name == "StatefulPartitionedCall:1"


def test_defaults() -> None:
    """A parameter with a default may be left out; the default says its dtype where nothing else does."""

    def function(x: NDArray[np.float64], scale: np.float64 = 2.0, count=3, name="a"):  # type: ignore[no-untyped-def,assignment]
        return {"y": x * scale}

    found: Signature = signature_of("key", function)
    assert {alias: spec.dtype.name for alias, spec in found.inputs.items()} == {
        "x": "double",
        "scale": "double",
        "count": "int64",
        "name": "string",
    }
    assert {alias: array.tolist() for alias, array in found.defaults.items()} == {
        "scale": 2.0,
        "count": 3,
        "name": b"a",
    }


def raises(x: Any) -> Any:
    raise KeyError("q")


async def coroutine(x: Any) -> Any:
    return {"y": x}


def unknown(x: NoSuchType) -> Any:  # type: ignore[name-defined]  # noqa: F821
    return {"y": x}


def wrong(x: threading.Thread) -> Any:
    return {"y": x}


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (raises, r"raises was called with zeros to see what it gives, and raised KeyError: 'q'; declare what it gives"),
        (lambda x: x, "returned a ndarray, expected a mapping from output to array"),
        (lambda x: {"y": np.zeros(1, "datetime64[s]")}, "datetime64.* has no TensorFlow type"),
        (lambda *x: {"y": x}, r"the parameter \*x names no input; declare them"),
        (lambda x, /: {"y": x}, "names no input"),
        (Mock(), "names no input"),
        (coroutine, "coroutine function"),
        (unknown, "does not say what it takes .*NoSuchType"),
        (wrong, r"parameter 'x' of wrong: expected an element type, was .*Thread"),
    ],
)  # fmt: skip
def test_refusals(function: Any, text: str) -> None:
    """What cannot be found out is named, with what to do about it."""
    with pytest.raises(TypeError, match=text):
        signature_of("key", function)


def test_a_decorated_callable_is_still_itself() -> None:
    """The decorator returns the function; where an attribute cannot be set, something that calls it."""

    class Model:
        def run(self, x: Any) -> Any:
            return {"y": x}

    def function(x: Any) -> Any:
        return {"y": x}

    declare = signature(inputs={"x": np.int64})
    assert declare(function) is function
    assert declare(Model().run)(x=3) == {"y": 3}
    assert read(declare(Model().run)) == ({"x": ("int64", None)}, {"y": ("int64", None)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "nonsense"}, r"inputs\['x'\]: expected an element type, was 'nonsense'"),
        ({"x": (float, 3)}, r"inputs\['x'\]: expected a shape, numbers and None, was 3"),
        ({"x": [1]}, r"inputs\['x'\]: expected an element type, was \[1\]"),
        (["x"], r"inputs: expected specs by alias, or pyserve's TensorSpecs; was \['x'\]"),
    ],
)
def test_what_is_no_declaration(given: Any, message: str) -> None:
    """It is refused with its place."""
    with pytest.raises(TypeError, match=message):
        signature(inputs=given)


def test_a_trial_that_gives_no_tensor() -> None:
    """It is refused before anybody calls it."""
    with pytest.raises(TypeError, match="the value holds a object, expected str or bytes; declare"):
        signature_of("s", lambda x: {"y": object()})


def test_arrays() -> None:
    """Python's floats become float32, texts bytes with their NULs; what has a dtype keeps it."""
    assert array_of([0.5]).dtype == np.float32
    assert array_of(np.float64(0.5)).dtype == np.float64
    assert array_of(ml_dtypes.bfloat16(1)).dtype == ml_dtypes.bfloat16
    texts = array_of(np.array(["é", b"a\0"], object))
    assert texts.tolist() == ["é".encode(), b"a\0"]

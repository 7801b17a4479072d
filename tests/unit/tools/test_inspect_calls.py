"""Samples for signatures, and the calls that carry them, as text."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from pyserve.backends.saved_model.example_features import Feature
from pyserve.codec.json_predict import PredictDocument
from pyserve.dtypes import BY_NAME, Array
from pyserve.protos import tf
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, Signature, TensorSpec
from pyserve.tools.inspect.calls import Calls, Target, calls_for
from pyserve.tools.inspect.samples import samples_for, serialized_example

TARGET = Target("host:1", "http://host:2", "m")
Shape = tuple[int | None, ...] | None


def signature(
    inputs: dict[str, tuple[str, Shape]],
    outputs: dict[str, tuple[str, Shape]] | None = None,
    key: str = "serving_default",
    method: str = PREDICT_METHOD,
) -> Signature:
    given, made = (
        {alias: TensorSpec(alias, BY_NAME[dtype], shape) for alias, (dtype, shape) in specs.items()}
        for specs in (inputs, outputs or {"y": ("float", (None,))})
    )
    return Signature(key, method, given, made)


def body_of(calls: Calls) -> str:
    """What curl sends: written out, or printed by the program in front of it."""
    words = shlex.split(calls.curl)
    if words[0] == "curl":
        return words[2]
    assert words[:2] == ["python3", "-c"]
    printed: list[str] = []
    exec(words[2], {"print": printed.append})
    return printed[0]


def sent(of: Signature, calls: Calls) -> dict[str, Array]:
    return dict(PredictDocument.parse(body_of(calls).encode()).tensors(of.inputs).arrays)


@pytest.mark.parametrize(
    ("inputs", "outputs", "body"),
    [
        ({"x": ("float", (None,))}, None, '{"instances": [1.0]}'),
        ({"x": ("float", None)}, None, '{"instances": [1.0]}'),
        ({"x": ("int64", (None, 3))}, None, '{"instances": [[1, 1, 1]]}'),
        ({"x": ("float", ())}, None, '{"inputs": 1.0}'),
        ({"x": ("float", (2,))}, None, '{"inputs": [1.0, 1.0]}'),
        ({"x": ("bool", (None,))}, {"y": ("float", ())}, '{"inputs": [true]}'),
        (
            {"a": ("float", (None,)), "b": ("int32", (None, 1))},
            None,
            '{"instances": [{"a": 1.0, "b": [1]}]}',
        ),
        ({"a": ("float", (None,)), "b": ("int32", ())}, None, '{"inputs": {"a": [1.0], "b": 1}}'),
        ({"text": ("string", (None,))}, None, '{"instances": ["a"]}'),
        ({"x": ("float", (None, 0))}, None, '{"instances": [[]]}'),
    ],
)
def test_curl(
    inputs: dict[str, tuple[str, Shape]], outputs: dict[str, tuple[str, Shape]] | None, body: str
) -> None:
    """Rows where all that goes in and out has rows, columns otherwise."""
    of = signature(inputs, outputs)
    calls = calls_for(TARGET, of)
    assert calls.curl == f"curl -d '{body}' http://host:2/v1/models/m:predict"


@pytest.mark.parametrize("shape", [(None, 224, 224, 3), (None, 784), (1000,), (2, None, 3), (None, 40, 2)])
def test_large_tensors_are_products(shape: Shape) -> None:
    """What is too long to paste is a product; the tensor that arrives has the declared shape all the same."""
    of = signature({"x": ("float", shape)})
    calls = calls_for(TARGET, of)
    wanted = tuple(size or 1 for size in shape or ())
    assert all(len(line) < 250 for line in "\n".join([*vars_of(calls)]).splitlines())
    assert sent(of, calls)["x"].shape == wanted
    expression = calls.pyserve_client.split('{"x": ')[1].removesuffix("}))")
    assert np.array(eval(expression)).shape == wanted


def vars_of(calls: Calls) -> list[str]:
    return [calls.curl, calls.tensorflow_serving_api, calls.pyserve_client]


@pytest.mark.parametrize("alias", ["image_bytes", "jpeg", "input_image", "x_bytes"])
def test_images_are_base64(alias: str) -> None:
    """Strings that are bytes by their names are sent as a picture, in base64 by JSON."""
    of = signature({alias: ("string", (None,))})
    calls = calls_for(TARGET, of)
    assert list(json.loads(body_of(calls))["instances"][0]) == ["b64"]
    assert sent(of, calls)[alias][0].startswith(b"\x89PNG")
    assert r"b'\x89PNG" in calls.pyserve_client
    assert r"b'\x89PNG" in calls.tensorflow_serving_api


def test_examples() -> None:
    """Classify takes the features that the graph parses; strings of serialized examples have them too."""
    features = (
        Feature("age", BY_NAME["int64"], 1),
        Feature("name", BY_NAME["string"], 2),
        Feature("size", BY_NAME["float"], 1),
    )
    of = signature({"inputs": ("string", (None,))}, key="c", method=CLASSIFY_METHOD)
    calls = calls_for(TARGET, of, features)
    assert json.loads(body_of(calls)) == {
        "signature_name": "c",
        "examples": [{"age": 1, "name": ["a", "a"], "size": 1.0}],
    }
    assert calls.curl.endswith("/v1/models/m:classify")
    assert (
        'client.classify("m", [{"age": 1, "name": ["a", "a"], "size": 1.0}], signature="c")'
        in calls.pyserve_client
    )
    example = tf.Example.FromString(serialized_example(features))
    assert set(example.features.feature) == {"age", "name", "size"}
    taken = samples_for(signature({"examples": ("string", (None,))}), features)
    assert taken["examples"].array().tolist() == [serialized_example(features)]


def test_names_are_quoted() -> None:
    """Quotes, blanks and other letters in names survive the shell, Python and the URL."""
    of = signature({"it's": ("float", (None,)), 'a"b': ("float", (None,))}, key="grüße")
    calls = calls_for(Target("host:1", "http://host:2", "my model/ü"), of)
    assert json.loads(body_of(calls))["signature_name"] == "grüße"
    assert sent(of, calls).keys() == {"it's", 'a"b'}
    assert shlex.split(calls.curl)[-1] == "http://host:2/v1/models/my%20model%2F%C3%BC:predict"
    for code in (calls.tensorflow_serving_api, calls.pyserve_client):
        compile(code, "call", "exec")
        assert '"my model/ü"' in code


@pytest.mark.parametrize(
    ("inputs", "curl"),
    [
        ({}, "# REST cannot carry this call: the signature has no inputs"),
        ({"x": ("complex64", (None,))}, "# REST cannot carry this call: "),
        ({"x": ("bfloat16", (None,))}, "# REST cannot carry this call: "),
        ({"x": ("resource", ())}, "# no call can carry input x: it has the type resource"),
    ],
)
def test_what_cannot_be_carried(inputs: dict[str, tuple[str, Shape]], curl: str) -> None:
    """A call that would be refused is a comment that says why."""
    calls = calls_for(TARGET, signature(inputs))
    assert calls.curl.startswith(curl)
    assert calls.curl.count("\n") == 0


def test_inputs_with_defaults_are_left_out() -> None:
    """A sample has what a request must have."""
    of = signature({"x": ("float", (None,)), "scale": ("float", ())})
    of = Signature(of.key, of.method_name, of.inputs, of.outputs, {"scale": np.float32(1)})  # type: ignore[dict-item]
    assert list(samples_for(of)) == ["x"]
    assert "scale" not in calls_for(TARGET, of).pyserve_client


def test_a_version() -> None:
    """A version that was asked for is in every call."""
    calls = calls_for(Target("host:1", "http://host:2", "m", 7), signature({"x": ("float", (None,))}))
    assert "/v1/models/m/versions/7:predict" in calls.curl
    assert "request.model_spec.version.value = 7" in calls.tensorflow_serving_api
    assert "version=7" in calls.pyserve_client

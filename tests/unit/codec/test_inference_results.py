"""Results of Classify and Regress as protobuf and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from pyserve.codec import inference_results
from pyserve.codec.inference_results import (
    Classifications,
    Regressions,
    Served,
    encode_result,
    encode_results,
)
from pyserve.codec.json_writer import result_body
from pyserve.codec.signature_def import signature_text
from pyserve.errors import ResourceExhaustedError
from pyserve.protos import tfs

SERVED = Served("m", 7, "s")


def labels(*rows: list[bytes]) -> Any:
    return np.array(rows, object).reshape(len(rows), -1)


def scores(*rows: list[float]) -> Any:
    return np.array(rows, np.float32).reshape(len(rows), -1)


CLASSES = [
    (labels([b"a", b"bc"], [b"", b"d" * 300]), scores([0.5, 1.0], [-2.0, 0.0])),
    (labels([b"a"], [b"b"], [b"c"]), None),
    (None, scores([0.5, 1.0, 0.0])),
    (None, scores([], [])),
    (labels([], []), scores([], [])),
    (labels([], []), None),
    (None, scores([0.25] * 30, [0.75] * 30)),
]


def pairs(found: Any, wanted: Any) -> list[list[tuple[str, float]]]:
    """What the arrays say, in plain Python."""
    rows, columns = (found if found is not None else wanted).shape
    return [
        [
            (
                "" if found is None else found[row, column].decode(),
                0.0 if wanted is None else float(wanted[row, column]),
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]


@pytest.mark.parametrize(("found", "wanted"), CLASSES)
def test_classification_response(found: Any, wanted: Any) -> None:
    """Each example has its classes; a label or score that the model does not give is empty or 0."""
    data = encode_result(Classifications(found, wanted), SERVED)
    response = tfs.ClassificationResponse.FromString(data)
    entries = response.result.classifications
    assert [[(c.label, c.score) for c in entry.classes] for entry in entries] == pairs(found, wanted)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 7, "s")


@pytest.mark.parametrize(("found", "wanted"), CLASSES)
def test_classify_body(found: Any, wanted: Any) -> None:
    """JSON says the same, as pairs."""
    answer = json.loads(result_body(Classifications(found, wanted)))
    assert answer == {"results": [[list(pair) for pair in row] for row in pairs(found, wanted)]}


@pytest.mark.parametrize("values", [[1.5], [0.0, -0.0, 3.25], [math.inf, -math.inf], [0.1] * 300])
def test_regressions(values: list[float]) -> None:
    """A number for each example, over both protocols."""
    array = np.array(values, np.float32)
    response = tfs.RegressionResponse.FromString(encode_result(Regressions(array), SERVED))
    assert [entry.value for entry in response.result.regressions] == array.tolist()
    assert response.model_spec.version.value == 7
    found = json.loads(result_body(Regressions(array)))["results"]
    assert np.array_equal(np.array(found, np.float32), array)


def test_strided_and_foreign_arrays() -> None:
    """A view, and an array in the other byte order, give the same bytes as a plain array."""
    plain = scores([1.0, 2.0], [3.0, 4.0])
    wide = np.repeat(plain, 2, axis=1)[:, ::2]
    for other in (wide, plain.astype(">f4"), np.asfortranarray(plain)):
        assert Classifications(None, other).encode() == Classifications(None, plain).encode()


def test_labels_keep_their_bytes() -> None:
    """Quotes, separators and bytes that are no UTF-8 pass through; text of a Python callable is accepted."""
    odd = labels([b'say "hi", [ok]', b"\xff"])
    assert result_body(Classifications(odd, None)) == (
        b'{\n    "results": [[["say \\"hi\\", [ok]", 0.0], ["\xff", 0.0]]\n    ]\n}'
    )
    assert b"\xff" in Classifications(odd, None).encode()
    text = np.array([["é"]], object)
    assert json.loads(result_body(Classifications(text, None))) == {"results": [[["é", 0.0]]]}


def test_text_of_bodies() -> None:
    """White space is TensorFlow Serving's; scores look like floats."""
    assert result_body(Classifications(None, scores([3.0]))) == b'{\n    "results": [[["", 3.0]]\n    ]\n}'
    assert (
        result_body(Regressions(np.array([3.5, math.nan], np.float32))) == b'{\n    "results": [3.5, NaN]\n}'
    )


def test_multi_inference_response() -> None:
    """Results stand in their order, each of its kind and with its own model spec."""
    data = encode_results(
        [
            (Regressions(np.array([1.0], np.float32)), Served("m", 7, "r")),
            (Classifications(None, scores([2.0])), Served("m", 7, "c")),
        ]
    )
    first, second = tfs.MultiInferenceResponse.FromString(data).results
    assert first.WhichOneof("result") == "regression_result"
    assert [entry.value for entry in first.regression_result.regressions] == [1.0]
    assert first.model_spec.signature_name == "r"
    assert second.classification_result.classifications[0].classes[0].score == 2.0
    assert (second.model_spec.signature_name, second.model_spec.version.value) == ("c", 7)


def test_answers_beyond_protobufs_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that no client could read is refused."""
    monkeypatch.setattr(inference_results, "LARGEST_MESSAGE", 20)
    result = Regressions(np.zeros(10, np.float32))
    with pytest.raises(ResourceExhaustedError):
        encode_result(result, SERVED)
    with pytest.raises(ResourceExhaustedError):
        encode_results([(result, SERVED)])


def test_text_of_a_signature() -> None:
    """A SignatureDef is shown as C++ shows it, defaults and all, unless it is large."""
    declared = tfs.SignatureDefMap()
    definition = declared.signature_def["s"]
    definition.method_name = "m"
    definition.inputs["x"].name = "x:0"
    definition.defaults["x"].float_val.append(1.0)
    assert signature_text(declared.SerializeToString(), "s") == (
        'inputs {\n  key: "x"\n  value {\n    name: "x:0"\n  }\n}\nmethod_name: "m"\n'
        'defaults {\n  key: "x"\n  value {\n    float_val: 1.0\n  }\n}\n'
    )
    definition.defaults["x"].tensor_content = b"\xff" * 100_000
    assert "defaults" not in signature_text(declared.SerializeToString(), "s")
    for number in range(1000):
        definition.inputs[f"x{number}"].name = "y" * 100
    assert len(signature_text(declared.SerializeToString(), "s")) < 5000

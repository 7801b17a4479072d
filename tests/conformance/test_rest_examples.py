"""REST classify and regress: TensorFlow Serving's answers, as tables, and the examples' README as it is written."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from servers import EXAMPLES

HPT = "/v1/models/half_plus_two"


@dataclass(frozen=True)
class Case:
    """One POST and its answer; an error text that ends with `…` is compared up to there."""

    id: str
    target: str
    body: str
    status: int = 200
    results: Any = None
    error: str = ""

    @property
    def graph(self) -> str:
        """Why only a SavedModel can show it; empty when anything can."""
        return "TensorFlow's text on tf.Examples" if self.error.startswith("Name: <unknown>") else ""


def classify(id: str, body: str, results: Any = None, *, target: str = HPT, **answer: Any) -> Case:
    return Case(
        f"classify: {id}", target + ":classify", _named(body, "classify_x_to_y"), results=results, **answer
    )


def regress(id: str, body: str, results: Any = None, *, target: str = HPT, **answer: Any) -> Case:
    return Case(
        f"regress: {id}", target + ":regress", _named(body, "regress_x_to_y"), results=results, **answer
    )


def _named(body: str, signature: str) -> str:
    return body.replace("{", f'{{"signature_name": "{signature}", ', 1) if body.startswith('{"') else body


def refused(case: Any, id: str, body: str, error: str, **more: Any) -> Case:
    made: Case = case(id, body, status=400, error=error, **more)
    return made


ONE = '{"examples": [{"x": 1.0}]}'
# What both verbs refuse alike, before any model is looked up: so with an unknown model too.
DOCUMENTS = [
    ("bad JSON", "{", "JSON Parse error: Missing a name for object member. at offset: 1"),
    ("no object", "[1]", "JSON Value: [1] Is not object"),
    (
        "no examples",
        "{}",
        "JSON Value: {} When method is classify, key 'examples' is expected and was not found",
    ),
    (
        "examples is no list",
        '{"examples": {}}',
        'JSON Value: {\n    "signature_name": …',
    ),
    (
        "no example",
        '{ "examples": []}',
        "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array",
    ),
    ("example is no object", '{"examples": [1]}', "Example must be JSON object but got JSON Number"),
    (
        "context is no object",
        '{"context": [], "examples": []}',
        "Example must be JSON object but got JSON Array",
    ),
    (
        "null",
        '{"examples": [{"x": null}]}',
        "Feature: x has element with unexpected JSON type: Null",
    ),
    (
        "mixed",
        '{"examples": [{"x": [8.0, 9]}]}',
        "Unexpected element type in feature: x expecting type: float",
    ),
    (
        "above int64",
        '{"examples": [{"x": 9223372036854775808}]}',
        "Feature: x has uint64_t element. Only int64_t is supported.",
    ),
    (
        "signature name is no string",
        '{ "signature_name": 1}',
        'JSON Value: {\n    "signature_name": 1\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
]

CASES = [
    classify("one", ONE, [[["", 2.5]]]),
    classify("two", '{"examples": [{"x": 1.0}, {"x": [5.0]}]}', [[["", 2.5]], [["", 4.5]]]),
    classify("version", ONE, [[["", 2.5]]], target=HPT + "/versions/1"),
    classify("label", ONE, [[["", 2.5]]], target=HPT + "/labels/stable"),
    regress("one", ONE, [2.5]),
    regress("two", '{"examples": [{"x": 1.0}, {"x": [5.0]}]}', [2.5, 4.5]),
    regress("context", '{"context": {"x": 1.0}, "examples": [{"q": 1}, {"x": 5e0}]}', [2.5, 4.5]),
    regress("empty context", '{"context": {}, "examples": [{"x": 1.0}]}', [2.5]),
    regress("not finite", '{"examples": [{"x": Infinity}, {"x": -1e300}]}', [float("inf"), float("-inf")]),
    regress("the last of two", '{"examples": [{"x": 1.0, "x": 5.0}]}', [4.5]),
    *[
        refused(verb, id, body, error, target=target)
        for verb in (classify, regress)
        for target in (HPT, "/v1/models/nope")
        for id, body, error in DOCUMENTS
    ],
    refused(
        regress,
        "an integer is no float",
        '{"examples": [{"x": 1}]}',
        "Name: <unknown>, Key: x, Index: 0.  Data types don't match. …",
    ),
    refused(regress, "empty list", '{"examples": [{"x": []}]}', "Name: <unknown>, Feature: x …"),
    Case(
        "unknown model",
        "/v1/models/nope:regress",
        ONE,
        404,
        error="Servable not found for request: Latest(nope)",
    ),
    Case(
        "unknown version",
        HPT + "/versions/9:classify",
        ONE,
        404,
        error="Servable not found for request: Specific(half_plus_two, 9)",
    ),
    Case(
        "unknown signature",
        HPT + ":classify",
        '{"signature_name": "nope", "examples": [{}]}',
        400,
        error="No signature was found with the name: nope",
    ),
    Case(
        "default signature",
        HPT + ":regress",
        ONE,
        400,
        error='No regression inputs found in SignatureDef: inputs {\n  key: "x"…',
    ),
]


def ask(rest_address: str, target: str, body: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(rest_address, timeout=60)
    try:
        connection.request("POST", target, body.encode())
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_examples_over_rest(case: Case, rest_address: str) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    status, body = ask(rest_address, case.target, case.body)
    assert status == case.status, body
    answer = json.loads(body)
    if not case.error:
        assert answer == {"results": case.results}
        return
    assert list(answer) == ["error"]
    if case.error.endswith("…"):
        assert answer["error"].startswith(case.error[:-1])
    else:
        assert answer["error"] == case.error


def test_text_of_answers(rest_address: str) -> None:
    """The white space of answers is TensorFlow Serving's."""
    named = '{"signature_name": "%s", "examples": [{"x": 2.0}, {"x": 4.0}]}'
    classes = ask(rest_address, HPT + ":classify", named % "classify_x_to_y")[1]
    assert classes == b'{\n    "results": [[["", 3.0]], [["", 4.0]]\n    ]\n}'
    numbers = ask(rest_address, HPT + ":regress", named % "regress_x_to_y")[1]
    assert numbers == b'{\n    "results": [3.0, 4.0]\n}'


README = (EXAMPLES / "README.md").read_text()
REQUEST = re.compile(
    r"^    curl -d '(?P<body>.*)' <server>(?P<target>\S+)\n    (?P<answer>\{.*\})$", re.MULTILINE
)


@pytest.mark.parametrize("request_", list(REQUEST.finditer(README)), ids=lambda match: match["target"])
def test_readme_of_the_examples(request_: re.Match[str], rest_address: str) -> None:
    """Every request of the examples' README gets the answer that stands below it."""
    status, body = ask(rest_address, request_["target"], request_["body"])
    assert (status, json.loads(body)) == (200, json.loads(request_["answer"]))


def test_readme_shows_classify_and_regress() -> None:
    """The pattern above finds what it is made for."""
    verbs = {match["target"].partition(":")[2] for match in REQUEST.finditer(README)}
    assert verbs == {"predict", "classify", "regress"}

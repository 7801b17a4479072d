"""The REST API over plain HTTP: TensorFlow Serving's answers, as tables."""

from __future__ import annotations

import gzip
import http.client
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from conformance_cases import rows

HPT = "/v1/models/half_plus_two"


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    rest_address: str,
    method: str,
    target: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection(rest_address, timeout=60)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Case:
    """One request and its answer; an error text that ends with `…` is compared up to there.

    `differs` is the listed difference that the row shows, if any.
    """

    id: str
    method: str
    target: str
    body: str | None
    status: int
    answer: Any = None
    error: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    differs: str = ""


def post(id: str, body: str, status: int, target: str = HPT + ":predict", **answer: Any) -> Case:
    return Case(id, "POST", target, body, status, **answer)


OK_BODY = '{"instances": [1.0, 2.0, 5.0]}'
OK_ANSWER = {"predictions": [2.5, 3.0, 4.5]}
WRONG_TYPE = "Type: {} is not of expected type: float"

CASES = [
    # --- predict: rows and columns
    post("rows", OK_BODY, 200, answer=OK_ANSWER),
    post("rows of objects", '{"instances": [{"x": 1}, {"x": 2.0}]}', 200, answer={"predictions": [2.5, 3.0]}),
    post("rows of lists", '{"instances": [[1], [2]]}', 200, answer={"predictions": [[2.5], [3.0]]}),
    post("columns", '{"inputs": [1, 2]}', 200, answer={"outputs": [2.5, 3.0]}),
    post("columns by name", '{"inputs": {"x": [[1], [2]]}}', 200, answer={"outputs": [[2.5], [3.0]]}),
    post("column scalar", '{"inputs": 2}', 200, answer={"outputs": 3.0}),
    post("surplus column", '{"inputs": {"x": [2], "other": 1}}', 200, answer={"outputs": [3.0]}),
    post("signature", '{"signature_name": "serving_default", "inputs": [2]}', 200, answer={"outputs": [3.0]}),
    post("empty signature name", '{"signature_name": "", "inputs": [2]}', 200, answer={"outputs": [3.0]}),
    post("version", OK_BODY, 200, HPT + "/versions/1:predict", answer=OK_ANSWER),
    post("version with zeros", OK_BODY, 200, HPT + "/versions/001:predict", answer=OK_ANSWER),
    post("label", OK_BODY, 200, HPT + "/labels/stable:predict", answer=OK_ANSWER),
    post("percent-encoded name", OK_BODY, 200, "/v1/models/half%5Fplus%5ftwo:predict", answer=OK_ANSWER),
    post("fixed parts in any case", OK_BODY, 200, "/V1/MODELS/half_plus_two:predict", answer=OK_ANSWER),
    post("trailing data", OK_BODY + "} what follows is ignored", 200, answer=OK_ANSWER),
    post("first of two keys", '{"instances": [1.0], "instances": "x"}', 200, answer={"predictions": [2.5]}),
    post(
        "unknown keys", '{"other": {"deep": [null]}, "instances": [1.0]}', 200, answer={"predictions": [2.5]}
    ),
    post("byte order mark", "\ufeff" + OK_BODY, 200, answer=OK_ANSWER),
    post("beyond float", '{"inputs": [1e300]}', 200, answer={"outputs": [float("inf")]}),
    post("infinity", '{"inputs": [Infinity, -Inf]}', 200, answer={"outputs": [float("inf"), float("-inf")]}),
    # --- predict: refused by the JSON parser
    post("empty", "", 400, error="JSON Parse error: The document is empty"),
    post("blank", "  \n", 400, error="JSON Parse error: The document is empty. at offset: 3"),
    post("not JSON", "hello", 400, error="JSON Parse error: Invalid value. at offset: 0"),
    post(
        "cut",
        '{"instances": [1.0',
        400,
        error="JSON Parse error: Missing a comma or ']' after an array element.…",
    ),
    post(
        "no colon",
        '{"instances" 1}',
        400,
        error="JSON Parse error: Missing a colon after a name of object member.…",
    ),
    post("no name", "{1: 2}", 400, error="JSON Parse error: Missing a name for object member. at offset: 1"),
    post(
        "too big", '{"inputs": 1e400}', 400, error="JSON Parse error: Number too big to be stored in double.…"
    ),
    post("lower-case nan", '{"inputs": nan}', 400, error="JSON Parse error: Invalid value.…"),
    post("no object", "[1, 2]", 400, error="JSON Value: [1, 2] Is not object…"),
    # --- predict: refused, in the order of the checks
    post(
        "signature name is no string",
        '{"signature_name": 5}',
        400,
        error='JSON Value: {\n    "signature_name": 5\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    post("bad JSON beats unknown model", "{", 400, "/v1/models/nope:predict", error="JSON Parse error:…"),
    post(
        "unknown model beats missing instances",
        "{}",
        404,
        "/v1/models/nope:predict",
        error="Servable not found for request: Latest(nope)",
    ),
    post(
        "unknown version",
        OK_BODY,
        404,
        HPT + "/versions/9:predict",
        error="Servable not found for request: Specific(half_plus_two, 9)",
    ),
    post(
        "unknown label",
        OK_BODY,
        400,
        HPT + "/labels/nope:predict",
        error="Unrecognized servable version label: nope",
    ),
    post(
        "unknown signature",
        '{"signature_name": "nope", "inputs": 1}',
        400,
        error='Serving signature name: "nope" not found in signature def',
    ),
    post("neither key", "{}", 400, error="Missing 'inputs' or 'instances' key"),
    post(
        "both keys",
        '{"inputs": 1, "instances": [1]}',
        400,
        error='JSON Value: {\n    "inputs": 1,\n    "instances": [1]\n} Not formatted correctly expecting only one of '
        "'inputs' or 'instances' keys to exist ",
    ),
    post(
        "instances is no list",
        '{"instances": 1}',
        400,
        error="JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
    ),
    post(
        "no instances",
        '{"instances": []}',
        400,
        error="JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
    ),
    post(
        "wrong key",
        '{"instances": [{"q": 1}]}',
        400,
        error="Failed to process element: 0 key: q of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: q",
    ),
    post(
        "string for a float",
        '{"instances": ["a"]}',
        400,
        error="Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "a" ' + WRONG_TYPE.format("String"),
    ),
    post("null", '{"inputs": null}', 400, error="JSON Value: null " + WRONG_TYPE.format("Null")),
    post(
        "ragged",
        '{"inputs": [[1, 2], [3]]}',
        400,
        error="Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    post(
        "missing column",
        '{"inputs": {"other": 1}}',
        400,
        error="Missing named input: x in 'inputs' object.",
    ),
    # --- URLs
    Case(
        "malformed",
        "POST",
        HPT + ":predict?x=1",
        OK_BODY,
        400,
        error=f"Malformed request: POST {HPT}:predict?x=1",
    ),
    Case("trailing slash", "GET", HPT + "/", None, 400, error=f"Malformed request: GET {HPT}/"),
    Case("GET predict", "GET", HPT + ":predict", None, 400, error=f"Malformed request: GET {HPT}:predict"),
    Case("PUT", "PUT", HPT, "", 400, error=f"Malformed request: PUT {HPT}"),
    Case("DELETE", "DELETE", HPT, None, 400, error=f"Malformed request: DELETE {HPT}"),
    Case("list all", "GET", "/v1/models", None, 400, error="Missing model name in request."),
    Case("version alone", "GET", "/v1/models/versions/5", None, 400, error="Missing model name in request."),
    Case(
        "huge version",
        "GET",
        HPT + "/versions/99999999999999999999",
        None,
        400,
        error="Failed to convert version: 99999999999999999999 to numeric.",
        differs="TensorFlow Serving's answer has no body",
    ),
    # --- status
    Case(
        "status",
        "GET",
        HPT,
        None,
        200,
        answer={
            "model_version_status": [
                {"version": v, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
                for v in ("2", "1")
            ]
        },
    ),
    Case(
        "status of a version",
        "GET",
        HPT + "/versions/1",
        None,
        200,
        answer={
            "model_version_status": [
                {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ]
        },
    ),
    Case(
        "status of an unknown model",
        "GET",
        "/v1/models/nope",
        None,
        404,
        error="Could not find any versions of model nope",
    ),
    Case(
        "a query belongs to the name",
        "GET",
        HPT + "?x=1",
        None,
        404,
        error="Could not find any versions of model half_plus_two?x=1",
    ),
    Case(
        "status of an unknown version",
        "GET",
        HPT + "/versions/9",
        None,
        404,
        error="Could not find version 9 of model half_plus_two",
    ),
    # --- metadata
    Case(
        "metadata of an unknown model",
        "GET",
        "/v1/models/nope/metadata",
        None,
        404,
        error="Servable not found for request: Latest(nope)",
    ),
    Case(
        "metadata of an unknown label",
        "GET",
        HPT + "/labels/nope/metadata",
        None,
        400,
        error="Unrecognized servable version label: nope",
    ),
]


@pytest.mark.parametrize("case", rows(CASES))
def test_rest(case: Case, rest_address: str) -> None:
    """Each row is answered as TensorFlow Serving answers it."""
    body = None if case.body is None else case.body.encode()
    answer = ask(rest_address, case.method, case.target, body, case.headers)
    assert answer.status == case.status, answer.body
    assert answer.headers["content-type"] == "application/json"
    if case.error is None:
        assert answer.json == case.answer
        return
    assert list(answer.json) == ["error"]
    text = answer.json["error"]
    if case.error.endswith("…"):
        assert text.startswith(case.error[:-1])
    else:
        assert text == case.error


def test_status_of_a_label_lists_every_version(rest_address: str) -> None:
    """A label in a status URL is not resolved, even one that does not exist."""
    everything = ask(rest_address, "GET", HPT).body
    assert ask(rest_address, "GET", HPT + "/labels/nope").body == everything
    assert everything.endswith(b"\n")


def test_metadata(rest_address: str) -> None:
    """Metadata names the version, and every signature with its tensors."""
    answer = ask(rest_address, "GET", HPT + "/versions/1/metadata")
    assert answer.status == 200
    assert answer.json["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "1"}
    signatures = answer.json["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "classify_x_to_y", "regress_x_to_y"} <= set(signatures)
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["defaults"] == {}
    assert default["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert default["inputs"]["x"]["tensor_shape"]["unknown_rank"] is False
    assert ask(rest_address, "GET", HPT + "/labels/stable/metadata").body == answer.body


@pytest.mark.saved_model("its initialisation is a signature")
def test_metadata_lists_the_initialisation(rest_address: str) -> None:
    """The signature with which a SavedModel is initialised is listed with the others."""
    answer = ask(rest_address, "GET", HPT + "/metadata")
    assert "__saved_model_init_op" in answer.json["metadata"]["signature_def"]["signature_def"]


def test_unknown_paths_get_a_page(rest_address: str) -> None:
    """A path outside the API is a small HTML page, and the connection is closed."""
    for target in ("/", "/v2/models/half_plus_two", "/v1", "/favicon.ico"):
        answer = ask(rest_address, "GET", target)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html")
        assert answer.headers["connection"] == "close"
        assert b"<title>404 Not Found</title>" in answer.body
        assert b"<h1>Not Found</h1>" in answer.body


def test_head_is_malformed_without_a_body(rest_address: str) -> None:
    """HEAD reaches the API and is refused; the answer has no body."""
    answer = ask(rest_address, "HEAD", HPT)
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://a.example", 200),
        ("https://a.example", 200),
        pytest.param(None, 400, marks=pytest.mark.ours("TensorFlow Serving's answer has no body")),
    ],
)
def test_options(rest_address: str, origin: str | None, status: int) -> None:
    """OPTIONS asks for an Origin, whatever the CORS flag says."""
    headers = {} if origin is None else {"Origin": origin}
    answer = ask(rest_address, "OPTIONS", HPT, headers=headers)
    assert answer.status == status
    assert (answer.body == b"") == (status == 200)
    assert "access-control-allow-origin" not in answer.headers


def test_gzip_bodies(rest_address: str) -> None:
    """A gzip body is inflated; a broken one is refused in the words of an empty document, with the reason."""
    coded = {"Content-Encoding": "gzip"}
    assert (
        ask(rest_address, "POST", HPT + ":predict", gzip.compress(OK_BODY.encode()), coded).json == OK_ANSWER
    )
    for broken in (b"not gzip", gzip.compress(OK_BODY.encode())[:-4]):
        answer = ask(rest_address, "POST", HPT + ":predict", broken, coded)
        assert answer.status == 400
        assert answer.json["error"].startswith("JSON Parse error: The document is empty")


@pytest.mark.ours("the text says why a body cannot be inflated")
def test_a_gzip_bomb_is_refused(rest_address: str) -> None:
    """A body that inflates beyond 100 MiB is refused."""
    bomb = gzip.compress(b" " * (100 * 2**20 + 1), 1)
    answer = ask(rest_address, "POST", HPT + ":predict", bomb, {"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "more than 104857600 bytes" in answer.json["error"]


def test_chunked_bodies(rest_address: str) -> None:
    """A body without a length is read to its end."""
    connection = http.client.HTTPConnection(rest_address, timeout=60)
    connection.request(
        "POST", HPT + ":predict", iter([b'{"instances": [1.', b"0, 2.0, 5.0]}"]), encode_chunked=True
    )
    assert json.loads(connection.getresponse().read()) == OK_ANSWER
    connection.close()


def test_keep_alive(rest_address: str) -> None:
    """Requests and errors follow each other on one connection."""
    connection = http.client.HTTPConnection(rest_address, timeout=60)
    for _ in range(3):
        connection.request("POST", HPT + ":predict", OK_BODY)
        assert json.loads(connection.getresponse().read()) == OK_ANSWER
        connection.request("POST", HPT + ":predict", "{")
        assert connection.getresponse().read().startswith(b"{")
    connection.close()

"""REST answers that do not fit: each is INTERNAL, and says what was wrong.

What fits is shown with the client's wires.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.codec import json_answer
from pyserve.errors import InternalError
from pyserve.servable import TensorSpec

Y = {"y": TensorSpec("y", dtypes.INT32, None)}
TWO = {alias: TensorSpec(alias, dtypes.INT32, None) for alias in "yz"}


@pytest.mark.parametrize(
    ("read", "body", "said"),
    [
        (lambda body: json_answer.predict_outputs(body, Y), b"[]", "answer to predict: not an object"),
        (lambda body: json_answer.predict_outputs(body, Y), b'{"predictions": [1]}', "no member 'outputs'"),
        (
            lambda body: json_answer.predict_outputs(body, Y),
            b'{"outputs": [1.5]}',
            "is not of expected type: int32",
        ),
        (lambda body: json_answer.predict_outputs(body, Y), b'{"outputs": [[1], [1, 2]]}', "unexpected size"),
        (lambda body: json_answer.predict_outputs(body, TWO), b'{"outputs": [1]}', "not an object"),
        (
            lambda body: json_answer.predict_outputs(body, TWO),
            b'{"outputs": {"y": 1, "a": 2}}',
            r"outputs \['a', 'y'\], expected \['y', 'z'\]",
        ),
        (json_answer.classes_and_scores, b'{"results": [[["a"]]]}', "answer to classify: "),
        (json_answer.classes_and_scores, b'{"results": 5}', "answer to classify: "),
        (json_answer.regressions, b'{"results": [["a"]]}', "answer to regress: "),
        (json_answer.status_response, b'{"other": []}', "answer to status: KeyError"),
        (
            json_answer.status_response,
            b'{"model_version_status": [{"version": "x"}]}',
            "answer to status: ParseError",
        ),
        (
            json_answer.metadata,
            b'{"model_spec": {"name": "m"}}',
            "answer to metadata: ",
        ),
    ],
)
def test_what_does_not_fit(read: Callable[[bytes], Any], body: bytes, said: str) -> None:
    """The verb, and the reason."""
    with pytest.raises(InternalError, match=said):
        read(body)


def test_fields_that_are_newer_than_this_client() -> None:
    """They are passed over."""
    body = b'{"model_version_status": [{"version": "3", "state": "AVAILABLE", "new": 1}], "newer": 2}'
    (entry,) = json_answer.status_response(body).model_version_status
    assert (entry.version, entry.state) == (3, 30)


def test_numbers_beyond_a_narrow_float() -> None:
    """They become infinite, without a warning."""
    outputs = json_answer.predict_outputs(
        b'{"outputs": [1e30]}', {"y": TensorSpec("y", dtypes.BY_NAME["half"], None)}
    )
    assert outputs["y"].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "no \\u00fc"}', "no ü"),
        (b'{"error": 5}', None),
        (b"<html>", None),
        (b"", None),
        (b"[]", None),
    ],
)
def test_error_messages(body: bytes, message: str | None) -> None:
    """None where the body has another form."""
    assert json_answer.error_message(body) == message

"""Inputs from the command line, and results as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtype_samples import SENDABLE, sample
from pyserve.client import Client, Prediction, RestClient, VersionStatus
from pyserve.dtypes import DType
from pyserve.errors import Code, InvalidArgumentError, NotFoundError, ServingError, Status
from pyserve.lifecycle.monitor import State
from pyserve.tools.remote import (
    all_available,
    connect,
    output_rows,
    prediction_json,
    read_input,
    status_rows,
    statuses_json,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1.5", ("x", 1.5)),
        ("x=[[1, 2], [3, 4]]", ("x", [[1, 2], [3, 4]])),
        ('x="a=b"', ("x", "a=b")),
        ('x=[{"b64": "/wA="}]', ("x", [b"\xff\0"])),
        ("x=[NaN, true]", ("x", "[nan, True]")),
    ],
)
def test_inputs(text: str, expected: tuple[str, Any]) -> None:
    """JSON, in which a base64 object is bytes."""
    alias, value = read_input(text)
    assert alias == expected[0]
    assert (str(value) if "NaN" in text else value) == expected[1]


def test_inputs_from_files(tmp_path: Path) -> None:
    """By the file's ending: an array, JSON, or the bytes themselves as a batch of one."""
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "x.json").write_text("[1, 2]")
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8")
    found = read_input(f"x=@{tmp_path}/x.npy")[1]
    assert found.dtype == np.int16
    assert found.tolist() == array.tolist()
    assert read_input(f"x=@{tmp_path}/x.json") == ("x", [1, 2])
    assert read_input(f"x=@{tmp_path}/x.jpg") == ("x", [b"\xff\xd8"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "--input x: expected ALIAS=JSON or ALIAS=@FILE"),
        ("=1", "expected ALIAS=JSON"),
        ("x=fox", "--input x: no JSON value: .*strings need double quotes"),
        ('x={"a": 1}', "an object other than"),
        ('x={"b64": "?"}', "--input x: no JSON value"),
        ("x=@DIR/bad.npy", "bad.npy: "),
        ("x=@DIR/pickled.npy", "pickled.npy: "),
        ("x=@DIR/bad.json", "bad.json: no JSON value"),
        ("x=@DIR/none.json", "none.json; No such file"),
    ],
)
def test_inputs_that_cannot_be_read(text: str, said: str, tmp_path: Path) -> None:
    """The message names the input or the file; a pickle is not run."""
    for name in ("bad.npy", "bad.json"):
        (tmp_path / name).write_bytes(b"[1, ")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ServingError, match=said):
        read_input(text.replace("DIR", str(tmp_path)))


@pytest.mark.parametrize("dtype", SENDABLE, ids=repr)
def test_every_dtype_as_json(dtype: DType) -> None:
    """What is printed is JSON, with the values in it."""
    array = sample(dtype)
    document = json.loads(prediction_json("m", Prediction({"y": array, "empty": array[:0]}, 3)))
    assert (document["model"], document["version"]) == ("m", 3)
    assert document["dtypes"] == {"y": dtype.name, "empty": dtype.name}
    assert document["outputs"]["empty"] == []
    shown = np.array(document["outputs"]["y"], object)
    if dtype.name.startswith("complex"):
        assert shown.shape == (2, 2, 2)
        assert shown[0, 1].tolist() == [1.5, 0.0]
    elif dtype.is_string:
        assert shown[1, 1] == {"b64": "//4="}
    else:
        numbers = array[array.dtype.names[0]] if array.dtype.names else array
        assert shown.astype(np.float64).tolist() == pytest.approx(numbers.astype(np.float64))


def test_rows() -> None:
    """Texts that are UTF-8 are shown as they are."""
    words = np.array([b"the", "ü".encode()], object)
    rows = output_rows(Prediction({"words": words, "n": np.array(3, np.int64)}, None))
    assert rows == [("n", "int64", "[]", "3"), ("words", "string", "[2]", '["the", "ü"]')]


STATUSES: Any = {
    "a": [
        VersionStatus(2, State.AVAILABLE, Status()),
        VersionStatus(1, State.END, Status(Code.NOT_FOUND, "gone\naway")),
    ],
    "b": NotFoundError("none of b"),
}


def test_statuses() -> None:
    """By model and version; a model that the server does not know has no version."""
    assert status_rows(STATUSES) == [
        ("a", "2", "AVAILABLE", "OK", ""),
        ("a", "1", "END", "NOT_FOUND", "gone\naway"),
        ("b", "-", "-", "NOT_FOUND", "none of b"),
    ]
    assert json.loads(statuses_json(STATUSES)) == {
        "models": {
            "a": [
                {"version": 2, "state": "AVAILABLE", "code": "OK", "message": ""},
                {"version": 1, "state": "END", "code": "NOT_FOUND", "message": "gone\naway"},
            ],
            "b": {"error": {"code": "NOT_FOUND", "message": "none of b"}},
        }
    }


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [(STATUSES, False), ({"a": STATUSES["a"]}, True), ({"a": STATUSES["a"][1:]}, False), ({}, True)],
)
def test_whether_all_are_available(statuses: Any, expected: bool) -> None:
    """One version of each model is enough."""
    assert all_available(statuses) is expected


def test_addresses() -> None:
    """A URL is REST, anything else gRPC; scripts hear at once that nobody is there."""
    for address, kind in (
        ("http://h:1", RestClient),
        ("h:1", Client),
        ("unix:/s", Client),
        ("dns:///h:1", Client),
    ):
        with connect(address, 1.0) as client:
            assert type(client) is kind
            assert client._calls._retry.attempts == 1
    with pytest.raises(InvalidArgumentError, match="https://h' is no address"):
        connect("https://h", 1.0)

"""What the commands that talk to a running server share: the client for an address, inputs, and results as text."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.client import Client, Prediction, RestClient, Retry, VersionStatus
from pyserve.codec.json_writer import named_tensors
from pyserve.dtypes import Array
from pyserve.errors import Code, InvalidArgumentError, ServingError, file_error


def connect(address: str, timeout_s: float) -> Client | RestClient:
    """A client for an address: http://... is REST, everything else gRPC. It tries once, so that scripts hear at once.

    Raises:
        InvalidArgumentError: The address has neither form.
    """
    try:
        kind = RestClient if address.startswith(("http://", "https://")) else Client
        return kind(address, timeout_s=timeout_s, retry=Retry(attempts=1))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None


def read_input(text: str) -> tuple[str, Any]:
    """An input as the command line gives it: its alias and its value.

    `x=[1, 2]` is JSON; `x=@FILE` reads the file: `.npy` an array, `.json` JSON, any other its bytes, as a batch of one
    string. In JSON `{"b64": "..."}` stands for bytes.

    Raises:
        InvalidArgumentError: There is no `=`, or the value cannot be read.
        ServingError: The file cannot be read.
    """
    alias, equals, value = text.partition("=")
    if not equals or not alias:
        raise InvalidArgumentError(f"--input {text}: expected ALIAS=JSON or ALIAS=@FILE")
    if not value.startswith("@"):
        return alias, _parsed(f"--input {alias}", value)
    path = Path(value[1:])
    try:
        if path.suffix == ".npy":
            return alias, np.load(path, allow_pickle=False)
        data = path.read_bytes()
    except OSError as error:
        raise file_error(error) from error
    except ValueError as error:
        raise InvalidArgumentError(f"{path}: {error}") from None
    return alias, _parsed(str(path), data) if path.suffix == ".json" else [data]


def _parsed(where: str, text: str | bytes) -> Any:
    try:
        return json.loads(text, object_hook=_bytes_of)
    except ValueError as error:  # binascii's, too
        raise InvalidArgumentError(f"{where}: no JSON value: {error} (strings need double quotes)") from None


def _bytes_of(value: Mapping[str, Any]) -> bytes:
    if value.keys() != {"b64"} or not isinstance(value["b64"], str):
        raise ValueError('an object other than {"b64": "..."}')
    return binascii.a2b_base64(value["b64"], strict_mode=True)


def output_rows(prediction: Prediction) -> list[tuple[str, str, str, str]]:
    """(alias, dtype, shape, values as JSON) of each output."""
    return [
        (alias, dtypes.of_array(array).name, str(list(array.shape)), _json({alias: array}, alias))
        for alias, array in sorted(prediction.items())
    ]


def prediction_json(model: str, prediction: Prediction) -> str:
    """One JSON object: `model`, `version` (null where REST does not tell), `dtypes` and `outputs` by alias.

    Strings that are no UTF-8 are base64 objects; complex numbers are pairs.
    """
    rows = output_rows(prediction)
    outputs = ", ".join(f"{json.dumps(alias)}: {values}" for alias, _, _, values in rows)
    head = {
        "model": model,
        "version": prediction.version,
        "dtypes": {alias: name for alias, name, _, _ in rows},
    }
    return json.dumps(head)[:-1] + f', "outputs": {{{outputs}}}}}'


def _json(named: Mapping[str, Array], alias: str) -> str:
    array = named[alias]
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    text = named_tensors({"": array}, as_base64=lambda _: _is_binary(array))
    return text.removeprefix(b'{"": ').removesuffix(b"}").decode()


def _is_binary(array: Array) -> bool:
    """Whether an element of an array of strings is no UTF-8."""
    try:
        for item in array.reshape(-1).tolist():
            item.decode()
    except UnicodeDecodeError:
        return True
    return False


ModelStatus = Sequence[VersionStatus] | ServingError
"""A model's versions, newest first, or what the server said instead."""


def model_statuses(client: Client | RestClient, models: Sequence[str]) -> dict[str, ModelStatus]:
    """The versions of each model; of a model that the server does not know, its error.

    Args:
        client: For the server.
        models: Their names; none means all, which only pyserve lists, and only to a RestClient.

    Raises:
        ServingError: The server cannot be asked.
    """
    if not models:
        assert isinstance(client, RestClient)
        models = sorted(client.models())
    found: dict[str, ModelStatus] = {}
    for model in models:
        try:
            found[model] = client.status(model)
        except ServingError as error:
            if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise
            found[model] = error
    return found


def all_available(statuses: Mapping[str, ModelStatus]) -> bool:
    """Whether each model has a version that answers requests."""
    return all(
        not isinstance(each, ServingError) and any(v.available for v in each) for each in statuses.values()
    )


def status_rows(statuses: Mapping[str, ModelStatus]) -> list[tuple[str, str, str, str, str]]:
    """(model, version, state, code, message) of each version; version and state are `-` where there is none."""
    rows = []
    for model, found in statuses.items():
        if isinstance(found, ServingError):
            rows.append((model, "-", "-", found.code.name, found.message))
            continue
        rows += [(model, str(v.version), v.state.name, v.status.code.name, v.status.message) for v in found]
    return rows


def statuses_json(statuses: Mapping[str, ModelStatus]) -> str:
    """One JSON object: by model a list of versions, or an `error`."""
    shown: dict[str, Any] = {}
    for model, found in statuses.items():
        if isinstance(found, ServingError):
            shown[model] = {"error": {"code": found.code.name, "message": found.message}}
            continue
        shown[model] = [
            {
                "version": v.version,
                "state": v.state.name,
                "code": v.status.code.name,
                "message": v.status.message,
            }
            for v in found
        ]
    return json.dumps({"models": shown})

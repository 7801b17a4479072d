"""The request that is sent again and again: made once, from arrays, from a file, or from the model's signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyserve.client.rest_wire import model_path
from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.predict import ModelSpec, encode_request
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, file_error
from pyserve.servable import Signature, TensorSpec
from pyserve.tools.bench.connection import Connection
from pyserve.tools.bench.http1 import Http1Connection
from pyserve.tools.bench.http2 import Http2Connection
from pyserve.tools.bench.target import Target

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_FILE_SUFFIXES = (".json", ".npy", ".npz")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent to a target of its protocol.

    Attributes:
        is_grpc: A call of gRPC; otherwise a POST.
        path: Of the method or page.
        body: gRPC: the message. REST: the JSON.
    """

    is_grpc: bool
    path: str
    body: bytes

    @property
    def framed(self) -> bytes:
        """The body as it is sent: gRPC puts a prefix before a message."""
        return b"\0" + len(self.body).to_bytes(4, "big") + self.body if self.is_grpc else self.body

    def connection(self, target: Target) -> Connection:
        """The client's side of a new connection to a target."""
        if self.is_grpc:
            headers = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", self.path),
                (":authority", target.authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "pyserve-bench"),
            ]
            return Http2Connection(headers, self.framed)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: pyserve-bench\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return Http1Connection(head.encode() + self.body)


def predict(target: Target, spec: ModelSpec, inputs: Mapping[str, Array] | bytes) -> Request:
    """A predict request: of arrays, or of a JSON body, which REST sends as it is.

    Raises:
        InvalidArgumentError: JSON for gRPC; `arrays_of` makes arrays of it.
    """
    if not target.is_grpc:
        body = inputs if isinstance(inputs, bytes) else _json_body(spec, inputs)
        return Request(False, f"{model_path(spec)}:predict", body)
    if isinstance(inputs, bytes):
        raise InvalidArgumentError("a gRPC request is made of arrays")
    return Request(True, _PREDICT, encode_request(spec, inputs))


def _json_body(spec: ModelSpec, inputs: Mapping[str, Array]) -> bytes:
    """Rows for a single input, as most clients send them; columns for several."""
    plain = {
        alias: np.vectorize(_b64, otypes=[object])(array).tolist()
        if array.dtype == object
        else array.tolist()
        for alias, array in inputs.items()
    }
    document: dict[str, Any] = {"signature_name": spec.signature_name} if spec.signature_name else {}
    if len(inputs) == 1 and next(iter(inputs.values())).ndim:
        document["instances"] = next(iter(plain.values()))
    else:
        document["inputs"] = plain
    return json.dumps(document).encode()


def _b64(item: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(item).decode()}


def made_up(signature: Signature, rows: int, seed: int = 7) -> dict[str, Array]:
    """Inputs that a signature declares: numbers below one, small integers, short strings.

    Args:
        signature: Free dimensions behind the first count as 1; an unknown rank as a vector.
        rows: Size of the first dimension, where it is free.
    """
    source = np.random.default_rng(seed)
    return {alias: _array(spec, rows, source) for alias, spec in signature.inputs.items()}


def _array(spec: TensorSpec, rows: int, source: np.random.Generator) -> Array:
    declared = (None,) if spec.shape is None else spec.shape
    shape = tuple(
        size if size is not None else rows if place == 0 else 1 for place, size in enumerate(declared)
    )
    form = spec.dtype.numpy
    if form is None:
        raise InvalidArgumentError(
            f"input {spec.alias} has the dtype {spec.dtype.name}, which no request can carry"
        )
    if spec.dtype.is_string:
        strings = np.empty(shape, object)
        strings[...] = b"word"
        return strings
    if form.kind in "iub" or form.names is not None:
        return source.integers(0, 2, shape).astype(form)
    # Sixty-fourths: few digits in JSON, and exact in every type of at least half precision.
    return (source.integers(0, 64, shape) / 64).astype(form)


def read_input(text: str) -> bytes | Array | dict[str, Array]:
    """What `--input` names: a JSON body (written out, or in a .json file), a .npy array, or a .npz file by alias.

    Raises:
        ServingError: The file cannot be read, or is something else.
    """
    if text.lstrip().startswith("{"):
        return text.encode()
    path = Path(text)
    if path.suffix not in _FILE_SUFFIXES:
        raise InvalidArgumentError(
            f"--input takes a JSON body or a file that ends in {', '.join(_FILE_SUFFIXES)}; was {text}"
        )
    try:
        if path.suffix == ".json":
            return path.read_bytes()
        loaded = np.load(path, allow_pickle=False)
        return loaded if path.suffix == ".npy" else {alias: loaded[alias] for alias in loaded.files}
    except OSError as error:
        raise file_error(error) from error
    except (ValueError, EOFError) as error:
        raise InvalidArgumentError(f"{text}: {error}") from None


def arrays_of(given: bytes | Array | Mapping[str, Array], signature: Signature) -> dict[str, Array]:
    """What `read_input` gave, as the inputs of a signature.

    Raises:
        ServingError: It does not fit.
    """
    if isinstance(given, bytes):
        return dict(PredictDocument.parse(given).tensors(signature.inputs).arrays)
    if not isinstance(given, Mapping):
        if len(signature.inputs) != 1:
            raise InvalidArgumentError(
                f'signature "{signature.key}" has the inputs {", ".join(sorted(signature.inputs))}; '
                "a .npy file holds one, use .npz"
            )
        given = {next(iter(signature.inputs)): given}
    if wrong := sorted(given.keys() - signature.inputs.keys()):
        raise InvalidArgumentError(
            f"the signature has no input {', '.join(wrong)}; it has {', '.join(sorted(signature.inputs))}"
        )
    arrays = {}
    for alias, array in given.items():
        dtype = signature.inputs[alias].dtype
        if dtype.numpy is None:
            raise InvalidArgumentError(
                f"input {alias} has the dtype {dtype.name}, which no request can carry"
            )
        try:
            arrays[alias] = array.astype(object if dtype.is_string else dtype.numpy)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"input {alias}, expected {dtype.name}: {error}") from None
    return arrays

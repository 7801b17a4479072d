"""One model, three protocols: TensorFlow Serving's two and that of EAS give equal numbers."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.client import Client, RestClient
from pyserve.codec.eas import decode_array
from pyserve.dtypes import Array
from pyserve.protos import eas
from servers import ServerProcess

RANDOM = np.random.default_rng(7)
CASES: list[tuple[str, str, dict[str, Array]]] = [
    ("half_plus_two", "", {"x": np.array([1, 2, 5e-7, -1e20], np.float32)}),
    ("half_plus_two", "", {"x": np.zeros(0, np.float32)}),
    ("mlp", "", {"images": RANDOM.random((5, 784), np.float32)}),
    ("two_in_six_out", "", {"left": np.array([6, 0.1], np.float32), "right": np.array([3, 0.7], np.float32)}),
    ("vocabulary", "", {"words": np.array([b"fox", b"dog", b""], object)}),
    ("vocabulary", "decode", {"ids": np.array([0, 2, 9])}),
    ("tf1_linear", "prediction", {"x": np.array([1, 2], np.float32)}),
]


def predict(port: int, name: str, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Ask as a client of EAS does."""
    request = eas.PredictRequest(signature_name=signature)
    for alias, array in inputs.items():
        sent = request.inputs[alias]
        dtype = dtypes.of_array(array)
        sent.dtype = dtype.number
        sent.array_shape.dim.extend(array.shape)
        field = {"float": sent.float_val, "int64": sent.int64_val, "string": sent.string_val}[dtype.name]
        field.extend(array.ravel().tolist())  # type: ignore[arg-type]
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request("POST", f"/api/predict/{name}", request.SerializeToString())
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
    finally:
        connection.close()
    return {
        alias: decode_array(array) for alias, array in eas.PredictResponse.FromString(body).outputs.items()
    }


@pytest.mark.parametrize(("name", "signature", "inputs"), CASES)
def test_equal_numbers(server: ServerProcess, name: str, signature: str, inputs: dict[str, Array]) -> None:
    """Arrays of the same types, shapes and values to the last bit."""
    with Client(f"localhost:{server.grpc_port}") as client:
        by_grpc = client.predict(name, inputs, signature=signature)
    with RestClient(f"http://localhost:{server.rest_port}") as rest_client:
        by_rest = rest_client.predict(name, inputs, signature=signature)
    by_eas = predict(server.rest_port, name, signature, inputs)
    for other in (by_grpc, by_rest):
        assert other.keys() == by_eas.keys()
        for alias, array in by_eas.items():
            assert other[alias].dtype == array.dtype
            assert other[alias].shape == array.shape
            assert other[alias].tolist() == array.tolist()

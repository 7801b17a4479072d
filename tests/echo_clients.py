"""What the tests of the clients share."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyserve import Server
from pyserve.client import Client, RestClient
from pyserve.dtypes import Array
from servers import ServerProcess

Sync = Client | RestClient
CLIENTS = ["grpc", "rest"]
NUMBERS = np.array([1.0, 2.0, 5.0], np.float32)


def client_of(kind: str, server: Server | ServerProcess, **options: Any) -> Sync:
    if kind == "grpc":
        return Client(f"localhost:{server.grpc_port}", **options)
    return RestClient(f"http://localhost:{server.rest_port}", **options)


def same(left: Array, right: Array) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype.kind == "O" else left.tobytes() == right.tobytes()

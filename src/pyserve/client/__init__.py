"""Clients of a model server: numpy in, numpy out, without TensorFlow. They work with TensorFlow Serving too.

    from pyserve.client import Client

    with Client("localhost:8500") as client:
        client.predict("half_plus_two", {"x": [1.0, 2.0, 5.0]})["y"]    # array([2.5, 3. , 4.5], dtype=float32)

`Client` and `AsyncClient` speak gRPC, `RestClient` HTTP. What can be decided without a socket or a clock is decided
in one place for the three: a call is a *plan* (`plan`), a generator that yields what to do next.

    calls     the methods as plans: metadata, splitting by rows, joining          retry      when to try again
    arrays    what a caller gives → arrays of the signature's dtypes              features   the same for tf.Examples
    grpc_wire, rest_wire   a call as bytes, and the answer's bytes → results      results    what a call gives
    sync_client, grpc_client, aio_client, rest_client   the plans, driven over sockets

Importing this package costs next to nothing; a class brings what it needs when it is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserve.client.aio_client import AsyncClient as AsyncClient
    from pyserve.client.grpc_client import Client as Client
    from pyserve.client.rest_client import RestClient as RestClient
    from pyserve.client.results import Classification as Classification
    from pyserve.client.results import ModelMetadata as ModelMetadata
    from pyserve.client.results import Prediction as Prediction
    from pyserve.client.results import Regression as Regression
    from pyserve.client.results import VersionStatus as VersionStatus
    from pyserve.client.retry import Retry as Retry

_PLACES = {
    "AsyncClient": "aio_client",
    "Client": "grpc_client",
    "RestClient": "rest_client",
    "Classification": "results",
    "ModelMetadata": "results",
    "Prediction": "results",
    "Regression": "results",
    "VersionStatus": "results",
    "Retry": "retry",
}

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "ModelMetadata",
    "Prediction",
    "Regression",
    "RestClient",
    "Retry",
    "VersionStatus",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)

"""The model server that the tests run against: one of three, while neither the application nor its tests change.

pytest                                          a function, and recorded answers; milliseconds, no TensorFlow
MODEL_SERVER=http://staging:8501 pytest         a server with the real model: pyserve, or TensorFlow Serving
"""

from __future__ import annotations

import os

import pytest
from delivery import MODEL, Deliveries

from pyserve.testing import ModelServer, Recorded

STAGING = os.environ.get("MODEL_SERVER", "")

WAYS = {
    "function": lambda x: {"y": x * 0.5 + 2.0},
    "recorded": Recorded([({"x": [1.0, 2.0, 5.0]}, {"y": [2.5, 3.0, 4.5]}), ({"x": [1.0]}, {"y": [2.5]})]),
}


@pytest.fixture(params=["staging"] if STAGING else list(WAYS))
def server(request, model_server) -> ModelServer | None:
    """The fake; None when the tests run against a real server."""
    if STAGING:
        return None
    return model_server({MODEL: {1: WAYS[request.param]}}, labels={MODEL: {"stable": 1}})


@pytest.fixture
def fake(server) -> ModelServer:
    """For tests that need a server which does what they say."""
    if server is None:
        pytest.skip("a real server cannot be told to fail")
    return server


@pytest.fixture
def deliveries(server) -> Deliveries:
    """The application, set up as in production."""
    return Deliveries(STAGING if server is None else server.http_url, timeout_s=1.0)

"""The servers that the suite is put to: one over SavedModels and one over callables, or that of a given address.

Rows that need TensorFlow behind the server say why: a marker `saved_model`, or a case's field `graph`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callable_models import LABELS, callable_models
from conftest import given_addresses
from pyserve.testing import ModelServer, serve

SAVED_MODELS, CALLABLES = "SavedModels", "callables"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "models" in metafunc.fixturenames:
        kinds = [SAVED_MODELS] if given_addresses(metafunc.config) else [SAVED_MODELS, CALLABLES]
        metafunc.parametrize("models", kinds, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            params, mark = item.callspec.params, item.get_closest_marker("saved_model")
            reason = getattr(params.get("case"), "graph", "") or (mark.args[0] if mark else "")
            if reason and params.get("models") == CALLABLES:
                item.add_marker(pytest.mark.skip(reason=f"only of a SavedModel: {reason}"))


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> str:
    """What answers: SavedModels, or callables."""
    return str(request.param)


@pytest.fixture(scope="session")
def fake() -> Iterator[ModelServer]:
    """The models as callables, in this process."""
    with serve(callable_models(), labels=LABELS) as server:
        yield server


@pytest.fixture(scope="session")
def grpc_address(models: str, request: pytest.FixtureRequest, grpc_address: str) -> str:
    """host:port for gRPC."""
    return request.getfixturevalue("fake").grpc_address if models == CALLABLES else grpc_address


@pytest.fixture(scope="session")
def rest_address(models: str, request: pytest.FixtureRequest, rest_address: str) -> str:
    """host:port for REST."""
    if models == CALLABLES:
        return str(request.getfixturevalue("fake").http_url.removeprefix("http://"))
    return rest_address

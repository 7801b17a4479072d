"""SessionRun as bytes in and bytes out, over a fake graph: what is asked of the servable, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.function import FunctionServable
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.inference.call import Call
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.protos import tfs
from pyserve.servable import Servable, ServableHandle, ServableId, Signature, TensorSpec
from pyserve.transport.tfs_session import SESSION_RUN, handlers

SPECS = {alias: TensorSpec(alias, dtypes.FLOAT, (None,), f"graph_{alias}:0") for alias in ("x", "y")}


class Graph:
    """Answers each fetch with the sum of all feeds."""

    signature_def_map = b""
    stateless: frozenset[str] = frozenset()
    signatures: Mapping[str, Signature] = MappingProxyType(
        {"s": Signature("s", "", {"x": SPECS["x"]}, {"y": SPECS["y"]})}
    )

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str], list[str]]] = []

    def run(self, *arguments: object) -> dict[str, Array]:
        raise AssertionError("no signature is run")

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        del timeout_s
        self.asked.append((list(feeds), list(fetches), list(targets)))
        total = np.sum([array.sum() for array in feeds.values()], dtype=np.float32)
        return {name: np.array([total], np.float32) for name in fetches}

    def unload(self) -> None: ...


def begin(
    servable: Servable, request: Any, deadline: float | None = None, *, as_content: bool = False
) -> Any:
    router = Router(lambda name, version: ServableHandle(ServableId(name, 3), servable, lambda: None), dict)
    table = handlers(PredictionService(router), as_content=as_content, clock=lambda: 1000.0)
    return table[SESSION_RUN](request.SerializeToString(), deadline)


def answer(call: Any) -> tfs.SessionRunResponse:
    assert isinstance(call, Call)
    call.task.run()
    if call.task.error is not None:
        raise call.task.error
    assert call.task.result is not None
    return tfs.SessionRunResponse.FromString(call.finish(call.task.result))


def request(feeds: Mapping[str, float], *fetches: str, aliases: bool = False) -> tfs.SessionRunRequest:
    made = tfs.SessionRunRequest(fetch=fetches, tensor_name_is_alias=aliases)
    made.model_spec.name = "m"
    made.model_spec.signature_name = "s"
    for name, value in feeds.items():
        feed = made.feed.add(name=name)
        feed.tensor.dtype = 1
        feed.tensor.float_val.append(value)
    return made


def test_names_of_tensors() -> None:
    """Names pass through; a repeated fetch is run once and answered twice."""
    graph = Graph()
    made = request({"a:0": 1.0, "b:0": 2.0}, "c:0", "d:0", "c:0")
    made.target.append("op")
    response = answer(begin(graph, made))
    assert graph.asked == [(["a:0", "b:0"], ["c:0", "d:0"], ["op"])]
    assert [(each.name, list(each.tensor.float_val)) for each in response.tensor] == [
        ("c:0", [3.0]),
        ("d:0", [3.0]),
        ("c:0", [3.0]),
    ]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "")


def test_aliases() -> None:
    """Aliases become tensors on the way in, and are aliases again on the way out."""
    graph = Graph()
    response = answer(begin(graph, request({"x": 1.0}, "y", aliases=True)))
    assert graph.asked == [(["graph_x:0"], ["graph_y:0"], [])]
    assert [each.name for each in response.tensor] == ["y"]
    assert response.model_spec.signature_name == "s"


def test_tensor_content() -> None:
    """The server's choice of encoding holds here too."""
    response = answer(begin(Graph(), request({"x:0": 1.0}, "y:0"), as_content=True))
    assert response.tensor[0].tensor.tensor_content == np.float32(1.0).tobytes()


@pytest.mark.parametrize(
    ("own_ms", "deadline", "expected"),
    [(0, None, None), (0, 7.0, 7.0), (500, None, 1000.5), (500, 1000.1, 1000.1), (500, 2000.0, 1000.5)],
)
def test_the_shorter_limit_counts(own_ms: int, deadline: float | None, expected: float | None) -> None:
    """The call's deadline and the request's own limit: whichever comes first."""
    made = request({}, "y:0")
    made.options.timeout_in_ms = own_ms
    assert begin(Graph(), made, deadline).task.deadline == expected


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (tfs.SessionRunRequest(), "Missing ModelSpec"),
        (
            request({"q": 1.0}, "y", aliases=True),
            "Tensor alias q not found in signature s: expected one of {x}",
        ),
        (
            request({"x": 1.0}, "x", aliases=True),
            "Tensor alias x not found in signature s: expected one of {y}",
        ),
    ],
)
def test_refusals(made: tfs.SessionRunRequest, message: str) -> None:
    """What is wrong is named before anything runs."""
    with pytest.raises(InvalidArgumentError) as caught:
        begin(Graph(), made)
    assert caught.value.message == message


def test_bad_feeds() -> None:
    """A feed that is no tensor, or comes twice, is named."""
    made = request({"a:0": 1.0}, "y:0")
    made.feed.add(name="a:0").tensor.dtype = 1
    with pytest.raises(InvalidArgumentError, match="Duplicate feed: a:0"):
        begin(Graph(), made)
    made.feed[1].name = "b:0"
    made.feed[1].tensor.dtype = 0
    with pytest.raises(InvalidArgumentError, match="tensor parsing error: b:0: "):
        begin(Graph(), made)


def test_a_servable_without_a_graph() -> None:
    """A Python callable has nothing to feed by tensor names."""
    with pytest.raises(UnimplementedError, match="has no graph"):
        answer(begin(FunctionServable([]), request({}, "y:0")))

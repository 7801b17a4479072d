"""SessionService/SessionRun with the official messages: not offered by default, anything goes with its flag."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import session_service_pb2

from grpc_calls import fill_spec
from servers import EXAMPLES, ServerProcess, config_text

# TensorFlow Serving describes this service and does not offer it.
offered = pytest.mark.ours("TensorFlow Serving does not offer SessionRun")

MODELS = ("half_plus_two", "tf1_counter", "two_in_six_out")


class Stub:
    """What tensorflow-serving-api would have for the service, if it had a stub for it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.SessionRun = channel.unary_unary(
            "/tensorflow.serving.SessionService/SessionRun",
            session_service_pb2.SessionRunRequest.SerializeToString,
            session_service_pb2.SessionRunResponse.FromString,
        )


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
        config.write(config_text({name: EXAMPLES / name for name in MODELS}))
        config.flush()
        flags = [f"--model_config_file={config.name}", "--enable_session_run"]
        with (
            ServerProcess(flags, rest=False) as server,
            grpc.insecure_channel(f"localhost:{server.grpc_port}") as channel,
        ):
            assert "SessionRun is enabled" in server.log
            yield Stub(channel)


def request(
    name: str | None,
    feeds: dict[str, list[float]],
    fetches: list[str],
    targets: tuple[str, ...] = (),
    *,
    aliases: bool = False,
    timeout_ms: int = 0,
    **spec: Any,
) -> Any:
    made = session_service_pb2.SessionRunRequest(fetch=fetches, target=targets, tensor_name_is_alias=aliases)
    made.options.timeout_in_ms = timeout_ms
    if name is not None:
        fill_spec(made.model_spec, name, **spec)
    for feed, values in feeds.items():
        sent = made.feed.add(name=feed)
        sent.tensor.dtype = 1
        sent.tensor.tensor_shape.dim.add().size = len(values)
        sent.tensor.float_val.extend(values)
    return made


def run(stub: Any, made: Any) -> list[tuple[str, list[float]]]:
    response = stub.SessionRun(made, timeout=30)
    return [(each.name, list(each.tensor.float_val)) for each in response.tensor]


@offered
def test_tensors_by_name(stub: Any) -> None:
    """Tensors of the graph are fed and fetched, in the order asked for, a repeated one repeatedly."""
    fetch = "StatefulPartitionedCall_3:0"
    made = request("half_plus_two", {"serving_default_x:0": [1.0, 2.0]}, [fetch, fetch])
    assert run(stub, made) == [(fetch, [2.5, 3.0])] * 2
    spec = stub.SessionRun(made, timeout=30).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_two", 2, "")


@offered
def test_aliases(stub: Any) -> None:
    """With the flag of the request the names are those of a signature."""
    feeds = {"left": [6.0], "right": [3.0]}
    made = request("two_in_six_out", feeds, ["sum", "product"], aliases=True, timeout_ms=30_000)
    assert run(stub, made) == [("sum", [9.0]), ("product", [18.0])]
    assert stub.SessionRun(made, timeout=30).model_spec.signature_name == "serving_default"


@offered
def test_targets(stub: Any) -> None:
    """Operations are run for their effect."""
    for expected in (1.0, 2.0):
        stub.SessionRun(request("tf1_counter", {}, [], ("incremented",)), timeout=30)
        assert run(stub, request("tf1_counter", {}, ["current:0"])) == [("current:0", [expected])]


@offered
@pytest.mark.parametrize(
    ("made", "code", "message"),
    [
        (request(None, {}, []), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (request("nope", {}, []), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (request("half_plus_two", {}, ["nope:0"]), "NOT_FOUND", "Tensor nope:0 is not in the graph"),
        (request("half_plus_two", {}, [], ("nope",)), "NOT_FOUND", "Operation nope is not in the graph"),
        (
            request("half_plus_two", {"classify_x_to_y_inputs:0": [1.0]}, ["StatefulPartitionedCall:0"]),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be string but float is provided",
        ),
        (
            request("half_plus_two", {}, ["q"], aliases=True),
            "INVALID_ARGUMENT",
            "Tensor alias q not found in signature serving_default: expected one of {y}",
        ),
        (
            request("half_plus_two", {}, [], aliases=True, signature_name="nope"),
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        ),
    ],
)
def test_refusals(stub: Any, made: Any, code: str, message: str) -> None:
    """What cannot be run is named."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.SessionRun(made, timeout=30)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


def test_not_offered_by_default(grpc_address: str) -> None:
    """Without the flag the service is not there, as in TensorFlow Serving."""
    with grpc.insecure_channel(grpc_address) as channel:
        stub = Stub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SessionRun(request("half_plus_two", {}, []), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

"""The calls as plans, walked through step by step: no socket, no clock, no thread."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.client.calls import METADATA_MAX_AGE_S, Calls, GrpcCalls, model_spec
from pyserve.client.grpc_wire import GrpcWire
from pyserve.client.plan import Exchange, Pause, Plan, Together
from pyserve.client.rest_wire import RestWire
from pyserve.client.retry import Retry
from pyserve.codec.json_writer import predict_body
from pyserve.codec.model_json import metadata_body
from pyserve.codec.predict import ModelSpec, decode_request, encode_response
from pyserve.codec.signature_def import signature_def_map
from pyserve.dtypes import DType
from pyserve.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    UnavailableError,
    error_for,
)
from pyserve.protos import tfs
from pyserve.servable import PREDICT_METHOD, Signature, TensorSpec

SPEC = ModelSpec("m")
ONE = {"x": np.ones(1, np.float32)}


class World:
    """A clock, and a server that is a function; plays a plan and keeps what happened."""

    def __init__(
        self, *answers: bytes | ServingError | Callable[[Exchange], bytes], takes_s: float = 0.0
    ) -> None:
        self.now = 1000.0
        self.answers = list(answers)
        self.exchanges: list[Exchange] = []
        self.pauses: list[float] = []
        self.widths: list[tuple[int, int]] = []
        self._takes_s = takes_s

    def clock(self) -> float:
        return self.now

    def calls(self, wire: Any = None, **options: Any) -> Calls:
        return Calls(wire or GrpcWire(), clock=self.clock, chance=random.Random(1), **options)

    def play(self, plan: Plan[Any]) -> Any:
        try:
            step = next(plan)
            while True:
                try:
                    answer = self._perform(step)
                except ServingError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(answer)
        except StopIteration as end:
            return end.value

    def _perform(self, step: Any) -> Any:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        if isinstance(step, Together):
            self.widths.append((len(step.plans), step.concurrency))
            return [self.play(plan) for plan in step.plans]
        self.exchanges.append(step)
        self.now += self._takes_s
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ServingError):
            raise answer
        return answer(step) if callable(answer) else answer


def answer(version: int = 1, **outputs: Any) -> bytes:
    return encode_response(outputs or {"y": np.zeros(1)}, name="m", version=version, signature_name="s")


def echo(version: int = 1) -> Callable[[Exchange], bytes]:
    """`x` comes back as `y`."""

    def reply(exchange: Exchange) -> bytes:
        assert exchange.message.body is not None
        return answer(version, y=decode_request(exchange.message.body).array("x"))

    return reply


def predict(calls: Calls, inputs: Any = ONE, **options: Any) -> Plan[Any]:
    settings = {
        "output_filter": (),
        "max_rows": None,
        "concurrency": 4,
        "timeout_s": None,
        "spec": SPEC,
        **options,
    }
    return calls.predict(settings.pop("spec"), inputs, **settings)


def metadata(dtype: DType, version: int = 1, out: DType | None = None) -> bytes:
    """A metadata answer over gRPC: `x` of a dtype → `y`."""
    response = tfs.GetModelMetadataResponse()
    response.model_spec.name = "m"
    response.model_spec.version.value = version
    response.metadata["signature_def"].value = _map(dtype, out)
    return response.SerializeToString()


def _map(dtype: DType, out: DType | None = None) -> bytes:
    x, y = TensorSpec("x", dtype, (None,)), TensorSpec("y", out or dtype, (None,))
    return signature_def_map([Signature("serving_default", PREDICT_METHOD, {"x": x}, {"y": y})])


def test_predict() -> None:
    """One exchange, the arrays of the answer, and the version that gave them."""
    world = World(echo(7))
    result = world.play(predict(world.calls(), {"x": np.array([[1, 2]], np.int16)}))
    assert result["y"].tolist() == [[1, 2]]
    assert result["y"].dtype == np.int16
    assert result.version == 7
    assert [exchange.message.path for exchange in world.exchanges] == [
        "/tensorflow.serving.PredictionService/Predict"
    ]


# --- deadlines and retries ---------------------------------------------------------------------------------------


def test_a_call_has_the_clients_limit_or_its_own_or_none() -> None:
    """In seconds; math.inf is no limit."""
    world = World(answer())
    calls = world.calls(timeout_s=30.0)
    for timeout_s in (None, 5.0, math.inf):
        world.play(predict(calls, timeout_s=timeout_s))
    assert [exchange.timeout_s for exchange in world.exchanges] == [30.0, 5.0, None]


def test_unavailable_is_tried_again_with_growing_pauses() -> None:
    """Each attempt has what is left of the time."""
    gone = UnavailableError("gone")
    world = World(gone, gone, gone, answer(), takes_s=1.0)
    world.play(predict(world.calls(timeout_s=60.0, retry=Retry(jitter=0.0))))
    assert world.pauses == [0.1, 0.2, 0.4]
    assert [exchange.timeout_s for exchange in world.exchanges] == pytest.approx([60, 58.9, 57.7, 56.3])


def test_attempts_come_to_an_end() -> None:
    """The last error is the caller's."""
    world = World(UnavailableError("gone"))
    with pytest.raises(UnavailableError, match="gone"):
        world.play(predict(world.calls(retry=Retry(attempts=3))))
    assert len(world.exchanges) == 3


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 8, 9, 10, 13, 15])
def test_nothing_else_is_tried_again(code: int) -> None:
    """Above all not a deadline."""
    world = World(error_for(code, "no"))
    with pytest.raises(type(error_for(code, ""))):
        world.play(predict(world.calls()))
    assert len(world.exchanges) == 1
    assert world.pauses == []


def test_no_pause_reaches_beyond_the_deadline() -> None:
    """The error comes at once instead."""
    world = World(UnavailableError("gone"), takes_s=0.3)
    with pytest.raises(UnavailableError):
        world.play(predict(world.calls(retry=Retry(jitter=0.0, first_wait_s=0.5)), timeout_s=1.0))
    assert world.pauses == [0.5]
    assert world.now <= 1001.1


def test_nothing_is_sent_after_the_deadline() -> None:
    """Not even the second request of a call."""
    world = World(metadata(dtypes.FLOAT), answer(), takes_s=2.0)
    with pytest.raises(DeadlineExceededError):
        world.play(predict(world.calls(), {"x": [1.0]}, timeout_s=1.5))
    assert len(world.exchanges) == 1


def test_a_reload_is_never_tried_again() -> None:
    """It may have been done."""
    world = World(UnavailableError("gone"))
    with pytest.raises(UnavailableError):
        world.play(GrpcCalls(60.0, None).reload("model_config_list {}", (), math.inf))
    assert len(world.exchanges) == 1


def test_a_reload_that_failed_in_its_answer() -> None:
    """The status inside counts too."""
    response = tfs.ReloadConfigResponse()
    response.status.error_code = 5
    response.status.error_message = "not here"
    world = World(response.SerializeToString())
    with pytest.raises(NotFoundError, match="not here"):
        world.play(GrpcCalls(60.0, None).reload(b"", (), math.inf))


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"first_wait_s": -1.0}, {"max_wait_s": -1.0}, {"factor": 0.5}, {"jitter": 2.0}],
)
def test_a_retry_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    """Refused when it is made."""
    with pytest.raises(ValueError):
        Retry(**wrong)


def test_pauses_vary_and_have_a_limit() -> None:
    """Between half of it and the whole, with the jitter of the default."""
    waits = list(Retry(attempts=200).waits(random.Random(3)))
    assert len(waits) == 199
    assert all(1.0 <= wait <= 2.0 for wait in waits[10:])
    assert len(set(waits)) > 190


# --- signatures --------------------------------------------------------------------------------------------------


def test_numbers_of_python_take_the_declared_dtype() -> None:
    """The signature is asked for once, and again when it is old."""
    world = World(metadata(dtypes.INT64), echo(), echo(), metadata(dtypes.FLOAT), echo())
    calls = world.calls()
    assert world.play(predict(calls, {"x": [1]}))["y"].dtype == np.int64
    assert world.play(predict(calls, {"x": [1]}))["y"].dtype == np.int64
    world.now += METADATA_MAX_AGE_S + 1
    assert world.play(predict(calls, {"x": [1]}))["y"].dtype == np.float32
    assert len(world.exchanges) == 5


def test_a_signature_is_remembered_for_its_version_and_label() -> None:
    """Each has its own."""
    world = World(*[metadata(dtypes.INT64), echo()] * 3)
    calls = world.calls()
    for spec in (SPEC, ModelSpec("m", 1), ModelSpec("m", None, "stable")):
        world.play(predict(calls, {"x": [1]}, spec=spec))
    assert len(world.exchanges) == 6


def test_a_refused_argument_makes_the_client_ask_again() -> None:
    """The model may have changed."""
    world = World(metadata(dtypes.INT64), InvalidArgumentError("no"), metadata(dtypes.FLOAT), echo())
    calls = world.calls()
    with pytest.raises(InvalidArgumentError):
        world.play(predict(calls, {"x": [1]}))
    assert world.play(predict(calls, {"x": [1]}))["y"].dtype == np.float32


def test_a_signature_that_is_not_there() -> None:
    """In the server's words; and it is asked again the next time."""
    world = World(metadata(dtypes.INT64))
    calls = world.calls()
    for _ in range(2):
        with pytest.raises(FailedPreconditionError, match=r'Serving signature key "z" not found\.'):
            world.play(predict(calls, {"x": [1]}, spec=ModelSpec("m", None, None, "z")))
    assert len(world.exchanges) == 2


def test_a_rest_answer_of_a_newer_version() -> None:
    """What does not fit the remembered signature is read by the current one; the model is not run again."""
    int_then_float = [
        metadata_body("m", 1, _map(dtypes.INT32)),
        predict_body({"y": np.array([1], np.int32)}, row_format=False),
        predict_body({"y": np.array([1.5], np.float32)}, row_format=False),
        metadata_body("m", 2, _map(dtypes.INT32, dtypes.FLOAT)),
    ]
    world = World(*int_then_float)
    calls = world.calls(RestWire())
    assert world.play(predict(calls, {"x": [1]}))["y"].tolist() == [1]
    assert world.play(predict(calls, {"x": [1]}))["y"].tolist() == [1.5]
    assert [exchange.message.path for exchange in world.exchanges] == [
        "/v1/models/m/metadata",
        "/v1/models/m:predict",
        "/v1/models/m:predict",
        "/v1/models/m/metadata",
    ]


# --- splitting ---------------------------------------------------------------------------------------------------


def test_rows_are_split_and_joined_in_order() -> None:
    """At most `max_rows` in each call; scalars go with each."""
    world = World(lambda exchange: echo()(exchange))
    rows = np.arange(20, dtype=np.int32).reshape(10, 2)
    inputs = {"x": rows, "temperature": np.float32(0.5)}
    result = world.play(predict(world.calls(), inputs, max_rows=4, concurrency=2))
    assert result["y"].tolist() == rows.tolist()
    requests = [decode_request(exchange.message.body or b"") for exchange in world.exchanges]
    assert [len(request.array("x")) for request in requests] == [4, 4, 2]
    assert [float(request.array("temperature")) for request in requests] == [0.5] * 3
    assert world.widths == [(3, 2)]


def test_few_rows_are_one_call() -> None:
    """Nothing is split that need not be."""
    world = World(echo())
    world.play(predict(world.calls(), max_rows=4))
    assert len(world.exchanges) == 1
    assert world.widths == []


def test_all_parts_are_of_one_version() -> None:
    """What an older version answered while the versions changed is asked again of the newest that answered."""
    world = World(echo(1), echo(2), echo(1), echo(2), echo(2))
    inputs = {"x": np.arange(3, dtype=np.float32)}
    result = world.play(predict(world.calls(), inputs, max_rows=1, spec=ModelSpec("m", None, "stable")))
    assert result["y"].tolist() == [0, 1, 2]
    assert result.version == 2
    asked = [decode_request(exchange.message.body or b"").model_spec for exchange in world.exchanges]
    assert asked[:3] == [ModelSpec("m", None, "stable")] * 3
    assert asked[3:] == [ModelSpec("m", 2)] * 2
    again = [
        decode_request(exchange.message.body or b"").array("x").tolist() for exchange in world.exchanges[3:]
    ]
    assert again == [[0], [2]]


@pytest.mark.parametrize(
    ("inputs", "options", "text"),
    [
        (ONE, {"max_rows": 0}, "max_rows: 0, expected at least 1"),
        ({"x": np.ones(3)}, {"max_rows": 1, "concurrency": 0}, "concurrency: 0, expected at least 1"),
        (
            {"x": np.ones(3), "z": np.ones(2)},
            {"max_rows": 1},
            "same number of rows; these have {'x': 3, 'z': 2}",
        ),
    ],
)
def test_a_split_that_cannot_be(inputs: Any, options: Any, text: str) -> None:
    """Refused before anything is sent."""
    world = World(answer())
    with pytest.raises(InvalidArgumentError, match=text):
        world.play(predict(world.calls(), inputs, **options))
    assert world.exchanges == []


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([np.float32(1), np.float32(1)], r"output 'y': shape \(\) for 1 rows"),
        ([np.ones(2), np.ones(2)], r"output 'y': shape \(2,\) for 1 rows"),
        ([np.ones((1, 2)), np.ones((1, 3))], "do not fit together"),
    ],
)
def test_outputs_that_are_no_rows(outputs: list[Any], text: str) -> None:
    """A sum over the batch, say, would be wrong in silence."""
    world = World(*[answer(y=np.asarray(output)) for output in outputs])
    with pytest.raises(InvalidArgumentError, match=text):
        world.play(predict(world.calls(), {"x": np.ones(2)}, max_rows=1))


# --- arguments and answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "label", "text"),
    [(1, "stable", "a version or a label, not both"), (2**63, None, "expected a number of 64 bits")],
)
def test_a_model_spec_that_cannot_be(version: Any, label: Any, text: str) -> None:
    """Refused before anything is sent."""
    with pytest.raises(InvalidArgumentError, match=text):
        model_spec("m", version, label)


@pytest.mark.parametrize("wire", [GrpcWire(), RestWire()], ids=["grpc", "rest"])
def test_nonsense_for_an_answer(wire: Any) -> None:
    """It is INTERNAL, whatever was asked, and never another exception."""
    for nonsense in (b"\xff" * 9, b"{", b"[]", b'{"results": [1, [2]]}', b'{"outputs": {"a": "b"}}'):
        world = World(nonsense)
        calls = world.calls(wire)
        plans = [
            calls.metadata(SPEC, None),
            calls.status(SPEC, None),
            calls.classify(SPEC, [{}], None, None, 1, None),
            predict(calls),
        ]
        for plan in plans:
            with pytest.raises(InternalError):
                world.play(plan)


def test_a_config_that_is_no_text_format() -> None:
    """With the place of the mistake."""
    with pytest.raises(InvalidArgumentError, match="no text format of ModelServerConfig: 1:"):
        World().play(GrpcCalls(1.0, None).reload("nonsense: 1", (), 1.0))


def test_a_method_that_there_is_not() -> None:
    """A task of MultiInference."""
    with pytest.raises(InvalidArgumentError, match="'predict', expected one of"):
        GrpcCalls(1.0, None).multi_inference("m", [("predict", "")], [], None, None, None, 1.0)  # type: ignore[list-item]


@pytest.mark.parametrize("inputs", [[1.0], np.ones(1), None, "x", [("x", [1.0])]])
def test_inputs_without_names(inputs: Any) -> None:
    """A bare value is refused with what was expected, before anything is sent."""
    world = World()
    with pytest.raises(InvalidArgumentError, match=r"inputs: expected a mapping from aliases to values"):
        world.play(world.calls().predict(SPEC, inputs, (), None, 1, None))
    assert world.exchanges == []


def refused(**options: Any) -> None:
    world = World()
    world.play(predict(world.calls(), **options))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: model_spec(None, None, None), "model: None, expected a name"),  # type: ignore[arg-type]
        (lambda: model_spec("m", "1", None), "version: '1', expected a number"),  # type: ignore[arg-type]
        (lambda: model_spec("m", None, 1), "label: 1, expected a name"),  # type: ignore[arg-type]
        (lambda: refused(output_filter="score"), "output_filter: expected a list of aliases, was 'score'"),
        (lambda: refused(timeout_s="1"), "timeout_s: '1', expected seconds"),
        (lambda: refused(timeout_s=math.nan), "timeout_s: nan, expected seconds"),
        (
            lambda: World().play(GrpcCalls(1.0, None).reload(None, (), 1.0)),
            "config: expected a ModelServerConfig",
        ),
        (
            lambda: World().play(GrpcCalls(1.0, None).reload(b"\xff", (), 1.0)),
            "config: expected a ModelServerConfig",
        ),
    ],
)
def test_arguments_of_the_wrong_kind(call: Callable[[], Any], text: str) -> None:
    """They are refused by name, before anything is sent."""
    with pytest.raises(InvalidArgumentError) as caught:
        call()
    assert caught.value.message.startswith(text)


def test_numpys_numbers_for_versions() -> None:
    """They are numbers."""
    assert model_spec("m", np.int64(3), None).version == 3  # type: ignore[arg-type]

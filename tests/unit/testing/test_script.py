"""Outcomes, delays and gates before a model's runs, without a server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from pyserve.backends.function import FunctionServable
from pyserve.errors import Code, InternalError, ServingError, UnavailableError
from pyserve.servable import JointlyRunnable, OutputOf, Servable
from pyserve.testing.script import Gate, Script, code_of, scripted
from pyserve.testing.signatures import signature_of


@pytest.fixture
def script() -> Script:
    return Script()


def model(script: Script) -> Servable:
    """y = 2 x, scripted."""

    def double(x):  # type: ignore[no-untyped-def]
        return {"y": x * 2}

    return scripted(FunctionServable([(signature_of("serving_default", double), double)]), script)


def run(servable: Servable) -> float | str:
    """The output, or the error."""
    try:
        return float(servable.run("serving_default", {"x": np.float32(1)}, ("y",))["y"])  # type: ignore[dict-item]
    except ServingError as error:
        return str(error)


def test_outcomes_come_in_turn(script: Script) -> None:
    """Scripted runs come first, in their order and number, and then the model again."""
    servable = model(script)
    script.fail(UnavailableError("later"), 2)
    script.reply({"y": 7})
    assert [run(servable) for _ in range(4)] == ["UNAVAILABLE: later"] * 2 + [7.0, 2.0]


def test_until_further_notice(script: Script) -> None:
    """Without a number an outcome stays until the reset."""
    servable = model(script)
    script.reply({"y": 1}, None)
    assert [run(servable) for _ in range(3)] == [1.0] * 3
    script.reset()
    assert run(servable) == 2.0


def test_every_failure_is_an_error_of_its_own(script: Script) -> None:
    """An error that is raised again and again would gather tracebacks, and be shared between threads."""
    error = UnavailableError("later")
    script.fail(error, None)
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            script.perform()
        assert caught.value is not error


@pytest.mark.parametrize(
    ("outputs", "text"),
    [({}, "did not return the output y"), ({"y": "a"}, "y has the type <U1, expected float")],
)
def test_answers_are_as_declared(script: Script, outputs: dict[str, object], text: str) -> None:
    """A scripted answer is held to the signature like the model's own."""
    script.reply(outputs)
    with pytest.raises(InternalError, match=text):
        model(script).run("serving_default", {"x": np.zeros(1, np.float32)}, ("y",))


def test_gate(script: Script) -> None:
    """A gate holds whoever comes after it was made until it is opened, and nobody afterwards."""
    servable = model(script)
    with ThreadPoolExecutor(3) as pool:
        with script.hold() as gate:
            held = [pool.submit(run, servable) for _ in range(3)]
            gate.wait_until_held(3)
            assert gate.held == 3
            assert not any(future.done() for future in held)
        assert [future.result(10) for future in held] == [2.0] * 3
    assert gate.held == 0
    assert run(servable) == 2.0


def test_a_gate_that_nobody_reaches() -> None:
    """Waiting for it ends, and says how many came."""
    with pytest.raises(TimeoutError, match="0 of 2 requests reached the gate"):
        Gate().wait_until_held(2, timeout_s=0.01)


def test_a_reset_lets_everyone_go(script: Script) -> None:
    """Nobody who is held or delayed stays behind a reset."""
    servable = model(script)
    gate = script.hold()
    script.delay(3600)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run, servable)
        gate.wait_until_held()
        script.reset()
        assert future.result(10) == 2.0
    assert run(servable) == 2.0


def test_runs_of_many_threads_use_each_outcome_once(script: Script) -> None:
    """Of a hundred outcomes none is lost or used twice."""
    servable = model(script)
    for number in range(100):
        script.reply({"y": number + 10})
    start = threading.Barrier(8)

    def some() -> list[float | str]:
        start.wait()
        return [run(servable) for _ in range(15)]

    with ThreadPoolExecutor(8) as pool:
        found = [each for future in [pool.submit(some) for _ in range(8)] for each in future.result(30)]
    assert sorted(found, key=float) == [2.0] * 20 + [float(n + 10) for n in range(100)]


class Graph(FunctionServable):
    """A servable that can run several signatures, or tensors, as one."""

    def run_jointly(self, outputs: Any, array: Any, timeout_s: float | None = None) -> Any:
        return dict.fromkeys(outputs, "joint")

    def run_tensors(self, feeds: Any, fetches: Any, targets: Any, timeout_s: float | None = None) -> Any:
        return dict.fromkeys(fetches, "tensors")


def test_servables_with_a_graph(script: Script) -> None:
    """Joint runs, and runs of tensors, follow the script too; a servable that cannot do them does not learn it."""

    def double(x):  # type: ignore[no-untyped-def]
        return {"y": x * 2}

    graph: Any = scripted(Graph([(signature_of("serving_default", double), double)]), script)
    outputs = {"a": OutputOf("serving_default", "y")}
    for run_it, name, unscripted in (
        (lambda: graph.run_jointly(outputs, np.zeros(1)), "a", "joint"),
        (lambda: graph.run_tensors({}, ["y"], []), "y", "tensors"),
    ):
        script.fail(UnavailableError("later"))
        script.reply({"y": 7})
        with pytest.raises(UnavailableError):
            run_it()
        assert run_it()[name] == 7
        assert run_it()[name] == unscripted
    assert not isinstance(model(script), JointlyRunnable)


def test_codes() -> None:
    """A failure's code has many names; OK and unknown ones are refused."""
    for form in ("UNAVAILABLE", Code.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 14):
        assert code_of(form) is Code.UNAVAILABLE
    for form, text in (("OK", "OK is no failure"), ("nonsense", "expected one of OK, CANCELLED")):
        with pytest.raises(ValueError, match=text):
            code_of(form)


def test_arguments(script: Script) -> None:
    """Numbers that mean nothing are refused."""
    with pytest.raises(ValueError, match="times: expected at least 1, was 0"):
        script.reply({}, 0)
    with pytest.raises(ValueError, match="seconds: expected at least 0"):
        script.delay(float("nan"))

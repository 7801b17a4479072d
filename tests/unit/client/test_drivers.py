"""The two drivers of plans: the same results, errors and limits, on threads and on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyserve.client.aio_client import run_async
from pyserve.client.plan import Exchange, Message, Pause, Plan, Together
from pyserve.client.sync_client import run
from pyserve.errors import NotFoundError, UnavailableError

Driver = Callable[[Plan[Any], Callable[[str], bytes]], Any]


def on_threads(plan: Plan[Any], serve: Callable[[str], bytes]) -> Any:
    return run(plan, lambda exchange: serve(exchange.message.path))


def on_a_loop(plan: Plan[Any], serve: Callable[[str], bytes]) -> Any:
    async def exchange(exchange: Exchange) -> bytes:
        await asyncio.sleep(0)
        return serve(exchange.message.path)

    return asyncio.run(run_async(plan, exchange))


@pytest.fixture(params=[on_threads, on_a_loop])
def drive(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


def ask(path: str) -> Plan[bytes]:
    answer: bytes = yield Exchange(Message(path, None), None)
    return answer


def test_steps_and_errors(drive: Driver) -> None:
    """A plan is sent what comes of its steps; what goes wrong is raised where the step stands."""

    def plan() -> Plan[list[Any]]:
        seen: list[Any] = [(yield Exchange(Message("a", None), None))]
        try:
            yield Exchange(Message("wrong", None), None)
        except UnavailableError as error:
            seen.append(error.message)
        seen.append((yield Pause(0.0)))
        seen.append((yield Together([ask("b"), ask("c")], 1)))
        return seen

    def serve(path: str) -> bytes:
        if path == "wrong":
            raise UnavailableError("gone")
        return path.encode()

    assert drive(plan(), serve) == [b"a", "gone", None, [b"b", b"c"]]


def test_an_error_that_nobody_catches(drive: Driver) -> None:
    """It is the caller's."""

    def serve(path: str) -> bytes:
        raise NotFoundError(path)

    with pytest.raises(NotFoundError, match="here"):
        drive(ask("here"), serve)


def together(paths: list[str], concurrency: int) -> Plan[list[bytes]]:
    answers: list[bytes] = yield Together([ask(path) for path in paths], concurrency)
    return answers


def test_what_has_not_begun_after_an_error_never_begins(drive: Driver) -> None:
    """The error is raised; the rest would be for nothing."""
    asked: list[str] = []

    def serve(path: str) -> bytes:
        asked.append(path)
        raise NotFoundError(path)

    with pytest.raises(NotFoundError):
        drive(together([str(number) for number in range(500)], 1), serve)
    assert len(asked) < 500


def test_so_many_at_once_on_threads() -> None:
    """As many as `concurrency` says, and no more; results in the plans' order."""
    lock, now, most = threading.Lock(), 0, 0
    full = threading.Barrier(3)

    def serve(exchange: Exchange) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        full.wait(30)  # passes only when three are here
        with lock:
            now -= 1
        return exchange.message.path.encode()

    paths = [str(number) for number in range(9)]
    assert run(together(paths, 3), serve) == [path.encode() for path in paths]
    assert most == 3


def test_so_many_at_once_on_a_loop() -> None:
    """The same; and the others are cancelled when one fails."""

    async def main() -> None:
        now, most = 0, 0
        cancelled: list[str] = []

        async def serve(exchange: Exchange) -> bytes:
            nonlocal now, most
            now += 1
            most = max(most, now)
            path = exchange.message.path
            try:
                await asyncio.sleep(0)
                if path == "fail":
                    raise NotFoundError(path)
                if path == "hang":
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(path)
                raise
            finally:
                now -= 1
            return path.encode()

        paths = [str(number) for number in range(9)]
        assert await run_async(together(paths, 3), serve) == [path.encode() for path in paths]
        assert most == 3
        with pytest.raises(NotFoundError):
            await run_async(together(["hang", "fail"], 2), serve)
        await asyncio.sleep(0)
        assert cancelled == ["hang"]

    asyncio.run(main())

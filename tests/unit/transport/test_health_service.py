"""The health service: names, states, and watches that miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from pyserve.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from pyserve.protos import health
from pyserve.transport.health import SERVER_NAMES, HealthService

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class House:
    """A health service over states that a test sets. Make it on a loop."""

    def __init__(self) -> None:
        self.welcome = True
        self.models: dict[str, bool] = {"m": True, "empty": False}
        self.service = HealthService(lambda: self.welcome, lambda: sorted(self.models), self.models.get)

    def check(self, name: str) -> int:
        data = health.HealthCheckRequest(service=name).SerializeToString()
        answer = self.service.handlers()["/grpc.health.v1.Health/Check"](data, None)
        assert isinstance(answer, bytes)
        return health.HealthCheckResponse.FromString(answer).status

    def watch(self, name: str) -> AsyncGenerator[bytes, None]:
        data = health.HealthCheckRequest(service=name).SerializeToString()
        return self.service.streams()["/grpc.health.v1.Health/Watch"](data)


def status(answer: bytes) -> int:
    return health.HealthCheckResponse.FromString(answer).status


def test_check() -> None:
    """The server under each of its names; models by their versions; anything else is not found."""

    async def run() -> None:
        house = House()
        assert [house.check(name) for name in SERVER_NAMES] == [SERVING] * 5
        assert (house.check("m"), house.check("empty")) == (SERVING, NOT_SERVING)
        with pytest.raises(NotFoundError, match="No service and no model is called nope"):
            house.check("nope")
        house.welcome = False
        assert {house.check(name) for name in (*SERVER_NAMES, "m", "empty")} == {NOT_SERVING}
        with pytest.raises(NotFoundError):
            house.check("nope")
        with pytest.raises(InvalidArgumentError):
            house.service.handlers()["/grpc.health.v1.Health/Check"](b"\xff", None)

    asyncio.run(run())


def test_list() -> None:
    """Every name with its state; too many are refused."""

    async def run() -> None:
        house = House()
        answer = house.service.handlers()["/grpc.health.v1.Health/List"](b"", None)
        assert isinstance(answer, bytes)
        found = health.HealthListResponse.FromString(answer).statuses
        assert {name: found[name].status for name in found} == dict.fromkeys(SERVER_NAMES, SERVING) | {
            "m": SERVING,
            "empty": NOT_SERVING,
        }
        house.models |= {str(number): True for number in range(1000)}
        with pytest.raises(ResourceExhaustedError):
            house.service.handlers()["/grpc.health.v1.Health/List"](b"", None)

    asyncio.run(run())


def test_watch() -> None:
    """A watch says the state at once, then each other state, and nothing when nothing changed."""

    async def run() -> None:
        house = House()
        async with asyncio.timeout(10):
            watch = house.watch("later")
            assert status(await anext(watch)) == UNKNOWN
            following = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            house.service.changed()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not following.done()
            house.models["later"] = False
            house.service.changed()
            assert status(await following) == NOT_SERVING
            # A change between two looks is not missed.
            house.models["later"] = True
            house.service.changed()
            assert status(await anext(watch)) == SERVING
            house.welcome = False
            house.service.changed()
            assert status(await anext(watch)) == NOT_SERVING
            await watch.aclose()

    asyncio.run(run())


def test_watches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One watch too many is refused; closing one makes room."""
    monkeypatch.setattr("pyserve.transport.health._MAX_WATCHES", 1)

    async def run() -> None:
        house = House()
        first, second = house.watch(""), house.watch("")
        await anext(first)
        with pytest.raises(ResourceExhaustedError):
            await anext(second)
        await first.aclose()
        third = house.watch("")
        assert status(await anext(third)) == SERVING
        await third.aclose()

    asyncio.run(run())

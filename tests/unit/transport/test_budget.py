"""The budget of bytes in flight: never exceeded, first come first served, everything given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from pyserve.errors import ResourceExhaustedError
from pyserve.transport.budget import ByteBudget, default_max_connections, memory_bytes

FOREVER = 30.0


def on_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__doc__ = test.__doc__
    return run


def test_taking_and_giving_back() -> None:
    """What does not fit is refused, and leaving gives everything back."""
    budget = ByteBudget(10)
    with budget.holding() as first:
        first.take(4)
        first.take(6)
        with budget.holding() as second, pytest.raises(ResourceExhaustedError, match="--max_inflight_bytes"):
            second.take(1)
        assert budget.used == 10
    assert budget.used == 0


@on_loop
async def test_waiting_in_order() -> None:
    """Those who wait get room in the order of arrival; a small one does not overtake a large one."""
    budget = ByteBudget(10)
    served: list[str] = []

    async def wait(name: str, count: int, leave: asyncio.Event) -> None:
        with budget.holding() as held:
            await held.take_or_wait(count, FOREVER)
            served.append(name)
            await leave.wait()

    leave = asyncio.Event()
    first = budget.holding()
    first.take(5)
    large = asyncio.create_task(wait("large", 8, leave))
    await asyncio.sleep(0)
    small = asyncio.create_task(wait("small", 2, leave))
    for _ in range(3):
        await asyncio.sleep(0)
    assert (served, budget.used) == ([], 5)
    first.__exit__(None, None, None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (served, budget.used) == (["large", "small"], 10)
    leave.set()
    await asyncio.gather(large, small)
    assert budget.used == 0


@on_loop
async def test_waiting_ends() -> None:
    """After its time a request is refused, holds nothing more, and lets those behind it in."""
    budget = ByteBudget(10)
    with budget.holding() as first, budget.holding() as second, budget.holding() as third:
        first.take(9)
        large = asyncio.create_task(second.take_or_wait(5, 0.01))
        await asyncio.sleep(0)
        small = asyncio.create_task(third.take_or_wait(1, FOREVER))
        with pytest.raises(ResourceExhaustedError, match="no room for 5 more: the limit is 10"):
            await large
        await small
        assert (second.count, third.count, budget.used) == (0, 1, 10)
    assert budget.used == 0


@on_loop
async def test_what_can_never_fit_does_not_wait() -> None:
    """A request larger than the whole budget is refused at once, with what it holds already counted in."""
    budget = ByteBudget(10)
    with budget.holding() as held:
        held.take(5)
        with pytest.raises(ResourceExhaustedError):
            await held.take_or_wait(6, FOREVER)
    assert budget.used == 0


@on_loop
async def test_a_caller_that_goes_away_while_waiting() -> None:
    """A cancelled wait leaves nothing behind, also when its room had just been given."""
    budget = ByteBudget(10)
    for given in (False, True):
        first, second = budget.holding(), budget.holding()
        first.take(10)
        waiting = asyncio.create_task(second.take_or_wait(1, FOREVER))
        await asyncio.sleep(0)
        if given:
            first.__exit__(None, None, None)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        first.__exit__(None, None, None)
        assert budget.used == 0


def test_defaults_come_from_the_machine() -> None:
    """There is some memory, and some connections."""
    assert memory_bytes() > 2**20
    assert default_max_connections() >= 1

"""The retry rule, and what one load attempt consists of."""

from __future__ import annotations

import pytest

from lifecycle_fakes import FakeServable, World
from pyserve.config import LoadOptions
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.lifecycle.loader import attempt_load, retry_delay_s
from pyserve.servable import Servable, ServableId

ID = ServableId("m", 1)


@pytest.mark.parametrize(
    ("retries", "interval_micros", "delays"),
    [
        (0, 60_000_000, [None]),
        (2, 60_000_000, [60.0, 60.0, None, None]),
        (1, 1, [1e-6, None]),
        (1, 0, [0.0, None]),
        (2, -1, [0.0, 0.0, None]),
        (-1, 0, [None]),
    ],
)
def test_attempts_and_pauses(retries: int, interval_micros: int, delays: list[float | None]) -> None:
    """There are 1 + retries attempts, with the interval between them, a negative one meaning no pause."""
    options = LoadOptions(max_num_load_retries=retries, load_retry_interval_micros=interval_micros)
    assert [retry_delay_s(attempts, options) for attempts in range(1, len(delays) + 1)] == delays


def test_a_servable_is_prepared_before_it_is_given_out() -> None:
    """The attempt ends after the preparation, with the prepared servable."""
    world = World()
    prepared: list[Servable] = []
    servable = attempt_load(world.make_loader(ID, "/m/1"), prepared.append, lambda: False)
    assert prepared == [servable]
    assert isinstance(servable, FakeServable)
    assert servable.unloads == 0


def test_a_servable_whose_preparation_fails_is_unloaded() -> None:
    """The error of the preparation is the attempt's, even when the unload fails as well."""
    world = World()
    world.unload_errors[ID] = NotFoundError("gone")

    def prepare(_: Servable) -> None:
        raise InvalidArgumentError("bad warm-up record")

    with pytest.raises(InvalidArgumentError, match="bad warm-up record"):
        attempt_load(world.make_loader(ID, "/m/1"), prepare, lambda: False)
    assert [servable.unloads for servable in world.servables] == [1]


def test_a_cancelled_load_is_not_prepared() -> None:
    """When nobody wants the version any more the warm-up is left out."""
    world = World()
    prepared: list[Servable] = []
    attempt_load(world.make_loader(ID, "/m/1"), prepared.append, lambda: True)
    assert prepared == []

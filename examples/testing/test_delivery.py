"""The application's tests."""

from __future__ import annotations

import threading

import pytest
from delivery import MODEL, EstimateUnavailableError


def test_hours(deliveries):
    assert deliveries.hours([1.0, 2.0, 5.0]) == [2.5, 3.0, 4.5]


def test_no_parcel(deliveries):
    assert deliveries.hours([]) == []


def test_what_is_asked(deliveries, fake):
    deliveries.hours([1.0])
    fake.model(MODEL).assert_called_once_with({"x": [1.0]}, label="stable")


def test_a_busy_server_is_asked_once_more(deliveries, fake):
    fake.model(MODEL).fail("UNAVAILABLE")
    assert deliveries.hours([1.0]) == [2.5]
    assert len(fake.model(MODEL).calls) == 2


def test_a_server_that_stays_busy(deliveries, fake):
    fake.model(MODEL).fail("UNAVAILABLE", "try later", times=None)
    with pytest.raises(EstimateUnavailableError, match="try later"):
        deliveries.hours([1.0])
    assert len(fake.model(MODEL).calls) == 2


def test_a_refusal_is_not_asked_again(deliveries, fake):
    fake.model(MODEL).fail("RESOURCE_EXHAUSTED", "quota")
    with pytest.raises(EstimateUnavailableError, match="quota"):
        deliveries.hours([1.0])
    fake.model(MODEL).assert_called_once()


def test_a_server_that_is_too_slow(deliveries, fake):
    with fake.model(MODEL).hold(), pytest.raises(EstimateUnavailableError, match="too long"):
        deliveries.hours([1.0])


def test_a_new_version_in_the_middle(deliveries, fake):
    """A request finishes on the version that it began on; the next one is answered by the new."""
    answers = []
    with fake.model(MODEL).hold() as gate:
        first = threading.Thread(target=lambda: answers.append(deliveries.hours([1.0])))
        first.start()
        gate.wait_until_held()
        fake.add_version(MODEL, 2, lambda x: {"y": x * 0.5 + 3.0})
        fake.set_label(MODEL, "stable", 2)
        fake.remove_version(MODEL, 1)
    first.join()
    answers.append(deliveries.hours([1.0]))
    assert answers == [[2.5], [3.5]]

"""How many requests of a service come in, at a time and in a second."""

from __future__ import annotations

import pytest

from pyserve.errors import QueueFullError, ResourceExhaustedError
from pyserve.transport.admission import Admission


def test_capacity() -> None:
    """A place is free again when a request leaves."""
    admission = Admission(2, 0, lambda: 0.0)
    admission.enter()
    admission.enter()
    with pytest.raises(QueueFullError, match="2 requests run or wait already"):
        admission.enter()
    admission.leave()
    admission.enter()


def test_rate() -> None:
    """A second's worth may come at once; after that they come as they are earned."""
    now = [0.0]
    admission = Admission(1, 10, lambda: now[0])
    for _ in range(10):
        admission.check_rate()
    with pytest.raises(ResourceExhaustedError, match="More than 10 requests per second"):
        admission.check_rate()
    now[0] = 0.3
    for _ in range(3):
        admission.check_rate()
    with pytest.raises(ResourceExhaustedError):
        admission.check_rate()
    now[0] = 1000.0
    for _ in range(10):
        admission.check_rate()
    with pytest.raises(ResourceExhaustedError):
        admission.check_rate()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_odd_rates(rate: float) -> None:
    """0 is no limit; below one a second, one comes in at first."""
    admission = Admission(1, rate, lambda: 0.0)
    admission.check_rate()
    if rate:
        with pytest.raises(ResourceExhaustedError):
            admission.check_rate()
    else:
        admission.check_rate()

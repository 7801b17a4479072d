"""When a call that found the server unavailable is made again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Calls that ended with UNAVAILABLE are made again, with growing pauses between.

    No other error is tried again, a reload never, and nothing beyond the call's deadline. A connection that is lost
    while the model runs ends with UNAVAILABLE too, so a call may run twice: for models whose calls change their state
    use `Retry(attempts=1)`.

    Attributes:
        attempts: How often a call is made at most, the first time included; >= 1.
        first_wait_s: Pause after the first attempt, in seconds.
        factor: By which each further pause is longer; >= 1.
        max_wait_s: The longest pause, in seconds.
        jitter: The share of a pause that chance may take away, so that many clients do not come back at once; 0 to 1.
    """

    attempts: int = 6
    first_wait_s: float = 0.1
    factor: float = 2.0
    max_wait_s: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts: {self.attempts}, expected at least 1")
        if self.first_wait_s < 0 or self.max_wait_s < 0 or self.factor < 1:
            raise ValueError("first_wait_s and max_wait_s must be at least 0, factor at least 1")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter: {self.jitter}, expected 0 to 1")

    def waits(self, chance: random.Random) -> Iterator[float]:
        """The pauses between the attempts, in seconds: one fewer than there are attempts."""
        wait = self.first_wait_s
        for _ in range(self.attempts - 1):
            yield min(wait, self.max_wait_s) * (1 - self.jitter * chance.random())
            wait *= self.factor

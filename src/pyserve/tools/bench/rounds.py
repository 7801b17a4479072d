"""Figures that can be compared: contenders in turn, round by round, and the median with its range."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds: its median, and the lowest and highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def show(self, form: str = ".1f") -> str:
        """The median with its range, where there is one."""
        if self.low == self.high:
            return figure(self.median, form)
        return f"{figure(self.median, form)} ({figure(self.low, form)}-{figure(self.high, form)})"


def figure(value: float, form: str = ".3g") -> str:
    """A number with so many digits, and never with an exponent for being large."""
    return f"{value:.0f}" if form.endswith("g") and abs(value) >= 100 else f"{value:{form}}"


def interleave(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every contender once in each round; each round begins with another one."""
    names = list(contenders)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(contenders[name]())
    return results


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """A figure of one contender by that of another, round by round; what cannot be divided is left out."""
    found = [a / b for a, b in zip(of, to, strict=True) if b]
    return Spread.of(found or [float("nan")])

"""What a load is, and what came of it: values, without a socket or a clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pyserve.errors import InvalidArgumentError
from pyserve.tools.bench.histogram import Histogram

VOID_SHARE = 0.9
"""A generator that uses this share of a core measures itself."""

_GRPC_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """A load of one kind, for some time.

    Attributes:
        duration_s: How long requests are begun; a closed loop of slow answers goes on for a little more.
        in_flight: Closed loop: so many requests are open at any time. Open loop: not used.
        rate: Open loop: requests begun per second, whatever becomes of them. None: closed loop.
        even: Open loop: equal gaps between requests; otherwise they come at random (Poisson), as from many users.
        connections: 0 leaves it to `connections_for`.
        timeout_s: How long, after the last request, answers are waited for; and how much longer, at most, a closed
            loop goes on.
    """

    duration_s: float
    in_flight: int = 1
    rate: float | None = None
    even: bool = False
    connections: int = 0
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.duration_s <= 0 or self.timeout_s <= 0:
            raise InvalidArgumentError(
                f"duration and timeout must be positive; were {self.duration_s} s and {self.timeout_s} s"
            )
        if self.in_flight < 1 or self.connections < 0:
            raise InvalidArgumentError(
                "at least one request must be in flight, and connections not negative; "
                f"were {self.in_flight} and {self.connections}"
            )
        if self.rate is not None and self.rate <= 0:
            raise InvalidArgumentError(f"the rate must be positive; was {self.rate}")

    def connections_for(self, *, is_grpc: bool) -> int:
        """How many connections the load goes over: REST has one request on each, gRPC many."""
        if self.connections:
            return self.connections
        if self.rate is not None:
            return _GRPC_CONNECTIONS
        return min(self.in_flight, _GRPC_CONNECTIONS) if is_grpc else self.in_flight

    def shared(self, processes: int) -> list[Plan]:
        """The same load in parts, one for each of at most `processes` processes."""
        if self.rate is not None:
            share = replace(self, rate=self.rate / processes, connections=-(-self.connections // processes))
            return [share] * processes
        parts = [part for part in even_parts(self.in_flight, processes) if part]
        return [
            replace(self, in_flight=part, connections=-(-self.connections // len(parts))) for part in parts
        ]

    def begin_times(self, seed: int) -> Iterator[float]:
        """Open loop: seconds from the beginning at which requests begin, until the duration is over."""
        assert self.rate is not None
        source = random.Random(seed)
        at = 0.0
        while True:
            at += 1 / self.rate if self.even else source.expovariate(self.rate)
            if at >= self.duration_s:
                return
            yield at


def even_parts(number: int, parts: int) -> list[int]:
    """A number as a sum of `parts` numbers that differ by one at most."""
    each, more = divmod(number, parts)
    return [each + 1] * more + [each] * (parts - more)


@dataclass(slots=True)
class Outcome:
    """What came of a load.

    Attributes:
        seconds: How long requests were begun.
        good_in_time: Good answers that came within these seconds; the rate counts no others.
        codes: All requests by what became of them: `OK`, a gRPC code, an HTTP status, or what broke. `OK` is good.
        texts: By code, what the first answer with it said.
        latency: Of good answers; in an open loop from the moment at which the request was due.
        lateness: Open loop: how long after it was due each request was begun.
        cpu_share: The generator's CPU time by its time, of the busiest of its processes.
    """

    seconds: float
    good_in_time: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    cpu_share: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return self.good_in_time / self.seconds

    @property
    def requests(self) -> int:
        return sum(self.codes.values())

    @property
    def errors(self) -> int:
        return self.requests - self.codes["OK"]

    @property
    def void(self) -> bool:
        """Whether the generator was so busy that this says nothing about the server."""
        return self.cpu_share >= VOID_SHARE


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of loads that ran at the same time as one; there is at least one."""
    total = Outcome(max(outcome.seconds for outcome in outcomes))
    for outcome in outcomes:
        total.good_in_time += outcome.good_in_time
        total.codes += outcome.codes
        total.texts = {**outcome.texts, **total.texts}
        total.latency.merge(outcome.latency)
        total.lateness.merge(outcome.lateness)
        total.cpu_share = max(total.cpu_share, outcome.cpu_share)
    return total

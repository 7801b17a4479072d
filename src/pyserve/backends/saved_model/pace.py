"""Which runs go on the calling thread: the short ones, learnt from the runs before. Times are arguments.

A session normally hands a run to its own threads and waits. That hop costs 15 to 30 µs, six times what a tiny
model needs, and pays only where a run is long enough for branches of the graph to run side by side. So a run
that has shown itself short runs on the thread that asked for it. TensorFlow can then not stop it half-way;
the deadline of such a run is kept by whoever waits for it, and the run is over before that matters.
"""

from __future__ import annotations

SHORT_S = 0.0005
"""Below this the hop is a measurable part of the run; above it TensorFlow's threads are worth more."""

_FORGET = 1.01
"""How fast an old best fades, per slower run: 70 runs to double. One busy moment changes nothing."""

_SIZES = 64


class Pace:
    """The best recent run time for each size of input, sizes in powers of two.

    The best, not the mean: under load most runs also wait for processors and for Python's lock, which says
    nothing about the graph. Any thread may call; two at once can lose one observation, which does no harm.
    """

    __slots__ = ("_best_s",)

    def __init__(self) -> None:
        self._best_s: list[float] = [float("inf")] * _SIZES

    def is_short(self, input_bytes: int) -> bool:
        """Whether a run with so many bytes of input has shown itself short. The first one never has."""
        return self._best_s[_size(input_bytes)] < SHORT_S

    def observe(self, input_bytes: int, run_s: float) -> None:
        """Learn from a run that took `run_s` seconds."""
        size = _size(input_bytes)
        self._best_s[size] = min(run_s, self._best_s[size] * _FORGET)


def _size(input_bytes: int) -> int:
    return min(input_bytes.bit_length(), _SIZES - 1)

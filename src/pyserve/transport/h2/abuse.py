"""The known attacks on HTTP/2 servers: what bounds each, and how often each bound was met.

    rapid_reset             streams that their client resets before the answer, again and again (CVE-2023-44487)
    provoked_reset          streams that break a rule so that the server resets them (CVE-2025-8671)
    continuation_flood      a header block without an end, by its bytes and its frames (CVE-2024-27316)
    header_bomb             a small block that stands for large fields (CVE-2016-6581)
    settings_flood          SETTINGS, each to be acknowledged (CVE-2019-9515)
    ping_flood              PINGs, each to be answered (CVE-2019-9512)
    empty_frame_flood       frames that carry nothing on: empty DATA, PRIORITY, unknown ones, WINDOW_UPDATEs without
                            an answer on its way (CVE-2019-9518)
    closed_stream_flood     frames for streams that are over
    zero_window_stall       answers that their client does not take (CVE-2019-9517, CVE-2019-9511)
    slow_headers            a preface, or a header block, that does not arrive
    slow_message            a message that does not arrive
    stream_id_misuse        stream ids that are even, go back, or were never opened
    too_many_streams        more streams than allowed at the same time
    protocol_error          any other breach of the rules

A bound on a rate is a bucket: a burst is fine, going on is not.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

Counts = collections.Counter[str]
"""How often each bound was met, by the names above."""

ATTACKS = (
    "rapid_reset", "provoked_reset", "continuation_flood", "header_bomb", "settings_flood", "ping_flood",
    "empty_frame_flood", "closed_stream_flood", "zero_window_stall", "slow_headers", "slow_message",
    "stream_id_misuse", "too_many_streams", "protocol_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """How many events of a kind a connection may cause.

    Attributes:
        burst: At once.
        per_s: Per second, in the long run.
        per_answer: For each DATA frame that the server sends; clients acknowledge those.
    """

    burst: int
    per_s: int
    per_answer: int = 0


RATES = {
    # Deadlines that pass under load make honest clients reset hundreds of streams at once.
    "rapid_reset": Rate(1000, 200),
    "provoked_reset": Rate(100, 10),
    # A client announces its settings once, and may change its windows now and then.
    "settings_flood": Rate(100, 5),
    # Clients ping to estimate the bandwidth, some with each answer.
    "ping_flood": Rate(1000, 100, per_answer=1),
    "empty_frame_flood": Rate(2000, 500, per_answer=4),
    # What was on its way when the server ended a stream: at most a window, in frames that may be small.
    "closed_stream_flood": Rate(10_000, 1000),
    "header_bomb": Rate(20, 1),
}
"""By attack. After that the connection ends."""


class Buckets:
    """The rates of one connection. Starts full.

    Args:
        now: In seconds, on any clock that does not go back.
    """

    __slots__ = ("_answers", "_filled_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = {name: float(rate.burst) for name, rate in RATES.items()}
        self._filled_at = dict.fromkeys(RATES, now)
        self._answers = dict.fromkeys(RATES, 0)

    def take(self, name: str, now: float, answers: int) -> bool:
        """One event more; False when it is one too many.

        Args:
            name: Which attack it could be.
            now: In seconds.
            answers: DATA frames that the server has sent on this connection so far.
        """
        left = self._left[name]
        if left < 1:
            rate = RATES[name]
            left += (now - self._filled_at[name]) * rate.per_s
            left = min(rate.burst, left + (answers - self._answers[name]) * rate.per_answer)
            self._filled_at[name] = now
            self._answers[name] = answers
            if left < 1:
                self._left[name] = left
                return False
        self._left[name] = left - 1
        return True

"""What one connection may take, and for how long. Sizes in bytes, times in seconds; None: no limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of a connection that is a matter of choice.

    Attributes:
        max_message: Of a request's message, compressed or not.
        max_answer: Of an answer's message.
        max_streams: Requests at the same time.
        max_header_list: Of a header's fields, as RFC 9113 section 6.5.2 counts them.
        max_header_block: Of a header block as it is sent; far more than honest fields need.
        max_continuations: CONTINUATION frames of one block.
        max_frame: Of a frame's payload. Large, so that large messages come in few frames.
        window: Bytes of all streams together that may be on their way in.
        handshake_s: Until the preface and the first SETTINGS are there.
        header_s: Until a header block, or any frame but DATA, is complete.
        message_s: How long a message may make no progress.
        unread_s: How long an answer may make no progress for want of the client's windows.
        keepalive_s: Silence after which a PING asks whether the client is still there.
        keepalive_answer_s: How long the answer to that may take.
        idle_s: Time without requests after which the connection is closed.
        age_s: Age after which it is closed.
        age_grace_s: How long requests may take to finish when it is closed for its age.
    """

    max_message: int = 2**31 - 1
    max_answer: int = 2**32 - 1
    max_streams: int = 1024
    max_header_list: int = 16_384
    max_header_block: int = 65_536
    max_continuations: int = 32
    max_frame: int = 1 << 20
    window: int = 1 << 24
    handshake_s: float = 5.0
    header_s: float = 10.0
    message_s: float = 60.0
    unread_s: float = 30.0
    keepalive_s: float | None = 7200.0
    keepalive_answer_s: float = 20.0
    idle_s: float | None = None
    age_s: float | None = None
    age_grace_s: float | None = None

"""SETTINGS both ways: what the server declares, and what the client's mean (RFC 9113 section 6.5)."""

from __future__ import annotations

from dataclasses import dataclass

from pyserve.transport.h2.frames import (
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_WINDOW,
    LARGEST_MAX_FRAME_SIZE,
    MAX_WINDOW,
    ConnectionFailure,
    ErrorCode,
    read_settings,
)

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

ENTRY_BYTES = 6
MAX_ENTRIES = 128
"""Settings in one frame; seven identifiers are in use at all."""


@dataclass(slots=True)
class PeerSettings:
    """What the client has declared and the server heeds.

    Attributes:
        initial_window: Bytes of each new response that may go out before the client asks for more.
        max_frame_size: The largest payload that it takes.
    """

    initial_window: int = DEFAULT_WINDOW
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE

    def apply(self, payload: bytes) -> None:
        """Take over a SETTINGS frame; unknown settings, and those that need nothing of a server, pass.

        Raises:
            ConnectionFailure: A value is out of its range, or there are too many.
        """
        if len(payload) % ENTRY_BYTES:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS end in the middle of one")
        if len(payload) > ENTRY_BYTES * MAX_ENTRIES:
            raise ConnectionFailure(
                ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_ENTRIES} settings in a frame"
            )
        for key, value in read_settings(payload):
            if key == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ConnectionFailure(
                        ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes"
                    )
                self.initial_window = value
            elif key == MAX_FRAME_SIZE:
                if not DEFAULT_MAX_FRAME_SIZE <= value <= LARGEST_MAX_FRAME_SIZE:
                    raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, f"a largest frame of {value} bytes")
                self.max_frame_size = value
            elif key == ENABLE_PUSH and value > 1:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")

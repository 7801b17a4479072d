"""What can be wrong with a header block."""

from __future__ import annotations


class HpackError(ValueError):
    """A block that breaks RFC 7541. The two sides' tables may differ from here on: the connection must end."""


class HeaderBombError(HpackError):
    """A block whose fields take so much room that it was not read to its end."""


class FieldsTooLargeError(ValueError):
    """A block whose fields take more room than allowed. It was read to its end, so the connection can go on."""

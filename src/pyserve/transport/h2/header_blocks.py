"""Header blocks: put together from HEADERS and CONTINUATION (RFC 9113 section 4.3), decoded, and remembered.

A block that came before means the same again as long as the dynamic table is the same: its generation is part of the
key, as it were, for the memory is emptied when it rises. Blocks that change the table, and such with a field that is
never to be indexed, are not remembered.
"""

from __future__ import annotations

from collections.abc import Container

from pyserve.transport.h2.abuse import Counts
from pyserve.transport.h2.frames import END_HEADERS, ConnectionFailure, ErrorCode
from pyserve.transport.h2.headers import OVERSIZED_HEAD, HeaderReader, RequestHead
from pyserve.transport.h2.hpack.decoder import Decoder
from pyserve.transport.h2.hpack.errors import FieldsTooLargeError, HeaderBombError, HpackError
from pyserve.transport.h2.hpack.static_table import Field
from pyserve.transport.h2.limits import Limits

_REMEMBERED_BLOCKS = 256
_REMEMBERED_BYTES = 512


class OpenBlock:
    """A block whose last piece has not come.

    Attributes:
        stream_id, flags: Of the HEADERS frame.
        since: When it came.
    """

    __slots__ = ("_bytes", "_frames", "flags", "since", "stream_id")

    def __init__(self, stream_id: int, flags: int, piece: bytes, since: float) -> None:
        self.stream_id = stream_id
        self.flags = flags
        self.since = since
        self._bytes = bytearray(piece)
        self._frames = 0

    def add(self, piece: bytes, flags: int, limits: Limits) -> bytes | None:
        """Take a CONTINUATION's payload; the whole block if it was the last.

        Raises:
            ConnectionFailure: The block is too large, or in too many pieces.
        """
        self._bytes += piece
        self._frames += 1
        if self._frames > limits.max_continuations or len(self._bytes) > limits.max_header_block:
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a header block without an end")
        return bytes(self._bytes) if flags & END_HEADERS else None


class HeaderBlocks:
    """Decodes one connection's blocks, in their order.

    Args:
        methods: The paths that are served.
        limits: How large a header may be.
        counts: Where header bombs are counted.

    Attributes:
        remembered: Block → head, valid now.
    """

    __slots__ = ("_counts", "_decoder", "_generation", "_limit", "_reader", "remembered")

    def __init__(self, methods: Container[str], limits: Limits, counts: Counts) -> None:
        self._counts = counts
        self._decoder = Decoder()
        self._reader = HeaderReader(methods)
        self._limit = limits.max_header_list
        self._generation = 0
        self.remembered: dict[bytes, RequestHead] = {}

    def head(self, block: bytes) -> RequestHead:
        """The head of a request; `OVERSIZED_HEAD` when its fields are too large.

        Raises:
            StreamFailure: The header breaks HTTP's rules.
            ConnectionFailure: The block breaks HPACK's.
        """
        fields = self._fields(block)
        if fields is None:
            return OVERSIZED_HEAD
        head = self._reader.read(fields, remember=not self._decoder.secret)
        if self._decoder.cacheable and len(block) <= _REMEMBERED_BYTES:
            if len(self.remembered) >= _REMEMBERED_BLOCKS:
                self.remembered.clear()
            self.remembered[block] = head
        return head

    def skip(self, block: bytes, *, trailers: bool = False) -> None:
        """Decode a block for the sake of the table alone, or of a check of trailers; raises as `head` does."""
        fields = self._fields(block)
        if trailers and fields is not None:
            self._reader.check_trailers(fields)

    def _fields(self, block: bytes) -> list[Field] | None:
        """A block's fields; None when they are too large."""
        decoder = self._decoder
        try:
            return decoder.decode(block, self._limit)
        except FieldsTooLargeError:
            return None
        except HeaderBombError as error:
            self._counts["header_bomb"] += 1
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except HpackError as error:
            raise ConnectionFailure(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        finally:
            if decoder.generation != self._generation:
                self._generation = decoder.generation
                self.remembered.clear()

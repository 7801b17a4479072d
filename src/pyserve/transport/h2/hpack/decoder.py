"""Header blocks → fields (RFC 7541 sections 3, 5 and 6)."""

from __future__ import annotations

from pyserve.transport.h2.hpack import huffman
from pyserve.transport.h2.hpack.dynamic_table import FIELD_OVERHEAD, DynamicTable
from pyserve.transport.h2.hpack.errors import FieldsTooLargeError, HeaderBombError, HpackError
from pyserve.transport.h2.hpack.static_table import STATIC_SIZE, STATIC_TABLE, Field

# The highest byte of a representation (RFC 7541 section 6).
_INDEXED = 0x80
_INSERT = 0x40
_RESIZE = 0x20
_NEVER_INDEXED = 0x10
_HUFFMAN = 0x80

_MAX_INTEGER = 2**28
# A block that exceeds the limit is read on, so that its connection can; one that exceeds it this many times is not.
_BOMB = 4
# Strings that come Huffman-coded again and again, such as user agents. Longer ones are mostly unlike each other.
_CACHED_STRING_BYTES = 64
_CACHED_STRINGS = 128


class Decoder:
    """The server's half of one connection's header compression.

    Args:
        max_table_size: What SETTINGS_HEADER_TABLE_SIZE allows the client, in bytes.
    """

    __slots__ = ("_strings", "_table", "cacheable", "max_table_size", "secret")

    def __init__(self, max_table_size: int = 4096) -> None:
        self.max_table_size = max_table_size
        self._table = DynamicTable(max_table_size)
        self._strings: dict[bytes, bytes] = {}
        self.cacheable = self.secret = False

    @property
    def generation(self) -> int:
        """Rises whenever the same bytes may begin to mean other fields."""
        return self._table.generation

    def decode(self, block: bytes, limit: int) -> list[Field]:
        """The fields of the next block. Blocks must be given in the order in which they came, all of them.

        Sets `secret`: whether a field is marked as never to be indexed, so that none may be kept. And `cacheable`:
        whether the same bytes mean the same fields as long as `generation` stays, and may be kept.

        Args:
            block: A whole block.
            limit: How large the fields may be, as SETTINGS_MAX_HEADER_LIST_SIZE counts them.

        Raises:
            HpackError: The block breaks RFC 7541, or its fields are many times larger than `limit`.
            FieldsTooLargeError: The fields are larger than `limit`; the decoder is ready for the next block.
        """
        table = self._table
        dynamic = table.fields
        generation = table.generation
        fields: list[Field] = []
        size = position = 0
        end = len(block)
        secret = False
        try:
            while position < end:
                byte = block[position]
                position += 1
                if byte & _INDEXED:
                    index = byte & 0x7F
                    if index == 0x7F:
                        index, position = _integer(block, position, 0x7F)
                    field = STATIC_TABLE[index] if 0 < index <= STATIC_SIZE else _indexed(dynamic, index)
                elif byte & _INSERT:
                    field, position = self._literal(block, position, byte & 0x3F, 0x3F)
                    table.insert(field)
                elif byte & _RESIZE:
                    max_size, position = _prefixed(block, position, byte & 0x1F, 0x1F)
                    if size or max_size > self.max_table_size:
                        raise HpackError(f"a table size of {max_size} where none may be set, or one so large")
                    table.resize(max_size)
                    continue
                else:
                    secret = secret or bool(byte & _NEVER_INDEXED)
                    field, position = self._literal(block, position, byte & 0x0F, 0x0F)
                size += len(field[0]) + len(field[1]) + FIELD_OVERHEAD
                if size <= limit:
                    fields.append(field)
                elif size > limit * _BOMB:
                    raise HeaderBombError(f"header fields of more than {limit * _BOMB} bytes")
        except IndexError:
            raise HpackError("a header block ends in the middle of a field") from None
        self.secret = secret
        self.cacheable = not secret and generation == table.generation
        if size > limit:
            raise FieldsTooLargeError(f"header fields of {size} bytes, more than {limit}")
        return fields

    def _literal(self, block: bytes, position: int, index: int, mask: int) -> tuple[Field, int]:
        if index == mask:
            index, position = _integer(block, position, mask)
        if index == 0:
            name, position = self._string(block, position)
        elif index <= STATIC_SIZE:
            name = STATIC_TABLE[index][0]
        else:
            name = _indexed(self._table.fields, index)[0]
        value, position = self._string(block, position)
        return (name, value), position

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        first = block[position]
        length = first & 0x7F
        position += 1
        if length == 0x7F:
            length, position = _integer(block, position, 0x7F)
        end = position + length
        if end > len(block):
            raise HpackError("a header string is longer than its block")
        data = block[position:end]
        if first & _HUFFMAN:
            data = self._huffman(data)
        return data, end

    def _huffman(self, data: bytes) -> bytes:
        if len(data) > _CACHED_STRING_BYTES:
            return huffman.decode(data)
        text = self._strings.get(data)
        if text is None:
            text = huffman.decode(data)
            if len(self._strings) >= _CACHED_STRINGS:
                self._strings.clear()
            self._strings[data] = text
        return text


def _indexed(dynamic: list[Field], index: int) -> Field:
    place = index - STATIC_SIZE
    if not 0 < place <= len(dynamic):
        raise HpackError(f"no header field has the index {index}")
    return dynamic[-place]


def _prefixed(block: bytes, position: int, value: int, mask: int) -> tuple[int, int]:
    return _integer(block, position, mask) if value == mask else (value, position)


def _integer(block: bytes, position: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full, and where it ends (RFC 7541 section 5.1)."""
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if value > _MAX_INTEGER or shift > 28:
            raise HpackError("a header block holds an integer that is too large")
        if byte < 0x80:
            return value, position
        shift += 7

"""The dynamic table: the fields that earlier blocks have left for later ones (RFC 7541 sections 2.3.2 and 4)."""

from __future__ import annotations

from pyserve.transport.h2.hpack.static_table import Field

FIELD_OVERHEAD = 32
"""What a field counts beyond its name and value, in bytes (RFC 7541 section 4.1)."""


class DynamicTable:
    """A list of fields with a limit on their size, in bytes.

    Attributes:
        fields: Oldest first; the wire counts from the newest.
        size: As RFC 7541 counts it.
        max_size: What the encoder has chosen.
        generation: Rises with each insertion and each change of size: what an index means may have changed.
    """

    __slots__ = ("fields", "generation", "max_size", "size")

    def __init__(self, max_size: int) -> None:
        self.fields: list[Field] = []
        self.size = 0
        self.max_size = max_size
        self.generation = 0

    def insert(self, field: Field) -> None:
        """Add the newest field; the oldest make room. One that is larger than the table leaves it empty."""
        self.generation += 1
        needed = len(field[0]) + len(field[1]) + FIELD_OVERHEAD
        self._evict(self.max_size - needed)
        if needed <= self.max_size:
            self.fields.append(field)
            self.size += needed

    def resize(self, max_size: int) -> None:
        """Take another limit, and evict what is beyond it."""
        self.generation += 1
        self.max_size = max_size
        self._evict(max_size)

    def _evict(self, room: int) -> None:
        gone = 0
        while self.size > room and gone < len(self.fields):
            name, value = self.fields[gone]
            self.size -= len(name) + len(value) + FIELD_OVERHEAD
            gone += 1
        del self.fields[:gone]

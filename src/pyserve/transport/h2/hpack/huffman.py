"""The Huffman code of header strings (RFC 7541 section 5.2 and appendix B).

The code is canonical: codes of one length are consecutive, in the order of the symbols, so the lengths say it all.
Decoding walks the code's tree a whole byte at a time: for each inner node and byte there is an entry with the symbols
that come out and the node where it ends. Entries are made when they are first needed.
"""

from __future__ import annotations

from pyserve.transport.h2.hpack.errors import HpackError

_EOS = 256
_CODE_LENGTHS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip


class _Node(dict[int, tuple[bytes, "_Node"]]):
    """A place in the tree: the bits read since the last symbol. As a dict: byte → the symbols that come out, and where
    it ends.

    Attributes:
        children: For bit 0 and bit 1: the next node, or a symbol.
        may_end: Whether a string may end here: after fewer than eight bits, all of them ones.
    """

    __slots__ = ("children", "may_end")

    def __init__(self) -> None:
        super().__init__()
        self.children: list[_Node | int | None] = [None, None]
        self.may_end = False

    def __missing__(self, byte: int) -> tuple[bytes, _Node]:
        """Make the entry of a byte that has not been here yet."""
        symbols = bytearray()
        node = self
        for place in range(7, -1, -1):
            child = node.children[byte >> place & 1]
            if isinstance(child, _Node):
                node = child
            elif child is None or child == _EOS:
                raise HpackError("a Huffman-coded string holds the end-of-string symbol")
            else:
                symbols.append(child)
                node = _ROOT
        entry = self[byte] = bytes(symbols), node
        return entry


def _tree() -> _Node:
    root = _Node()
    code, last = -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_CODE_LENGTHS)):
        code = (code + 1) << (length - last)
        last = length
        node = root
        for place in range(length - 1, 0, -1):
            child = node.children[code >> place & 1]
            if child is None:
                child = node.children[code >> place & 1] = _Node()
            assert isinstance(child, _Node)
            node = child
        node.children[code & 1] = symbol
    node = root
    for _ in range(8):
        node.may_end = True
        child = node.children[1]
        assert isinstance(child, _Node)
        node = child
    return root


_ROOT = _tree()


def decode(data: bytes) -> bytes:
    """The string that `data` encodes.

    Raises:
        HpackError: It holds the end-of-string symbol, or its padding is too long or not all ones.
    """
    node = _ROOT
    parts: list[bytes] = []
    for byte in data:
        symbols, node = node[byte]
        parts.append(symbols)
    if not node.may_end:
        raise HpackError("a Huffman-coded string is not padded with fewer than eight ones")
    return b"".join(parts)

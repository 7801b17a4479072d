"""The HPACK decoder against the hpack package: the same fields, or an error from both."""

from __future__ import annotations

import random

import hpack
import pytest
from hpack.huffman_constants import REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.transport.h2.hpack import huffman
from pyserve.transport.h2.hpack.decoder import Decoder
from pyserve.transport.h2.hpack.encoder import encode
from pyserve.transport.h2.hpack.errors import FieldsTooLargeError, HeaderBombError, HpackError
from pyserve.transport.h2.hpack.static_table import STATIC_TABLE

LIMIT = 2**20
NAMES = [b":method", b":path", b"te", b"grpc-timeout", b"traceparent", b"x"]
Fields = list[tuple[bytes, bytes]]

field = st.tuples(
    st.one_of(st.sampled_from(NAMES), st.binary(min_size=1, max_size=40)),
    st.one_of(st.sampled_from([b"POST", b"trailers", b"1S"]), st.binary(max_size=200)),
)
# A block: its fields, whether strings are Huffman-coded, which are never to be indexed, and a new table size before it.
blocks = st.lists(
    st.tuples(
        st.lists(st.tuples(field, st.booleans()), max_size=8),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 4096)),
    ),
    min_size=1,
    max_size=6,
)


def wire(sent: list[tuple[list[tuple[tuple[bytes, bytes], bool]], bool, int | None]]) -> list[bytes]:
    encoder = hpack.Encoder()
    made = []
    for fields, coded, size in sent:
        if size is not None:
            encoder.header_table_size = size
        headers = [
            hpack.NeverIndexedHeaderTuple(*pair) if secret else hpack.HeaderTuple(*pair)
            for pair, secret in fields
        ]
        made.append(encoder.encode(headers, huffman=coded))
    return made


def theirs(decoder: hpack.Decoder, block: bytes) -> Fields | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


def ours(decoder: Decoder, block: bytes) -> Fields | None:
    try:
        return decoder.decode(block, LIMIT)
    except HpackError:
        return None


def other() -> hpack.Decoder:
    return hpack.Decoder(max_header_list_size=LIMIT)


def test_the_tables_are_those_of_the_standard() -> None:
    """The static table and the Huffman code's lengths."""
    assert STATIC_TABLE[1:] == tuple(HeaderTable.STATIC_TABLE)
    assert list(huffman._CODE_LENGTHS) == list(REQUEST_CODES_LENGTH)


@settings(deadline=None)
@given(blocks)
def test_blocks_of_an_encoder(
    sent: list[tuple[list[tuple[tuple[bytes, bytes], bool]], bool, int | None]],
) -> None:
    """Every sequence of blocks gives the fields that went in."""
    decoder, reference = Decoder(), other()
    for (fields, _, _), block in zip(sent, wire(sent), strict=True):
        assert decoder.decode(block, LIMIT) == [pair for pair, _ in fields] == theirs(reference, block)
        assert decoder.secret <= any(secret for _, secret in fields)


@settings(deadline=None)
@given(blocks, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_blocks(
    sent: list[tuple[list[tuple[tuple[bytes, bytes], bool]], bool, int | None]],
    changes: list[tuple[int, int]],
) -> None:
    """Whatever a block has become, both take it for the same, or both refuse it."""
    decoder, reference = Decoder(), other()
    for block in wire(sent):
        mutated = bytearray(block)
        for place, byte in changes:
            if mutated:
                mutated[place % len(mutated)] = byte
        expected = theirs(reference, bytes(mutated))
        assert ours(decoder, bytes(mutated)) == expected
        if expected is None:
            return


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_random_blocks(block: bytes) -> None:
    """The same for any bytes."""
    assert ours(Decoder(), block) == theirs(other(), block)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_huffman_strings(data: bytes) -> None:
    """What a Huffman string means, or that it means nothing."""
    expected: bytes | None
    try:
        expected = hpack.huffman_table.decode_huffman(data)
    except hpack.HPACKError:
        expected = None
    try:
        assert huffman.decode(data) == expected
    except HpackError:
        assert expected is None


def test_a_table_that_overflows() -> None:
    """Old fields make room for new ones exactly as the other side thinks."""
    chance = random.Random(1)
    encoder, decoder, reference = hpack.Encoder(), Decoder(), other()
    for _ in range(500):
        names = (b"%d" % chance.randrange(60) for _ in range(5))
        fields = [(name, name * chance.choice((1, 50, 300, 3000))) for name in names]
        block = encoder.encode(fields)
        assert decoder.decode(block, LIMIT) == fields == theirs(reference, block)


def test_a_field_that_was_evicted_is_gone() -> None:
    """Of three fields of 2,033 bytes the table's 4,096 hold two; one larger than the table empties it."""
    decoder, encoder = Decoder(), hpack.Encoder()
    for name in (b"a", b"b", b"c"):
        decoder.decode(encoder.encode([(name, b"x" * 2000)], huffman=False), LIMIT)
    assert [name for name, _ in decoder.decode(b"\xbe\xbf", LIMIT)] == [b"c", b"b"]
    with pytest.raises(HpackError):
        decoder.decode(b"\xc0", LIMIT)
    decoder.decode(encoder.encode([(b"d", b"x" * 5000)], huffman=False), LIMIT)
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe", LIMIT)


def test_what_may_be_remembered() -> None:
    """Only blocks that neither change the table nor hold a secret; the generation rises with each change."""
    decoder, encoder = Decoder(), hpack.Encoder()
    first = encoder.encode([(b"a", b"1")])
    decoder.decode(first, LIMIT)
    assert not decoder.cacheable
    generation = decoder.generation
    again = encoder.encode([(b"a", b"1")])
    decoder.decode(again, LIMIT)
    assert decoder.cacheable
    assert decoder.generation == generation
    decoder.decode(encoder.encode([hpack.NeverIndexedHeaderTuple(b"k", b"secret")]), LIMIT)
    assert not decoder.cacheable
    assert decoder.secret
    assert decoder.generation == generation
    encoder.header_table_size = 100
    decoder.decode(encoder.encode([(b"a", b"1")]), LIMIT)
    assert not decoder.cacheable
    assert decoder.generation > generation


def test_the_same_bytes_mean_another_field_after_an_insertion() -> None:
    """Index 62 is the newest field: why a remembered block must be forgotten."""
    decoder = Decoder()
    assert decoder.decode(b"\x40\x01a\x011\xbe", LIMIT) == [(b"a", b"1"), (b"a", b"1")]
    assert decoder.decode(b"\xbe", LIMIT) == [(b"a", b"1")]
    assert decoder.decode(b"\x40\x01b\x012\xbe", LIMIT) == [(b"b", b"2"), (b"b", b"2")]
    assert decoder.decode(b"\xbe", LIMIT) == [(b"b", b"2")]


def test_fields_that_are_too_large() -> None:
    """They are read to their end and kept nowhere, and the next block is understood; a bomb is given up."""
    decoder = Decoder()
    with pytest.raises(FieldsTooLargeError):
        decoder.decode(b"\x40\x01a\x0a" + b"x" * 10 + b"\xbe" * 50, 1000)
    assert decoder.decode(b"\xbe", LIMIT) == [(b"a", b"x" * 10)]
    with pytest.raises(HeaderBombError):
        decoder.decode(b"\xbe" * 5000, 1000)


@settings(deadline=None)
@given(st.lists(field, max_size=10))
def test_the_encoder(fields: Fields) -> None:
    """Any decoder reads what it makes, and its table stays empty."""
    reference = other()
    assert theirs(reference, encode(fields)) == fields
    assert not reference.header_table.dynamic_entries

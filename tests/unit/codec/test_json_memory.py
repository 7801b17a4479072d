"""The memory that a JSON text may take is told before it is parsed, and is never less than what it takes."""

from __future__ import annotations

import tracemalloc

import pytest

from pyserve.codec.json_memory import check_memory, memory_estimate
from pyserve.codec.json_parser import parse
from pyserve.errors import InvalidArgumentError

N = 5_000
TEXTS = {
    "deep arrays": b"[" * N + b"]" * N,
    "deep objects": b'{"":' * N + b"1" + b"}" * N,
    "deep objects, long names": b'{"abcdefgh":' * N + b"1" + b"}" * N,
    "empty arrays": b"[" + b"[]," * N + b"[]]",
    "empty objects": b"[" + b"{}," * N + b"{}]",
    "rows": b"[" + b"[1]," * N + b"[1]]",
    "rows with names": b"[" + b'{"abc":1.5},' * N + b"1]",
    "members": b"{" + b'"abc":1.5,' * N + b'"":1}',
    "doubles": b"[" + b"1.25," * N + b"1]",
    "integers": b"[" + b"123456," * N + b"1]",
    "literals": b"[" + b"true," * N + b"1]",
    "strings": b"[" + b'"ab",' * N + b"1]",
    "long strings": b"[" + (b'"' + b"x" * 100 + b'",') * N + b"1]",
    "not an array": b"[" * N,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_estimate_holds(text: bytes) -> None:
    """Parsing takes no more at any moment, and not so much less that the estimate would be of no use."""
    tracemalloc.start()
    try:
        parse(text)
    except InvalidArgumentError:
        assert text == TEXTS["not an array"]
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= memory_estimate(text) <= 8 * (peak + len(text))


def test_what_is_within_the_limit() -> None:
    """A text passes up to the limit and not beyond it; the message has both numbers and the option."""
    text = b'{"instances": [[1.0], [2.0]]}'
    estimate = memory_estimate(text)
    check_memory(text, estimate)
    with pytest.raises(InvalidArgumentError) as caught:
        check_memory(text, estimate - 1)
    assert caught.value.message == (
        f"The request's JSON of {len(text)} bytes could take {estimate} bytes of memory, "
        f"expected at most {estimate - 1} (--rest_api_max_json_bytes)"
    )


def test_a_text_of_many_pieces() -> None:
    """Every character counts, wherever it stands."""
    text = b" " * 1_048_575 + b"[[" + b" " * 1_048_575 + b'{":,'
    assert memory_estimate(text) == len(text) + 2 * 200 + 320 + 24 + 64 + 48

"""Tokens and signatures, with the vectors of EAS's own client."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest

from pyserve.security.tokens import Credentials, is_accepted, is_digest_of, signature

BODY = bytes.fromhex("0a0373696712170a01781212080112040a0201021a080000803f00000040")
BODY_MD5 = "49a35a515ae53ca37541474c4b39a7b9"
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
TYPE, DATE = "application/octet-stream", "Fri, 20 Nov 2026 13:14:47 GMT"
SERVICE = "/api/predict/svc"

VECTORS = [
    (BODY, BODY_MD5, SERVICE, SERVICE, "akPJ16Z7GNKfryNF53w7TO6W0nA="),
    (b"", EMPTY_MD5, SERVICE, SERVICE, "KYTqHYXqmpc57zRvzuDNO7JLpgA="),
    (BODY, BODY_MD5, SERVICE + "/v1?uid=1", SERVICE + "/v1?uid=1", "7XMoE5qmpWfo3PRQsUOhZs6hDBM="),
    (
        BODY, BODY_MD5, "/api/predict/服务", "/api/predict/%E6%9C%8D%E5%8A%A1", "4rwYSfQrT0tGaykRjWyNrBrbS6U=",
    ),
]  # fmt: skip
"""Body, its digest, what is signed, what is sent, signature; the token is `tok`."""


def signed(
    token: str = "tok",
    resource: str = SERVICE,
    target: str = SERVICE,
    md5: str = BODY_MD5,
    body: bytes = BODY,
) -> Credentials:
    made = signature(token, content_md5=md5, content_type=TYPE, date=DATE, resource=resource)
    return Credentials("EAS " + base64.b64encode(made).decode(), md5, TYPE, DATE, target, body)


def plain(authorization: str) -> Credentials:
    return Credentials(authorization, "", "", "", SERVICE, BODY)


@pytest.mark.parametrize(("body", "md5", "resource", "target", "expected"), VECTORS)
def test_signatures_of_the_client(body: bytes, md5: str, resource: str, target: str, expected: str) -> None:
    """The client's own signatures are made, and accepted, whether or not the target is escaped on the wire."""
    made = signature("tok", content_md5=md5, content_type=TYPE, date=DATE, resource=resource)
    assert base64.b64encode(made).decode() == expected
    sent = Credentials(f"EAS {expected}", md5, TYPE, DATE, target, body)
    assert is_accepted(sent, ["tok"])
    assert not is_accepted(sent, ["tok2"])


@pytest.mark.parametrize(
    ("tokens", "authorization", "accepted"),
    [
        ([], "", True),
        ([], "anything", True),
        (["tok"], "", False),
        (["tok"], "tok", True),
        (["tok"], "Bearer tok", True),
        (["tok"], "bearer tok", True),
        (["tok"], "Basic tok", False),
        (["tok"], "to", False),
        (["tok"], "tok2", False),
        (["tok"], "TOK", False),
        (["tok"], "EAS tok", False),
        (["tok"], "EAS ", False),
        (["tok"], "EAS !!!", False),
        (["one", "two"], "two", True),
        (["one", "two"], "Bearer one", True),
        (["one", "two"], "three", False),
        (["tök"], "tök", True),
    ],
)
def test_tokens(tokens: list[str], authorization: str, accepted: bool) -> None:
    """Without a token everybody may; with several each of them opens; nothing else does."""
    assert is_accepted(plain(authorization), tokens) is accepted


def test_what_a_signature_covers() -> None:
    """Digest, type, date and target are those that were signed; the second token counts as the first."""
    good = signed()
    assert is_accepted(good, ["other", "tok"])
    for name in ("content_md5", "content_type", "date"):
        changed = {slot: getattr(good, slot) for slot in Credentials.__slots__} | {name: ""}
        assert not is_accepted(Credentials(**changed), ["tok"], check_body=False)
    assert not is_accepted(signed(target="/api/predict/other"), ["tok"])
    assert not is_accepted(signed("wrong"), ["tok"])


def test_the_body_is_what_was_signed() -> None:
    """A digest of another body is refused, unless that check is off."""
    other = signed(body=b"other")
    assert not is_accepted(other, ["tok"])
    assert is_accepted(other, ["tok"], check_body=False)


@pytest.mark.parametrize(
    ("resource", "target"),
    [
        (SERVICE + "/", SERVICE),  # signed with the slash of the name, sent without
        ("/api/predict/a b", "/api/predict/a%20b"),
        ("/api/predict/a", "/api/predict/a%20"),  # the client strips what it signs
    ],
)
def test_how_clients_write_targets(resource: str, target: str) -> None:
    """What a client signs and what it sends may differ in these ways."""
    assert is_accepted(signed(resource=resource, target=target), ["tok"])


def test_digests_without_leading_zeros() -> None:
    """Digests are compared as numbers: one kind of client drops leading zeros."""
    body = next(
        str(n).encode() for n in range(1000) if hashlib.md5(str(n).encode()).hexdigest().startswith("0")
    )
    digest = hashlib.md5(body).hexdigest()
    assert is_digest_of(digest, body)
    assert is_digest_of(digest.lstrip("0"), body)
    assert is_digest_of(digest.upper(), body)
    assert is_accepted(signed(md5=digest.lstrip("0"), body=body), ["tok"])
    for wrong in ("", "x", digest[:-1], "0" + digest, "-" + digest[1:], digest[1:] + "0"):
        assert not is_digest_of(wrong, body)


def test_every_comparison_is_made_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof is held against each token, whether or not one before it fits, and by nothing that stops early."""
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare_digest(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    tokens = ["tok", "second", "third"]
    for authorization, each, accepted in (("tok", 1, True), ("wrong", 1, False), ("Bearer tok", 2, True)):
        compared.clear()
        assert is_accepted(replace(signed(), authorization=authorization), tokens) is accepted
        assert len(compared) == each * len(tokens)
    counts = set()
    for proof in (signed(), signed("third"), signed("wrong")):
        compared.clear()
        is_accepted(proof, tokens)
        counts.add(len(compared))
    assert len(counts) == 1
    assert counts.pop() > len(tokens)

"""Whether a caller has a token: it sends the token itself, or a signature that only its owner could make. Pure.

    Authorization: TOKEN
    Authorization: Bearer TOKEN
    Authorization: EAS SIGNATURE    HMAC-SHA1, key: the token, over "POST", three headers and the target

The signature is that of Alibaba EAS's clients. Its quirks are theirs: the verb is POST whatever the request is, they
may sign the target before they escape it, the date is local time and says GMT (so its age means nothing), and the
digest of the body is hexadecimal and may lack leading zeros.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_BEARER = "bearer "
_SIGNED = "EAS "
_HEX = re.compile("[0-9a-fA-F]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What of a request says who sent it.

    Attributes:
        authorization, content_md5, content_type, date: Those headers, as sent; empty when there is none.
        target: Path and query, as sent.
        body: As received, before any decoding.
    """

    authorization: str
    content_md5: str
    content_type: str
    date: str
    target: str
    body: bytes

    @classmethod
    def of(cls, headers: Mapping[str, str], target: str, body: bytes) -> Credentials:
        """Those of a request; `headers` are looked up in any case."""
        names = ("Authorization", "Content-MD5", "Content-Type", "Date")
        authorization, content_md5, content_type, date = (headers.get(name, "") for name in names)
        return cls(authorization, content_md5, content_type, date, target, body)


def is_accepted(credentials: Credentials, tokens: Sequence[str], *, check_body: bool = True) -> bool:
    """Whether they prove one of the tokens; without tokens everybody is accepted.

    How long this takes does not depend on how much of a wrong proof is right.

    Args:
        tokens: Each opens the door.
        check_body: Require of a signed request that its digest is that of the body: else the body is not covered.
    """
    if not tokens:
        return True
    sent = credentials.authorization
    given = [_bytes(sent)]
    if sent[: len(_BEARER)].lower() == _BEARER:
        given.append(_bytes(sent[len(_BEARER) :].strip()))
    accepted = False
    for token in tokens:
        key = token.encode()
        for text in given:
            accepted |= hmac.compare_digest(text, key)
    if sent.startswith(_SIGNED) and (signature := _decoded(sent[len(_SIGNED) :])) is not None:
        accepted |= _is_signed(credentials, signature, tokens) and (
            not check_body or is_digest_of(credentials.content_md5, credentials.body)
        )
    return accepted


def signature(token: str, *, content_md5: str, content_type: str, date: str, resource: str) -> bytes:
    """The 20 bytes that an EAS client sends in base64."""
    message = _message(content_md5, content_type, date, _bytes(resource))
    return hmac.digest(token.encode(), message, hashlib.sha1)


def is_digest_of(text: str, body: bytes) -> bool:
    """Whether a hexadecimal text is the MD5 of a body, leading zeros being optional."""
    if not _HEX.fullmatch(text):
        return False
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return int(text, 16) == int.from_bytes(digest, "big")


def _is_signed(credentials: Credentials, signature: bytes, tokens: Sequence[str]) -> bool:
    messages = [
        _message(credentials.content_md5, credentials.content_type, credentials.date, resource)
        for resource in _resources(credentials.target)
    ]
    signed = False
    for token in tokens:
        key = token.encode()
        for message in messages:
            signed |= hmac.compare_digest(hmac.digest(key, message, hashlib.sha1), signature)
    return signed


def _resources(target: str) -> list[bytes]:
    """What a client may have signed for a target: as sent, unescaped, stripped of white space, with a slash more."""
    raw = _bytes(target)
    forms = [raw, unquote_to_bytes(raw)]
    return list(dict.fromkeys([*forms, *(form.rstrip() for form in forms), *(form + b"/" for form in forms)]))


def _message(content_md5: str, content_type: str, date: str, resource: bytes) -> bytes:
    return b"\n".join([b"POST", _bytes(content_md5), _bytes(content_type), _bytes(date), resource])


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def _bytes(text: str) -> bytes:
    """A header or target as it was on the wire."""
    return text.encode("utf-8", "surrogateescape")

"""The URLs of Alibaba EAS, pure: a service's, and the two by which clients discover where a service is.

/api/predict/SERVICE                    /api/predict/SERVICE/versions/N  and  …/labels/L  are pyserve's own
/api/v1/servicediscovery/upstreams/SERVICE
/exported/apis/eas.alibaba-inc.k8s.io/v1/upstreams/SERVICE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_to_bytes

from pyserve.config import INT64_MAX
from pyserve.errors import NotFoundError

_SERVICE = "/api/predict/"
_DISCOVERY = ("/api/v1/servicediscovery/upstreams/", "/exported/apis/eas.alibaba-inc.k8s.io/v1/upstreams/")
_VERSION = re.compile("[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """What the URL of a service asks for.

    Attributes:
        name: The service, which is a model's name; decoded.
        version: From `/versions/N`.
        label: From `/labels/L`, decoded.
        signature_name: From the query `signature_name` or `signature`; empty without one.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""


def is_service(target: str) -> bool:
    """Whether a request target is the URL of a service, a right one or not."""
    return target.startswith(_SERVICE)


def requested_model(target: str) -> str:
    """The service that such a URL names, whether or not the rest of it is right."""
    return _decoded(re.split("[/?]", target[len(_SERVICE) :], maxsplit=1)[0])


def parse(target: str) -> Target:
    """What the URL of a service asks for. Empty path segments behind the name mean nothing, as do other queries.

    Raises:
        NotFoundError: There is no name, or something else behind it than a version or a label.
    """
    path, _, query = target.partition("?")
    name, *rest = path[len(_SERVICE) :].split("/")
    rest = [segment for segment in rest if segment]
    found = parse_qs(query) if query else {}
    signature_name = (found.get("signature_name") or found.get("signature") or [""])[0]
    match rest:
        case [] if name:
            return Target(_decoded(name), signature_name=signature_name)
        case ["versions", number] if name and _VERSION.fullmatch(number) and int(number) <= INT64_MAX:
            return Target(_decoded(name), version=int(number), signature_name=signature_name)
        case ["labels", label] if name:
            return Target(_decoded(name), label=_decoded(label), signature_name=signature_name)
    raise NotFoundError(
        f"No such path: {path[:1000]}; expected {_SERVICE}SERVICE, with /versions/N or /labels/L behind it"
    )


def discovered_service(target: str) -> str | None:
    """The service that a request for its addresses names; None for any other request."""
    for prefix in _DISCOVERY:
        if target.startswith(prefix):
            return _decoded(re.split("[/?]", target[len(prefix) :], maxsplit=1)[0])
    return None


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")

"""The URL grammar of TensorFlow Serving's REST API (http_rest_api_util.cc), pure.

The string matched is the request target as it was sent: path plus `?query`. Fixed parts match in any case;
names and labels are percent-decoded once, after matching.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from pyserve.config import INT64_MAX
from pyserve.errors import InvalidArgumentError

_MODEL = r"/v1/models{optional}(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    _MODEL.format(optional="/(?P<name>[^/:]+)") + r":(?P<action>classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_GET = re.compile(
    _MODEL.format(optional="(?:/(?P<name>[^/:]+))?") + r"(?P<action>/metadata)?", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL asks for.

    Attributes:
        action: `predict`, `classify`, `regress`, `status` or `metadata`.
        name: Model name, decoded; empty when the URL has none.
        version: From `/versions/N`.
        label: From `/labels/L`, decoded.
    """

    action: str
    name: str
    version: int | None = None
    label: str | None = None


def parse(method: str, target: str) -> Target:
    """Match a request against the grammar.

    Raises:
        InvalidArgumentError: It matches nothing (`Malformed request: …`), or the version exceeds int64.
    """
    match = None
    action = ""
    if method == "POST":
        match = _POST.fullmatch(target)
        # The verb matches in any case, but only the lower-case one is an action.
        if match is not None and (action := match["action"]) != action.lower():
            match = None
    elif method == "GET":
        match = _GET.fullmatch(target)
        if match is not None:
            action = "metadata" if match["action"] == "/metadata" else "status"
    if match is None:
        raise InvalidArgumentError(f"Malformed request: {method} {target}")
    version = None
    if (digits := match["version"]) is not None:
        # Digits are counted first: int() refuses a very long run of them.
        significant = digits.lstrip("0") or "0"
        if len(significant) > 19 or (version := int(significant)) > INT64_MAX:
            raise InvalidArgumentError(f"Failed to convert version: {digits} to numeric.")
    name, label = match["name"], match["label"]
    return Target(
        action=action,
        name="" if name is None else _decoded(name),
        version=version,
        label=None if label is None else _decoded(label),
    )


def requested_model(method: str, target: str) -> str:
    """The model that a URL names, whether or not the rest of it is right; empty when it matches nothing."""
    pattern = {"GET": _GET, "POST": _POST}.get(method)
    match = None if pattern is None else pattern.fullmatch(target)
    return "" if match is None or match["name"] is None else _decoded(match["name"])


def _decoded(text: str) -> str:
    """Percent-decode once; a sequence that is not two hex digits stays as it is, and so does `+`."""
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text

"""Inspects a version that a server has loaded, by asking it."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from pyserve.backends.saved_model.meta_graph import INIT_OP_KEY
from pyserve.client import Client, RestClient
from pyserve.errors import InvalidArgumentError
from pyserve.tools.inspect.inspection import Inspection, in_order
from pyserve.tools.remote import connect
from pyserve.transport import rest_url

_ADDRESS = re.compile(r"(?:https?://|unix:).+|[^/]+:\d+")


def is_address(text: str) -> bool:
    """Whether this is where a server listens, and no path."""
    return _ADDRESS.fullmatch(text) is not None


def split_url(text: str) -> tuple[str, str, int | None]:
    """(address, model, version) of an address, which may be the REST URL of a model.

    The model is empty and the version None where the address does not name them.

    Raises:
        InvalidArgumentError: It is a URL of something else.
    """
    url = urlsplit(text)
    if url.scheme not in ("http", "https"):
        return text, "", None
    path = url.path.rstrip("/")
    asked = rest_url.parse("GET", path) if path else rest_url.Target("status", "")
    if asked.label is not None:
        raise InvalidArgumentError(f"{text}: name a version, not a label")
    return f"{url.scheme}://{url.netloc}", asked.name, asked.version


def inspect_server(address: str, model: str, version: int | None, timeout_s: float) -> Inspection:
    """What a server tells about a model.

    Args:
        address: host:port or unix:PATH for gRPC, http://host:port for REST.
        model: Its name; empty: the only one that there is, which only pyserve's REST tells.
        version: None: the newest.
        timeout_s: Limit of each call.

    Raises:
        InvalidArgumentError: The model has to be named.
        ServingError: The server cannot be asked, or does not have the version.
    """
    with connect(address, timeout_s) as client:
        name = model or _only_model(client)
        metadata = client.metadata(name, version=version)
        others = {state.version for state in client.status(name) if state.available} - {metadata.version}
    signatures = {key: each for key, each in metadata.signatures.items() if key != INIT_OP_KEY}
    return Inspection(
        address, name, metadata.version, tuple(sorted(others, reverse=True)), in_order(signatures)
    )


def _only_model(client: Client | RestClient) -> str:
    names: Collection[str] = client.models() if isinstance(client, RestClient) else ()
    if len(names) == 1:
        return next(iter(names))
    raise InvalidArgumentError("name the model" + (f": {', '.join(sorted(names))}" if names else ""))

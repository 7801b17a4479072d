"""A seam around handlers for whoever wants to see every request and how it ended, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pyserve.inference.call import Handler
from pyserve.transport.http import HttpApi


class Tap(Protocol):
    """Wrapped around the table of gRPC methods and around the REST API. What it wraps in must answer the same."""

    def handlers(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The same gRPC handlers, seen."""
        ...

    def rest(self, api: HttpApi) -> HttpApi:
        """The same REST API, seen."""
        ...

"""Resolving model, version and label to a handle."""

from __future__ import annotations

from typing import Any

import pytest

from pyserve.errors import NotFoundError, ServingError
from pyserve.inference.router import Labels, Router
from pyserve.servable import ServableHandle, ServableId


def router(labels: Labels | None) -> Router:
    def get_handle(name: str, version: int | None) -> ServableHandle:
        if name != "m":
            raise NotFoundError(f"Servable not found for request: Latest({name})")
        servable: Any = None
        return ServableHandle(ServableId(name, version or 9), servable, lambda: None)

    return Router(get_handle, lambda: labels)


@pytest.mark.parametrize(
    ("version", "label", "found"),
    [(None, None, 9), (3, None, 3), (None, "stable", 4), (3, "stable", 3), (None, "", 5)],
)
def test_versions(version: int | None, label: str | None, found: int) -> None:
    """A version is exact, a label goes through the map, neither means the latest."""
    assert router({"m": {"stable": 4, "": 5}}).route("m", version, label).id.version == found


@pytest.mark.parametrize(
    ("name", "label", "labels", "error"),
    [
        ("", None, {}, "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ("q", None, {}, "NOT_FOUND: Servable not found for request: Latest(q)"),
        ("m", "l", {}, "INVALID_ARGUMENT: Unrecognized servable version label: l"),
        ("m", "l", {"other": {"l": 1}}, "INVALID_ARGUMENT: Unrecognized servable version label: l"),
        ("m", "l", None, "UNAVAILABLE: Model labels does not init yet.l"),
    ],
)
def test_refusals(name: str, label: str | None, labels: Labels | None, error: str) -> None:
    """Each refusal has TensorFlow Serving's code and text."""
    with pytest.raises(ServingError) as caught:
        router(labels).route(name, None, label)
    assert str(caught.value) == error


def test_a_label_that_moves_during_the_look_up_is_followed() -> None:
    """When a label moves, and its old version goes, between the two look-ups, the request reaches the new one."""
    before, after = {"m": {"l": 1}}, {"m": {"l": 3}}
    moves = iter([before, after, before, {"m": {"l": 1}}, after])

    def get_handle(name: str, version: int | None) -> ServableHandle:
        if version != 3:
            raise NotFoundError(f"Servable not found for request: Specific({name}, {version})")
        servable: Any = None
        return ServableHandle(ServableId(name, version), servable, lambda: None)

    assert Router(get_handle, lambda: next(moves)).route("m", label="l").id.version == 3


def test_a_label_of_a_version_that_is_gone() -> None:
    """A label that stays where it is gives the version's own refusal."""
    labels = {"m": {"l": 1}}

    def get_handle(name: str, version: int | None) -> ServableHandle:
        raise NotFoundError(f"Servable not found for request: Specific({name}, {version})")

    with pytest.raises(NotFoundError, match=r"Specific\(m, 1\)"):
        Router(get_handle, lambda: labels).route("m", label="l")

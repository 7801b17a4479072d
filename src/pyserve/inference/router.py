"""From what a request names (model, version or label) to a handle on a servable.

The order and the texts of the refusals are TensorFlow Serving's (ServerCore::GetServableHandle).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyserve.errors import InvalidArgumentError, NotFoundError, UnavailableError
from pyserve.servable import ServableHandle

Labels = Mapping[str, Mapping[str, int]]


class Router:
    """Resolves names to handles. Takes no lock; may be called from any thread.

    Args:
        get_handle: (name, version or None for the highest available) → handle; raises NOT_FOUND.
        labels: Called per labelled request; the label map in force (model → label → version), a new
            mapping after each change, or None while no configuration has been accepted yet.
    """

    def __init__(
        self,
        get_handle: Callable[[str, int | None], ServableHandle],
        labels: Callable[[], Labels | None],
    ) -> None:
        self._get_handle = get_handle
        self._labels = labels

    def route(self, name: str, version: int | None = None, label: str | None = None) -> ServableHandle:
        """A handle on the servable that a model spec means.

        Args:
            name: Model name.
            version: Exact version wanted.
            label: Version label wanted; ignored when `version` is given. An empty label is a label.

        Raises:
            InvalidArgumentError: No name, or a label that the model does not have.
            NotFoundError: No such version is available, or no version at all.
            UnavailableError: A label was used before any configuration was accepted.
        """
        if not name:
            raise InvalidArgumentError("ModelSpec has no name specified.")
        if version is None and label is not None:
            return self._route_label(name, label)
        return self._get_handle(name, version)

    def _route_label(self, name: str, label: str) -> ServableHandle:
        while (labels := self._labels()) is not None:
            version = labels.get(name, {}).get(label)
            if version is None:
                raise InvalidArgumentError(f"Unrecognized servable version label: {label}")
            try:
                return self._get_handle(name, version)
            except NotFoundError:
                # A label may have moved, and its old version been taken away, between the two look-ups.
                if self._labels() is labels:
                    raise
        raise UnavailableError(f"Model labels does not init yet.{label}")

"""Which children a model's base path has: the one question that the source asks of the outside.

On disk by default. Whoever keeps versions elsewhere (in memory, say) answers it with a function of their own, and
version policies, labels, reloads and swaps are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyserve.config import ModelConfig, Specific
from pyserve.errors import Code, Status, error_for
from pyserve.lifecycle.versions import choose_versions

ListChildren = Callable[[ModelConfig], Sequence[str]]
"""Names of the immediate children of a model's base path; raises OSError when it is missing or cannot be listed."""


def children_on_disk(model: ModelConfig) -> list[str]:
    """Names of the base path's children; without listing it when all specific versions are there by name.

    Raises:
        OSError: The base path is missing or cannot be listed.
    """
    base = Path(model.base_path)
    if isinstance(model.version_policy, Specific) and model.version_policy.versions:
        wanted = [str(version) for version in model.version_policy.versions]
        if all((base / child).exists() for child in wanted):
            return wanted
    return [child.name for child in base.iterdir()]


def found_versions(model: ModelConfig, list_children: ListChildren = children_on_disk) -> frozenset[int]:
    """The versions that a poll would find and choose for a model now, complete or not.

    Raises:
        ServingError: NOT_FOUND when the base path is missing, another code when it cannot be listed.
    """
    try:
        children = list_children(model)
    except (OSError, ValueError) as error:
        status = access_status(model, error)
        raise error_for(status.code, status.message) from error
    return frozenset(version for version, _ in choose_versions(children, model.version_policy))


def access_status(model: ModelConfig, error: OSError | ValueError) -> Status:
    """What the failed listing of a base path means, in TensorFlow Serving's words."""
    path = model.base_path
    if isinstance(error, FileNotFoundError):
        where = f"Could not find base path {path} for servable {model.name}"
        return Status(Code.NOT_FOUND, f"{where} with error NOT_FOUND: {path} not found")
    codes: dict[type[Exception], Code] = {
        PermissionError: Code.PERMISSION_DENIED,
        NotADirectoryError: Code.FAILED_PRECONDITION,
    }
    text = getattr(error, "strerror", None) or str(error)
    return Status(codes.get(type(error), Code.UNKNOWN), f"{path}; {text}")

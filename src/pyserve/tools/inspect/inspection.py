"""What was found out about one version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyserve.backends.saved_model.example_features import Feature
from pyserve.servable import DEFAULT_SIGNATURE, Signature


@dataclass(frozen=True, slots=True)
class WarmupFile:
    """The requests that a version replays.

    Attributes:
        path: The file.
        records: How many requests it holds.
        problems: Why a server would refuse the version for them.
    """

    path: str
    records: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """What only the files of a version tell.

    Attributes:
        format: `SavedModel` or `TensorFlow Lite`.
        bytes, count: Of all files together.
        tag_sets: The tags of each MetaGraph; the first are those whose signatures are shown.
        tensorflow_version: That wrote it; empty when it does not say.
        incomplete: What is still missing of the version; None when nothing is known to be.
        warmup: None when there is no such file.
        features: What the graph parses out of tf.Examples.
        refused: Why a signature cannot be served, by key.
        handler: Whether there is code beside the model that may wrap it.
    """

    format: str
    bytes: int
    count: int
    tag_sets: tuple[tuple[str, ...], ...] = ()
    tensorflow_version: str = ""
    incomplete: str | None = None
    warmup: WarmupFile | None = None
    features: tuple[Feature, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    handler: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """One version of a model.

    Attributes:
        source: The version directory, or the address.
        model: Its name: for a path that of the directory above the version.
        version: None when the directory's name is no number.
        other_versions: That are there too, newest first.
        signatures: By key, `serving_default` first.
        files: None for one that a server tells about.
    """

    source: str
    model: str
    version: int | None
    other_versions: tuple[int, ...]
    signatures: Mapping[str, Signature]
    files: Files | None = None


def in_order(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """By key, `serving_default` first."""
    return {
        key: signatures[key] for key in sorted(signatures, key=lambda key: (key != DEFAULT_SIGNATURE, key))
    }

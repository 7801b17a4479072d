"""A conversion from end to end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyserve.tools.convert import saved_model, trial
from pyserve.tools.convert.edits import Edits, edited, set_default
from pyserve.tools.convert.image_signature import ImageSignature, add_image_signature
from pyserve.tools.convert.publish import new_version
from pyserve.tools.convert.source import Source, stage


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to be made of what.

    Attributes:
        source: Where the model comes from.
        target: The model's directory.
        version: Its number; None: the next one.
        edits: Of signatures and tags.
        images: A signature to add.
        default: The signature that `serving_default` becomes too; empty: as it is.
        requests: (where it stands, body) of REST predict requests: they are run, and become the warm-up file.
    """

    source: Source
    target: Path
    version: int | None = None
    edits: Edits = field(default_factory=Edits)
    images: ImageSignature | None = None
    default: str = ""
    requests: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """What was made.

    Attributes:
        path: The version directory.
        notes: What its maker should know.
    """

    path: Path
    notes: tuple[str, ...]


def convert(wanted: Conversion) -> Converted:
    """Make a version, run it, and put it beside the others. Nothing stays when something fails.

    Raises:
        ServingError: One clear reason.
    """
    with new_version(wanted.target, wanted.version) as version:
        # What TensorFlow and Keras print as they save is nobody's result.
        with contextlib.redirect_stdout(sys.stderr):
            notes = stage(wanted.source, version.path)
        notes += _finish(wanted, version.path)
    return Converted(version.path, tuple(notes))


def _finish(wanted: Conversion, version: Path) -> list[str]:
    """Edit, fill and run what stands in the staging directory."""
    graph = saved_model.read(version)
    if wanted.edits != Edits() or wanted.images is not None or wanted.default:
        graph = edited(graph, wanted.edits)
        if wanted.images is not None:
            add_image_signature(graph, wanted.images)
        if wanted.default:
            set_default(graph, wanted.default)
        saved_model.write(graph, version)
    tags = tuple(graph.meta_info_def.tags)
    dropped = trial.drop_unfit_requests(version, tags)
    if wanted.requests:
        trial.add_requests(version, wanted.requests, tags)
    notes = trial.try_version(version, tags)
    return notes if dropped is None else [dropped, *notes]

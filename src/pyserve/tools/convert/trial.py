"""Runs a version that has just been made as a server would, before anybody else sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pyserve.backends.saved_model import SavedModelBackend
from pyserve.backends.saved_model.example_features import example_features
from pyserve.backends.saved_model.meta_graph import INIT_OP_KEY, read_saved_model, select
from pyserve.config import TensorFlowOptions
from pyserve.errors import FailedPreconditionError, ServingError
from pyserve.inference.warmup import zeros_for
from pyserve.inference.warmup_file import PATH_IN_VERSION, replay_file
from pyserve.inference.warmup_replay import Target, replay
from pyserve.servable import Servable, ServableId, Signature
from pyserve.tools import warmup
from pyserve.tools.inspect.samples import Sample, samples_for

_ID = ServableId("converted", 0)


def add_requests(version: Path, bodies: Iterable[tuple[str, bytes]], tags: Collection[str]) -> None:
    """Make requests the version's warm-up file; see `warmup.make`."""
    warmup.write(version / PATH_IN_VERSION, warmup.make(version, bodies, tags))


def drop_unfit_requests(version: Path, tags: Collection[str]) -> str | None:
    """Remove a warm-up file that the version would be refused for; returns why, None when it stays or is not there."""
    file = version / PATH_IN_VERSION
    if not file.exists():
        return None
    problems = warmup.check(version, tags).problems
    if not problems:
        return None
    file.unlink()
    return f"the warm-up file does not fit any more and is left out: {problems[0]}"


def try_version(version: Path, tags: Collection[str]) -> list[str]:
    """Load a version, replay its warm-up file, run each signature with a sample; returns notes on what was not run.

    A sample that fails is a failure where it is a legal input: numbers, of which only the number of rows is free. Where
    the model may demand more than the signature says, it is a note.

    Raises:
        ServingError: The version does not load, or does not run.
    """
    servable = (
        SavedModelBackend(TensorFlowOptions(saved_model_tags=frozenset(tags)))
        .make_loader(_ID, str(version))
        .load()
    )
    features = example_features(select(read_saved_model(version), tags).graph_def)
    target = Target(_ID, servable)
    try:
        replay_file(str(version), lambda log: replay(target, log))
        notes = []
        for key, signature in sorted(servable.signatures.items()):
            if key == INIT_OP_KEY:
                continue
            samples = samples_for(signature, features)
            note = _try_signature(servable, key, signature, samples)
            if note is not None:
                notes.append(f'signature "{key}" {note}')
        return notes
    finally:
        servable.unload()


def _try_signature(
    servable: Servable, key: str, signature: Signature, samples: Mapping[str, Sample]
) -> str | None:
    if key not in servable.stateless:
        return "was not run: it may have side effects"
    if zeros_for(signature) is None:
        return "was not run: it has an input of unknown shape"
    inputs = {**signature.defaults, **{alias: sample.array() for alias, sample in samples.items()}}
    try:
        servable.run(key, inputs, sorted(signature.outputs))
    except ServingError as error:
        if _says_all(signature):
            raise FailedPreconditionError(f'signature "{key}" does not run: {error.message}') from error
        return f"does not run with a sample, which it may not have to: {error.message}"
    return None


def _says_all(signature: Signature) -> bool:
    """Whether whatever fits the signature is a legal input."""
    return all(
        spec.shape is not None and None not in spec.shape[1:] and not spec.dtype.is_string
        for spec in signature.inputs.values()
    )

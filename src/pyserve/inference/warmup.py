"""Run a version before it is AVAILABLE, so that no caller pays for the first run.

TensorFlow builds kernels and optimises graphs at the first call of a function; for a large model that takes
a hundred times a later call. A version that brings recorded requests along has them replayed (`warmup_file`), and
nothing else: whoever wrote them knows the model. Any other version has each stateless signature run with zeros. What
fails there is logged and forgotten: zeros may be no legal input of the model, and the version is not worse than
without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import ServingError
from pyserve.inference.warmup_file import Replayed, replay_file
from pyserve.inference.warmup_replay import Target, replay
from pyserve.protos import tfs
from pyserve.servable import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    Servable,
    ServableId,
    Signature,
    TensorSpec,
    on_each_replica,
)

logger = logging.getLogger(__name__)

# A declared shape may be anything; a run that only warms up must not need gigabytes.
_MAX_ELEMENTS = 1 << 26


class WarmUp:
    """What happens to a version, every replica of it, between its load and AVAILABLE; a `prepare` of the life cycle.
    Thread-safe.

    Args:
        from_file: Replay the version's recorded requests (`--enable_model_warmup`).
        iterations: Times that each record is run; <= 0: once (`--num_request_iterations_for_warmup`).
        from_signature: Run stateless signatures with zeros where there are no records, or none are replayed
            (`--warmup_from_signature`).
        check_method_name: Hold recorded requests to it (`--enable_signature_method_name_check`).
        run: Answers a recorded request's task before it returns; by default on the loading thread, at once.
        on_run: Told of each successful run of a recorded Predict, Classify or Regress, and which of them it was.
        on_replayed: Told when the end of a file of records is reached.
    """

    def __init__(
        self,
        *,
        from_file: bool = True,
        iterations: int = 0,
        from_signature: bool = True,
        check_method_name: bool = False,
        run: Callable[[Task], None] = Task.run,
        on_run: Callable[[Task, str], None] | None = None,
        on_replayed: Callable[[Replayed], None] | None = None,
    ) -> None:
        self._from_file = from_file
        self._iterations = iterations
        self._from_signature = from_signature
        self._check_method_name = check_method_name
        self._run = run
        self._on_run = on_run
        self._on_replayed = on_replayed

    def __call__(
        self, id: ServableId, path: str, servable: Servable, batch_sizes: Sequence[int] = ()
    ) -> None:
        """Warm a version up, blocking.

        Args:
            batch_sizes: Numbers of rows that it will be run with, beside one, ascending.

        Raises:
            ServingError: A recorded request failed, or the file is damaged.
        """
        if self._from_file:
            target = Target(id, servable, self._check_method_name, self._run, self._on_run)

            def run(log: tfs.PredictionLog) -> None:
                on_each_replica(servable, lambda: replay(target, log))

            if replay_file(path, run, iterations=self._iterations, on_replayed=self._on_replayed):
                return
        if self._from_signature:
            sizes = sorted({1, *batch_sizes})
            on_each_replica(servable, lambda: warm_up(id, servable, sizes))


def warm_up(id: ServableId, servable: Servable, batch_sizes: Sequence[int] = (1,)) -> None:
    """Run each signature that has no side effects once with each number of rows. Never raises a ServingError."""
    for key in sorted(servable.stateless):
        signature = servable.signatures[key]
        if signature.method_name in (CLASSIFY_METHOD, REGRESS_METHOD):
            continue  # they take serialized Examples; an empty one only makes TensorFlow complain in the log
        batches = [zeros for rows in batch_sizes if (zeros := zeros_for(signature, rows)) is not None]
        if not batches and (zeros := zeros_for(signature)) is not None:
            batches = [zeros]  # what cannot be batched is run as it is
        for inputs in batches:
            try:
                servable.run(key, inputs, sorted(signature.outputs))
            except ServingError as error:
                logger.info("Warm-up of signature %s of servable %s with zeros failed: %s", key, id, error)
                break


def zeros_for(signature: Signature, rows: int = 1) -> dict[str, Array] | None:
    """Rows of zeros (empty strings) for each input; None when a shape is unknown or too large, or has no such rows.

    A free first dimension becomes `rows`, other free dimensions become 1. Inputs with a default take it.
    """
    inputs: dict[str, Array] = dict(signature.defaults)
    for alias, spec in signature.inputs.items():
        if alias not in inputs:
            zeros = _zeros(spec, rows)
            if zeros is None:
                return None
            inputs[alias] = zeros
    return inputs


def _zeros(spec: TensorSpec, rows: int) -> Array | None:
    if spec.shape is None or spec.dtype.numpy is None:
        return None
    shape = [1 if size is None else size for size in spec.shape]
    if rows != 1:
        if not shape or spec.shape[0] not in (None, rows):
            return None  # it cannot be batched so
        shape[0] = rows
    if int(np.prod(shape, dtype=object)) > _MAX_ELEMENTS:
        return None
    if spec.dtype.is_string:
        return np.full(shape, b"", object)
    return np.zeros(shape, spec.dtype.numpy)

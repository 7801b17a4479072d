"""A loaded TensorFlow Lite model as a servable: one set of signatures over a pool of interpreters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.tflite.pool import Pool
from pyserve.codec.signature_def import signature_def_map
from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError
from pyserve.servable import Signature


class Runnable(Protocol):
    """What an interpreter is to its servable."""

    def run(self, key: str, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


class TfLiteServable:
    """A `Servable` over interpreters, each of which runs one request at a time.

    Args:
        signatures: What may be asked for.
        pool: Owned from now on; `unload` clears it.
    """

    def __init__(self, signatures: Mapping[str, Signature], pool: Pool[Runnable]) -> None:
        self.signatures: Mapping[str, Signature] = MappingProxyType(dict(signatures))
        self.signature_def_map = signature_def_map(self.signatures.values())
        # A model may keep state, and does not tell; and its first run is hardly slower than the others.
        self.stateless: frozenset[str] = frozenset()
        self._pool: Pool[Runnable] | None = pool

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run one signature; see `Servable.run`. All outputs are computed, whichever are wanted.

        The time limit covers the wait for an interpreter; a run that has begun is not interrupted.

        Raises:
            DeadlineExceededError: No interpreter came free in time.
            InternalError: The model does not run with these inputs.
        """
        pool = self._pool
        if pool is None:
            raise FailedPreconditionError("The servable has been unloaded")
        try:
            with pool.borrow(timeout_s) as interpreter:
                results = interpreter.run(signature_key, inputs)
        except Exception as error:
            raise to_serving_error(error) from error
        return {alias: results[alias] for alias in outputs}

    def unload(self) -> None:
        """Give the interpreters back. Called after the last run; twice does no harm."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.clear()

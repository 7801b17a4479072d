"""A loaded SavedModel as a servable: the programs of its signatures over one session.

Made by `loader`, used by the request path through the `Servable` protocol. A signature that cannot be served
has its refusal kept beside it: calling it says why, and the others work.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pyserve.backends.saved_model import garbage
from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.program import Program
from pyserve.backends.saved_model.session import GraphSession
from pyserve.backends.saved_model.traits import Traits
from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError, NotFoundError, ServingError
from pyserve.servable import Signature

MAX_PROGRAMS = 32
"""Sets of outputs per stateless signature that get a program. TensorFlow keeps an optimised graph for each
for the life of the session, so a caller who tries every combination could fill the memory. Later sets run the
whole signature and drop what was not asked for."""


class SavedModelServable:
    """A `Servable` over a TensorFlow session.

    Args:
        session: Owned from now on; `unload` closes it.
        signatures: All of them, those that cannot be served included.
        signature_def_map: Serialized SignatureDefMap.
        traits: For each signature that can be served.
        refusals: Why a signature cannot be served, by key.
    """

    def __init__(
        self,
        session: GraphSession,
        signatures: Mapping[str, Signature],
        signature_def_map: bytes,
        traits: Mapping[str, Traits],
        refusals: Mapping[str, ServingError],
    ) -> None:
        self.signatures: Mapping[str, Signature] = MappingProxyType(dict(signatures))
        self.signature_def_map = signature_def_map
        self.stateless = frozenset(
            key for key, found in traits.items() if found.stateless and key not in refusals
        )
        self._session: GraphSession | None = session
        self._traits = traits
        self._refusals = dict(refusals)
        # Filled by any thread; two that make the same program at once keep either one.
        self._programs: dict[tuple[str, tuple[str, ...]], Program] = {}
        self._made = {key: itertools.count() for key in signatures}

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run one signature; see `Servable.run`.

        A run over its time ends with DEADLINE_EXCEEDED between two operations of the graph. Runs that are
        short by experience take place on the calling thread, where TensorFlow keeps no time.

        Raises:
            ServingError: With TensorFlow's code and text, or the reason why the signature cannot be served.
        """
        program = self._programs.get((signature_key, tuple(outputs)))
        try:
            if program is None:
                program = self._program(signature_key, outputs)
            results = program.run(inputs, timeout_s)
        except Exception as error:
            raise to_serving_error(error) from error
        if len(results) != len(outputs):
            return {alias: results[alias] for alias in outputs}
        return results

    def _program(self, key: str, outputs: Sequence[str]) -> Program:
        session = self._session
        if session is None:
            raise FailedPreconditionError("The servable has been unloaded")
        if key in self._refusals:
            refusal = self._refusals[key]
            raise type(refusal)(refusal.message)
        signature = self.signatures.get(key)
        if signature is None:
            raise NotFoundError(f"There is no signature {key}")
        stateless = key in self.stateless
        # The same set in another order is the same program.
        wanted = tuple(sorted(outputs))
        program = self._programs.get((key, wanted))
        if program is None and stateless and next(self._made[key]) >= MAX_PROGRAMS:
            wanted = tuple(sorted(signature.outputs))
            program = self._programs.get((key, wanted))
        if program is None:
            paced = stateless and not self._traits[key].loops
            program = Program(session, signature, wanted, paced=paced)
            self._programs[key, wanted] = program
        if len(self._programs) < MAX_PROGRAMS * len(self.signatures):
            self._programs[key, tuple(outputs)] = program
        return program

    def unload(self) -> None:
        """Close the session and give its memory back. Called after the last run; twice does no harm."""
        session, self._session = self._session, None
        self._programs.clear()
        if session is None:
            return
        try:
            session.close()
        finally:
            del session
            garbage.return_memory()

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
from pyserve.backends.saved_model.program import Program, joined, run_tensors
from pyserve.backends.saved_model.session import GraphSession
from pyserve.backends.saved_model.traits import Traits
from pyserve.batching.joint_task import run_apart
from pyserve.dtypes import Array
from pyserve.errors import FailedPreconditionError, NotFoundError, ServingError
from pyserve.servable import OutputOf, Signature

MAX_PROGRAMS = 32
"""Sets of outputs per stateless signature that get a program, and sets of outputs of several signatures.
TensorFlow keeps an optimised graph for each for the life of the session, so a caller who tries every combination
could fill the memory. Later sets run the whole signature and drop what was not asked for, or run apart."""


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
        self.stateful = frozenset(traits) - refusals.keys() - self.stateless
        self._session: GraphSession | None = session
        self._traits = traits
        self._refusals = dict(refusals)
        # Filled by any thread; two that make the same program at once keep either one.
        self._programs: dict[tuple[str, tuple[str, ...]], Program] = {}
        self._made = {key: itertools.count() for key in signatures}
        self._joint_programs: dict[tuple[OutputOf, ...], Program] = {}
        self._joints_made = itertools.count()

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

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """Run several signatures as one run of the session; see `JointlyRunnable`.

        All outputs come from one state of the model's variables, and an operation that several signatures share is
        run once.

        Raises:
            ServingError: With TensorFlow's code and text, or the reason why a signature cannot be served.
        """
        wanted = tuple(sorted(set(outputs.values())))
        try:
            program = self._joint_programs.get(wanted) or self._joint_program(wanted)
            if program is None:
                return run_apart(self, outputs, array, timeout_s)
            results = program.run(dict.fromkeys(program.signature.inputs, array), timeout_s)
        except Exception as error:
            raise to_serving_error(error) from error
        places = {output: str(place) for place, output in enumerate(wanted)}
        return {name: results[places[output]] for name, output in outputs.items()}

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run any part of the graph; see `RunsTensors`. TensorFlow keeps a graph for each set of names.

        Raises:
            ServingError: With TensorFlow's code and text, or what the graph does not have.
        """
        session = self._session
        if session is None:
            raise FailedPreconditionError("The servable has been unloaded")
        try:
            return run_tensors(session, feeds, fetches, targets, timeout_s)
        except Exception as error:
            raise to_serving_error(error) from error

    def _joint_program(self, wanted: tuple[OutputOf, ...]) -> Program | None:
        """A program for the outputs; None when there are enough and running apart makes no difference."""
        keys = {output.signature_key for output in wanted}
        for key in sorted(keys):
            session, _ = self._usable(key)
        stateless = keys <= self.stateless
        room = next(self._joints_made) < MAX_PROGRAMS
        if stateless and not room:
            return None
        signature = joined(self.signatures, wanted)
        paced = stateless and not any(self._traits[key].loops for key in keys)
        program = Program(session, signature, tuple(signature.outputs), paced=paced)
        if room:
            self._joint_programs[wanted] = program
        return program

    def _usable(self, key: str) -> tuple[GraphSession, Signature]:
        """The session and the signature for a run.

        Raises:
            ServingError: The servable was unloaded, or the signature is unknown or cannot be served.
        """
        session = self._session
        if session is None:
            raise FailedPreconditionError("The servable has been unloaded")
        if key in self._refusals:
            refusal = self._refusals[key]
            raise type(refusal)(refusal.message)
        signature = self.signatures.get(key)
        if signature is None:
            raise NotFoundError(f"There is no signature {key}")
        return session, signature

    def _program(self, key: str, outputs: Sequence[str]) -> Program:
        session, signature = self._usable(key)
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
        self._joint_programs.clear()
        if session is None:
            return
        try:
            session.close()
        finally:
            del session
            garbage.return_memory()

"""A task of several signatures over one input: one run where the servable can, one after another elsewhere.

A MultiInference request. It has one handle, one deadline and one answer, whatever the number of signatures.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping

from pyserve.batching import layout
from pyserve.batching.layout import Layout
from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import TIMED_OUT, DeadlineExceededError
from pyserve.servable import JointlyRunnable, OutputOf, Servable, ServableHandle

_INPUT = "input"


class JointTask(Task):
    """A joint run, waiting, running or answered. A batch holds joint tasks of the same signatures and outputs.

    Args:
        handle: Right to use the servable; the task owns it from now on.
        wanted: What to compute: a name of the caller's choice → output of a signature that has one input. The
            result is by these names.
        array: Fed to the input of every signature, and validated for each.
        deadline: For all of it, on `time.monotonic()`; None: no limit.
    """

    __slots__ = ("wanted",)

    def __init__(
        self,
        handle: ServableHandle,
        wanted: Mapping[str, OutputOf],
        array: Array,
        deadline: float | None = None,
    ) -> None:
        # The key is for readers of logs; it is no key of the servable.
        keys = dict.fromkeys(output.signature_key for output in wanted.values())
        super().__init__(handle, ",".join(keys), {_INPUT: array}, tuple(wanted), deadline)
        self.wanted = wanted

    def batch_key(self) -> Hashable:
        return tuple(self.wanted.items())

    def layout(self) -> Layout:
        return layout.of_several(self.handle.servable, self.wanted, _INPUT)

    def compute(self, inputs: Mapping[str, Array], timeout_s: float | None) -> dict[str, Array]:
        array = inputs[_INPUT]
        servable = self.handle.servable
        if isinstance(servable, JointlyRunnable):
            return servable.run_jointly(self.wanted, array, timeout_s)
        return run_apart(servable, self.wanted, array, timeout_s)


def run_apart(
    servable: Servable, wanted: Mapping[str, OutputOf], array: Array, timeout_s: float | None
) -> dict[str, Array]:
    """Run several signatures one after another; the arguments and the result are those of a joint run.

    Raises:
        ServingError: The first failure; DEADLINE_EXCEEDED when the time is over between two of them.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    by_key: dict[str, dict[str, list[str]]] = {}
    for name, output in wanted.items():
        by_key.setdefault(output.signature_key, {}).setdefault(output.alias, []).append(name)
    results: dict[str, Array] = {}
    for key, names in by_key.items():
        if deadline is not None and (timeout_s := deadline - time.monotonic()) <= 0:
            raise DeadlineExceededError(TIMED_OUT)
        (alias,) = servable.signatures[key].inputs
        for output_alias, value in servable.run(key, {alias: array}, tuple(names), timeout_s).items():
            results.update(dict.fromkeys(names[output_alias], value))
    return results

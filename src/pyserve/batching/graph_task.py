"""A task that runs any part of a model's graph instead of a signature: a SessionRun request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import UnimplementedError
from pyserve.servable import RunsTensors, ServableHandle


class GraphTask(Task):
    """A run of graph tensors, waiting, running or answered. It runs alone: no batch may take it in.

    Args:
        handle: Right to use the servable; the task owns it from now on.
        feeds: Arrays by tensor name; nothing has been checked.
        fetches: Names of tensors; the result is by these names.
        targets: Names of operations to run for their effect.
        deadline: On `time.monotonic()`; None: no limit.
    """

    __slots__ = ("targets",)

    def __init__(
        self,
        handle: ServableHandle,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        deadline: float | None = None,
    ) -> None:
        super().__init__(handle, "", feeds, fetches, deadline)
        self.targets = targets

    def batch_key(self) -> None:
        return None

    def compute(self, inputs: Mapping[str, Array], timeout_s: float | None) -> dict[str, Array]:
        servable = self.handle.servable
        if not isinstance(servable, RunsTensors):
            raise UnimplementedError(f"Servable {self.handle.id} has no graph to run tensors of")
        return servable.run_tensors(inputs, self.outputs, self.targets, timeout_s)

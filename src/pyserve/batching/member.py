"""A task as its queue and its batches see it: which array is which column, and how it is answered if it was cut."""

from __future__ import annotations

import threading

from pyserve.batching.layout import Layout
from pyserve.batching.merge import rejoin, rows_of
from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import ServingError


class Member:
    """A task that may share batches.

    Attributes:
        columns: Its inputs, in the order of the layout.
        rows: Of each of them.

    Raises:
        InvalidArgumentError: Its inputs have no common rows.
    """

    __slots__ = ("_split", "columns", "layout", "rows", "task")

    def __init__(self, task: Task, layout: Layout) -> None:
        self.task = task
        self.layout = layout
        self.columns = [task.inputs[name] for name in layout.inputs]
        self.rows = rows_of(self.columns)
        self._split: _Split | None = None

    def was_cut(self, pieces: int) -> None:
        """It is answered when so many pieces are; called before any of them is run."""
        self._split = _Split(pieces)

    def answer(self, start: int, outputs: dict[str, Array]) -> None:
        """The outputs of the piece that begins at row `start`, or of the whole. Any thread."""
        if self._split is not None:
            pieces = self._split.add(start, outputs)
            if pieces is None:
                return
            try:
                outputs = rejoin(pieces)
            except ServingError as error:
                self.task.answer(None, error)
                return
        self.task.answer(outputs)

    def fail(self, error: ServingError) -> None:
        """The failure of a piece, or of the whole; the first one counts. Any thread."""
        self.task.answer(None, error)

    def end(self) -> None:
        """A piece is over, or the whole, whatever became of it. Any thread."""
        if self._split is None or self._split.last():
            self.task.end()


class _Split:
    """The pieces of one task, which may run on several threads."""

    __slots__ = ("_left", "_lock", "_outputs", "_pieces")

    def __init__(self, pieces: int) -> None:
        self._pieces = self._left = pieces
        self._outputs: dict[int, dict[str, Array]] = {}  # by first row
        self._lock = threading.Lock()

    def add(self, start: int, outputs: dict[str, Array]) -> list[dict[str, Array]] | None:
        """Keep a piece; all of them in their order, once, when this one was the last to come."""
        with self._lock:
            self._outputs[start] = outputs
            if len(self._outputs) < self._pieces:
                return None
            return [piece for _, piece in sorted(self._outputs.items())]

    def last(self) -> bool:
        with self._lock:
            self._left -= 1
            return not self._left

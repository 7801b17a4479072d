"""A version that takes tasks: its lines, made on demand, and which of them a task goes to.

Locking is the scheduler's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from pyserve.batching.layout import Layout
from pyserve.batching.line import BatchLine, Run, SingleLine
from pyserve.batching.member import Member
from pyserve.batching.policy import QueueRules
from pyserve.batching.task import Task
from pyserve.batching.turns import Place, Version
from pyserve.errors import InvalidArgumentError
from pyserve.servable import Servable

RulesFor = Callable[[Layout], QueueRules | None]
"""What a new queue of a version works by; None: such tasks run alone."""

MAX_KINDS = 256
"""Kinds of tasks per version that get a queue. A caller may ask for every combination of outputs; those that come
beyond run alone."""


class _Kind(NamedTuple):
    """What all tasks with one `batch_key` have in common."""

    layout: Layout
    line: BatchLine
    place: Place
    rules: QueueRules
    repeatable: bool


class OpenVersion:
    """The lines of one version.

    Args:
        servable: Kept as long as the version is open.
        counts: Its place in the turns.
        rules_for: Asked once for each new queue; None: every task runs alone.
    """

    def __init__(self, servable: Servable, counts: Version, rules_for: RulesFor | None) -> None:
        self.servable = servable
        self.counts = counts
        self._rules_for = rules_for
        self._single = SingleLine()
        self._single_place = Place(counts, self._single)
        self._kinds: dict[Hashable, _Kind | None] = {None: None}
        self._queues: dict[Hashable, _Kind | None] = {}  # by the layout's key

    def offer(self, task: Task, now: float) -> Place:
        """Let a task wait; where it does.

        Raises:
            InvalidArgumentError: It cannot be batched, and has to be.
            UnavailableError: Its queue is full.
        """
        kind = self._kind(task)
        if kind is not None and (member := self._member(task, kind)) is not None:
            kind.line.offer(member, now)
            return kind.place
        self._single.offer(task)
        return self._single_place

    def run_of(self, task: Task, now: float) -> Run:
        """What runs a task by the rules of its queue, without its company.

        Raises:
            InvalidArgumentError, UnavailableError: As for `offer`.
        """
        kind = self._kind(task)
        if kind is not None and (member := self._member(task, kind)) is not None:
            line = BatchLine(kind.rules, repeatable=kind.repeatable)
            line.offer(member, now)
            line.shut()
            return lambda: _run_all(line, now)
        return task.run

    def places(self) -> Iterator[Place]:
        """All of them so far."""
        yield self._single_place
        for kind in self._queues.values():
            if kind is not None:
                yield kind.place

    @staticmethod
    def _member(task: Task, kind: _Kind) -> Member | None:
        """The task as its batches will see it; None: it runs alone."""
        try:
            member = Member(task, kind.layout)
        except InvalidArgumentError:
            if kind.rules.policy.refuses:
                raise
            return None
        # No rows: no batch could be padded with it, and it adds nothing to one.
        return member if member.rows else None

    def _kind(self, task: Task) -> _Kind | None:
        rules_for = self._rules_for
        if rules_for is None:
            return None
        key = task.batch_key()
        try:
            return self._kinds[key]
        except KeyError:
            pass
        if len(self._kinds) >= MAX_KINDS:
            return None
        kind = self._kinds[key] = self._new_kind(task.layout(), rules_for)
        return kind

    def _new_kind(self, layout: Layout, rules_for: RulesFor) -> _Kind | None:
        if layout.key not in self._queues:
            rules = rules_for(layout)
            if rules is None:
                self._queues[layout.key] = None
            else:
                repeatable = self.servable.stateless.issuperset(layout.signatures)
                line = BatchLine(rules, repeatable=repeatable)
                self._queues[layout.key] = _Kind(layout, line, Place(self.counts, line), rules, repeatable)
        shared = self._queues[layout.key]
        return None if shared is None else shared._replace(layout=layout)


def _run_all(line: BatchLine, now: float) -> None:
    while (run := line.take(now)) is not None:
        run()

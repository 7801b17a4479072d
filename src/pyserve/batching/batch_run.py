"""One batch on its way through the model: drop who no longer waits, merge, run, split, answer. On the calling thread.

Tasks of different inner shapes run one group after another. When a group of several fails by what may be the fault of
one of them, each is run again alone, once, if the model has no state that would notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pyserve.batching import merge
from pyserve.batching.member import Member
from pyserve.batching.policy import BatchRun, Outcome, QueueRules
from pyserve.batching.queue import Entry
from pyserve.dtypes import Array
from pyserve.errors import Code, InternalError, Status, as_serving_error, error_for

REPEATABLE = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION})
"""What a model says of inputs that it cannot work with. Never memory, deadlines, or failures of its own."""


def run_batch(
    entries: Sequence[Entry[Member]],
    rules: QueueRules,
    *,
    repeatable: bool,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run and answer a batch, and end its tasks. Never raises.

    Args:
        entries: All of one version and of layouts with one key.
        repeatable: Whether the model may be run again after a failure.
        clock: The clock of deadlines and of `queued_at`.
    """
    tasks = [member.columns for member, _, _ in entries]
    rules.observer.taken([member.rows for member, start, _ in entries if not start], len(tasks[0]))
    if len(entries) == 1:
        _run_group(entries, rules, repeatable, clock)
        return
    for group in merge.groups(tasks, pads=rules.policy.pads_inner_dimensions):
        _run_group([entries[index] for index in group], rules, repeatable, clock)


def _run_group(
    entries: Sequence[Entry[Member]], rules: QueueRules, repeatable: bool, clock: Callable[[], float]
) -> None:
    started = clock()
    entries = _still_wanted(entries, started)
    if not entries:
        return
    rows = sum([stop - start for _, start, stop in entries])
    padded_rows = rules.policy.padded_rows(rows)
    waits_s = [started - member.task.queued_at for member, _, _ in entries]
    again: Sequence[Entry[Member]] = ()
    outcome = Outcome.DONE
    try:
        results = _results(entries, rows, padded_rows, started, always_check=rules.policy.refuses)
        for (member, start, _), outputs in zip(entries, results, strict=True):
            member.answer(start, outputs)
    except _ModelFailureError as failure:
        outcome, error = Outcome.FAILED, failure.error
        if repeatable and len(entries) > 1 and error.code in REPEATABLE:
            again = entries
        else:
            for member, _, _ in entries:
                member.fail(error_for(error.code, error.message))  # one for each: raising changes it
    except Exception as exception:
        outcome, status = Outcome.INDIVISIBLE, Status.of(exception)
        if repeatable and not rules.policy.refuses:
            again = entries
        else:
            for member, _, _ in entries:
                member.fail(error_for(status.code, status.message))
    rules.observer.ran(BatchRun(rows, padded_rows, waits_s, clock() - started, outcome))
    if again:
        for entry in again:
            _run_group([entry], rules, False, clock)
    else:
        for member, _, _ in entries:
            member.end()


class _ModelFailureError(Exception):
    """The model failed, as opposed to what stands around it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = as_serving_error(error)


def _still_wanted(entries: Sequence[Entry[Member]], now: float) -> Sequence[Entry[Member]]:
    """The entries that somebody waits for; the others are ended."""
    wanted = []
    for entry in entries:
        member = entry[0]
        if member.task.is_over(now):
            member.end()
        else:
            wanted.append(entry)
    return wanted


def _results(
    entries: Sequence[Entry[Member]], rows: int, padded_rows: int, now: float, *, always_check: bool
) -> list[dict[str, Array]]:
    """What the model gives for each entry.

    Args:
        always_check: Also where nothing has to be told apart.

    Raises:
        _ModelFailureError: The model's failure.
        FailedPreconditionError, InternalError: What it gave has no rows to be told apart.
    """
    lead = entries[0][0]
    if len(entries) == 1:
        columns = _columns(entries[0])
        if padded_rows > rows:
            columns = [merge.merge([column], padded_rows - rows) for column in columns]
    else:
        tasks = [_columns(entry) for entry in entries]
        columns = [merge.merge(arrays, padded_rows - rows) for arrays in zip(*tasks, strict=True)]
    inputs = dict(zip(lead.layout.inputs, columns, strict=True))
    try:
        outputs = lead.task.compute(inputs, _time_left(entries, now))
    except Exception as error:
        raise _ModelFailureError(error) from error
    alone = len(entries) == 1 and padded_rows == rows
    if always_check or not alone:
        for column in outputs.values():
            merge.check_rows(column, padded_rows)
    if len(outputs) < len(lead.layout.outputs):
        raise InternalError("Wrong number of batched output tensors")
    if alone:
        return [outputs]
    fetched = {column: outputs[alias] for alias, column in lead.layout.outputs}
    results = []
    first = 0
    for member, start, stop in entries:
        end = first + stop - start
        results.append({alias: fetched[column][first:end] for alias, column in member.layout.outputs})
        first = end
    return results


def _columns(entry: Entry[Member]) -> list[Array]:
    member, start, stop = entry
    if stop - start == member.rows:
        return member.columns
    return [column[start:stop] for column in member.columns]


def _time_left(entries: Sequence[Entry[Member]], now: float) -> float | None:
    """Seconds until nobody waits any more; None when somebody waits without a limit."""
    latest = 0.0
    for member, _, _ in entries:
        deadline = member.task.deadline
        if deadline is None:
            return None
        latest = max(latest, deadline)
    return latest - now

"""A batch is one run where it can be; a bad task is alone with its failure, and nobody runs who no longer waits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching_fakes import Doubling, Graph, Noted, Requests, answer_of, rules
from pyserve.batching.batch_run import run_batch
from pyserve.batching.joint_task import JointTask
from pyserve.batching.member import Member
from pyserve.batching.policy import BatchRun, QueueRules
from pyserve.batching.queue import BatchQueue, Entry
from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    OutOfRangeError,
    ResourceExhaustedError,
    ServingError,
    UnavailableError,
)
from pyserve.servable import OutputOf

NOW = 1000.0


def entries(tasks: Sequence[Task]) -> list[Entry[Member]]:
    members = [Member(task, task.layout()) for task in tasks]
    return [(member, 0, member.rows) for member in members]


def run(
    tasks: Sequence[Task], chosen: QueueRules | None = None, *, repeatable: bool = True, now: float = NOW
) -> None:
    run_batch(entries(tasks), chosen or rules(), repeatable=repeatable, clock=lambda: now)


def test_one_run_for_all() -> None:
    """Tasks share a run, and each gets its own rows in its own names."""
    requests = Requests(Doubling())
    tasks = [requests.task([1, 2]), requests.task([3], outputs=("z", "y")), requests.task([4, 5, 6])]
    tasks[1].outputs = ("y",)
    run(tasks)
    assert [answer_of(task) for task in tasks] == [[2, 4], [6], [8, 10, 12]]
    assert [x.tolist() for x in requests.servable.runs] == [[1, 2, 3, 4, 5, 6]]
    assert (requests.released, requests.servable.timeouts) == (3, [None])


def test_answers_come_together() -> None:
    """Everybody has an answer before anything else is done: all of them cost one wake-up of whoever waits."""
    requests = Requests(Doubling())
    tasks = [requests.task([n]) for n in range(3)]
    released: list[int] = []
    for task in tasks:
        task.on_answer = lambda task: released.append(requests.released)
    run(tasks)
    assert released == [0, 0, 0]


def test_a_task_alone_is_not_copied() -> None:
    """The model gets the very array of a request that runs by itself."""
    requests = Requests(Doubling())
    task = requests.task([1, 2])
    array = task.inputs["x"]
    run([task])
    assert requests.servable.runs[0] is array
    assert answer_of(task) == [2, 4]


def test_other_names_of_the_same_tensors() -> None:
    """Signatures that mean the same tensors share a run of the first one's signature."""
    requests = Requests(Graph())
    tasks = [requests.task([1], outputs=("y", "y2")), requests.task([2], key="t", outputs=("a",))]
    run(tasks)
    assert len(requests.servable.runs) == 1
    assert [answer_of(tasks[0]), answer_of(tasks[0], "y2"), answer_of(tasks[1], "a")] == [[2], [2], [4]]


def test_joint_tasks() -> None:
    """MultiInference requests share a run, though their names for the outputs may differ."""
    servable = Graph()
    requests = Requests(servable)
    wanted = [
        {"0/y": OutputOf("s", "y"), "1/a": OutputOf("t", "a")},
        {"0/a": OutputOf("t", "a"), "1/y": OutputOf("s", "y")},
    ]
    tasks = [
        JointTask(requests.handle(), names, np.array(x, np.float32))
        for names, x in zip(wanted, ([1], [2, 3]), strict=True)
    ]
    run(tasks)
    assert len(servable.runs) == 1
    assert [answer_of(tasks[0], "1/a"), answer_of(tasks[1], "0/a")] == [[2], [4, 6]]


@pytest.mark.parametrize(
    ("rows", "allowed", "executed"),
    [
        ([3], [4, 8], [1, 2, 3, 1]),
        ([2, 1], [4, 8], [1, 2, 1, 1]),
        ([2, 2], [4, 8], [1, 2, 1, 2]),
        ([3, 2], [4, 8], [1, 2, 3, 1, 2, 1, 1, 1]),
    ],
)
def test_padding_to_an_allowed_size(rows: list[int], allowed: list[int], executed: list[float]) -> None:
    """Rows to fill up are copies of row 0 of the last task, and nobody gets them."""
    requests = Requests(Doubling())
    tasks = [requests.task(np.arange(1, count + 1, dtype=np.float32)) for count in rows]
    noted = Noted()
    run(tasks, rules(noted, allowed_batch_sizes=tuple(allowed), max_batch_size=8))
    assert requests.servable.runs[0].tolist() == executed
    assert [answer_of(task) for task in tasks] == [[2.0 * x for x in range(1, n + 1)] for n in rows]
    (seen,) = noted.runs
    assert (seen.rows, seen.padded_rows) == (sum(rows), len(executed))


def test_other_inner_shapes_run_by_themselves() -> None:
    """A task that fits nobody's shape fails nobody; those that fit each other share a run."""
    requests = Requests(Doubling())
    shapes = [(1, 2), (1, 3), (2, 2), (1,)]
    tasks = [requests.task(np.ones(shape, np.float32)) for shape in shapes]
    run(tasks)
    assert [x.shape for x in requests.servable.runs] == [(3, 2), (1, 3), (1,)]
    assert [answer_of(task) for task in tasks] == [np.full(shape, 2.0).tolist() for shape in shapes]


def test_padding_of_inner_dimensions() -> None:
    """With pad_variable_length_inputs shorter ones are filled with their own first element, and stay filled."""
    requests = Requests(Doubling())
    tasks = [requests.task(np.array(x, np.float32)) for x in ([[1, 2]], [[3, 4, 5]], [[]])]
    run(tasks, rules(pad_variable_length_inputs=True))
    assert [x.tolist() for x in requests.servable.runs] == [[[1, 2, 1], [3, 4, 5]], [[]]]
    assert [answer_of(task) for task in tasks] == [[[2, 4, 2]], [[6, 8, 10]], [[]]]


def refuse_sevens(error: type[ServingError]) -> Doubling:
    def act(x: Array) -> None:
        if 7 in x:
            raise error("seven")

    return Doubling(act)


@pytest.mark.parametrize("error", [InvalidArgumentError, OutOfRangeError, FailedPreconditionError])
def test_a_poisoned_task_fails_alone(error: type[ServingError]) -> None:
    """When the inputs may be at fault, each task is run again by itself, once."""
    requests = Requests(refuse_sevens(error))
    tasks = [requests.task([1]), requests.task([7]), requests.task([3])]
    noted = Noted()
    run(tasks, rules(noted))
    assert [answer_of(task) for task in tasks] == [[2], f"{error.code.name}: seven", [6]]
    assert len(requests.servable.runs) == len(noted.runs) == 4
    assert requests.released == 3


@pytest.mark.parametrize(
    "error", [ResourceExhaustedError, DeadlineExceededError, InternalError, UnavailableError]
)
def test_other_failures_are_everybodys(error: type[ServingError]) -> None:
    """Memory, deadlines and failures of the model's own are not tried again; each task has an error of its own."""
    requests = Requests(refuse_sevens(error))
    tasks = [requests.task([1]), requests.task([7])]
    run(tasks)
    assert [answer_of(task) for task in tasks] == [f"{error.code.name}: seven"] * 2
    assert tasks[0].error is not tasks[1].error
    assert (len(requests.servable.runs), requests.released) == (1, 2)


def test_a_model_with_state_is_never_run_again() -> None:
    """Where a run leaves something behind, the failure is everybody's."""
    requests = Requests(refuse_sevens(InvalidArgumentError))
    tasks = [requests.task([1]), requests.task([7])]
    run(tasks, repeatable=False)
    assert [answer_of(task) for task in tasks] == ["INVALID_ARGUMENT: seven"] * 2
    assert len(requests.servable.runs) == 1


def test_a_broken_servable() -> None:
    """An exception that is no ServingError is INTERNAL, for everybody, and is not tried again."""
    requests = Requests(Doubling(lambda x: np.ones(1) / [][0]))
    tasks = [requests.task([1]), requests.task([2])]
    run(tasks)
    assert [answer_of(task) for task in tasks] == ["INTERNAL: IndexError: list index out of range"] * 2
    assert (len(requests.servable.runs), requests.released) == (1, 2)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (np.float32(3), "FAILED_PRECONDITION: Batched output tensor has 0 dimensions"),
        (
            np.ones(7, np.float32),
            "FAILED_PRECONDITION: Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        ),
    ],
)
def test_outputs_without_rows(answer: Array, text: str, count: int) -> None:
    """What cannot be told apart by rows is refused, a task alone included, and is not tried again."""
    requests = Requests(Doubling(lambda x: np.asarray(answer)))
    tasks = [requests.task([1]) for _ in range(count)]
    run(tasks)
    assert [answer_of(task) for task in tasks] == [text] * count
    assert len(requests.servable.runs) == 1


def test_a_servable_that_forgets_an_output() -> None:
    """Its answer is refused."""

    class Forgetful(Doubling):
        def run(self, *arguments: object) -> dict[str, Array]:  # type: ignore[override]
            return {}

    requests = Requests(Forgetful())
    tasks = [requests.task([1]), requests.task([2])]
    run(tasks)
    assert [answer_of(task) for task in tasks] == ["INTERNAL: Wrong number of batched output tensors"] * 2


def test_nobody_runs_who_no_longer_waits() -> None:
    """Tasks that were answered or are late are left out, and end."""
    requests = Requests(Doubling())
    tasks = [
        requests.task([1], deadline=NOW),
        requests.task([2], deadline=NOW + 3),
        requests.task([3], deadline=NOW + 5),
        requests.task([4]),
    ]
    tasks[3].expire()
    run(tasks)
    late = "DEADLINE_EXCEEDED: Timed out waiting for notification"
    assert [answer_of(task) for task in tasks] == [late, [4], [6], late]
    assert [x.tolist() for x in requests.servable.runs] == [[2, 3]]
    assert requests.servable.timeouts == [5]
    assert requests.released == 4


def test_no_limit_when_one_has_none() -> None:
    """A run may take as long as the most patient caller waits."""
    requests = Requests(Doubling())
    run([requests.task([1], deadline=NOW + 1), requests.task([2])])
    assert requests.servable.timeouts == [None]


def test_a_batch_that_nobody_waits_for() -> None:
    """It does not run, and is not counted."""
    requests = Requests(Doubling())
    noted = Noted()
    run([requests.task([1], deadline=NOW - 1)], rules(noted))
    assert (requests.servable.runs, noted.runs, requests.released) == ([], [], 1)


def test_what_the_observer_is_told() -> None:
    """Rows, rows with padding, what each task had waited, and the time of the run."""
    requests = Requests(Doubling())
    tasks = [requests.task([1]), requests.task([2, 3])]
    tasks[0].queued_at, tasks[1].queued_at = NOW - 2, NOW - 1
    noted = Noted()
    run(tasks, rules(noted, allowed_batch_sizes=(4,), max_batch_size=4))
    assert noted.runs == [BatchRun(3, 4, [2.0, 1.0], 0.0)]


def test_what_is_taken_is_told() -> None:
    """Each task once, with its rows: one that was cut whole, one that nobody waits for too."""
    requests = Requests(Doubling())
    noted = Noted()
    late = requests.task([1], deadline=NOW - 1)
    first, second = cut(requests.task([1, 2, 3]), (0, 1), (1, 3))
    run_batch([*entries([late]), first], rules(noted), repeatable=True, clock=lambda: NOW)
    run_batch([second], rules(noted), repeatable=True, clock=lambda: NOW)
    assert noted.tasks == [(1, 1), (3, 1)]


def cut(task: Task, *pieces: tuple[int, int]) -> list[Entry[Member]]:
    member = Member(task, task.layout())
    member.was_cut(len(pieces))
    return [(member, start, stop) for start, stop in pieces]


def test_pieces_are_joined_in_order() -> None:
    """A task that was cut is answered with all of its rows when the last piece is there, whatever came first."""
    requests = Requests(Doubling())
    task, neighbour = requests.task([1, 2, 3, 4, 5]), requests.task([9])
    first, second, third = cut(task, (0, 1), (1, 3), (3, 5))
    run_batch([third], rules(), repeatable=True)
    run_batch([*entries([neighbour]), first], rules(), repeatable=True)
    assert not task.answered
    assert answer_of(neighbour) == [18]
    run_batch([second], rules(), repeatable=True)
    assert answer_of(task) == [2, 4, 6, 8, 10]
    assert requests.released == 2


def test_the_first_failing_piece_is_the_answer() -> None:
    """The caller hears of it at once; later pieces are not run, and the handle is back with the last of them."""
    requests = Requests(refuse_sevens(InvalidArgumentError))
    task = requests.task([1, 7, 3])
    first, second, third = cut(task, (0, 1), (1, 2), (2, 3))
    run_batch([first], rules(), repeatable=True)
    run_batch([second], rules(), repeatable=True)
    assert (answer_of(task), requests.released) == ("INVALID_ARGUMENT: seven", 0)
    run_batch([third], rules(), repeatable=True)
    assert (len(requests.servable.runs), requests.released) == (2, 1)


def test_pieces_that_do_not_fit() -> None:
    """Answers whose inner shapes differ cannot be one answer."""
    requests = Requests(Doubling(lambda x: np.ones((len(x), int(x[0])))))
    task = requests.task([1, 2])
    for piece in cut(task, (0, 1), (1, 2)):
        run_batch([piece], rules(), repeatable=True)
    assert "INTERNAL: The pieces of a task that was split do not fit together" in answer_of(task)
    assert requests.released == 1


ROWS = st.integers(1, 6)
TASKS = st.lists(
    st.tuples(ROWS, st.sampled_from([(), (2,), (3,), (2, 2)]), st.sampled_from(["", "late", "gone", "bad"])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(TASKS, st.sampled_from([(), (8,), (2, 4, 8)]), st.booleans(), st.integers(2, 8))
def test_batched_is_as_unbatched(
    asked: list[tuple[int, tuple[int, ...], str]], allowed: tuple[int, ...], splitting: bool, executed: int
) -> None:
    """Through queue and runs every task gets what it would get alone; late and cancelled ones never run."""

    def act(x: Array) -> None:
        if (x < 0).any():
            raise InvalidArgumentError("negative")

    requests = Requests(Doubling(act))
    most = 8
    chosen = rules(
        max_batch_size=most,
        allowed_batch_sizes=allowed,
        enable_large_batch_splitting=splitting,
        max_execution_batch_size=executed,
        max_enqueued_batches=100,
    )
    queue: BatchQueue[Member] = BatchQueue(chosen.policy)
    tasks = []
    for number, (rows, inner, fate) in enumerate(asked):
        # Every value of a test is another one, so that it is seen whose rows ran.
        x = (np.arange(rows * int(np.prod(inner))) + 1000.0 * (number + 1)).astype(np.float32)
        x = x.reshape(rows, *inner) * (-1 if fate == "bad" else 1)
        task = requests.task(x, deadline=NOW - 1 if fate == "late" else None)
        member = Member(task, task.layout())
        if (pieces := queue.offer(member, member.rows, NOW)) > 1:
            member.was_cut(pieces)
        if fate == "gone":
            task.expire()
        tasks.append((task, x, fate))
    queue.shut()
    while (batch := queue.take(NOW)) is not None:
        run_batch(batch.entries, chosen, repeatable=True, clock=lambda: NOW)
    limit = executed if splitting else most
    for x in requests.servable.runs:
        assert len(x) <= max(limit, *allowed, 0)
    ran = {float(value) for x in requests.servable.runs for value in x.flat}
    for task, x, fate in tasks:
        if fate in ("late", "gone"):
            assert answer_of(task) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
            assert ran.isdisjoint(x.flat)
        elif fate == "bad":
            assert answer_of(task) == "INVALID_ARGUMENT: negative"
        else:
            assert answer_of(task) == (x + x).tolist()
            assert ran.issuperset(x.flat)
    assert requests.released == len(tasks)

"""The threads: every task is answered once, whoever floods or hangs; nobody waits longer than the rules say."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from batching_fakes import ID, Doubling, Noted, Requests, answer_of, rules
from pyserve.batching import open_version
from pyserve.batching.graph_task import GraphTask
from pyserve.batching.policy import QueueRules
from pyserve.batching.scheduler import Scheduler
from pyserve.dtypes import Array
from pyserve.errors import CancelledError, InvalidArgumentError, UnavailableError
from pyserve.servable import ServableHandle, ServableId

WAIT_S = 20.0
SEED = 20
OTHER = ServableId("other", 1)


class Gate:
    """Holds runs until it is opened, and tells how many have come."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self._entered = threading.Semaphore(0)

    def __call__(self, x: Array) -> None:
        self._entered.release()
        assert self._gate.wait(WAIT_S)

    def wait_for_run(self) -> bool:
        return self._entered.acquire(timeout=WAIT_S)

    def open(self) -> None:
        self._gate.set()


@contextmanager
def running(num_threads: int, **options: object) -> Iterator[Scheduler]:
    before = set(threading.enumerate())  # a server of other tests may run in this process
    scheduler = Scheduler(num_threads, **options)  # type: ignore[arg-type]
    scheduler.start()
    try:
        yield scheduler
    finally:
        assert scheduler.stop(WAIT_S)
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        assert not [name for name in left if not name.endswith("watch")]


def opened(
    scheduler: Scheduler,
    act: Callable[[Array], Array | None] = lambda x: None,
    servable_id: ServableId = ID,
    chosen: QueueRules | None = None,
) -> Requests:
    requests = Requests(Doubling(act), servable_id)
    if chosen is None:
        scheduler.open(servable_id, requests.servable)
    else:
        scheduler.open(servable_id, requests.servable, lambda layout: chosen)
    return requests


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_unbatched_tasks_run_side_by_side() -> None:
    """As many tasks of a model run at a time as it may have runs."""
    together = threading.Barrier(3)
    with running(3) as scheduler:
        requests = opened(scheduler, lambda x: void(together.wait(WAIT_S)))
        tasks = [requests.task([n]) for n in range(3)]
        for task in tasks:
            scheduler.submit(task)
        for _ in tasks:
            assert requests.answered.acquire(timeout=WAIT_S)
        assert [answer_of(task) for task in tasks] == [[0], [2], [4]]
        wait_until(lambda: requests.released == 3)


def void(_: object) -> None: ...


def test_tasks_that_wait_together_run_together() -> None:
    """While every run of a model is taken, its tasks gather in batches."""
    gate, noted = Gate(), Noted()
    with running(1) as scheduler:
        requests = opened(scheduler, gate, chosen=rules(noted, max_batch_size=8))
        tasks = [requests.task([n]) for n in range(20)]
        scheduler.submit(tasks[0])
        assert gate.wait_for_run()
        for task in tasks[1:]:
            scheduler.submit(task)
        gate.open()
        for _ in tasks:
            assert requests.answered.acquire(timeout=WAIT_S)
        assert [answer_of(task) for task in tasks] == [[2 * n] for n in range(20)]
        wait_until(lambda: len(noted.runs) == 4)
        assert [run.rows for run in noted.runs] == [1, 8, 8, 3]
        assert noted.tasks == [(1, 1)] * 20


def test_a_batch_that_is_not_full_runs_when_its_time_has_come() -> None:
    """A thread that sleeps wakes by itself; it does not run the batch before."""
    noted = Noted()
    with running(2) as scheduler:
        requests = opened(scheduler, chosen=rules(noted, max_batch_size=8, batch_timeout_micros=30_000))
        for count in (1, 2):
            tasks = [requests.task([1]) for _ in range(count)]
            for task in tasks:
                scheduler.submit(task)
            for _ in tasks:
                assert requests.answered.acquire(timeout=WAIT_S)
    assert [run.rows for run in noted.runs] == [1, 2]
    assert all(max(run.waits_s) >= 0.03 for run in noted.runs)


def test_the_times_of_many_queues_with_one_thread_left() -> None:
    """Batches of several models become due one after another while other threads are held up."""
    gate = Gate()
    with running(1) as scheduler:
        held = opened(scheduler, gate)
        scheduler.submit(held.task([1]))
        assert gate.wait_for_run()
        others = [
            opened(
                scheduler,
                servable_id=ServableId(f"other{n}", 1),
                chosen=rules(batch_timeout_micros=1000 * (40 - 10 * n)),
            )
            for n in range(4)
        ]
        for requests in others:
            scheduler.submit(requests.task([1]))
        for requests in others:
            assert requests.answered.acquire(timeout=WAIT_S)
        gate.open()


@pytest.mark.parametrize("attempt", range(6))
def test_somebody_always_watches_the_time(attempt: int) -> None:
    """When the thread that would wake for a batch is sent to another model, the one that is left wakes instead.

    Which of the two is sent is chance, so it is tried several times.
    """
    del attempt
    gate = Gate()
    with running(1) as scheduler:
        waiting = opened(scheduler, servable_id=OTHER, chosen=rules(batch_timeout_micros=30_000))
        held = opened(scheduler, gate)
        scheduler.submit(waiting.task([1]))
        time.sleep(0.005)  # one thread goes to sleep until the batch is due
        scheduler.submit(held.task([1]))
        assert gate.wait_for_run()
        assert waiting.answered.acquire(timeout=WAIT_S)
        gate.open()


def test_callers_that_come_back_at_once_are_never_forgotten() -> None:
    """Callers in a loop, and a batch timeout about as long as they take: threads are woken and time out in the same
    moments, and still every batch leaves."""
    with running(2) as scheduler:
        requests = opened(scheduler, chosen=rules(batch_timeout_micros=200, max_enqueued_batches=100))
        forgotten: list[int] = []

        def call(number: int) -> None:
            own = Requests(requests.servable)
            until = time.monotonic() + 2
            while time.monotonic() < until and not forgotten:
                scheduler.submit(own.task([1]))
                if not own.answered.acquire(timeout=5):
                    forgotten.append(number)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert forgotten == []


def test_kinds_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many kinds of tasks a version makes no queues; such tasks run alone."""
    monkeypatch.setattr(open_version, "MAX_KINDS", 3)
    noted = Noted()
    with running(1) as scheduler:
        requests = opened(scheduler, chosen=rules(noted))
        for outputs in (["y"], ["z"], ["y", "z"], ["z", "y"], ["y"]):
            task = requests.task([1], outputs=outputs)
            scheduler.submit(task)
            assert requests.answered.acquire(timeout=WAIT_S)
            assert answer_of(task, outputs[0]) == [2]
    assert len(noted.runs) == 3


def test_refusals_are_answers() -> None:
    """What a queue refuses is answered on the spot, and its handle is back."""
    gate = Gate()
    with running(1) as scheduler:
        requests = opened(scheduler, gate, chosen=rules(max_batch_size=2, max_enqueued_batches=1))
        scheduler.submit(requests.task([1]))
        assert gate.wait_for_run()
        scheduler.submit(requests.task([1, 2]))
        tasks = [requests.task(x) for x in ([1], [1, 2, 3], np.float32(1))]
        for task in tasks:
            scheduler.submit(task)
        assert [answer_of(task) for task in tasks] == [
            "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 1 batches "
            "enqueued and max_enqueued_batches is 1",
            "INVALID_ARGUMENT: Task size 3 is larger than maximum input batch size 2",
            "INVALID_ARGUMENT: Batching Run() input tensors must have at least one dimension",
        ]
        assert requests.released == 3
        gate.open()


def test_what_cannot_share_a_batch_runs_alone() -> None:
    """Requests of no rows, and runs of graphs, by-pass the queue."""
    noted = Noted()
    with running(1) as scheduler:
        requests = opened(scheduler, chosen=rules(noted))
        nothing = requests.task(np.zeros((0,), np.float32))
        scheduler.submit(nothing)
        assert requests.answered.acquire(timeout=WAIT_S)
        graph = GraphTask(requests.handle(), {}, [], [])
        graph.on_answer = lambda task: requests.answered.release()
        scheduler.submit(graph)
        assert requests.answered.acquire(timeout=WAIT_S)
        assert answer_of(nothing) == []
        assert "UNIMPLEMENTED" in str(graph.error)
    assert (noted.tasks, noted.runs) == ([], [])


def test_large_tasks_are_cut() -> None:
    """The pieces of a task run on several threads, and it is answered once."""
    together = threading.Barrier(2)
    with running(2) as scheduler:
        chosen = rules(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=4)
        requests = opened(scheduler, lambda x: void(together.wait(WAIT_S)), chosen=chosen)
        task = requests.task(range(8))
        scheduler.submit(task)
        assert requests.answered.acquire(timeout=WAIT_S)
        assert answer_of(task) == [2 * n for n in range(8)]
        wait_until(lambda: requests.released == 1)


def test_a_version_that_is_not_open() -> None:
    """Its tasks are refused, and their handles come back."""
    with running(1) as scheduler:
        requests = opened(scheduler)
        scheduler.close(ID)
        scheduler.close(ID)
        task = requests.task([1])
        scheduler.submit(task)
        assert answer_of(task) == "INTERNAL: Servable {name: m version: 1} takes no tasks"
        assert requests.released == 1


def test_closing_leaves_nothing_behind() -> None:
    """Opening and closing versions again and again keeps neither lines nor servables."""
    with running(1) as scheduler:
        for number in range(50):
            requests = opened(scheduler, servable_id=ServableId("m", number), chosen=rules())
            scheduler.submit(requests.task([1]))
            assert requests.answered.acquire(timeout=WAIT_S)
            wait_until(lambda requests=requests: requests.released == 1)  # type: ignore[misc]
            scheduler.close(ServableId("m", number))
        assert not scheduler._versions
        assert not scheduler._models


def test_run_now() -> None:
    """On the calling thread and by the rules of the queue, without waiting for company."""
    seen: list[int] = []
    with running(1) as scheduler:
        chosen = rules(
            batch_timeout_micros=10**9,
            max_batch_size=8,
            allowed_batch_sizes=(4, 8),
            enable_large_batch_splitting=True,
            max_execution_batch_size=4,
        )
        requests = opened(scheduler, lambda x: seen.append(threading.get_ident()), chosen=chosen)
        tasks = [requests.task(range(n)) for n in (1, 6, 9, 0)]
        for task in tasks:
            scheduler.run_now(task)
        assert set(seen) == {threading.get_ident()}
        assert [len(x) for x in requests.servable.runs] == [4, 4, 4, 0]
        assert [answer_of(task) for task in tasks] == [
            [0],
            [0, 2, 4, 6, 8, 10],
            "INVALID_ARGUMENT: Task size 9 is larger than maximum input batch size 8",
            [],
        ]
        assert requests.released == 4


def test_a_flood_of_one_model_leaves_a_thread_to_another() -> None:
    """With every run of one model held, and more of it waiting, another one is answered."""
    gate = Gate()
    with running(2) as scheduler:
        flood = opened(scheduler, gate)
        for _ in range(50):
            scheduler.submit(flood.task([1]))
        assert gate.wait_for_run()
        assert gate.wait_for_run()
        other = opened(scheduler, servable_id=OTHER, chosen=rules())
        for _ in range(5):
            scheduler.submit(other.task([1]))
            assert other.answered.acquire(timeout=WAIT_S)
        gate.open()


def test_a_run_that_does_not_end_is_given_up() -> None:
    """Its thread is replaced, the version is marked, and the mark goes when the run ends after all."""
    gate = Gate()
    told: list[tuple[ServableId, int]] = []
    scheduler = Scheduler(1, stuck_after_s=0.05, on_stuck=lambda *what: told.append(what))
    scheduler.start()
    hanging = opened(scheduler, gate)
    task = hanging.task([1])
    scheduler.submit(task)
    assert gate.wait_for_run()
    wait_until(lambda: scheduler.stuck() == {ID: 1})
    assert told == [(ID, 1)]
    waiting = hanging.task([2])
    scheduler.submit(waiting)  # not run: the version has used up its threads
    # Two models at a time again, and another version of the same model runs.
    together = threading.Barrier(2)
    others = [
        opened(scheduler, lambda x: void(together.wait(WAIT_S)), servable_id)
        for servable_id in (OTHER, ServableId("m", 2))
    ]
    for requests in others:
        scheduler.submit(requests.task([1]))
    for requests in others:
        assert requests.answered.acquire(timeout=WAIT_S)
    assert not waiting.answered
    gate.open()
    assert hanging.answered.acquire(timeout=WAIT_S)
    assert hanging.answered.acquire(timeout=WAIT_S)
    assert (answer_of(task), answer_of(waiting)) == ([2], [4])
    wait_until(lambda: scheduler.stuck() == {})
    assert told == [(ID, 1), (ID, -1)]
    assert scheduler.stop(WAIT_S)


def test_long_runs_that_end_in_time_are_no_matter() -> None:
    """Nothing is given up that ends before."""
    told: list[object] = []
    with running(1, stuck_after_s=5.0, on_stuck=lambda *what: told.append(what)) as scheduler:
        requests = opened(scheduler, lambda x: time.sleep(0.05))
        scheduler.submit(requests.task([1]))
        assert requests.answered.acquire(timeout=WAIT_S)
    assert told == []


@pytest.mark.parametrize("chosen", [None, rules(batch_timeout_micros=10**9)])
def test_stop_runs_what_waits_and_refuses_the_rest(chosen: QueueRules | None) -> None:
    """Tasks accepted before the stop are answered by the model, those of open batches too, later ones with
    UNAVAILABLE."""
    gate = Gate()
    scheduler = Scheduler(1)
    scheduler.start()
    requests = opened(scheduler, gate, chosen=chosen)
    accepted = [requests.task([1]) for _ in range(5)]
    for task in accepted:
        scheduler.submit(task)
    assert not scheduler.stop(0.01)
    refused = requests.task([1])
    scheduler.submit(refused)
    assert isinstance(refused.error, UnavailableError)
    gate.open()
    assert scheduler.stop(WAIT_S)
    assert [task.error for task in accepted] == [None] * 5
    assert requests.released == 6


def test_the_time_of_a_stop_is_for_all_threads_together() -> None:
    """With every thread stuck, a stop takes its time once, not once per thread."""
    gate = Gate()
    scheduler = Scheduler(8)
    scheduler.start()
    requests = opened(scheduler, gate)
    for _ in range(8):
        scheduler.submit(requests.task([1]))
    for _ in range(8):
        assert gate.wait_for_run()
    began = time.monotonic()
    assert not scheduler.stop(0.1)
    assert time.monotonic() - began < 0.5
    gate.open()
    assert scheduler.stop(WAIT_S)


def test_everything_at_once() -> None:
    """Many threads submit to many versions, batched or not, with every fate; each task is answered once and rightly,
    each handle comes back, and nobody runs who was late or gone before."""
    dice = random.Random(SEED)

    def act(x: Array) -> None:
        if (x < 0).any():
            raise InvalidArgumentError("negative")
        if dice.random() < 0.02:
            time.sleep(0.002)

    with running(3, stuck_after_s=0.001) as scheduler:
        kinds = [
            None,
            rules(max_batch_size=8, allowed_batch_sizes=(2, 8), max_enqueued_batches=10**6),
            rules(max_batch_size=16, batch_timeout_micros=500, max_enqueued_batches=10**6),
            rules(
                max_batch_size=16,
                enable_large_batch_splitting=True,
                max_execution_batch_size=3,
                max_enqueued_batches=10**6,
            ),
        ]
        versions = [
            opened(scheduler, act, ServableId(f"m{number // 2}", number), kind)
            for number, kind in enumerate(kinds)
        ]
        done: list[tuple[list[float], str, object]] = []
        errors: list[BaseException] = []

        def submit(number: int) -> None:
            own = random.Random(SEED + number)
            try:
                for _ in range(300):
                    fate = own.choices(["", "bad", "late", "gone"], [90, 4, 3, 3])[0]
                    inner = own.choice([(), (), (2,)])
                    x = np.full((own.randint(1, 6), *inner), own.randint(1, 100), np.float32)
                    x = -x if fate == "bad" else x
                    requests = own.choice(versions)
                    late = time.monotonic() - 1 if fate == "late" else None
                    task = requests.task(x, deadline=late)
                    if fate == "gone":
                        task.answer(None, CancelledError("gone"))
                    scheduler.submit(task)
                    done.append((x.tolist(), fate, task))
                    if own.random() < 0.05:
                        time.sleep(0.001)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        wait_until(lambda: sum(requests.released for requests in versions) == len(done) == 1800)
    assert not errors
    expected = {
        "bad": "INVALID_ARGUMENT: negative",
        "late": "DEADLINE_EXCEEDED: Timed out waiting for notification",
        "gone": "CANCELLED: gone",
    }
    for x, fate, task in done:
        assert answer_of(task) == (expected[fate] if fate else (np.array(x) * 2).tolist())  # type: ignore[arg-type]
    assert scheduler.stuck() == {}


@pytest.mark.parametrize("chosen", [None, rules(), rules(allowed_batch_sizes=(1000,))])
def test_nothing_is_kept(chosen: QueueRules | None) -> None:
    """When a task has been answered and is gone, so are its arrays, though the thread that ran it sleeps."""
    with running(1) as scheduler:
        requests = opened(scheduler, chosen=chosen)
        requests.servable.run = lambda key, inputs, outputs, timeout_s=None: {"y": inputs["x"] + 1}  # type: ignore[method-assign]
        task = requests.task([1, 2])
        arrays = [weakref.ref(task.inputs["x"])]
        scheduler.submit(task)
        assert requests.answered.acquire(timeout=WAIT_S)
        assert task.result is not None
        arrays.append(weakref.ref(task.result["y"]))
        del task
        wait_until(lambda: not any(array() is not None for array in arrays))


def test_a_handle_knows_its_version() -> None:
    """Tasks go by the servable behind their handle, whatever the handle is called."""
    with running(1) as scheduler:
        requests = opened(scheduler)
        task = requests.task([3])
        task.handle = ServableHandle(ServableId("alias", 9), requests.servable, lambda: None)
        scheduler.submit(task)
        assert requests.answered.acquire(timeout=WAIT_S)
        assert answer_of(task) == [6]

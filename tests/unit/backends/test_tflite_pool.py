"""The pool of interpreters: bounded, made as needed, one user at a time, in time or not at all."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from pyserve.backends.tflite.pool import Pool
from pyserve.errors import DeadlineExceededError


def counting() -> Callable[[], int]:
    return itertools.count(1).__next__


def test_more_are_made_only_when_all_are_lent() -> None:
    """One that is idle is lent again, the one that came back last first; a second borrower makes a second."""
    pool = Pool(counting(), 2, 0)
    with pool.borrow() as first:
        assert first == 0
    with pool.borrow() as again, pool.borrow() as second:
        assert (again, second) == (0, 1)
    # The context of `second` ended before that of `again`.
    with pool.borrow() as last:
        assert last == 0


def test_the_limit_holds() -> None:
    """With all lent, a borrower waits as long as it may."""
    pool = Pool(counting(), 1, 0)
    with (
        pool.borrow(),
        pytest.raises(DeadlineExceededError, match="Timed out waiting for notification"),
        pool.borrow(0.0),
    ):
        pass


def test_a_waiting_borrower_gets_what_comes_back() -> None:
    """Whoever waits is woken when an item is returned."""
    pool = Pool(counting(), 1, 0)
    got: list[int] = []

    def borrow() -> None:
        with pool.borrow(60) as item:
            got.append(item)

    with pool.borrow():
        thread = threading.Thread(target=borrow)
        thread.start()
    thread.join(60)
    assert got == [0]


def test_a_failed_making_leaves_room() -> None:
    """An item that could not be made does not count, and the error is the borrower's."""
    answers = iter([ValueError("no memory"), 1])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = Pool(make, 2, 0)
    with pool.borrow():
        with pytest.raises(ValueError, match="no memory"), pool.borrow():
            pass
        with pool.borrow() as second:
            assert second == 1


def test_an_error_of_the_borrower_gives_the_item_back() -> None:
    """What happens inside the context costs no item."""
    pool = Pool(counting(), 1, 0)
    with pytest.raises(RuntimeError), pool.borrow():
        raise RuntimeError
    with pool.borrow(0.0) as item:
        assert item == 0


def test_clear() -> None:
    """What is idle is let go."""
    pool = Pool(counting(), 1, 0)
    pool.clear()
    with pool.borrow() as item:
        assert item == 1


def test_one_user_at_a_time() -> None:
    """Many threads, few items: nobody shares one, everybody gets one, and no more are made than allowed."""
    made = counting()
    pool = Pool(made, 3, 0)
    in_use: set[int] = set()
    shared: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(200):
            with pool.borrow(60) as item:
                with lock:
                    if item in in_use:
                        shared.append(item)
                    in_use.add(item)
                with lock:
                    in_use.discard(item)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [thread for thread in threads if thread.is_alive()]
    assert shared == []
    assert made() <= 3

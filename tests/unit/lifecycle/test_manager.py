"""The manager: what happens to versions that are aspired, given up, broken, slow, or in use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from lifecycle_fakes import LIMIT_S, Stage, aspired
from pyserve.config import LoadOptions
from pyserve.errors import (
    OK,
    Code,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    Status,
    UnavailableError,
)
from pyserve.lifecycle.monitor import CANCELLED_LOAD, ServableState, State
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.servable import ServableId

START, LOADING, AVAILABLE, UNLOADING, END = State
LIFE = [START, LOADING, AVAILABLE, UNLOADING, END]
NO_PAUSE = LoadOptions(max_num_load_retries=2, load_retry_interval_micros=-1)
LONG_PAUSE = LoadOptions(max_num_load_retries=2, load_retry_interval_micros=3_600_000_000)


def m(version: int) -> ServableId:
    return ServableId("m", version)


def test_a_version_comes_and_goes(stage: Stage) -> None:
    """An aspired version goes through all states, is served in between, and ends with OK."""
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    with stage.manager.acquire("m") as handle:
        assert handle.id == m(1)
    stage.aspire("m")
    assert stage.await_state("m", 1, END).status == OK
    assert stage.states_of("m", 1) == LIFE
    assert stage.world.made == [(m(1), "/models/m/1")]
    with pytest.raises(NotFoundError, match=r"Servable not found for request: Latest\(m\)"):
        stage.manager.acquire("m")


def test_states_are_published_at_the_right_moment(stage: Stage) -> None:
    """LOADING precedes the load, AVAILABLE follows reachability, UNLOADING precedes unreachability."""
    reachable: dict[State, list[int]] = {}
    attempts: dict[State, int] = {}

    def look(entry: ServableState) -> None:
        reachable[entry.state] = stage.manager.available_versions("m")
        attempts[entry.state] = len(stage.world.attempts)

    stage.monitor.subscribe(look)
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.aspire("m")
    stage.await_state("m", 1, END)
    assert reachable == {START: [], LOADING: [], AVAILABLE: [1], UNLOADING: [1], END: []}
    assert attempts[LOADING] == 0
    assert attempts[AVAILABLE] == 1


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1)])
def test_a_successor_replaces_without_a_gap(stage: Stage, old: int, new: int) -> None:
    """The old version serves until the new one is available, also when the number goes back."""
    stage.aspire("m", old)
    stage.await_state("m", old, AVAILABLE)
    gate = stage.world.close_gate(stage.world.load_gates, m(new))
    stage.aspire("m", new)
    stage.await_state("m", new, LOADING)
    assert stage.manager.available_versions("m") == [old]
    gate.set()
    stage.await_state("m", old, END)
    assert stage.manager.available_versions("m") == [new]
    order = [(entry.id.version, entry.state) for entry in stage.history]
    assert order.index((new, AVAILABLE)) < order.index((old, UNLOADING))


def test_a_broken_successor_leaves_the_old_version_serving(stage: Stage) -> None:
    """When the new version fails the old one stays, and the new one's END carries the error."""
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.world.load_errors[m(2)] = [NotFoundError("no saved_model.pb")]
    stage.aspire("m", 2)
    assert stage.await_state("m", 2, END).status == Status(Code.NOT_FOUND, "no saved_model.pb")
    assert stage.states_of("m", 2) == [START, LOADING, END]
    assert stage.manager.available_versions("m") == [1]


def test_removing_a_broken_successor_and_bringing_it_again(stage: Stage) -> None:
    """Going back to the version that still serves keeps it without a reload, and a repaired one then
    loads.
    """
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.world.load_errors[m(2)] = [NotFoundError("no saved_model.pb")]
    stage.aspire("m", 2)
    stage.await_state("m", 2, END)
    stage.aspire("m", 1)
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)  # the emission before has been seen
    stage.aspire("m", 2)
    stage.await_state("m", 2, AVAILABLE)
    stage.await_state("m", 1, END)
    assert stage.states_of("m", 1) == LIFE
    assert len(stage.world.of(m(1))) == 1


def test_a_failed_version_is_not_tried_again_while_it_is_aspired(stage: Stage) -> None:
    """A version in error stays at END until it was un-aspired and aspired again."""
    stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, END)
    stage.aspire("m", 1)
    stage.aspire("m", 1, 2)
    stage.await_state("m", 2, AVAILABLE)
    assert stage.world.attempts == [m(1), m(2)]
    stage.aspire("m", 2)
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)
    stage.aspire("m", 1, 2)
    stage.await_state("m", 1, AVAILABLE)


def test_an_aspired_version_is_left_untouched(stage: Stage) -> None:
    """Aspiring a loaded version again, even with another path, does nothing."""
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.manager.aspire("m", [AspiredVersion(1, "/elsewhere/1", complete=False), AspiredVersion(2, "/x/2")])
    stage.await_state("m", 2, AVAILABLE)
    assert stage.states_of("m", 1) == [START, LOADING, AVAILABLE]


def test_an_incomplete_version_waits_at_start(stage: Stage) -> None:
    """An incomplete version is announced and not loaded, the old one serves; then it loads from the newest
    path.
    """
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.manager.aspire("m", [AspiredVersion(2, "/a/2", complete=False)])
    stage.await_state("m", 2, START)
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)
    assert stage.world.made[-1] == (ServableId("other", 1), "/models/other/1")
    assert stage.manager.available_versions("m") == [1]
    stage.manager.aspire("m", [AspiredVersion(2, "/b/2")])
    stage.await_state("m", 2, AVAILABLE)
    assert stage.world.made[-1] == (m(2), "/b/2")


def test_an_incomplete_version_that_vanishes_ends_cancelled(stage: Stage) -> None:
    """A version that was announced and never loaded does not stay at START for ever."""
    stage.manager.aspire("m", [AspiredVersion(1, "/m/1", complete=False)])
    stage.await_state("m", 1, START)
    stage.aspire("m")
    assert stage.await_state("m", 1, END).status == CANCELLED_LOAD


def test_a_version_aspired_with_an_error_ends_with_it(stage: Stage) -> None:
    """An error known beforehand is published as END; nothing is loaded."""
    stage.manager.aspire("m", [AspiredVersion(1, "/m/1", error=InternalError("No platform found for model"))])
    assert stage.await_state("m", 1, END).status == Status(Code.INTERNAL, "No platform found for model")
    assert stage.states_of("m", 1) == [END]
    assert stage.world.made == []


def test_a_loader_that_cannot_be_made_is_an_error_without_retries(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of the factory ends the version, and only that version."""
    stage = stage_of(NO_PAUSE)

    def refuse(id: ServableId, path: str) -> None:
        raise InvalidArgumentError("no such platform")

    monkeypatch.setattr(stage.manager, "_make_loader", refuse)
    stage.aspire("m", 1, 2)
    for version in (1, 2):
        assert stage.await_state("m", version, END).status == Status(
            Code.INVALID_ARGUMENT, "no such platform"
        )
    monkeypatch.undo()
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)


def test_retries_until_it_works(stage_of: Callable[..., Stage]) -> None:
    """A load that fails is tried again and stays LOADING meanwhile; foreign errors count like ours."""
    stage = stage_of(NO_PAUSE)
    stage.world.load_errors[m(1)] = [NotFoundError("first"), ZeroDivisionError("second")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    assert stage.world.attempts == [m(1)] * 3
    assert stage.states_of("m", 1) == [START, LOADING, AVAILABLE]


def test_retries_are_exhausted(stage_of: Callable[..., Stage]) -> None:
    """After 1 + max_num_load_retries attempts END carries the last attempt's error."""
    stage = stage_of(NO_PAUSE)
    stage.world.load_errors[m(1)] = [NotFoundError("a"), NotFoundError("b"), ZeroDivisionError("c")]
    stage.aspire("m", 1)
    assert stage.await_state("m", 1, END).status == Status(Code.INTERNAL, "ZeroDivisionError: c")
    assert len(stage.world.attempts) == 3


def test_preparation_belongs_to_the_attempt(stage_of: Callable[..., Stage]) -> None:
    """A failing warm-up fails the attempt, unloads its servable, and is retried; it sees id and path."""
    seen: list[tuple[ServableId, str]] = []

    def prepare(id: ServableId, path: str, servable: object) -> None:
        seen.append((id, path))
        if len(seen) == 1:
            raise InvalidArgumentError("bad record")

    stage = stage_of(NO_PAUSE, prepare=prepare)
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    assert seen == [(m(1), "/models/m/1")] * 2
    assert [servable.unloads for servable in stage.world.of(m(1))] == [1, 0]


def test_the_pause_before_a_retry_blocks_nobody_and_ends_with_the_wish(
    stage_of: Callable[..., Stage],
) -> None:
    """During a long pause other models load with the only slot; un-aspiring ends the pause at once."""
    stage = stage_of(LONG_PAUSE, initial_load_threads=1)
    stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, LOADING)
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)
    stage.aspire("m")
    assert stage.await_state("m", 1, END).status == CANCELLED_LOAD
    assert stage.world.attempts.count(m(1)) == 1


def test_stopping_ends_the_pause_before_a_retry(stage_of: Callable[..., Stage]) -> None:
    """A stop does not wait for the next attempt of a broken version."""
    stage = stage_of(LONG_PAUSE)
    stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, LOADING)
    assert stage.manager.stop(LIMIT_S)
    assert stage.await_state("m", 1, END).status == CANCELLED_LOAD


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "succeeds"])
def test_a_load_that_is_cancelled_under_way(stage_of: Callable[..., Stage], fails: bool) -> None:
    """A version given up during its load ends CANCELLED, without another attempt, unloaded if it was
    loaded.
    """
    prepared: list[ServableId] = []
    stage = stage_of(NO_PAUSE, prepare=lambda id, path, servable: prepared.append(id))
    gate = stage.world.close_gate(stage.world.load_gates, m(1))
    if fails:
        stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.world.await_waiting(m(1))
    stage.aspire("m", 2)
    stage.await_state("m", 2, AVAILABLE)
    gate.set()
    assert stage.await_state("m", 1, END).status == CANCELLED_LOAD
    assert stage.states_of("m", 1) == [START, LOADING, END]
    assert stage.world.attempts.count(m(1)) == 1
    assert [servable.unloads for servable in stage.world.of(m(1))] == ([] if fails else [1])
    assert prepared == [m(2)]


def test_an_emission_is_held_back_until_the_old_version_is_gone(stage: Stage) -> None:
    """A version wanted again while it is being unloaded is loaded anew afterwards; only the newest wish
    counts.
    """
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    gate = stage.world.close_gate(stage.world.unload_gates, m(1))
    stage.aspire("m")
    stage.world.await_waiting(m(1))
    stage.aspire("m", 1, 7)
    stage.aspire("m", 1, 2)
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)
    assert stage.states_of("m", 2) == []
    gate.set()
    stage.await_available("m", 1, 2)
    assert stage.states_of("m", 1) == [*LIFE, START, LOADING, AVAILABLE]
    assert stage.states_of("m", 7) == []


def test_only_the_newest_unprocessed_emission_counts() -> None:
    """Emissions before the manager acts replace one another."""
    stage = Stage()
    for version in range(1, 6):
        stage.aspire("m", version)
    stage.manager.start()
    stage.await_state("m", 5, AVAILABLE)
    assert stage.world.attempts == [m(5)]
    assert stage.manager.stop(LIMIT_S)


def test_unloading_waits_for_the_handles_of_that_version_only(stage: Stage) -> None:
    """A retired version is gone for requests at once and unloaded with its last handle; others' handles do
    not count.
    """
    stage.aspire("m", 1)
    stage.aspire("other", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.await_state("other", 1, AVAILABLE)
    foreign = stage.manager.acquire("other")
    handles = [stage.manager.acquire("m"), stage.manager.acquire("m", 1)]
    stage.aspire("m", 2)
    stage.await_state("m", 1, UNLOADING)
    stage.await_available("m", 2)
    with pytest.raises(NotFoundError, match=r"Specific\(m, 1\)"):
        stage.manager.acquire("m", 1)
    handles[0].release()
    assert stage.world.of(m(1))[0].unloads == 0
    handles[1].release()
    stage.await_state("m", 1, END)
    assert stage.world.of(m(1))[0].unloads == 1
    foreign.release()


def test_errors_of_an_unload_are_logged_only(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A version whose unload fails ends all the same, with OK."""
    stage.world.unload_errors[m(1)] = InternalError("stuck file")
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.aspire("m")
    assert stage.await_state("m", 1, END).status == OK
    assert "Servable {name: m version: 1} cannot be unloaded: INTERNAL: stuck file" in caplog.text


def test_the_highest_version_loads_first_and_models_take_turns(stage_of: Callable[..., Stage]) -> None:
    """With one slot each model's best version is loaded before any model's second."""
    stage = Stage(initial_load_threads=1)
    stage.aspire("a", 1, 3, 2)
    stage.aspire("b", 1, 2)
    stage.manager.start()
    for name, version in (("a", 1), ("b", 1)):
        stage.await_state(name, version, AVAILABLE)
    order = [(id.name, id.version) for id in stage.world.attempts]
    assert order == [("a", 3), ("b", 2), ("a", 2), ("b", 1), ("a", 1)]
    assert stage.manager.stop(LIMIT_S)


def test_initial_loads_are_parallel_and_later_ones_take_the_flag(stage_of: Callable[..., Stage]) -> None:
    """Before the switch as many loads run as there are initial slots; afterwards one, and those go on
    uncounted.
    """
    stage = stage_of(initial_load_threads=3)
    for version in range(1, 8):
        stage.world.close_gate(stage.world.load_gates, m(version))
    stage.aspire("m", 1, 2, 3, 4)
    stage.world.await_waiting(m(4), m(3), m(2))
    stage.manager.end_initial_load()
    stage.world.await_waiting(m(4), m(3), m(2), m(1))
    stage.aspire("m", 1, 2, 3, 4, 5, 6)
    stage.world.load_gates[m(3)].set()
    stage.await_state("m", 3, AVAILABLE)
    stage.await_state("m", 6, START)
    stage.world.await_waiting(m(4), m(2), m(1))
    stage.world.load_gates[m(1)].set()
    stage.world.await_waiting(m(4), m(2), m(6))


def test_one_slow_load_does_not_hold_up_unloads(stage_of: Callable[..., Stage]) -> None:
    """With num_load_threads 0 decisions and unloads go on during a load."""
    stage = stage_of()
    stage.manager.end_initial_load()
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.world.close_gate(stage.world.load_gates, ServableId("slow", 1))
    stage.aspire("slow", 1)
    stage.world.await_waiting(ServableId("slow", 1))
    stage.aspire("m")
    stage.await_state("m", 1, END)


@pytest.mark.parametrize(("threads", "together"), [(0, 1), (1, 1), (2, 2)])
def test_unloads_at_the_same_time(stage_of: Callable[..., Stage], threads: int, together: int) -> None:
    """As many unloads run at the same time as num_unload_threads says, at least one."""
    stage = stage_of(LoadOptions(max_num_load_retries=0, num_unload_threads=threads))
    stage.aspire("m", 1, 2, 3)
    stage.await_available("m", 1, 2, 3)
    for version in (1, 2, 3):
        stage.world.close_gate(stage.world.unload_gates, m(version))
    stage.aspire("m")
    stage.world.await_waiting(*[m(version) for version in (1, 2, 3)][:together])
    stage.aspire("other", 1)
    stage.await_state("other", 1, AVAILABLE)  # so the manager has decided
    assert stage.manager._jobs._unloading == together
    assert stage.manager.available_versions("m") == []


def test_log_lines_of_a_life(stage_of: Callable[..., Stage], caplog: pytest.LogCaptureFixture) -> None:
    """The lines that scripts look for appear word for word and in order."""
    caplog.set_level(logging.INFO, "pyserve")
    stage = stage_of(LoadOptions(max_num_load_retries=1, load_retry_interval_micros=-1))
    stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    stage.aspire("m")
    stage.await_state("m", 1, END)
    i, e, id = logging.INFO, logging.ERROR, "{name: m version: 1}"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (i, f"Successfully reserved resources to load servable {id}"),
        (i, f"Approving load for servable version {id}"),
        (i, f"Loading servable version {id}"),
        (e, f"Loading servable: {id} failed: NOT_FOUND: gone"),
        (i, f"Retrying of Loading servable: {id} retry: 1"),
        (i, f"Successfully loaded servable version {id}"),
        (i, f"Quiescing servable version {id}"),
        (i, f"Done quiescing servable version {id}"),
        (i, f"Unloading just-loaded servable version {id}"),
        (i, f"Done unloading servable version {id}"),
    ]


def test_log_lines_of_a_failure(stage_of: Callable[..., Stage], caplog: pytest.LogCaptureFixture) -> None:
    """A version that cannot be loaded leaves the lines of TensorFlow Serving."""
    caplog.set_level(logging.INFO, "pyserve")
    stage = stage_of(LoadOptions(max_num_load_retries=0))
    stage.world.load_errors[m(1)] = [NotFoundError("gone")]
    stage.aspire("m", 1)
    stage.await_state("m", 1, END)
    assert stage.manager.stop(LIMIT_S)
    id = "{name: m version: 1}"
    assert [(r.levelname[0], r.getMessage()) for r in caplog.records][3:] == [
        ("E", f"Loading servable: {id} failed: NOT_FOUND: gone"),
        ("I", f"Retrying of Loading servable: {id} exhausted max_num_retries: 0"),
        ("I", f"Encountered an error for servable version {id}: NOT_FOUND: gone"),
        ("E", f"Servable {id} cannot be loaded: NOT_FOUND: gone"),
    ]


def test_a_bug_in_a_decision_does_not_end_the_manager(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception while deciding is logged, and later events are acted on."""

    def broken(views: object) -> None:
        raise RuntimeError("policy bug")

    policy = stage.manager._policy
    monkeypatch.setattr(stage.manager, "_policy", broken)
    stage.aspire("m", 1)
    stage.await_state("m", 1, START)
    monkeypatch.setattr(stage.manager, "_policy", policy)
    stage.aspire("m", 1, 2)
    stage.await_available("m", 1, 2)


def test_no_thread_to_be_had(stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system gives no thread a load is a failed attempt, and an unload happens all the same."""
    stage = stage_of()

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    monkeypatch.setattr(stage.manager._jobs, "_start", refuse)
    stage.aspire("m", 2)
    assert stage.await_state("m", 2, END).status.code is Code.RESOURCE_EXHAUSTED
    stage.aspire("m")
    stage.await_state("m", 1, END)


def test_stopping_takes_everything_away() -> None:
    """A stop unloads every version, cancels loads, refuses requests, and may be repeated."""
    stage = Stage()
    stage.manager.start()
    stage.aspire("m", 1, 2)
    stage.await_available("m", 1, 2)
    stage.manager.aspire("n", [AspiredVersion(1, "/n/1", complete=False)])
    stage.await_state("n", 1, START)
    assert stage.manager.stop(LIMIT_S)
    assert stage.manager.stop(LIMIT_S)
    for id in (m(1), m(2), ServableId("n", 1)):
        last = stage.monitor.state(id)
        assert last is not None
        assert last.state is END
    assert [servable.unloads for servable in stage.world.servables] == [1, 1]
    with pytest.raises(UnavailableError):
        stage.manager.acquire("m")
    stage.aspire("m", 3)
    assert stage.states_of("m", 3) == []


def test_stopping_waits_for_handles() -> None:
    """A stop ends when the last handle is released, and unloads only then."""
    stage = Stage()
    stage.manager.start()
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    handle = stage.manager.acquire("m")
    results: list[bool] = []
    stopper = threading.Thread(target=lambda: results.append(stage.manager.stop(LIMIT_S)))
    stopper.start()
    stage.await_state("m", 1, UNLOADING)
    assert stage.world.servables[0].unloads == 0
    handle.release()
    stopper.join(LIMIT_S)
    assert results == [True]
    assert stage.world.servables[0].unloads == 1


def test_a_handle_that_outlives_the_stop_unloads_the_version(caplog: pytest.LogCaptureFixture) -> None:
    """After the time of a stop is over a version in use is unloaded by its last release, not under the
    request.
    """
    stage = Stage()
    stage.manager.start()
    stage.aspire("m", 1)
    stage.await_state("m", 1, AVAILABLE)
    handle, other = stage.manager.acquire("m"), stage.manager.acquire("m")
    assert not stage.manager.stop(0.0)
    assert "Stopped before servable version {name: m version: 1} was unloaded: quiescing, 2" in caplog.text
    handle.release()
    assert stage.world.servables[0].unloads == 0
    other.release()
    assert stage.world.servables[0].unloads == 1


def test_a_stuck_load_does_not_block_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    """A load that never returns is left behind with a warning; what it brings later is unloaded."""
    stage = Stage()
    stage.manager.start()
    gate = stage.world.close_gate(stage.world.load_gates, m(1))
    stage.aspire("m", 1)
    stage.world.await_waiting(m(1))
    assert not stage.manager.stop(0.05)
    assert "Stopped while the thread pyserve-load-m-1 was still at work" in caplog.text
    gate.set()
    assert stage.manager._jobs.join(None) == []
    assert [servable.unloads for servable in stage.world.servables] == [1]


def test_a_manager_that_never_started_can_be_stopped() -> None:
    """Constructing starts no thread, and stopping is harmless."""
    before = threading.active_count()
    stage = Stage()
    stage.manager.aspire("m", aspired("m", [1]))
    assert threading.active_count() == before
    assert stage.manager.stop()

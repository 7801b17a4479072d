"""Turns are fair between models and lines, no model has all threads, and no time is forgotten."""

from __future__ import annotations

from collections import deque

from pyserve.batching.turns import Model, Place, Turns, Version
from pyserve.servable import ServableId


class Line:
    """A line of named runs, each due from a time on; `run()` does nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs: deque[float] = deque()

    def add(self, *due_at: float) -> None:
        self.runs.extend(due_at)

    def due(self, now: float) -> bool:
        return bool(self.runs) and self.runs[0] <= now

    def wake_at(self) -> float | None:
        return self.runs[0] if self.runs else None

    def take(self, now: float) -> Line | None:
        if not self.due(now):
            return None
        self.runs.popleft()
        return self

    def __call__(self) -> None: ...

    def shut(self) -> None: ...


class House:
    """Turns with lines by name: `a1` and `a2` are lines of the model `a`, `b1` of `b`."""

    def __init__(self, cap: int) -> None:
        self.turns = Turns(cap)
        self.models: dict[str, Model] = {}
        self.versions: dict[str, Version] = {}
        self.places: dict[str, Place] = {}
        self.now = 0.0

    def place(self, name: str, version: str = "") -> Place:
        if name not in self.places:
            model = self.models.setdefault(name[0], Model())
            key = version or name[0]
            counts = self.versions.setdefault(key, Version(ServableId(key, 1), model))
            self.places[name] = Place(counts, Line(name))
        return self.places[name]

    def add(self, name: str, *due_at: float, version: str = "") -> bool:
        place = self.place(name, version)
        line = place.line
        assert isinstance(line, Line)
        line.add(*(due_at or (self.now,)))
        return self.turns.look(place, self.now)

    def next(self) -> str | None:
        found = self.turns.next(self.now)
        if found is None:
            return None
        place, run = found
        assert isinstance(run, Line)
        assert place.line is run
        return run.name

    def all(self) -> list[str]:
        """Everything that may run now, one after another."""
        names = []
        while (name := self.next()) is not None:
            names.append(name)
            self.turns.done(self.places[name], self.now)
        return names


def test_round_robin_over_models_and_their_lines() -> None:
    """A model with many lines and many runs gets every second turn beside one with few."""
    house = House(cap=4)
    house.add("a1", *[0.0] * 4)
    house.add("a2", *[0.0] * 4)
    house.add("b1", 0.0, 0.0)
    assert house.all() == ["a1", "b1", "a2", "b1", "a1", "a2", "a1", "a2", "a1", "a2"]


def test_a_model_leaves_threads_to_others() -> None:
    """No more runs of a model at a time than `cap`; the next one comes when one is done."""
    house = House(cap=2)
    assert house.add("a1", *[0.0] * 5)
    assert [house.next(), house.next(), house.next()] == ["a1", "a1", None]
    assert not house.add("a2")  # no thread need come for it
    assert house.add("b1")
    assert [house.next(), house.next()] == ["b1", None]
    for line in ("a1", "a2"):
        house.turns.done(house.places["a1"], house.now)
        assert [house.next(), house.next()] == [line, None]


def test_versions_share_the_cap_of_their_model() -> None:
    """Several versions are no advantage."""
    house = House(cap=1)
    house.add("a1", version="v1")
    house.add("a2", version="v2")
    assert [house.next(), house.next()] == ["a1", None]
    house.add("a3", version="v3")
    assert house.next() is None
    house.turns.done(house.places["a1"], house.now)
    assert [house.next(), house.next()] == ["a2", None]


def test_runs_that_are_given_up() -> None:
    """They count for their version and no more for their model: another version may run, and this one only so often."""
    house = House(cap=2)
    for _ in range(4):
        house.add("a1", version="bad")
    bad = house.place("a1")
    assert [house.next(), house.next(), house.next()] == ["a1", "a1", None]
    house.turns.give_up(bad, house.now)
    assert house.next() is None
    house.add("a2", version="good")
    assert [house.next(), house.next()] == ["a2", None]
    house.turns.done(house.places["a2"], house.now)
    house.turns.give_up(bad, house.now)
    assert (bad.version.stuck, house.next()) == (2, None)
    house.turns.returned(bad, house.now)
    assert [house.next(), house.next()] == ["a1", None]
    house.turns.done(bad, house.now)
    assert [house.next(), bad.version.running, bad.version.stuck] == ["a1", 2, 1]


def test_a_blocked_version_does_not_hold_up_its_model() -> None:
    """A version that used up its runs is passed over; others of the model go on."""
    house = House(cap=1)
    house.add("a1", 0.0, 0.0, version="bad")
    house.next()
    house.turns.give_up(house.place("a1"), house.now)
    house.add("a2", *[0.0] * 3, version="good")
    assert house.all() == ["a2"] * 3


def test_times() -> None:
    """A line is looked at when it said so; the earliest time is the one to wake at."""
    house = House(cap=1)
    assert house.add("a1", 5.0)  # whoever sleeps without limit has to come
    assert not house.add("b1", 7.0)
    assert house.add("c1", 3.0)
    assert house.turns.wake_at() == 3.0
    house.now = 6.0
    assert house.all() == ["c1", "a1"]
    assert house.turns.wake_at() == 7.0
    house.now = 7.0
    assert house.all() == ["b1"]
    assert house.turns.wake_at() is None


def test_a_line_that_is_due_before_its_time() -> None:
    """The timer that is left behind does no harm, and a new one is set for what is still to come."""
    house = House(cap=1)
    house.add("a1", 5.0)
    line = house.place("a1").line
    assert isinstance(line, Line)
    line.runs[0] = 0.0
    line.add(9.0)
    house.turns.look(house.place("a1"), house.now)
    assert house.all() == ["a1"]
    house.now = 5.0
    assert house.all() == []
    assert house.turns.wake_at() == 9.0
    house.now = 9.0
    assert house.all() == ["a1"]


def test_a_line_that_holds_back_while_it_runs() -> None:
    """A line that lets nothing go beside its run is looked at again when that is over, however it is."""

    class OneAtATime(Line):
        running = False

        def due(self, now: float) -> bool:
            return super().due(now) and not self.running

        def wake_at(self) -> None:
            return None

        def take(self, now: float) -> Line | None:
            found = super().take(now)
            self.running = self.running or found is not None
            return found

    turns = Turns(2)
    line = OneAtATime("a1")
    place = Place(Version(ServableId("a", 1), Model()), line)
    line.add(0.0, 0.0, 0.0)
    turns.look(place, 0.0)
    for end in (turns.done, turns.give_up):
        assert turns.next(0.0) is not None
        assert turns.next(0.0) is None
        line.running = False
        end(place, 0.0)
    assert turns.next(0.0) is not None


def test_a_time_that_moves_forward() -> None:
    """When a line has to be looked at earlier than it said before, that counts."""
    house = House(cap=1)
    house.add("a1", 9.0)
    line = house.place("a1").line
    assert isinstance(line, Line)
    line.runs[0] = 5.0
    assert house.turns.look(house.place("a1"), house.now)
    assert house.turns.wake_at() == 5.0
    house.now = 5.0
    assert house.all() == ["a1"]

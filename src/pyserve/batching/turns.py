"""Whose turn it is: which of many lines a free thread takes from. Pure: time is an argument, no lock, no thread.

Models have turns in rotation, and within a model its lines, so that neither a flood of requests for one model nor one
spread over many lines starves another. A model never has more runs than `cap` at a time, so that one that is slow or
hangs leaves a thread to the others; nor has a version, runs that were given up included, so that it cannot use up
threads without end.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque

from pyserve.batching.line import Line, Run
from pyserve.servable import ServableId


class Model:
    """A model's place in the rotation.

    Attributes:
        running: Its runs, without those that were given up.
    """

    __slots__ = ("in_turn", "ready", "running")

    def __init__(self) -> None:
        self.running = 0
        self.ready: deque[Place] = deque()
        self.in_turn = False


class Version:
    """What counts for a version, whatever its lines are.

    Attributes:
        id: Its name and number.
        running: Its runs, those that were given up included.
        stuck: Its runs that were given up.
    """

    __slots__ = ("id", "model", "running", "stuck")

    def __init__(self, id: ServableId, model: Model) -> None:
        self.id = id
        self.model = model
        self.running = 0
        self.stuck = 0


class Place:
    """A line's place among those of its model.

    Attributes:
        ready: Something of the line is due, and waits for its turn.
        timer_at: The line is to be looked at again then; None: not by time.
    """

    __slots__ = ("line", "ready", "timer_at", "version")

    def __init__(self, version: Version, line: Line) -> None:
        self.version = version
        self.line = line
        self.ready = False
        self.timer_at: float | None = None


class Turns:
    """The rotation.

    Args:
        cap: Runs of one model at the same time, >= 1.
    """

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._models: deque[Model] = deque()
        self._timers: list[tuple[float, int, Place]] = []
        self._order = itertools.count()  # between timers of the same time

    def look(self, place: Place, now: float) -> bool:
        """Note that a line has something new.

        Returns:
            Whether a thread that is free should come: for a run, or because it has to wait less long.
        """
        if place.ready:
            return False
        line, model = place.line, place.version.model
        if line.due(now):
            place.ready = True
            model.ready.append(place)
            if not model.in_turn:
                model.in_turn = True
                self._models.append(model)
            return model.running < self.cap
        at = line.wake_at()
        if at is None or (place.timer_at is not None and place.timer_at <= at):
            return False
        place.timer_at = at
        heapq.heappush(self._timers, (at, next(self._order), place))
        return self._timers[0][2] is place

    def next(self, now: float) -> tuple[Place, Run] | None:
        """The next run, which counts as running until `done`; None when nothing is due that may run."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            place = heapq.heappop(timers)[2]
            place.timer_at = None
            self.look(place, now)
        models = self._models
        while models:
            model = models.popleft()
            found = self._of(model, now)
            if found is not None and model.ready and model.running < self.cap:
                models.append(model)
            else:
                # Comes back when one of its runs is done, or when there is something new.
                model.in_turn = False
            if found is not None:
                return found
        return None

    def _of(self, model: Model, now: float) -> tuple[Place, Run] | None:
        if model.running >= self.cap:
            return None
        for _ in range(len(model.ready)):
            place = model.ready.popleft()
            if place.version.running >= self.cap:
                model.ready.append(place)
                continue
            run = place.line.take(now)
            place.ready = False
            self.look(place, now)
            if run is not None:
                model.running += 1
                place.version.running += 1
                return place, run
        return None

    def done(self, place: Place, now: float) -> None:
        """A run has ended that was not given up."""
        place.version.model.running -= 1
        place.version.running -= 1
        self._back(place, now)

    def give_up(self, place: Place, now: float) -> None:
        """A run takes so long that its thread is replaced."""
        place.version.stuck += 1
        place.version.model.running -= 1
        self._back(place, now)

    def returned(self, place: Place, now: float) -> None:
        """A run has ended that was given up."""
        place.version.stuck -= 1
        place.version.running -= 1
        self._back(place, now)

    @property
    def waiting(self) -> bool:
        """Whether somebody may have a run due. A free thread finds out by `next`."""
        return bool(self._models)

    def wake_at(self) -> float | None:
        """When to call `next` again, if nothing else happens; None: never."""
        return self._timers[0][0] if self._timers else None

    def _back(self, place: Place, now: float) -> None:
        self.look(place, now)  # a line may have held something back because of its run
        model = place.version.model
        if model.ready and not model.in_turn:
            model.in_turn = True
            self._models.append(model)

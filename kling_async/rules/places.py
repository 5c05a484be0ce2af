"""Where in the list the awaited tasks stand, as far as pages have shown it. Pure; the order of the list is not assumed.

The list is cut into stretches of as many places as the largest page shows. A task that no page has shown yet, or that
was not where it used to be, is a seeker: pages are read for seekers from the head on, as long as that pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import inf

import attrs

from kling_async import spec
from kling_async.rules.awaited import NOWHERE, Awaited

STRETCH = spec.PAGE_SIZE_MAX
STEP = 50  # page sizes are multiples of it
_CROWDED = STRETCH * 4 // 5
SERVED = STRETCH * spec.PAGE_NUM_MAX  # places that any page shows
_STALE_AT_ONCE = 1000  # how many outdated entries of the heap are put away in one go, so that nobody is kept waiting


@attrs.frozen
class Sweep:
    """Ask for one page of the list."""

    number: int
    size: int

    @property
    def first(self) -> int:
        """The place that it begins with, from nought."""
        return (self.number - 1) * self.size

    @property
    def behind(self) -> int:
        """The place behind its last."""
        return self.number * self.size


def fitting(first: int, last: int) -> Sweep:
    """The smallest page that shows these places of one stretch, with some room for what newer tasks push along.

    Far down the list small pages would have numbers that are not served.
    """
    room = min(last + 5 + (last - first) // 10, last - last % STRETCH + STRETCH - 1)
    sizes = range(STEP, STRETCH + 1, STEP)
    size = next(size for size in sizes if first // size == room // size < spec.PAGE_NUM_MAX)
    return Sweep(first // size + 1, size)


@attrs.define(eq=False)
class Stretch:
    """As many places as one page shows: who stands there, and when the first of them is due (or earlier)."""

    keys: set[str] = attrs.field(factory=set)
    due: float = inf


class Places:
    """Who stands where."""

    def __init__(self, awaited: dict[str, Awaited]) -> None:
        self._awaited = awaited
        self.stretches: dict[int, Stretch] = {}
        self.seekers: set[str] = set()
        self._due_seekers: list[tuple[float, str]] = []  # a heap, with outdated entries

    def seek(self, key: str) -> None:
        """The task's place is not known (any more)."""
        self.leave(key)
        self._awaited[key].place = NOWHERE
        self.seekers.add(key)

    def put(self, key: str, place: int) -> None:
        """A page showed the task at this place, or it may stand there."""
        awaited = self._awaited[key]
        if awaited.place < 0 or awaited.place // STRETCH != place // STRETCH:
            self.leave(key)
            self.stretches.setdefault(place // STRETCH, Stretch()).keys.add(key)
        awaited.place = place

    def is_crowded(self, number: int) -> bool:
        """Whether hardly anybody else can stand in this stretch."""
        stretch = self.stretches.get(number)
        return stretch is not None and len(stretch.keys) >= _CROWDED

    def leave(self, key: str) -> None:
        """Takes the task from its place; it must be given another, or be awaited no more."""
        place = self._awaited[key].place
        if place < 0:
            self.seekers.discard(key)
            if not self.seekers:
                self._due_seekers = []
            return
        stretch = self.stretches[place // STRETCH]
        stretch.keys.discard(key)
        if not stretch.keys:
            del self.stretches[place // STRETCH]

    def rest(self, key: str, due: float) -> None:
        """Sets when to look at the task next."""
        awaited = self._awaited[key]
        awaited.due = due
        if awaited.place < 0:
            heappush(self._due_seekers, (due, key))
        else:
            stretch = self.stretches[awaited.place // STRETCH]
            stretch.due = min(stretch.due, due)

    def due_in(self, number: int, now: float, horizon: float) -> list[str]:
        """Who is due by `horizon` in a stretch, if anybody is by now; they will not be named again before `rest`."""
        stretch = self.stretches.get(number)
        if stretch is None:
            return []
        due, first, next_due = list[str](), inf, inf
        for key in stretch.keys:
            awaited = self._awaited[key]
            if awaited.busy:
                continue
            first = min(first, awaited.due)
            if awaited.due <= horizon:
                due.append(key)
            else:
                next_due = min(next_due, awaited.due)
        stretch.due = next_due if first <= now else first
        return due if first <= now else []

    def page_for(self, keys: Iterable[str]) -> Sweep:
        """The smallest page that shows these, who stand in one stretch."""
        places = [self._awaited[key].place for key in keys]
        return fitting(min(places), max(places))

    @property
    def seekers_due(self) -> float:
        """When the first seeker is due, or earlier; infinite when none is."""
        return self._due_seekers[0][0] if self._due_seekers else inf

    def next_seekers(self, now: float) -> Iterator[str]:
        """Seekers who are due, each once; not all of them if very many entries are outdated."""
        heap = self._due_seekers
        for _ in range(_STALE_AT_ONCE):
            if not heap or heap[0][0] > now:
                return
            due, key = heappop(heap)
            awaited = self._awaited.get(key)
            if awaited is not None and awaited.place < 0 and awaited.due == due and not awaited.busy:
                yield key

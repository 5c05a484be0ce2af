"""Which tasks are awaited, which fetches are cheapest now, and what an answer settles.

Pure: `now` is passed in (seconds of any clock that does not jump), nothing here waits or sends. One `Watch` serves all
waiters of a resource. A task that stands alone on its page of the list is asked for by itself, several are looked for
by the one page that shows them, and whatever a page did not show is asked for singly in the end: no assumption about
the list's order can lose a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice, repeat
from math import inf

import attrs

from kling_async.errors import InvalidRequest, KlingError, NotFound
from kling_async.models import Task
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import NOWHERE, Awaited, about, later
from kling_async.rules.places import SERVED, STRETCH, Places, Sweep
from kling_async.rules.retry import worth_retrying
from kling_async.rules.rhythm import Rhythm, lasted
from kling_async.rules.scout import Scout

_TOGETHER = 0.5  # of an interval: who falls due within it is looked for on the same page
_PAGES_AT_ONCE = 4
_JITTER = 0.05  # of a pause, on top: clients that began together do not stay together
_MANY_MOVED = 10
_HELD_BACK = 6.0  # intervals: how rarely a task is looked at while callbacks arrive


@attrs.frozen
class Single:
    """Ask for the task that is awaited as `key` by this id."""

    key: str
    id: str = attrs.field(default=attrs.Factory(lambda single: single.key, takes_self=True))


Fetch = Single | Sweep
News = tuple[str, Task | KlingError]
"""Of an awaited id: its task with another status than before, the ended task, or the error that ends the wait."""


@attrs.frozen(eq=False)
class _Look:
    """A page under way: since when, whom it has to show, and whether it was read for those of unknown place."""

    sweep: Sweep
    since: float
    unseen: set[str]
    scouting: bool


@attrs.frozen(eq=False)
class _Visit:
    """One answer: when it came, since when it was on its way, by how much pauses are longer, and what is new."""

    now: float
    since: float
    jitter: float
    news: list[News] = attrs.field(factory=list)


class Watch:
    """The awaited tasks of one resource, by the id that each was asked for with (the vendor's or the caller's).

    `draw` gives numbers from 0 to 1, for jitter; `rhythm` is what earlier watches have learnt.
    """

    def __init__(self, policy: PollPolicy, draw: Callable[[], float], rhythm: Rhythm) -> None:
        self._policy = policy
        self._draw = draw
        self._rhythm = rhythm
        self._awaited: dict[str, Awaited] = {}
        self._places = Places(self._awaited)
        self._scout = Scout(policy)
        self._looks: dict[int, _Look] = {}  # by the identity of their fetches, as are those below
        self._asking: dict[int, tuple[Single, float]] = {}  # and since when
        self._to_ask: dict[str, None] = {}  # in order; who waits for a free single query
        self._heard = -inf

    def __repr__(self) -> str:
        pages = "".join(f", reading page {look.sweep.number}" for look in self._looks.values())
        singly = len(self._asking) + len(self._to_ask)
        return f"<Watch {len(self._awaited)} awaited, {singly} asked for singly{pages}>"

    def __len__(self) -> int:
        return len(self._awaited)

    def __contains__(self, key: str) -> bool:
        return key in self._awaited

    def add(self, key: str, now: float, *, last: Task | None = None) -> list[News]:
        """Starts to await a task: one that was just seen is due after a pause, a bare id at once.

        What `last` has news of, should the task be awaited already, is returned.
        """
        known = self._awaited.get(key)
        if known is not None:
            before = known.last
            known.last = before if last is None else later(before, last)
            return _moved(key, before, known.last)
        awaited = self._awaited[key] = Awaited(now, last, now if last is None else now - lasted(last))
        self._scout.somebody_new()
        self._places.seek(key)
        # A bare id is as good as overdue, so that callbacks do not put off its first look.
        overdue = now - (_HELD_BACK - 1) * self._policy.interval
        self._places.rest(key, overdue if last is None else now + self._rhythm.pause(now - awaited.born))
        return []

    def discard(self, key: str) -> None:
        """Stops to await a task. An answer that is still to come for it changes nothing."""
        if (awaited := self._awaited.get(key)) is not None:
            self._found(key, awaited)
            self._places.leave(key)
            del self._awaited[key]

    def last(self, key: str) -> Task | None:
        """How an awaited task was last seen."""
        awaited = self._awaited.get(key)
        return None if awaited is None else awaited.last

    @property
    def wake_at(self) -> float:
        """When something falls due next, if nothing else happens; infinite when nothing will.

        What has to wait for an answer that is under way counts when that is here.
        """
        wake = inf
        if len(self._looks) < _PAGES_AT_ONCE:
            wake = min((self._held_back(stretch.due) for stretch in self._places.stretches.values()), default=inf)
        if not self._is_scouting and self._free > 0:
            wake = min(wake, self._seekers_next)
        return wake

    @property
    def _seekers_next(self) -> float:
        """When to look for those of unknown place."""
        return max(self._held_back(self._places.seekers_due), self._scout.held_until)

    def heard(self, now: float) -> None:
        """A callback came: for an interval from now on, looking is only a safety net."""
        self._heard = now

    def _held_back(self, due: float) -> float:
        """When to look at what is due, given that callbacks arrive (or not)."""
        interval = self._policy.interval
        return min(max(due, self._heard + interval), due + (_HELD_BACK - 1) * interval)

    # --- what to fetch -----------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Fetch]:
        """The fetches to start now. Each must be answered by `absorb` or `failed` in the end."""
        return [*self._next_pages(now), *self._next_scouting(now), *self._next_singles(now)]

    def _next_pages(self, now: float) -> Iterator[Sweep]:
        """Pages for stretches of the list where somebody is due; who is alone there gets a query instead."""
        stretches = self._places.stretches
        for number in sorted(number for number, stretch in stretches.items() if self._held_back(stretch.due) <= now):
            if len(self._looks) >= _PAGES_AT_ONCE:
                return
            due = self._places.due_in(number, now, self._horizon(now))
            if len(due) > self._policy.singles:
                yield self._look_for(due, self._places.page_for(due), now)
            else:
                self._queue(due)

    def _horizon(self, now: float) -> float:
        return now + self._policy.interval * _TOGETHER

    def _queue(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._awaited[key].busy = True
            self._to_ask[key] = None

    def _look_for(self, keys: Iterable[str], sweep: Sweep, now: float, *, scouting: bool = False) -> Sweep:
        look = self._looks[id(sweep)] = _Look(sweep, now, set(keys), scouting)
        for key in look.unseen:
            self._awaited[key].busy = True
            self._awaited[key].sought = look.unseen
        return sweep

    def _next_scouting(self, now: float) -> Iterator[Sweep]:
        """The next page for those of unknown place, if there are several and it is time for that."""
        seekers = len(self._places.seekers)
        if self._seekers_due(now) and seekers > self._policy.singles and self._scout.ready(now):
            sweep = self._scout.page(seekers, self._places)
            # Whoever is known to stand there need not be looked for by a page of their own.
            due = self._places.due_in(sweep.first // STRETCH, inf, self._horizon(now))
            yield self._look_for(due, sweep, now, scouting=True)

    def _seekers_due(self, now: float) -> bool:
        return self._seekers_next <= now and not self._is_scouting

    @property
    def _is_scouting(self) -> bool:
        return any(look.scouting for look in self._looks.values())

    def _next_singles(self, now: float) -> Iterator[Single]:
        for key in list(islice(self._to_ask, self._free)):
            del self._to_ask[key]
            yield self._ask(key, now)
        if self._seekers_due(now):
            for key in islice(self._places.next_seekers(now), self._free):
                self._awaited[key].busy = True
                yield self._ask(key, now)

    def _ask(self, key: str, now: float) -> Single:
        single = Single(key, self._awaited[key].ask_as(key))
        self._asking[id(single)] = (single, now)
        return single

    @property
    def _free(self) -> int:
        return self._policy.concurrency - len(self._asking)

    # --- what came back ----------------------------------------------------------------------------------------

    def absorb(self, tasks: Sequence[Task | None], now: float, *, fetch: Fetch | None = None) -> list[News]:
        """What is new of the awaited tasks. Tasks seen anywhere count.

        `fetch` is the planned fetch that they answer, in the order of its answer (`None` stands for a record of no
        interest, or that cannot be read), or `None` when they came from elsewhere.
        """
        look = self._looks.pop(id(fetch), None)
        asked, since = self._asking.pop(id(fetch), (None, now if look is None else look.since))
        visit = _Visit(now, since, 1.0 + _JITTER * self._draw())
        seekers = len(self._places.seekers)
        places = count(fetch.first) if isinstance(fetch, Sweep) else repeat(NOWHERE)
        for task, place in zip(tasks, places, strict=False):
            if task is None:
                continue
            for key in self._keys_of(task, asked):
                if (awaited := self._awaited.get(key)) is not None:
                    self._saw(key, awaited, task, place, visit)
        if asked is not None and (awaited := self._awaited.get(asked.key)) is not None:
            self._rest(asked.key, awaited, visit)
        if look is not None:
            self._read(look, now, seekers, full=len(tasks) >= look.sweep.size)
        return visit.news

    def _keys_of(self, task: Task, asked: Single | None) -> Iterable[str]:
        if task.external_task_id is not None:
            return (task.id,) if task.external_task_id == task.id else (task.id, task.external_task_id)
        # Asked for by the caller's own id, the vendor may answer without repeating it.
        if asked is None or asked.key == task.id:
            return (task.id,)
        last = self.last(asked.key)
        return (task.id, asked.key) if last is None or last.id == task.id else (task.id,)

    def _saw(self, key: str, awaited: Awaited, task: Task, place: int, visit: _Visit) -> None:
        before = awaited.last
        outcome = awaited.saw(task, visit.now, self._policy)
        if outcome is not None:
            self._rhythm.learn(task)
            self.discard(key)
            visit.news.append((key, outcome))
            return
        if awaited.last is not before and awaited.last is not None:
            awaited.born = min(awaited.born, visit.now - lasted(awaited.last))
            visit.news.extend(_moved(key, before, awaited.last))
        if place != NOWHERE:
            awaited.strayed = False
            self._places.put(key, place)
        self._found(key, awaited)
        if not awaited.busy:  # else its own query is under way, and will say when to look next
            self._rest(key, awaited, visit)

    def _found(self, key: str, awaited: Awaited) -> None:
        """It need not be looked for, nor asked for, any more."""
        if awaited.sought is not None:
            awaited.sought.discard(key)
            awaited.sought, awaited.busy = None, False
        elif awaited.busy and key in self._to_ask:
            del self._to_ask[key]
            awaited.busy = False

    def _rest(self, key: str, awaited: Awaited, visit: _Visit) -> None:
        """Sets when to look next: a pause after this look was begun, so that slow answers do not make looks rarer."""
        awaited.busy = False
        pause = self._rhythm.pause(visit.now - awaited.born) * visit.jitter
        self._places.rest(key, max(visit.since + pause, visit.now + pause / 2))

    def _read(self, look: _Look, now: float, seekers: int, *, full: bool) -> None:
        """A page is over: whom it did not show may have been pushed behind it, or else is asked for singly."""
        left = len(self._places.seekers)
        if look.scouting:
            self._scout.read(look.sweep, now, full=full, found=seekers - left, left=left)
        # So many have been pushed on by newer tasks: pages find them for less than a query each.
        many = len(look.unseen) > _MANY_MOVED and not look.scouting
        if many:
            self._scout.somebody_new()
        for key in look.unseen:
            awaited = self._awaited[key]
            awaited.sought, awaited.busy = None, False
            if many:
                self._places.seek(key)
                self._places.rest(key, awaited.due)
            elif full and not awaited.strayed and look.sweep.behind < SERVED:
                awaited.strayed = True
                self._places.put(key, look.sweep.behind)
                self._places.rest(key, awaited.due)
            else:
                awaited.strayed = False
                self._places.seek(key)
                self._queue([key])

    def failed(self, fetch: Fetch, error: KlingError, now: float) -> list[News]:
        """What a failed fetch settles: nothing while the trouble may pass; the deadline is the waiter's own."""
        look = self._looks.pop(id(fetch), None)
        asked, _ = self._asking.pop(id(fetch), (None, now))
        if look is not None and isinstance(error, InvalidRequest | NotFound):
            # Of its tasks this says nothing: whoever should be on it is asked for singly.
            self._read(look, now, len(self._places.seekers), full=False)
            return []
        keys = list(look.unseen) if look is not None else [] if asked is None else [asked.key]
        if look is not None and look.scouting:
            self._scout.failed(now)
            if not worth_retrying(error):
                keys += self._places.seekers
        return [news for key in keys if key in self._awaited for news in self._troubled(key, error, now)]

    def _troubled(self, key: str, error: KlingError, now: float) -> list[News]:
        awaited = self._awaited[key]
        if (ending := awaited.troubled(error, now, self._policy)) is not None:
            self.discard(key)
            return [(key, about(ending, awaited.last))]
        self._found(key, awaited)
        awaited.busy = False
        self._places.rest(key, awaited.due)
        return []


def _moved(key: str, before: Task | None, last: Task | None) -> list[News]:
    """The news that a task has another status. Of an end this is not the place: it may lack its video still."""
    if last is None or last.status.ended or (before is not None and before.status is last.status):
        return []
    return [(key, last)]

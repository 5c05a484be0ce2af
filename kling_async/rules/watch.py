"""Which tasks are awaited, which fetches are cheapest now, and what an answer settles.

Pure: `now` is passed in (seconds of any clock that does not jump), nothing here waits or sends. One `Watch` serves
all waiters of a resource: a few tasks are asked for one by one, many by pages of the list, and whatever a sweep of
the list did not show is asked for singly, so that no assumption about the list's order can lose a task.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import attrs

from kling_async import spec
from kling_async.errors import KlingError
from kling_async.models import Task
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import Awaited, later

_SMALLEST_PAGE = 50
_TOGETHER = 0.5  # of an interval: what falls due within it is looked at in one go


@attrs.frozen
class Single:
    """Ask for the task that is awaited as `key` by this id."""

    key: str
    id: str = attrs.field(default=attrs.Factory(lambda single: single.key, takes_self=True))


@attrs.frozen
class Sweep:
    """Ask for one page of the list."""

    number: int
    size: int


Fetch = Single | Sweep
Settled = tuple[str, Task | KlingError]


@attrs.define(eq=False)
class _Round:
    """One walk down the list, for the keys that were due when it began."""

    unseen: set[str]
    page: Sweep
    last_page: int
    in_flight: bool = False


class Watch:
    """The awaited tasks of one resource, by the id that each was asked for with (the vendor's or the caller's)."""

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._awaited: dict[str, Awaited] = {}
        self._round: _Round | None = None
        self._to_ask: dict[str, None] = {}  # in order; keys that wait for a free single query
        self._asking = 0
        self._next_due = inf

    def __repr__(self) -> str:
        sweep = f", sweeping page {self._round.page.number}" if self._round else ""
        return f"<Watch {len(self._awaited)} awaited, {self._asking + len(self._to_ask)} asked for singly{sweep}>"

    def __len__(self) -> int:
        return len(self._awaited)

    def add(self, key: str, now: float, *, last: Task | None = None) -> None:
        """Starts to await a task: one that was just seen is due in an interval, a bare id at once."""
        known = self._awaited.get(key)
        if known is None:
            known = self._awaited[key] = Awaited(now if last is None else now + self._policy.interval, last)
            self._next_due = min(self._next_due, known.due)
        if last is not None:
            known.last = later(known.last, last)

    def discard(self, key: str) -> None:
        """Stops to await a task. An answer that is still to come for it changes nothing."""
        self._awaited.pop(key, None)
        self._to_ask.pop(key, None)
        if self._round is not None:
            self._round.unseen.discard(key)

    def last(self, key: str) -> Task | None:
        """How an awaited task was last seen."""
        awaited = self._awaited.get(key)
        return None if awaited is None else awaited.last

    @property
    def wake_at(self) -> float:
        """When something falls due next, if nothing else happens; infinite when nothing will.

        While a sweep is under way, its answer comes first.
        """
        return inf if self._round is not None else self._next_due

    # --- what to fetch -----------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Fetch]:
        """The fetches to start now. Each must be answered by `absorb` or `failed` in the end."""
        if now >= self._next_due and self._round is None:
            self._begin(now)
        return [*self._next_page(), *self._next_singles()]

    def _begin(self, now: float) -> None:
        horizon = now + self._policy.interval * _TOGETHER
        due = [key for key, awaited in self._awaited.items() if not awaited.busy and awaited.due <= horizon]
        for key in due:
            self._awaited[key].busy = True
        if len(due) > self._policy.singles:
            size = min(spec.PAGE_SIZE_MAX, max(_SMALLEST_PAGE, 2 * len(due)))
            # One page more than they fill: others' tasks stand between ours.
            self._round = _Round(set(due), Sweep(spec.PAGE_NUM_DEFAULT, size), -(-len(due) // size) + 1)
        else:
            self._to_ask.update(dict.fromkeys(due))
        self._next_due = min((a.due for a in self._awaited.values() if not a.busy), default=inf)

    def _next_page(self) -> list[Fetch]:
        if self._round is None or self._round.in_flight:
            return []
        if len(self._round.unseen) <= self._policy.singles:
            self._end(self._round)
            return []
        self._round.in_flight = True
        return [self._round.page]

    def _end(self, round_: _Round) -> None:
        self._to_ask.update(dict.fromkeys(round_.unseen))
        self._round = None

    def _next_singles(self) -> list[Fetch]:
        free = self._policy.concurrency - self._asking
        keys = list(self._to_ask)[: max(free, 0)]
        for key in keys:
            del self._to_ask[key]
        self._asking += len(keys)
        return [Single(key, self._awaited[key].ask_as(key)) for key in keys]

    # --- what came back ----------------------------------------------------------------------------------------

    def absorb(
        self, tasks: Iterable[Task], now: float, *, fetch: Fetch | None = None, unreadable: int = 0
    ) -> list[Settled]:
        """What the tasks settle: those that ended. Tasks seen anywhere count, awaited or not.

        `fetch` is the planned fetch that they answer, `None` when they came from elsewhere; `unreadable` counts the
        records of its page that were no tasks.
        """
        count, settled = unreadable, list[Settled]()
        for task in tasks:
            count += 1
            for key in self._keys_of(task, fetch):
                if key in self._awaited:
                    settled += self._saw(key, task, now)
        if fetch is not None:
            self._answered(fetch, now, full=isinstance(fetch, Sweep) and count >= fetch.size)
        return settled

    def _keys_of(self, task: Task, fetch: Fetch | None) -> set[str]:
        keys = {task.id, task.external_task_id or task.id}
        # Asked for by the caller's own id, the vendor may answer without repeating it.
        if isinstance(fetch, Single) and task.external_task_id is None:
            last = self.last(fetch.key)
            if last is None or last.id == task.id:
                keys.add(fetch.key)
        return keys

    def _saw(self, key: str, task: Task, now: float) -> list[Settled]:
        awaited = self._awaited[key]
        if (outcome := awaited.saw(task, now, self._policy)) is not None:
            self.discard(key)
            return [(key, outcome)]
        if self._round is not None and key in self._round.unseen:
            self._round.unseen.discard(key)
        elif key in self._to_ask:
            del self._to_ask[key]
        elif awaited.busy:
            return []  # its own query is under way, and will say when to look next
        self._rest(awaited, now + self._policy.interval)
        return []

    def _answered(self, fetch: Fetch, now: float, *, full: bool) -> None:
        """Marks a planned fetch as over: the next page, or singles for what this one did not show."""
        if isinstance(fetch, Single):
            self._asking -= 1
            if fetch.key in self._awaited:
                self._rest(self._awaited[fetch.key], now + self._policy.interval)
        elif self._round is not None and self._round.page == fetch:
            self._round.in_flight = False
            if full and fetch.number < self._round.last_page:
                self._round.page = Sweep(fetch.number + 1, fetch.size)
            else:
                self._end(self._round)

    def failed(self, fetch: Fetch, error: KlingError, now: float) -> list[Settled]:
        """What a failed fetch settles: nothing while the trouble may pass; the deadline is the waiter's own."""
        if isinstance(fetch, Single):
            self._asking -= 1
            keys = [fetch.key]
        else:
            keys = [] if self._round is None else list(self._round.unseen)
            self._round = None
        return [settled for key in keys if key in self._awaited for settled in self._troubled(key, error, now)]

    def _troubled(self, key: str, error: KlingError, now: float) -> list[Settled]:
        awaited = self._awaited[key]
        if (ending := awaited.troubled(error, now, self._policy)) is not None:
            self.discard(key)
            return [(key, ending)]
        self._rest(awaited, awaited.due)
        return []

    def _rest(self, awaited: Awaited, due: float) -> None:
        awaited.busy = False
        awaited.due = due
        self._next_due = min(self._next_due, due)

"""A vendor and a poller by chance, for the tests of the watch: no test waits, time is a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from heapq import heappop, heappush
from itertools import count
from math import ceil, inf, isfinite
from random import Random

import attrs

from kling_async.errors import KlingError, MalformedResponse, ServerError, TransportError
from kling_async.models import Task, TaskStatus, Video
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import Awaited
from kling_async.rules.places import STRETCH, Sweep
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Fetch, News, Single, Watch

PAGES_AT_ONCE = 4
WEATHER: list[KlingError] = [
    ServerError("busy", code=5001, http_status=503),
    TransportError("broken", sent=True),
    MalformedResponse("HTML", http_status=502),
]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STAGES = {TaskStatus.SUBMITTED: 0, TaskStatus.PROCESSING: 1, TaskStatus.SUCCEED: 2, TaskStatus.FAILED: 2}
LONGEST_PAUSE = 6.0  # intervals: the longest pause there is


@attrs.define
class Theirs:
    """A task at the vendor's.

    Attributes:
        begins: when it begins to be processed, in seconds.
        ends: when it ends.
        age: how old it is at nought seconds.
        own: the caller's id, if it was given one.
        hidden: no page shows it.
        timed: its records say when it was made and changed.
    """

    id: str
    begins: float
    ends: float
    age: float = 0.0
    own: str | None = None
    hidden: bool = False
    timed: bool = False
    fails: bool = False
    _records: dict[TaskStatus, Task] = attrs.field(factory=dict)

    def at(self, now: float) -> Task:
        """Its record; the same object while nothing changes."""
        if now >= self.ends:
            status = TaskStatus.FAILED if self.fails else TaskStatus.SUCCEED
        else:
            status = TaskStatus.SUBMITTED if now < self.begins else TaskStatus.PROCESSING
        if status not in self._records:
            self._records[status] = self._record(status)
        return self._records[status]

    def _record(self, status: TaskStatus) -> Task:
        changed = {TaskStatus.SUBMITTED: 0.0, TaskStatus.PROCESSING: self.begins}.get(status, self.ends)
        return Task(
            self.id,
            status,
            external_task_id=self.own,
            created_at=EPOCH - timedelta(seconds=self.age) if self.timed else None,
            updated_at=EPOCH + timedelta(seconds=changed) if self.timed else None,
            videos=(Video("v"),) if status is TaskStatus.SUCCEED else (),
        )


@attrs.frozen
class Climate:
    """What may go wrong, until `calm_from` (seconds), and how long answers take at most.

    Attributes:
        order: of the list: `newest` first, `oldest` first, or `any`, another on each page.
        drift: how many foreign tasks a second come to the list, on average; as many old ones go.
        others: how many foreign tasks stand in the list for each of ours.
        callbacks: how likely one comes in each turn; each tells of any task as it is.
    """

    calm_from: float = 0.0
    latency: float = 0.0
    order: str = "newest"
    drift: float = 0.0
    others: float = 1.0
    callbacks: float = 0.0


@attrs.define
class World:
    """Drives a watch as the waiter does: plan, then sleep until an answer or `wake_at`."""

    watch: Watch
    policy: PollPolicy
    climate: Climate
    rng: Random
    awaited: dict[str, Theirs]
    listed: list[Theirs] = attrs.field(factory=list)
    now: float = 0.0
    answers: list[tuple[float, int, Fetch, float]] = attrs.field(factory=list)
    reported: dict[str, list[tuple[float, Task | KlingError]]] = attrs.field(factory=dict)
    fetched: list[tuple[float, Fetch]] = attrs.field(factory=list)
    in_vain: Counter[float] = attrs.field(factory=Counter)  # plans without a fetch, by their moment
    drifted: float = 0.0
    _numbers: Iterable[int] = attrs.field(factory=count)

    @classmethod
    def of(cls, watch: Watch, policy: PollPolicy, climate: Climate, rng: Random, awaited: dict[str, Theirs]) -> World:
        """A world whose list has foreign tasks between ours."""
        ours = list({theirs.id: theirs for theirs in awaited.values()}.values())
        foreign = [Theirs(f"foreign{n}", 0.0, -1.0) for n in range(int(len(ours) * climate.others))]
        listed = [theirs for theirs in ours if not theirs.hidden] + foreign
        rng.shuffle(listed)
        return cls(watch, policy, climate, rng, awaited, listed)

    def run(self, *, until: float) -> None:
        """Lets time pass, unless nobody is awaited any more."""
        while self.now < until:
            self.tell()
            if not len(self.watch):
                return
            fetches = self.watch.plan(self.now)
            for fetch in fetches:
                self.fetched.append((self.now, fetch))
                at = self.now + self.rng.random() * self.climate.latency
                heappush(self.answers, (at, next(self._numbers), fetch, self.now))  # type: ignore[call-overload]
            self.check()
            wake = self.watch.wake_at
            if self.answers and self.answers[0][0] <= max(wake, self.now):
                self.now, _, fetch, since = heappop(self.answers)
                self.pass_to(self.now)
                self.answer(fetch, since)
                self.check()
            else:
                assert isfinite(wake), f"tasks are awaited, and nothing is to come: {self.watch!r}"
                if not fetches:
                    self.in_vain[self.now] += 1
                    assert self.in_vain[self.now] < 3, f"turns in vain at {self.now}"
                self.now = max(self.now, min(wake, until))

    def tell(self) -> None:
        """A callback comes, perhaps."""
        if self.climate.callbacks and self.rng.random() < self.climate.callbacks:
            self.watch.heard(self.now)
            theirs = self.rng.choice(list(self.awaited.values()))
            self.take(self.watch.absorb([self.shown(theirs, self.now)], self.now))

    def pass_to(self, now: float) -> None:
        """Foreign tasks come to the list, and old ones go."""
        while self.drifted + 1.0 <= now * self.climate.drift:
            self.drifted += 1.0
            self.listed.insert(0, Theirs(f"new{self.drifted}", 0.0, -1.0))
            place = self.rng.randrange(len(self.listed))
            if not any(self.listed[place] is theirs for theirs in self.awaited.values()):
                del self.listed[place]

    @property
    def stormy(self) -> bool:
        """Whether something goes wrong now."""
        return self.now < self.climate.calm_from and self.rng.random() < 0.4

    def answer(self, fetch: Fetch, since: float) -> None:
        """An answer comes, which shows how it was when it was asked for."""
        if self.stormy:
            self.take(self.watch.failed(fetch, self.rng.choice(WEATHER), self.now))
        elif isinstance(fetch, Single):
            theirs = self.awaited[fetch.key]
            assert fetch.id in {theirs.id, theirs.own}
            self.take(self.watch.absorb([self.shown(theirs, since)], self.now, fetch=fetch))
        else:
            self.take(self.watch.absorb(self.page(fetch, since), self.now, fetch=fetch))

    def shown(self, theirs: Theirs, since: float) -> Task:
        """Its record, in a storm perhaps as it was some seconds before."""
        return theirs.at(since - self.rng.random() * 9 if self.stormy else since)

    def page(self, sweep: Sweep, since: float) -> list[Task | None]:
        """The records of a page; in a storm some are lost, cannot be read or come twice."""
        listed = self.listed if self.climate.order != "oldest" else self.listed[::-1]
        if self.climate.order == "any":
            listed = self.rng.sample(listed, len(listed))
        shown = [self.shown(theirs, since) for theirs in listed[sweep.first : sweep.behind]]
        if not self.stormy:
            return [task if self.rng.random() < 0.9 or task.id in self._ours else None for task in shown]
        kept: list[Task | None] = [task for task in shown if self.rng.random() < 0.7]
        kept += self.rng.choices(shown, k=min(9, sweep.size - len(kept))) if shown else []
        return [task if self.rng.random() < 0.9 else None for task in kept]

    @cached_property
    def _ours(self) -> set[str]:
        return {theirs.id for theirs in self.awaited.values()}

    def take(self, news: list[News]) -> None:
        """Notes what is reported, and when."""
        for key, outcome in news:
            self.reported.setdefault(key, []).append((self.now, outcome))

    # --- what must hold at any time ------------------------------------------------------------------------------

    def check(self) -> None:
        """No awaited task is forgotten, and no more is under way than there should be."""
        watch = self.watch
        singles = {id(fetch) for _, _, fetch, _ in self.answers if isinstance(fetch, Single)}
        pages = {id(fetch) for _, _, fetch, _ in self.answers if isinstance(fetch, Sweep)}
        assert singles == watch._asking.keys()
        assert len(singles) <= self.policy.concurrency
        assert pages == watch._looks.keys()
        assert sum(look.scouting for look in watch._looks.values()) <= 1
        assert len(pages) <= PAGES_AT_ONCE + 1
        asked_for = {single.key for single, _ in watch._asking.values()}
        looks = {id(look.unseen) for look in watch._looks.values()}
        resting = set(watch._places._due_seekers)
        for key, awaited in watch._awaited.items():
            assert self._is_in_hand(key, awaited, asked_for, looks, resting), (key, awaited)

    def _is_in_hand(
        self, key: str, awaited: Awaited, asked_for: set[str], looks: set[int], resting: set[tuple[float, str]]
    ) -> bool:
        """Whether one who is idle has a time to be looked at, and a busy one is looked at or about to be."""
        if awaited.sought is not None:
            return awaited.busy and key in awaited.sought and id(awaited.sought) in looks
        if awaited.busy:
            return (key in self.watch._to_ask) != (key in asked_for)
        places = self.watch._places
        if awaited.place < 0:
            return key in places.seekers and (awaited.due, key) in resting
        stretch = places.stretches[awaited.place // STRETCH]
        return key in stretch.keys and stretch.due <= awaited.due < inf

    # --- what must hold in the end -------------------------------------------------------------------------------

    def check_news(self) -> None:
        """Every task's news: each status once, in order, and in the end its one end."""
        for key, theirs in self.awaited.items():
            stages = [STAGES[outcome.status] for _, outcome in self.reported[key] if isinstance(outcome, Task)]
            assert stages == sorted(set(stages)), (key, stages)
            assert stages[-1] == STAGES[TaskStatus.SUCCEED], (key, stages)
            assert len(stages) == len(self.reported[key]), (key, self.reported[key])
            assert self.reported[key][-1][1] == theirs.at(inf)

    @cached_property
    def _fetching(self) -> float:
        """Seconds that all the fetches may take which one look needs, with all that stand in line before it."""
        expedition = 4 + len(self.listed) // STRETCH
        in_line = ceil(2 * len(self.awaited) / self.policy.concurrency)
        return (3 + expedition + in_line) * self.climate.latency

    def bound(self, theirs: Theirs, *, learning: bool) -> float:
        """Until when its end must have been reported."""
        since, grown = max(theirs.ends, 0.0), 0.0
        if since < self.climate.calm_from:
            since, grown = self.climate.calm_from, 2 * self.policy.max_failure_wait
        # Without learning, an age below ten minutes makes no difference; and the age grows while we wait.
        age = theirs.ends + theirs.age if theirs.timed else theirs.ends
        untaught = Rhythm(self.policy.interval)
        pause = untaught.pause(age + 60.0) if not learning else LONGEST_PAUSE * self.policy.interval
        if self.climate.callbacks:
            grown += (LONGEST_PAUSE - 1) * self.policy.interval
        return since + grown + 1.05 * pause + self._fetching + 1e-6

    def check_bounds(self, *, learning: bool) -> None:
        """Every end was reported, and within its bound."""
        for key, theirs in self.awaited.items():
            at, _ = self.reported[key][-1]
            assert at <= self.bound(theirs, learning=learning), (key, theirs, at)

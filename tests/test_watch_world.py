"""A watch in any weather: faults end after a while, so that what must come in the end has its chance."""

from __future__ import annotations

from collections import Counter
from math import inf, isfinite
from random import Random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async.errors import KlingError, MalformedResponse, ServerError, TransportError
from kling_async.models import Task, TaskStatus, Video
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import Awaited
from kling_async.rules.places import STRETCH, Sweep
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Fetch, News, Single, Watch

POLICY = PollPolicy(interval=5.0, singles=4, concurrency=10, max_failure_wait=30.0)
PAGES_AT_ONCE = 4
WEATHER: list[KlingError] = [
    ServerError("busy", code=5001, http_status=503),
    TransportError("broken", sent=True),
    MalformedResponse("HTML", http_status=502),
]


@attrs.define
class World:
    """A vendor and a poller by chance: lists in any order with gaps and repeats, failures, late answers."""

    watch: Watch
    rng: Random
    ends: dict[str, float]
    calm_from: float
    now: float = 0.0
    in_flight: list[Fetch] = attrs.field(factory=list)
    reported: Counter[str] = attrs.field(factory=Counter)

    def run(self, *, until: float) -> None:
        while self.now < until:
            self.in_flight += self.watch.plan(self.now)
            self.check()
            if self.in_flight:
                self.now += self.rng.random()
                self.answer(self.in_flight.pop(self.rng.randrange(len(self.in_flight))))
                self.check()
            elif isfinite(self.watch.wake_at):
                self.now = max(self.now, self.watch.wake_at)
            else:
                return

    @property
    def stormy(self) -> bool:
        return self.now < self.calm_from and self.rng.random() < 0.4

    def answer(self, fetch: Fetch) -> None:
        if self.stormy:
            self.take(self.watch.failed(fetch, self.rng.choice(WEATHER), self.now))
        elif isinstance(fetch, Single):
            self.take(self.watch.absorb([self.record(fetch.key)], self.now, fetch=fetch))
        else:
            self.take(self.watch.absorb(self.page(fetch), self.now, fetch=fetch))

    def page(self, sweep: Sweep) -> list[Task]:
        records = [self.record(key) for key in self.ends] + [
            Task(f"foreign{n}", TaskStatus.SUCCEED, videos=(Video("v"),)) for n in range(self.rng.randrange(99))
        ]
        self.rng.shuffle(records)  # no two pages need agree on the order
        records = records[(sweep.number - 1) * sweep.size :][: sweep.size]
        if self.stormy:
            records = [record for record in records if self.rng.random() < 0.7]
            records += self.rng.choices(records, k=9) if records else []
        return records[: sweep.size]

    def record(self, key: str) -> Task:
        late = self.rng.random() * 9 if self.stormy else 0  # a stale read
        ended = self.now - late >= self.ends[key]
        own = key if key.startswith("own") and self.rng.random() < 0.8 else None
        status = TaskStatus.SUCCEED if ended else TaskStatus.PROCESSING
        return Task(vendors_id(key), status, external_task_id=own, videos=(Video("v"),) if ended else ())

    def take(self, settled: list[News]) -> None:
        self.reported.update(key for key, outcome in settled if isinstance(outcome, Task) and outcome.status.ended)

    def check(self) -> None:
        """No awaited task is forgotten: each has a time to be looked at, is queued, or is being asked for."""
        watch = self.watch
        asking = {id(fetch) for fetch in self.in_flight if isinstance(fetch, Single)}
        looking = {id(fetch) for fetch in self.in_flight if isinstance(fetch, Sweep)}
        assert asking == watch._asking.keys()
        assert len(asking) <= POLICY.concurrency
        assert looking == watch._looks.keys()
        assert sum(look.scouting for look in watch._looks.values()) <= 1
        assert len(looking) <= PAGES_AT_ONCE + 1
        for key, awaited in watch._awaited.items():
            assert self.is_in_hand(key, awaited), key

    def is_in_hand(self, key: str, awaited: Awaited) -> bool:
        """Whether a task that is idle has a time to be looked at, and a busy one is looked at or about to be."""
        watch, places = self.watch, self.watch._places
        if awaited.sought is not None:
            return key in awaited.sought and any(look.unseen is awaited.sought for look in watch._looks.values())
        if awaited.busy:
            return key in watch._to_ask or key in {single.key for single, _ in watch._asking.values()}
        if awaited.place < 0:
            return key in places.seekers and (awaited.due, key) in places._due_seekers
        stretch = places.stretches[awaited.place // STRETCH]
        return key in stretch.keys and stretch.due <= awaited.due < inf


def vendors_id(key: str) -> str:
    return f"id-of-{key}" if key.startswith("own") else key


def world(rng: Random, count: int) -> World:
    watch = Watch(POLICY, rng.random, Rhythm(POLICY.interval))
    ends = {f"{rng.choice(['own', ''])}{n}": rng.random() * 60 for n in range(count)}
    for key in ends:
        # Seen before: else an unknown id would rightly end the wait.
        watch.add(key, 0.0, last=Task(vendors_id(key), TaskStatus.SUBMITTED))
    return World(watch, rng, ends, calm_from=100.0)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 70))
def test_every_task_that_ends_is_reported_exactly_once(seed: int, count: int) -> None:
    poller = world(Random(seed), count)  # noqa: S311 - a run that can be repeated
    poller.run(until=1000.0)
    assert poller.reported == dict.fromkeys(poller.ends, 1)
    assert len(poller.watch) == 0


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_waits_that_come_and_go_leave_nothing_behind(seed: int, count: int) -> None:
    rng = Random(seed)  # noqa: S311 - a run that can be repeated
    poller = world(rng, count)
    for key in rng.choices(list(poller.ends), k=20):
        poller.run(until=poller.now + rng.random() * 6)
        poller.watch.discard(key)
        poller.check()
        if rng.random() < 0.7:
            last = rng.choice([None, poller.record(key)])
            poller.watch.add(key, poller.now, last=None if last and last.status.ended else last)
            poller.check()
    poller.calm_from = 0.0
    poller.run(until=poller.now + 200)
    assert (len(poller.watch), poller.watch._asking, poller.watch._to_ask) == (0, {}, {})

"""What watching costs: requests an interval, and turns of the poller. Time is a number, answers are counted."""

from __future__ import annotations

from collections import Counter, deque
from random import Random

import pytest
from vendor_world import Climate, Theirs, World

from kling_async.errors import ServerError
from kling_async.policies import PollPolicy
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Fetch, News, Single, Watch

INTERVAL = 5.0
POLICY = PollPolicy(interval=INTERVAL)
BUSY = ServerError("busy", code=5001, http_status=503)


def watched(count: int, *, foreign: int = 0, ends_within: float = 50.0, latency: float = 0.0) -> World:
    """So many tasks just made, newest first in the list, behind so many foreign ones."""
    rng = Random(7)  # noqa: S311 - a run that can be repeated
    ours = [Theirs(f"t{n}", 0.0, INTERVAL + rng.random() * ends_within) for n in range(count)]
    watch = Watch(POLICY, rng.random, Rhythm(INTERVAL))
    for theirs in ours:
        watch.add(theirs.id, 0.0, last=theirs.at(0.0))
    listed = [*(Theirs(f"foreign{n}", 0.0, -1.0) for n in range(foreign)), *ours]
    return World(watch, POLICY, Climate(latency=latency), rng, {theirs.id: theirs for theirs in ours}, listed)


class Unchecked(World):
    """Without a look at all tasks after each step."""

    def check(self) -> None:
        pass


def unchecked(world: World) -> World:
    return Unchecked(world.watch, world.policy, world.climate, world.rng, world.awaited, world.listed)


def by_interval(world: World) -> Counter[int]:
    return Counter(int(at / INTERVAL) for at, _ in world.fetched)


@pytest.mark.parametrize(("count", "most"), [(1, 1), (2, 1), (100, 1), (1_000, 3), (10_000, 25)])
def test_requests_an_interval_are_few_even_when_few_are_left(count: int, most: int) -> None:
    world = unchecked(watched(count))
    world.run(until=200.0)
    world.check_news()
    assert max(by_interval(world).values()) <= most
    # And nothing is saved by looking too rarely.
    assert max(world.reported[key][-1][0] - theirs.ends for key, theirs in world.awaited.items()) <= 1.05 * INTERVAL


@pytest.mark.parametrize(("count", "learnt_after"), [(100, 4), (1_000, 2)])
def test_behind_thousands_of_foreign_tasks_it_learns_how_deep_ours_stand(count: int, learnt_after: int) -> None:
    world = unchecked(watched(count, foreign=3_000, ends_within=100.0))
    world.run(until=(learnt_after + 1) * INTERVAL)
    begun = len(world.fetched)
    world.run(until=300.0)
    world.check_news()
    pages = [fetch for _, fetch in world.fetched[begun:] if not isinstance(fetch, Single)]
    assert pages
    assert all(page.behind > 3_000 for page in pages), pages
    later = {number: fetches for number, fetches in by_interval(world).items() if number > learnt_after}
    assert max(later.values()) <= 1 + count // 400


def test_when_the_list_shows_none_of_ours_each_costs_a_query_and_pages_become_rare() -> None:
    world = unchecked(watched(100, ends_within=1000.0))
    world.listed = []
    world.run(until=600.0)
    pages = sum(not isinstance(fetch, Single) for _, fetch in world.fetched)
    assert pages <= 8
    assert max(by_interval(world).values()) <= 101


# --- turns of the poller ---------------------------------------------------------------------------------------------


class Turns:
    """Drives a watch exactly as the poller does, and counts its plans; each fetch takes `latency` seconds."""

    def __init__(self, watch: Watch, listed: list[Theirs], *, latency: float, fails: bool = False) -> None:
        self.watch = watch
        self.listed = listed
        self.by_id = {theirs.id: theirs for theirs in listed}
        self.latency = latency
        self.fails = fails
        self.in_vain = Counter[int]()  # plans that nothing came of and no answer called for, by interval

    def run(self, *, until: float) -> None:
        now, under_way, answered = 0.0, deque[tuple[float, Fetch]](), False
        while now < until:
            fetches = self.watch.plan(now)
            if not fetches and not answered:
                self.in_vain[int(now / INTERVAL)] += 1
                assert self.in_vain.total() < 10_000
            under_way += [(now + self.latency, fetch) for fetch in fetches]
            wake = self.watch.wake_at
            if answered := bool(under_way and under_way[0][0] <= max(wake, now)):
                now, fetch = under_way.popleft()
                self._answer(fetch, now)
            else:
                now = max(now, min(wake, until))

    def _answer(self, fetch: Fetch, now: float) -> list[News]:
        if self.fails:
            return self.watch.failed(fetch, BUSY, now)
        if isinstance(fetch, Single):
            return self.watch.absorb([self.by_id[fetch.key].at(now)], now, fetch=fetch)
        tasks = [theirs.at(now) for theirs in self.listed[fetch.first : fetch.behind]]
        return self.watch.absorb(tasks, now, fetch=fetch)


def turning(count: int, *, latency: float, fails: bool = False, hidden: bool = False, spread: float = 0.0) -> Turns:
    rng = Random(7)  # noqa: S311 - a run that can be repeated
    tasks = [Theirs(f"t{n}", 0.0, 1e9) for n in range(count)]
    watch = Watch(POLICY, rng.random, Rhythm(INTERVAL))
    for theirs in tasks:
        watch.add(theirs.id, rng.random() * spread, last=theirs.at(0.0))
    turns = Turns(watch, [] if hidden else tasks, latency=latency, fails=fails)
    turns.by_id = {theirs.id: theirs for theirs in tasks}
    return turns


@pytest.mark.parametrize("fails", [False, True], ids=["calm", "an outage"])
@pytest.mark.parametrize("latency", [0.0, 0.3, 7.0, 100.0])
@pytest.mark.parametrize("count", [1, 2, 100, 5_000])
def test_the_poller_hardly_ever_turns_in_vain(count: int, latency: float, fails: bool) -> None:
    turns = turning(count, latency=latency, fails=fails, spread=INTERVAL)
    turns.run(until=60.0)
    assert max(turns.in_vain.values(), default=0) <= 1 + count // 500


@pytest.mark.parametrize("latency", [0.3, 7.0])
@pytest.mark.parametrize("count", [2, 100, 2_000])
def test_nor_does_it_turn_in_vain_while_all_single_queries_are_under_way(count: int, latency: float) -> None:
    turns = turning(count, latency=latency, hidden=True)
    turns.run(until=60.0)
    assert len(turns.watch) == count
    assert max(turns.in_vain.values(), default=0) <= 1


def test_a_watch_that_never_sleeps_is_noticed() -> None:
    # Control of the two above.
    class NeverSleeps(Watch):
        @property
        def wake_at(self) -> float:
            return 0.0

    turns = turning(2, latency=0.3)
    turns.watch.__class__ = NeverSleeps
    with pytest.raises(AssertionError):
        turns.run(until=60.0)

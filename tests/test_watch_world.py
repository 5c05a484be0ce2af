"""A watch in any world: whatever ends is reported, once and in time. Storms end after a while."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vendor_world import Climate, Theirs, World

from kling_async.models import Task
from kling_async.policies import PollPolicy
from kling_async.rules import awaited as awaited_rules
from kling_async.rules.awaited import Awaited
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Watch, _Look, _Visit

ORDERS = st.sampled_from(["newest", "oldest", "any"])
POLICIES = st.builds(
    PollPolicy, interval=st.just(5.0), singles=st.sampled_from([0, 1, 4]), concurrency=st.sampled_from([1, 3, 10])
)
CALM = st.builds(Climate, order=ORDERS, drift=st.sampled_from([0.0, 0.5, 20.0]), others=st.sampled_from([0, 1, 9]))
STORMY = st.builds(
    Climate,
    calm_from=st.sampled_from([0.0, 100.0]),
    latency=st.sampled_from([0.0, 1.0, 7.0]),
    order=ORDERS,
    drift=st.sampled_from([0.0, 0.5, 20.0]),
    others=st.sampled_from([0, 1, 9]),
    callbacks=st.sampled_from([0.0, 0.1, 0.9]),
)


def some(rng: Random, count: int, *, learning: bool) -> dict[str, Theirs]:
    """So many tasks of any age, awaited by the vendor's id, the caller's or both."""
    awaited: dict[str, Theirs] = {}
    for n in range(count):
        begins = rng.uniform(-5, 20)
        theirs = Theirs(
            f"t{n}",
            begins,
            begins + rng.random() * 60,
            age=rng.choice([0.0, 30.0, 300.0, 3_000.0, 30_000.0]),
            own=rng.choice([None, f"own{n}"]),
            hidden=rng.random() < 0.1,
            timed=learning,
            fails=rng.random() < 0.2,
        )
        keys = [theirs.id] if theirs.own is None else rng.choice([[theirs.id], [theirs.own], [theirs.id, theirs.own]])
        awaited |= dict.fromkeys(keys, theirs)
    return awaited


def begun(
    policy: PollPolicy, climate: Climate, seed: int, count: int, *, kind: type[Watch] = Watch, learning: bool = False
) -> World:
    """A world in which so many tasks are awaited from nought seconds on."""
    rng = Random(seed)  # noqa: S311 - a run that can be repeated
    watch = kind(policy, rng.random, Rhythm(policy.interval))
    world = World.of(watch, policy, climate, rng, some(rng, count, learning=learning))
    for key, theirs in world.awaited.items():
        # In a storm only what was seen before: else a strange answer may rightly end the wait.
        last = theirs.at(-99.0) if climate.calm_from or rng.random() < 0.5 else None
        world.take(watch.add(key, 0.0, last=last))
    return world


def judged(world: World, *, learning: bool = False) -> None:
    world.run(until=2000.0)
    world.check_news()
    world.check_bounds(learning=learning)
    assert len(world.watch) == 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), policy=POLICIES, climate=CALM)
def test_with_answers_at_once_every_end_is_reported_within_a_pause(
    seed: int, count: int, policy: PollPolicy, climate: Climate
) -> None:
    judged(begun(policy, climate, seed, count))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), policy=POLICIES, climate=STORMY, learning=st.booleans())
def test_in_any_weather_every_end_is_reported_once_and_in_time(
    seed: int, count: int, policy: PollPolicy, climate: Climate, learning: bool
) -> None:
    judged(begun(policy, climate, seed, count, learning=learning), learning=learning)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), climate=STORMY)
def test_waits_that_come_and_go_leave_nothing_behind(seed: int, count: int, climate: Climate) -> None:
    world = begun(PollPolicy(interval=5.0, concurrency=3), climate, seed, count)
    rng = world.rng
    for key in rng.choices(list(world.awaited), k=20):
        world.run(until=world.now + rng.random() * 6)
        world.watch.discard(key)
        world.check()
        if rng.random() < 0.7:
            last = rng.choice([None, world.awaited[key].at(world.now)])
            world.watch.add(key, world.now, last=None if last and last.status.ended else last)
            world.check()
    world.run(until=2000.0)
    assert (len(world.watch), world.watch._to_ask, world.watch._places.stretches) == (0, {}, {})
    assert (world.watch._places.seekers, world.watch._places._due_seekers) == (set(), [])


# --- controls: a watch that forgets, or believes what is older, is found ---------------------------------------------


class ForgetsThoseUnseen(Watch):
    """What a page did not show is taken for looked at."""

    def _read(self, look: _Look, now: float, seekers: int, *, full: bool) -> None:
        look.unseen.clear()
        super()._read(look, now, seekers, full=full)


class LeavesThemBusy(Watch):
    """What a page did not show is asked for by nobody."""

    def _queue(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._awaited[key].busy = True


class LooksTooLate(Watch):
    """Each look is half an interval late."""

    def _rest(self, key: str, awaited: Awaited, visit: _Visit) -> None:
        super()._rest(key, awaited, visit)
        self._places.rest(key, awaited.due + 2.5)


class NeverSleeps(Watch):
    """Wakes before there is anything to do."""

    @property
    def wake_at(self) -> float:
        return 0.0


def _caught(kind: type[Watch]) -> bool:
    """Whether the properties above fail for such a watch."""
    for seed in range(12):
        climate = Climate(order="any" if seed % 2 else "newest", drift=20.0, others=9)
        try:
            judged(begun(PollPolicy(interval=5.0), climate, seed, 40, kind=kind))
        except (AssertionError, KeyError):
            return True
    return False


@pytest.mark.parametrize("kind", [ForgetsThoseUnseen, LeavesThemBusy, LooksTooLate, NeverSleeps])
def test_broken_watch_is_caught(kind: type[Watch]) -> None:
    assert _caught(kind)


def test_sound_watch_is_not() -> None:
    assert not _caught(Watch)


def test_states_that_fall_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def latest(one: Task | None, other: Task) -> Task:
        return other

    def caught() -> bool:
        try:
            for seed in range(10):
                judged(begun(PollPolicy(interval=5.0), Climate(calm_from=100.0), seed, 40))
        except AssertionError:
            return True
        return False

    assert not caught()
    monkeypatch.setattr(awaited_rules, "later", latest)
    assert caught()

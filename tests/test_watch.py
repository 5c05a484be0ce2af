from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil, inf, isfinite

import attrs
import pytest

from kling_async.errors import (
    AccountError,
    AuthenticationError,
    InvalidRequest,
    KlingError,
    MalformedResponse,
    NotFound,
    ServerError,
    TransportError,
)
from kling_async.models import Task, TaskStatus, Video
from kling_async.policies import PollPolicy
from kling_async.rules.places import Sweep
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Fetch, News, Single, Watch

POLICY = PollPolicy(interval=5.0, singles=4, concurrency=10, max_failure_wait=30.0)
BUSY = ServerError("busy", code=5001, http_status=503)
UNKNOWN_ID = NotFound("Task not found", code=1201, http_status=400)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def task(
    id: object, status: TaskStatus = TaskStatus.PROCESSING, *, at: int | None = None, own: str | None = None
) -> Task:
    updated = None if at is None else EPOCH + timedelta(seconds=at)
    films = (Video("v"),) if status is TaskStatus.SUCCEED else ()
    return Task(id=str(id), status=status, external_task_id=own, updated_at=updated, videos=films)


def done(id: object, *, at: int | None = None) -> Task:
    return task(id, TaskStatus.SUCCEED, at=at)


def fresh(policy: PollPolicy = POLICY, *, draw: float = 0.0) -> Watch:
    """A watch without chance that has learnt nothing yet."""
    return Watch(policy, lambda: draw, Rhythm(policy.interval))


def watch_of(*ids: object, seen: bool = True, policy: PollPolicy = POLICY) -> Watch:
    watch = fresh(policy)
    for key in ids:
        watch.add(str(key), 0.0, last=task(key) if seen else None)
    return watch


# When to look.


def test_a_task_just_seen_is_due_in_an_interval() -> None:
    watch = watch_of(1)
    assert (watch.plan(0.0), watch.wake_at, watch.plan(4.9)) == ([], 5.0, [])
    assert watch.plan(5.0) == [Single("1")]


def test_a_bare_id_is_due_at_once() -> None:
    assert watch_of(1, seen=False).plan(0.0) == [Single("1")]


def test_nobody_awaited_is_never_due() -> None:
    watch = fresh()
    assert (watch.wake_at, watch.plan(1e9), len(watch)) == (inf, [], 0)


def seen_on_a_page(*ids: object, policy: PollPolicy = POLICY, at: float = 0.0) -> Watch:
    """A watch that has been shown these at the head of the list, one behind the other."""
    watch = watch_of(*ids, policy=policy)
    watch.absorb([task(key) for key in ids], at, fetch=Sweep(1, 50))
    return watch


def test_what_falls_due_soon_is_looked_at_together() -> None:
    watch = seen_on_a_page(1, 2, 3)
    watch.absorb([task(2)], 2.5)
    watch.absorb([task(3)], 2.6)
    assert set(watch.plan(5.0)) == {Single("1"), Single("2")}


def test_a_task_in_flight_is_not_asked_for_again() -> None:
    watch = watch_of(1)
    watch.plan(5.0)
    assert watch.plan(500.0) == []


def test_a_second_wait_for_a_task_changes_nothing() -> None:
    watch = watch_of(1)
    watch.add("1", 3.0, last=None)
    watch.add("1", 4.0, last=task(1, TaskStatus.SUBMITTED))
    assert (len(watch), watch.wake_at) == (1, 5.0)


@pytest.mark.parametrize(("answered", "due"), [(5.0, 10.0), (6.0, 10.0), (7.5, 10.0), (8.0, 10.5), (60.0, 62.5)])
def test_the_next_look_is_an_interval_behind_the_last_and_half_of_one_behind_its_answer(
    answered: float, due: float
) -> None:
    watch = watch_of(1)
    [fetch] = watch.plan(5.0)
    assert watch.absorb([task(1)], answered, fetch=fetch) == []
    assert watch.wake_at == due


# How to look.


def test_a_few_are_asked_for_one_by_one() -> None:
    assert watch_of(1, 2, 3, 4).plan(5.0) == [Single("1"), Single("2"), Single("3"), Single("4")]


@pytest.mark.parametrize(("count", "size"), [(5, 50), (25, 50), (26, 100), (100, 200), (250, 500), (2000, 500)])
def test_many_are_looked_for_in_the_list_by_pages_that_fit(count: int, size: int) -> None:
    assert watch_of(*range(count)).plan(5.0) == [Sweep(1, size)]


def test_the_next_page_is_asked_for_when_a_full_one_did_not_show_all() -> None:
    watch = watch_of(*range(30))
    [sweep] = watch.plan(5.0)
    watch.absorb([task(f"foreign{n}") for n in range(100)], 5.0, fetch=sweep)
    assert watch.plan(5.0) == [Sweep(1, 500)]  # of another size, so that it takes more in
    watch = watch_of(*range(300))
    [sweep] = watch.plan(5.0)
    watch.absorb([task(f"foreign{n}") for n in range(500)], 5.0, fetch=sweep)
    assert watch.plan(5.0) == [Sweep(2, 500)]


def test_what_a_short_page_did_not_show_is_asked_for_singly() -> None:
    watch = watch_of(*range(6))
    [sweep] = watch.plan(5.0)
    watch.absorb([task(n) for n in range(4)], 5.0, fetch=sweep)
    assert set(watch.plan(5.0)) == {Single("4"), Single("5")}


def test_a_few_that_are_left_are_asked_for_singly_instead_of_by_a_page() -> None:
    watch = watch_of(*range(30))
    [sweep] = watch.plan(5.0)
    watch.absorb([task(n) for n in range(26)] + [task(f"f{n}") for n in range(74)], 5.0, fetch=sweep)
    assert set(watch.plan(5.0)) == {Single(str(n)) for n in range(26, 30)}


def test_pages_in_vain_are_bounded_by_how_many_are_looked_for() -> None:
    watch = watch_of(*range(600))
    sweeps: list[Fetch] = []
    while isinstance((fetch := watch.plan(5.0)[0]), Sweep):
        sweeps.append(fetch)
        watch.absorb([task(f"f{n}") for n in range(500)], 5.0, fetch=fetch)
    assert sweeps == [Sweep(number, 500) for number in range(1, 9)]


def test_single_queries_are_bounded() -> None:
    watch = watch_of(*range(30))
    [sweep] = watch.plan(5.0)
    watch.absorb([], 5.0, fetch=sweep)
    first = watch.plan(5.0)
    assert (len(first), watch.plan(5.0)) == (10, [])
    watch.absorb([task(first[0].key)], 5.0, fetch=first[0])  # type: ignore[union-attr]
    assert len(watch.plan(5.0)) == 1


def test_while_a_sweep_is_under_way_only_its_answer_stirs() -> None:
    watch = watch_of(*range(6))
    [sweep] = watch.plan(5.0)
    watch.add("late", 5.0)
    assert (watch.wake_at, watch.plan(6.0)) == (inf, [])
    watch.absorb([task(n) for n in range(6)], 7.0, fetch=sweep)
    assert watch.plan(7.0) == [Single("late")]


def test_no_single_queries_by_policy_means_sweeps_alone() -> None:
    assert watch_of(1, policy=PollPolicy(singles=0)).plan(5.0) == [Sweep(1, 50)]


# What an answer settles.


@pytest.mark.parametrize("before", [None, TaskStatus.SUBMITTED])
@pytest.mark.parametrize("status", [TaskStatus.PROCESSING, TaskStatus.UNKNOWN])
def test_another_status_than_before_is_news(status: TaskStatus, before: TaskStatus | None) -> None:
    watch = fresh()
    watch.add("1", 0.0, last=before and task(1, before))
    assert watch.absorb([task(1, status)], 1.0) == [("1", task(1, status))]
    assert len(watch) == 1


def test_the_same_status_again_is_not() -> None:
    watch = watch_of(1)
    assert watch.absorb([task(1, at=5)], 1.0) == []
    assert watch.last("1") == task(1, at=5)


def test_nor_is_an_earlier_one() -> None:
    assert watch_of(1).absorb([task(1, TaskStatus.SUBMITTED)], 1.0) == []


def test_nor_is_an_end_before_it_is_believed() -> None:
    bare = attrs.evolve(done(1), videos=())
    assert watch_of(1).absorb([bare], 1.0) == []


def test_what_a_second_wait_knows_of_is_news_to_the_first() -> None:
    watch = watch_of(1, seen=False)
    assert watch.add("1", 1.0, last=task(1)) == [("1", task(1))]
    assert (watch.add("1", 2.0, last=task(1, TaskStatus.SUBMITTED)), watch.last("1")) == ([], task(1))
    assert watch.add("1", 2.0, last=None) == []


def test_an_ended_task_is_settled() -> None:
    watch = watch_of(1)
    [fetch] = watch.plan(5.0)
    assert watch.absorb([done(1)], 5.0, fetch=fetch) == [("1", done(1))]
    assert len(watch) == 0


@pytest.mark.parametrize("status", [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.UNKNOWN])
def test_others_are_not(status: TaskStatus) -> None:
    watch = watch_of(1)
    assert all(seen == task(1, status) for _, seen in watch.absorb([task(1, status)], 1.0))
    assert len(watch) == 1


def test_a_failed_task_is_settled_as_it_is() -> None:
    failed = task(1, TaskStatus.FAILED)
    assert watch_of(1).absorb([failed], 1.0) == [("1", failed)]


def test_a_task_seen_twice_on_a_page_is_settled_once() -> None:
    assert watch_of(1).absorb([done(1), done(1), task(1)], 1.0) == [("1", done(1))]


def test_a_task_awaited_by_both_ids_is_settled_for_both() -> None:
    watch = watch_of("1", "mine", seen=False)
    ended = attrs.evolve(done(1), external_task_id="mine")
    assert sorted(watch.absorb([ended], 1.0)) == [("1", ended), ("mine", ended)]


def test_foreign_tasks_settle_nothing() -> None:
    assert watch_of(1).absorb([done(2), done(3)], 1.0) == []


def test_a_task_seen_elsewhere_counts() -> None:
    watch = watch_of(1)
    watch.absorb([task(1)], 3.0)
    assert watch.wake_at == 5.0  # too early by then, and harmless
    assert (watch.plan(5.0), watch.wake_at) == ([], 8.0)


def queued() -> tuple[Watch, Fetch]:
    """A watch that asks for ten tasks singly, with twenty more in the queue; and one of its queries."""
    watch = watch_of(*range(30))
    [sweep] = watch.plan(5.0)
    watch.absorb([], 5.0, fetch=sweep)
    first, *others = watch.plan(5.0)
    assert len(others) == 9
    return watch, first


def test_a_queued_task_seen_elsewhere_need_not_be_asked_for_any_more() -> None:
    watch, fetch = queued()
    watch.absorb([task(n) for n in range(30)], 5.0)
    watch.failed(fetch, BUSY, 5.0)
    assert watch.plan(5.0) == []


def test_a_queued_task_that_nobody_awaits_any_more_is_not_asked_for() -> None:
    watch, fetch = queued()
    for n in range(30):
        watch.discard(str(n))
    watch.failed(fetch, BUSY, 5.0)
    assert watch.plan(5.0) == []


def test_other_queued_tasks_are_asked_for_when_a_query_is_over() -> None:
    # Control of the two above.
    watch, fetch = queued()
    watch.failed(fetch, BUSY, 5.0)
    assert len(watch.plan(5.0)) == 1


def test_a_task_seen_elsewhere_while_asked_for_waits_for_its_answer() -> None:
    watch = watch_of(1)
    [fetch] = watch.plan(5.0)
    watch.absorb([task(1)], 5.0)
    assert watch.plan(50.0) == []
    watch.absorb([task(1)], 50.0, fetch=fetch)
    assert watch.wake_at == 52.5


def test_an_answer_that_does_not_repeat_the_callers_id_is_about_it_all_the_same() -> None:
    watch = watch_of("mine", seen=False)
    [fetch] = watch.plan(0.0)
    assert watch.absorb([done(829)], 0.0, fetch=fetch) == [("mine", done(829))]


def test_an_answer_about_another_task_is_not_ours() -> None:
    watch = watch_of("1")
    [fetch] = watch.plan(5.0)
    assert watch.absorb([done(2)], 5.0, fetch=fetch) == []
    watch = watch_of("mine", seen=False)
    [fetch] = watch.plan(0.0)
    assert watch.absorb([task(2, TaskStatus.SUCCEED, own="theirs")], 0.0, fetch=fetch) == []


# Which of two looks is the later.

BEFORE_AND_AFTER = [
    (task(1, at=5), task(1, at=6), "after"),
    (task(1, at=6), task(1, at=5), "before"),
    (task(1, at=5), task(1, at=5), "after"),
    (task(1), task(1, at=5), "after"),
    (task(1, at=5), task(1), "after"),
    (task(1, TaskStatus.SUBMITTED, at=6), task(1, at=5), "after"),
    (task(1, at=5), task(1, TaskStatus.SUBMITTED, at=6), "before"),
    (task(1, at=5), task(1, TaskStatus.UNKNOWN, at=6), "after"),
    (task(1, TaskStatus.UNKNOWN, at=5), task(1, at=6), "after"),
    (task(1, TaskStatus.UNKNOWN, at=5), task(1, TaskStatus.SUBMITTED, at=6), "before"),
]


@pytest.mark.parametrize(("before", "after", "kept"), BEFORE_AND_AFTER)
def test_no_look_leads_back(before: Task, after: Task, kept: str) -> None:
    watch = fresh()
    watch.add("1", 0.0, last=before)
    watch.absorb([after], 1.0)
    assert watch.last("1") is (after if kept == "after" else before)


def test_an_end_is_believed_whatever_its_time() -> None:
    watch = fresh()
    watch.add("1", 0.0, last=task(1, at=6))
    assert watch.absorb([done(1, at=5)], 1.0) == [("1", done(1, at=5))]


@pytest.mark.parametrize("status", TaskStatus)
def test_an_end_is_never_left(status: TaskStatus) -> None:
    watch = fresh()
    watch.add("1", 0.0, last=done(1, at=5))
    watch.add("1", 1.0, last=task(1, status, at=9))
    assert watch.absorb([task(1, status, at=10)], 1.0) == [("1", done(1, at=5))]


def test_the_last_look_at_nobody() -> None:
    assert watch_of(1).last("2") is None


# Trouble.


@pytest.mark.parametrize("fails", [1, 2, 3, 4, 9])
def test_pauses_grow_while_queries_fail(fails: int) -> None:
    watch, now, waits = watch_of(1), 5.0, []
    for _ in range(fails):
        [fetch] = watch.plan(now)
        assert watch.failed(fetch, BUSY, now) == []
        waits.append(watch.wake_at - now)
        now = watch.wake_at
    assert waits == ([5, 10, 20, 30] + [30] * 5)[:fails]


def test_one_good_answer_ends_the_growth() -> None:
    watch = watch_of(1)
    for now in (5.0, 10.0):
        watch.failed(watch.plan(now)[0], BUSY, now)
    watch.absorb([task(1)], 20.0, fetch=watch.plan(20.0)[0])
    watch.failed(watch.plan(25.0)[0], BUSY, 25.0)
    assert watch.wake_at == 30.0


def test_a_long_interval_is_not_shortened_by_trouble() -> None:
    watch = watch_of(1, policy=PollPolicy(interval=120.0))
    watch.failed(watch.plan(120.0)[0], BUSY, 120.0)
    assert watch.wake_at == 240.0


def test_a_failed_sweep_rests_all_that_it_was_for() -> None:
    watch = watch_of(*range(6))
    assert watch.failed(watch.plan(5.0)[0], BUSY, 6.0) == []
    assert (watch.wake_at, watch.plan(10.9)) == (11.0, [])
    assert watch.plan(11.0) == [Sweep(1, 50)]


WEATHER: list[KlingError] = [
    BUSY,
    TransportError("broken", sent=True),
    MalformedResponse("HTML", http_status=502),
]
FOR_GOOD: list[KlingError] = [
    AuthenticationError("no", code=1002, http_status=401),
    AccountError("no", code=1103, http_status=403),
    InvalidRequest("no", code=1200, http_status=400),
    TransportError("bad certificate", sent=False, worth_retrying=False),
]
FOR_THE_UNSEEN: list[KlingError] = [
    UNKNOWN_ID,
    NotFound("no", code=1203, http_status=404),
    MalformedResponse("redirect", http_status=302, worth_retrying=False),
]


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("error", WEATHER, ids=repr)
def test_weather_ends_no_wait(error: KlingError, count: int) -> None:
    watch = watch_of(*range(count), seen=False)
    assert watch.failed(watch.plan(5.0)[0], error, 5.0) == []
    assert len(watch) == count


def told(news: News) -> tuple[str, type, str, str | None, str]:
    """The error in the news: its kind, its words, and what it says of the task."""
    key, error = news
    assert isinstance(error, KlingError)
    return key, type(error), error.message, error.task_id, error.created


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("error", FOR_GOOD, ids=repr)
def test_a_refusal_for_good_ends_every_wait_that_it_was_for(error: KlingError, count: int) -> None:
    watch = watch_of(*range(count))
    settled = watch.failed(watch.plan(5.0)[0], error, 5.0)
    assert sorted(map(told, settled)) == [(str(n), type(error), error.message, str(n), "yes") for n in range(count)]
    assert (len(watch), watch.plan(1e6)) == (0, [])


@pytest.mark.parametrize("error", FOR_THE_UNSEEN, ids=repr)
def test_what_is_no_record_ends_the_wait_for_an_id_never_seen(error: KlingError) -> None:
    watch = watch_of(1, seen=False)
    [news] = watch.failed(watch.plan(5.0)[0], error, 5.0)
    created = "no" if isinstance(error, NotFound) else "unknown"
    assert told(news)[:4] == ("1", type(error), error.message, None)
    assert told(news)[4] == created


@pytest.mark.parametrize("error", FOR_THE_UNSEEN, ids=repr)
def test_but_is_weather_for_a_task_that_was_seen(error: KlingError) -> None:
    watch = watch_of(1)
    assert watch.failed(watch.plan(5.0)[0], error, 5.0) == []
    assert watch.wake_at == 10.0


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_list_that_is_not_there_says_nothing_of_its_tasks(known: bool, seen: bool) -> None:
    watch = seen_on_a_page(*range(6)) if known else watch_of(*range(6), seen=seen)
    [page] = watch.plan(5.0)
    assert watch.failed(page, FOR_THE_UNSEEN[1], 5.0) == []
    assert set(watch.plan(5.0)) == {Single(str(n)) for n in range(6)}


# Callbacks.

STANDS = pytest.mark.parametrize("stands", [True, False], ids=["of known place", "of unknown place"])


def watch_of_one(now: float, *, stands: bool) -> Watch:
    """A watch of a task that was just looked at, on a page or by itself."""
    watch = watch_of(1, seen=False)
    [fetch] = watch.plan(now)
    watch.absorb([task(1)], now, fetch=fetch)
    if stands:
        watch.absorb([task(1)], now, fetch=Sweep(1, 50))
    return watch


@STANDS
def test_an_interval_from_a_callback_on_nobody_is_looked_at(stands: bool) -> None:
    watch = watch_of_one(0.0, stands=stands)
    watch.heard(4.0)
    assert (watch.wake_at, watch.plan(8.9), watch.plan(9.0)) == (9.0, [], [Single("1")])


@STANDS
def test_while_they_come_looks_are_six_intervals_apart_at_most(stands: bool) -> None:
    watch = watch_of_one(0.0, stands=stands)
    for now in range(100):
        watch.heard(float(now))
        if watch.plan(float(now)):
            break
    assert now == 30


@STANDS
def test_a_callback_does_not_put_off_what_is_due_later(stands: bool) -> None:
    watch = watch_of_one(10.0, stands=stands)
    watch.heard(2.0)
    assert watch.wake_at == 15.0


def test_an_id_never_seen_is_looked_at_all_the_same() -> None:
    watch = fresh()
    watch.heard(0.0)
    watch.add("1", 1.0)
    assert watch.wake_at <= 1.0
    assert watch.plan(1.0) == [Single("1")]


# Given up.


def test_what_is_discarded_is_not_asked_for() -> None:
    watch = watch_of(1)
    watch.discard("1")
    watch.discard("never awaited")
    assert (watch.plan(5.0), watch.wake_at) == ([], inf)


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("count", [1, 6])
def test_an_answer_for_what_was_discarded_changes_nothing(count: int, fails: bool) -> None:
    watch = watch_of(*range(count))
    fetches = watch.plan(5.0)
    for n in range(count):
        watch.discard(str(n))
    [fetch] = fetches
    answer = watch.failed(fetch, FOR_GOOD[0], 5.0) if fails else watch.absorb([done(0)], 5.0, fetch=fetch)
    assert (answer, watch.plan(5.0), repr(watch)) == ([], [], "<Watch 0 awaited, 0 asked for singly>")


def test_a_full_page_for_what_was_discarded_is_the_last() -> None:
    watch = watch_of(*range(6))
    [sweep] = watch.plan(5.0)
    for n in range(6):
        watch.discard(str(n))
    watch.absorb([task(f"f{n}") for n in range(50)], 5.0, fetch=sweep)
    assert watch.plan(5.0) == []
    assert watch.wake_at == inf


def test_the_answer_of_a_sweep_that_is_over_is_only_read() -> None:
    watch = watch_of(*range(6))
    [sweep] = watch.plan(5.0)
    watch.failed(sweep, BUSY, 5.0)
    assert watch.absorb([done(0)], 6.0, fetch=sweep) == [("0", done(0))]
    assert watch.failed(sweep, FOR_GOOD[0], 6.0) == []


def test_repr_shows_what_is_under_way() -> None:
    watch = watch_of(*range(6))
    watch.plan(5.0)
    assert repr(watch) == "<Watch 6 awaited, 0 asked for singly, reading page 1>"


@pytest.mark.parametrize("count", [1, 4, 5, 60, 500, 1200])
def test_the_number_of_fetches_an_interval_is_bounded(count: int) -> None:
    watch = watch_of(*range(count))
    listed = [task(n) for n in range(count)]
    fetches, now = 0, 0.0
    while now <= 100.0:
        for fetch in watch.plan(now):
            fetches += 1
            found = (
                listed[(fetch.number - 1) * fetch.size :][: fetch.size]
                if isinstance(fetch, Sweep)
                else [task(fetch.key)]
            )
            watch.absorb(found, now, fetch=fetch)
        now = min(now + 0.5, max(now, watch.wake_at)) if isfinite(watch.wake_at) else now
    pages = count if count <= POLICY.singles else ceil(count / 500)
    assert fetches == 20 * pages


def test_even_a_list_that_shows_none_of_ours_costs_no_more_than_a_query_each() -> None:
    watch = watch_of(*range(100))
    fetches, now = 0, 5.0
    while now < 10.0:
        for fetch in watch.plan(now):
            fetches += 1
            watch.absorb([task(fetch.key)] if isinstance(fetch, Single) else [], now, fetch=fetch)
        now += 0.05
    assert fetches == 1 + 100


# Places known from earlier looks.


def test_a_task_that_was_pushed_off_its_page_is_looked_for_behind_it() -> None:
    watch = seen_on_a_page(*range(6))
    [page] = watch.plan(5.0)
    watch.absorb([task(f"f{n}") for n in range(50)], 5.0, fetch=page)
    assert (page, watch.plan(5.0)) == (Sweep(1, 50), [Sweep(2, 50)])


def test_a_task_that_is_not_there_either_is_asked_for_singly() -> None:
    watch = seen_on_a_page(*range(6))
    for _ in range(2):
        [page] = watch.plan(5.0)
        watch.absorb([task(f"f{n}") for n in range(50)], 5.0, fetch=page)
    assert set(watch.plan(5.0)) == {Single(str(n)) for n in range(6)}


def test_behind_the_last_page_that_is_served_nobody_is_looked_for() -> None:
    watch = watch_of(*range(6))
    watch.absorb([task(n) for n in range(6)], 0.0, fetch=Sweep(1000, 500))
    [page] = watch.plan(5.0)
    watch.absorb([task(f"f{n}") for n in range(500)], 5.0, fetch=page)
    assert (page, set(watch.plan(5.0))) == (Sweep(1000, 500), {Single(str(n)) for n in range(6)})

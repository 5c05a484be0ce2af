"""When and how awaited tasks are looked at, and what an answer settles. No test waits: `now` is a number."""

from __future__ import annotations

from math import ceil, inf, isfinite

import attrs
import pytest
from watched import BUSY, POLICY, done, fresh, seen_on_a_page, task, watch_of

from kling_async.models import Task, TaskStatus
from kling_async.policies import PollPolicy
from kling_async.rules.places import Sweep
from kling_async.rules.watch import Fetch, Single, Watch

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
    watch.add("1", 0.0, last=None if before is None else task(1, before))
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


def test_repr_shows_what_is_under_way() -> None:
    watch = watch_of(*range(6))
    watch.plan(5.0)
    assert repr(watch) == "<Watch 6 awaited, 0 asked for singly, reading page 1>"


# What it costs.


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

"""What failures do to a watch, callbacks, and waits that are given up. No test waits: `now` is a number."""

from __future__ import annotations

from math import inf

import pytest
from watched import BUSY, done, fresh, seen_on_a_page, task, watch_of

from kling_async.errors import (
    AccountError,
    AuthenticationError,
    InvalidRequest,
    KlingError,
    MalformedResponse,
    NotFound,
    TransportError,
)
from kling_async.policies import PollPolicy
from kling_async.rules.places import Sweep
from kling_async.rules.watch import News, Single, Watch

UNKNOWN_ID = NotFound("Task not found", code=1201, http_status=400)

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


REFUSED = [(1, error) for error in FOR_GOOD] + [(6, error) for error in FOR_GOOD if type(error) is not InvalidRequest]


@pytest.mark.parametrize(("count", "error"), REFUSED, ids=repr)
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


@pytest.mark.parametrize("error", [FOR_THE_UNSEEN[1], InvalidRequest("pageSize", code=1201, http_status=400)], ids=repr)
@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_list_that_is_not_there_says_nothing_of_its_tasks(known: bool, seen: bool, error: KlingError) -> None:
    watch = seen_on_a_page(*range(6)) if known else watch_of(*range(6), seen=seen)
    [page] = watch.plan(5.0)
    assert watch.failed(page, error, 5.0) == []
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

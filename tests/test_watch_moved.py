"""Tasks that newer ones have pushed far down the list while it was read rarely: pages look for many, not queries."""

from __future__ import annotations

import pytest

from kling_async import PollPolicy, Task, TaskStatus
from kling_async.rules.places import Sweep
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Single, Watch


def tasks(*numbers: int) -> list[Task]:
    return [Task(str(number), TaskStatus.PROCESSING) for number in numbers]


def placed(count: int) -> Watch:
    """A watch of so many tasks whose places at the head are known."""
    policy = PollPolicy()
    watch = Watch(policy, lambda: 0.0, Rhythm(policy.interval))
    for task in tasks(*range(count)):
        watch.add(task.id, 0.0, last=task)
    [sweep] = watch.plan(5.0)
    watch.absorb(tasks(*range(count)), 5.0, fetch=sweep)
    return watch


def pushed_on(watch: Watch, *, pages: int) -> None:
    """So many pages show strangers alone, as many as they can."""
    for page in range(1, pages + 1):
        [sweep] = watch.plan(10.0)
        assert isinstance(sweep, Sweep)
        strangers = range(10_000 * page, 10_000 * page + sweep.size)
        watch.absorb(tasks(*strangers), 10.0, fetch=sweep)


def test_many_are_looked_for_by_pages() -> None:
    watch = placed(60)
    pushed_on(watch, pages=2)
    [sweep] = watch.plan(10.0)
    assert isinstance(sweep, Sweep)
    watch.absorb(tasks(*range(90_000, 90_100), *range(60)), 10.0, fetch=sweep)
    assert watch.plan(10.0) == []
    assert "60 awaited, 0 asked for singly" in repr(watch)


def test_a_few_are_asked_for_singly() -> None:
    watch = placed(10)
    pushed_on(watch, pages=2)
    assert {type(fetch) for fetch in watch.plan(10.0)} == {Single}


@pytest.mark.parametrize("pages", range(6))
def test_those_that_no_page_shows_are_asked_for_singly_in_the_end(pages: int) -> None:
    watch = placed(60)
    asked = set[str]()
    for _ in range(200):
        for fetch in watch.plan(10.0):
            if isinstance(fetch, Single):
                asked.add(fetch.key)
                watch.absorb(tasks(int(fetch.key)), 10.0, fetch=fetch)
            else:
                shown = fetch.size if fetch.number <= pages else 0
                watch.absorb(tasks(*range(30_000, 30_000 + shown)), 10.0, fetch=fetch)
    assert len(asked) == 60


def test_callbacks_do_not_put_them_off_once_more() -> None:
    watch = placed(60)
    now = 10.0 + 5 * 5.0  # held back for as long as callbacks can
    watch.heard(now)
    [sweep] = watch.plan(now)
    assert isinstance(sweep, Sweep)
    watch.absorb(tasks(*range(10_000, 10_000 + sweep.size)), now, fetch=sweep)
    assert len(watch.plan(now)) == 1

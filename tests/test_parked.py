"""Ends that were told before anybody waited for them."""

from __future__ import annotations

from kling_async.models import Task, TaskStatus
from kling_async.rules.parked import Parked


def end(id: str, own: str | None = None, status: TaskStatus = TaskStatus.FAILED) -> Task:
    return Task(id, status, external_task_id=own)


def test_an_end_is_kept_by_both_of_its_ids() -> None:
    parked, task = Parked(), end("1", "mine")
    parked.put(task, 0.0)
    assert [parked.get(key, 0.0) for key in ("1", "mine", "other")] == [task, task, None]


def test_it_may_be_asked_for_again_and_again() -> None:
    parked = Parked()
    parked.put(end("1"), 0.0)
    assert [parked.get("1", now) for now in (0.0, 1.0)] == [end("1")] * 2
    assert len(parked) == 1


def test_after_ten_minutes_it_is_gone() -> None:
    parked = Parked()
    parked.put(end("1"), 100.0)
    assert parked.get("1", 700.0) == end("1")
    assert (parked.get("1", 700.1), len(parked)) == (None, 0)


def test_what_is_over_goes_when_others_come() -> None:
    parked = Parked()
    parked.put(end("1", "mine"), 0.0)
    parked.put(end("2"), 601.0)
    assert len(parked) == 1


def test_the_first_end_that_was_told_stays() -> None:
    parked = Parked()
    parked.put(end("1"), 0.0)
    parked.put(end("1", status=TaskStatus.SUCCEED), 1.0)
    assert parked.get("1", 1.0) == end("1")


def test_unless_its_time_is_over() -> None:
    # Control of the one above.
    parked = Parked()
    parked.put(end("1"), 0.0)
    parked.put(end("1", status=TaskStatus.SUCCEED), 601.0)
    assert parked.get("1", 601.0) == end("1", status=TaskStatus.SUCCEED)


def test_the_latest_ten_thousand_ids_are_kept() -> None:
    parked = Parked()
    for n in range(10_001):
        parked.put(end(str(n)), 0.0)
    assert len(parked) == 10_000
    assert (parked.get("0", 0.0), parked.get("1", 0.0), parked.get("10000", 0.0)) == (None, end("1"), end("10000"))

"""What each kind of listener hears. Most of it happens without a loop turning."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.errors import KlingError, ServerError
from kling_async.models import Task, TaskFailed, TaskStatus
from kling_async.runtime.listeners import Audience, Changes, Each, End, One, Several, succeeded

BROKEN = ServerError("broken", code=5000, http_status=500)


def task(id: str = "1", status: TaskStatus = TaskStatus.SUCCEED, message: str = "") -> Task:
    return Task(id, status, message)


def failed(id: str = "1") -> Task:
    return task(id, TaskStatus.FAILED, "too dark")


async def all_of(listener: Each | Changes) -> list[End]:
    heard = []
    while (news := await listener.next()) is not None:
        heard.append(news)
    return heard


# --- the verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [task(), BROKEN, LookupError("a bug")])
def test_what_did_not_fail_stays_as_it_is(end: End) -> None:
    assert succeeded(end) is end


@pytest.mark.parametrize(("message", "reason"), [("too dark", "too dark"), ("", "the vendor gave no reason")])
def test_a_failed_task_is_an_error_with_the_reason(message: str, reason: str) -> None:
    error = succeeded(task(status=TaskStatus.FAILED, message=message))
    assert isinstance(error, TaskFailed)
    assert error.message == f"task 1 failed: {reason}"


# --- who listens -----------------------------------------------------------------------------------------------------


@given(steps=st.lists(st.tuples(st.sampled_from(["add", "remove", "pop"]), st.sampled_from("ab"), st.integers(0, 2))))
def test_an_audience_is_a_set_of_listeners_for_each_task(steps: list[tuple[str, str, int]]) -> None:
    listeners = [Several([], patient=True) for _ in range(3)]
    audience, model = Audience(), dict[str, set[Several]]()
    for step, key, number in steps:
        if step == "add":
            audience.add(key, listeners[number])
            model.setdefault(key, set()).add(listeners[number])
        elif step == "remove":
            was_last = model.get(key) == {listeners[number]}
            assert audience.remove(key, listeners[number]) is was_last
            model.get(key, set()).discard(listeners[number])
        else:
            assert set(audience.pop(key)) == model.pop(key, set())
        model = {key: those for key, those in model.items() if those}
        assert {key: set(audience.of(key)) for key in audience} == model
        assert (len(audience), bool(audience)) == (sum(map(len, model.values())), bool(model))
        assert [one in audience for one in ("a", "b", None)] == ["a" in model, "b" in model, False]


# --- one -------------------------------------------------------------------------------------------------------------


async def test_one_gets_its_task() -> None:
    one = One()
    one.changed("1", task(status=TaskStatus.PROCESSING))
    assert not one.future.done()
    one.ended("1", task())
    assert await one.future == task()


async def test_one_gets_its_error() -> None:
    one = One()
    one.ended("1", failed())
    with pytest.raises(TaskFailed):
        await one.future


async def test_one_that_is_settled_hears_no_more() -> None:
    one, cancelled = One(), One()
    one.ended("1", task())
    cancelled.future.cancel()
    for listener in (one, cancelled):
        listener.ended("1", BROKEN)
    assert await one.future == task()
    assert cancelled.future.cancelled()


# --- several ---------------------------------------------------------------------------------------------------------


async def test_several_are_over_when_all_have_ended() -> None:
    several = Several(["1", "2"], patient=False)
    several.changed("1", task(status=TaskStatus.PROCESSING))
    several.ended("1", task("1"))
    assert not several.over.is_set()
    several.ended("2", task("2"))
    assert several.over.is_set()
    assert several.ends == {"1": task("1"), "2": task("2")}


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("end", [failed("2"), BROKEN])
async def test_an_error_ends_the_wait_for_several_unless_they_are_patient(end: End, patient: bool) -> None:
    several = Several(["1", "2"], patient=patient)
    several.ended("2", end)
    assert several.over.is_set() is not patient
    assert isinstance(several.ends["2"], KlingError)


# --- each ------------------------------------------------------------------------------------------------------------


async def test_each_gives_the_ends_in_their_order_failed_ones_as_they_are() -> None:
    each = Each(["1", "2", "3"])
    each.changed("1", task(status=TaskStatus.PROCESSING))
    for end in (failed("3"), task("1"), task("2")):
        each.ended(end.id, end)
    assert await all_of(each) == [failed("3"), task("1"), task("2")]


async def test_each_gives_a_task_as_often_as_it_was_given() -> None:
    each = Each(["1", "2", "1"])
    each.ended("1", task("1"))
    each.ended("2", task("2"))
    assert await all_of(each) == [task("1"), task("1"), task("2")]


async def test_each_waits_for_what_is_left() -> None:
    each = Each(["1", "2"])
    each.ended("1", task("1"))
    assert await each.next() == task("1")
    waiting = asyncio.create_task(each.next())
    await asyncio.sleep(1.0)
    assert (waiting.done(), each.awaits("1"), each.awaits("2")) == (False, False, True)
    each.ended("2", task("2"))
    assert (await waiting, await each.next()) == (task("2"), None)


# --- changes ---------------------------------------------------------------------------------------------------------


async def test_changes_come_once_each_and_in_order() -> None:
    changes = Changes(["1", "2"])
    changes.changed("1", task("1", TaskStatus.SUBMITTED))
    changes.changed("2", task("2", TaskStatus.PROCESSING))
    changes.changed("1", task("1", TaskStatus.PROCESSING))
    changes.ended("1", task("1"))
    changes.ended("2", BROKEN)
    assert await all_of(changes) == [
        task("1", TaskStatus.SUBMITTED),
        task("2", TaskStatus.PROCESSING),
        task("1", TaskStatus.PROCESSING),
        task("1"),
        BROKEN,
    ]


async def test_changes_wait_for_what_is_left() -> None:
    changes = Changes(["1"])
    waiting = asyncio.create_task(changes.next())
    await asyncio.sleep(1.0)
    changes.changed("1", task(status=TaskStatus.PROCESSING))
    assert await waiting == task(status=TaskStatus.PROCESSING)
    assert changes.awaits("1")
    changes.ended("1", task())
    assert (await changes.next(), await changes.next(), changes.awaits("1")) == (task(), None, False)


UNDER_WAY = st.sampled_from([TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.UNKNOWN])


@given(looks=st.lists(st.tuples(st.sampled_from("abc"), UNDER_WAY), max_size=60))
def test_a_slow_reader_keeps_one_change_of_each_status_at_most(looks: list[tuple[str, TaskStatus]]) -> None:
    changes = Changes("abc")
    for key, status in looks:
        changes.changed(key, task(key, status))
    assert len(changes._news) == len(set(looks)) <= 9


async def test_of_the_same_status_the_latest_record_is_given() -> None:
    changes = Changes(["1"])
    for message in ("first", "second"):
        changes.changed("1", task(status=TaskStatus.PROCESSING, message=message))
    assert await changes.next() == task(status=TaskStatus.PROCESSING, message="second")


async def test_a_slow_reader_hears_last_where_a_task_is() -> None:
    changes = Changes(["1"])
    for status in (TaskStatus.PROCESSING, TaskStatus.UNKNOWN, TaskStatus.PROCESSING):
        changes.changed("1", task(status=status))
    assert [await changes.next() for _ in range(2)] == [
        task(status=TaskStatus.UNKNOWN),
        task(status=TaskStatus.PROCESSING),
    ]

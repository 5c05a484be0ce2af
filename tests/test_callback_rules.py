"""What is done with a callback, decided without a clock: answers, memory, hints, alarms."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from kling_async import Answer, Task, TaskStatus, Video, WebhookError
from kling_async.rules.callbacks import (
    REFUSED,
    TAKEN,
    TOO_LARGE,
    TRY_LATER,
    WRONG_METHOD,
    WRONG_TYPE,
    Alarm,
    Hints,
    Memory,
    Verdict,
    refused_unread,
)
from kling_async.spec import CALLBACK_MAX_BYTES

JSON = {"content-type": "application/json"}
SUBMITTED, PROCESSING, SUCCEED, FAILED = (
    Task("t-1", status, videos=(Video("v-1"),) if status is TaskStatus.SUCCEED else ())
    for status in (TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEED, TaskStatus.FAILED)
)


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        JSON,
        {},
        {"Content-Type": "Application/JSON; charset=utf-8"},
        JSON | {"Content-Length": str(CALLBACK_MAX_BYTES)},
        JSON | {"Content-Length": "soon"},
        JSON | {"Content-Length": "-1"},
    ],
)
def test_what_may_be_a_callback_is_read(headers: Mapping[str, str]) -> None:
    assert refused_unread(headers) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post", ""])
def test_other_methods_are_refused(method: str) -> None:
    answer = refused_unread(JSON, method=method)
    assert answer is WRONG_METHOD
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "kind", ["text/html", "application/x-www-form-urlencoded", "application/jsonp", "json", ";", ""]
)
def test_unknown_types_are_refused(kind: str) -> None:
    assert refused_unread({"content-type": kind}) is WRONG_TYPE


def test_two_types_are_refused() -> None:
    assert refused_unread(CIMultiDict([*JSON.items(), *JSON.items()])) is WRONG_TYPE


@pytest.mark.parametrize("length", [str(CALLBACK_MAX_BYTES + 1), "9" * 5000])
def test_what_says_that_it_is_too_long_is_refused(length: str) -> None:
    assert refused_unread(JSON | {"content-length": length}) is TOO_LARGE


def test_what_is_too_long_is_refused_whatever_it_says() -> None:
    assert refused_unread(JSON | {"content-length": "1"}, length=CALLBACK_MAX_BYTES + 1) is TOO_LARGE
    assert refused_unread(JSON | {"content-length": "9999999"}, length=CALLBACK_MAX_BYTES) is None


def test_header_that_is_no_text_is_our_error() -> None:
    with pytest.raises(WebhookError):
        refused_unread({"content-type": 7})  # type: ignore[dict-item]


@pytest.mark.parametrize("answer", [TAKEN, REFUSED, WRONG_METHOD, WRONG_TYPE, TOO_LARGE, TRY_LATER])
def test_only_200_is_ok(answer: Answer) -> None:
    assert answer.ok is (answer.status == 200)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_delivery_is_new_once() -> None:
    memory = Memory()
    assert [memory.note("a", 0.0, sent_at=0.0) for _ in range(3)] == [True, False, False]


def test_a_delivery_is_known_for_as_long_as_its_signature_would_pass() -> None:
    memory = Memory()
    memory.note("a", 0.0, sent_at=300.0)
    assert not memory.note("a", 600.0, sent_at=300.0)
    assert memory.note("a", 600.1, sent_at=300.0)


def test_a_delivery_that_could_not_be_taken_in_is_new_again() -> None:
    memory = Memory()
    memory.note("a", 0.0, sent_at=0.0)
    memory.forget("a")
    assert memory.note("a", 0.0, sent_at=0.0)


def test_memory_is_bounded() -> None:
    memory = Memory(deliveries=10, tasks=10)
    for number in range(100):
        memory.note(str(number), 0.0, sent_at=0.0)
        memory.judge(Task(str(number), TaskStatus.SUBMITTED))
    assert repr(memory) == "<Memory 10 deliveries, 10 tasks>"
    assert memory.judge(Task("99", TaskStatus.SUBMITTED)) is Verdict.KNOWN
    assert memory.judge(Task("0", TaskStatus.SUBMITTED)) is Verdict.NEWS


@pytest.mark.parametrize(
    ("before", "then", "verdict"),
    [
        ([], SUBMITTED, Verdict.NEWS),
        ([SUBMITTED], PROCESSING, Verdict.NEWS),
        ([SUBMITTED], SUCCEED, Verdict.NEWS),
        ([PROCESSING], FAILED, Verdict.NEWS),
        ([PROCESSING], PROCESSING, Verdict.KNOWN),
        ([PROCESSING], SUBMITTED, Verdict.KNOWN),
        ([SUCCEED], SUCCEED, Verdict.KNOWN),
        ([SUCCEED], PROCESSING, Verdict.KNOWN),
        ([SUCCEED, PROCESSING], SUBMITTED, Verdict.KNOWN),
        ([SUCCEED], FAILED, Verdict.CONFLICT),
        ([FAILED], SUCCEED, Verdict.CONFLICT),
        ([FAILED, SUCCEED], FAILED, Verdict.KNOWN),
    ],
)
def test_what_a_callback_says_beside_those_before(before: list[Task], then: Task, verdict: Verdict) -> None:
    memory = Memory()
    for task in before:
        memory.judge(task)
    assert memory.judge(then) is verdict


def test_the_film_that_a_success_did_not_show_is_news() -> None:
    memory = Memory()
    assert memory.judge(Task("t-1", TaskStatus.SUCCEED)) is Verdict.NEWS
    assert memory.judge(SUCCEED) is Verdict.NEWS
    assert memory.judge(SUCCEED) is Verdict.KNOWN


@given(st.lists(st.sampled_from([SUBMITTED, PROCESSING, SUCCEED]), max_size=12))
def test_in_any_order_each_status_is_news_once_and_none_falls(looks: list[Task]) -> None:
    memory = Memory()
    news = [task.status for task in looks if memory.judge(task) is Verdict.NEWS]
    assert news == sorted(set(news), key=list(TaskStatus).index)


# --- hints -----------------------------------------------------------------------------------------------------------


def test_first_hint_asks_at_once() -> None:
    assert Hints(5.0).due("a", 100.0, limited=False) == 0.0


def test_hints_that_follow_cause_one_more_query_when_the_pause_is_over() -> None:
    hints = Hints(5.0)
    assert [hints.due("a", now, limited=False) for now in (0.0, 1.0, 2.0, 4.9)] == [0.0, 4.0, None, None]
    assert [hints.due("a", now, limited=False) for now in (5.0, 6.0, 9.0)] == [5.0, None, None]


def test_a_flood_for_one_task_causes_one_query_an_interval() -> None:
    hints = Hints(5.0)
    asked = [now for now in range(1000) for _ in range(50) if hints.due("a", now / 10, limited=False) is not None]
    assert len(asked) <= 100 / 5 + 2


def test_a_flood_for_tasks_that_nobody_awaits_causes_a_trickle() -> None:
    hints = Hints(5.0, burst=10, per_second=1.0)
    asked = [n for n in range(100_000) if hints.due(str(n), n / 1000, limited=True) is not None]
    assert len(asked) <= 10 + 100


def test_a_flood_for_others_does_not_hold_up_what_is_awaited() -> None:
    hints = Hints(5.0)
    for number in range(1000):
        hints.due(str(number), 0.0, limited=True)
    assert hints.due("mine", 0.0, limited=False) == 0.0


def test_what_is_known_of_hints_is_bounded_by_time() -> None:
    hints = Hints(5.0)
    for number in range(1000):
        hints.due(str(number), float(number), limited=False)
    assert len(hints) <= 6


# --- alarms ----------------------------------------------------------------------------------------------------------


def test_an_alarm_rings_once_a_minute_and_counts() -> None:
    alarm = Alarm(60.0)
    assert [alarm.rings(now) for now in (0.0, 1.0, 59.9, 60.0, 61.0, 200.0)] == [1, 0, 0, 3, 0, 2]

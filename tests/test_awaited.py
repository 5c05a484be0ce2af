"""What each look at an awaited task says, and each failure to look. No test waits: `now` is a number."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.errors import AuthenticationError, KlingError, MalformedResponse, NotFound, ServerError
from kling_async.models import NoVideo, Task, TaskStatus, TaskVanished, UnknownStatus, Video
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import Awaited, about, later

POLICY = PollPolicy(interval=5.0, max_failure_wait=30.0, unknown_status_wait=600.0)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MISSING = NotFound("Task not found", code=1201, http_status=400)
BUSY = ServerError("busy", code=5001, http_status=503)
NO_RECORD = MalformedResponse("no record", http_status=200, worth_retrying=False)
STATUSES = st.sampled_from(TaskStatus)


def task(
    status: TaskStatus = TaskStatus.PROCESSING,
    *,
    at: int | None = None,
    videos: int | None = None,
    own: str | None = None,
) -> Task:
    count = (status is TaskStatus.SUCCEED) if videos is None else videos
    updated = None if at is None else EPOCH + timedelta(seconds=at)
    films = tuple(Video(f"v-{number}") for number in range(count))
    return Task("t-1", status, external_task_id=own, updated_at=updated, videos=films)


def awaited(last: Task | None) -> Awaited:
    return Awaited(0.0, last)


# --- a look ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [TaskStatus.SUCCEED, TaskStatus.FAILED])
def test_an_end_is_believed(status: TaskStatus) -> None:
    ended = task(status)
    assert awaited(task()).saw(ended, 0.0, POLICY) is ended


@pytest.mark.parametrize("status", [TaskStatus.SUBMITTED, TaskStatus.PROCESSING])
def test_what_is_under_way_settles_nothing(status: TaskStatus) -> None:
    assert awaited(None).saw(task(status), 0.0, POLICY) is None


def test_success_without_a_video_is_looked_at_once_more() -> None:
    bare = awaited(task())
    assert bare.saw(task(TaskStatus.SUCCEED, videos=0), 5.0, POLICY) is None
    error = bare.saw(task(TaskStatus.SUCCEED, videos=0), 10.0, POLICY)
    assert isinstance(error, NoVideo)
    assert (error.created, error.task_id) == ("yes", "t-1")


def test_a_record_seen_twice_in_one_moment_is_one_look() -> None:
    bare = awaited(task())
    assert [bare.saw(task(TaskStatus.SUCCEED, videos=0), 5.0, POLICY) for _ in range(3)] == [None] * 3


def test_a_video_that_comes_late_is_taken() -> None:
    bare, whole = awaited(task()), task(TaskStatus.SUCCEED)
    bare.saw(task(TaskStatus.SUCCEED, videos=0), 5.0, POLICY)
    assert bare.saw(whole, 10.0, POLICY) is whole


def test_an_unknown_status_is_borne_for_its_time_and_then_told_with_its_task() -> None:
    odd = awaited(task())
    assert [odd.saw(task(TaskStatus.UNKNOWN), now, POLICY) for now in (5.0, 300.0, 604.9)] == [None] * 3
    error = odd.saw(task(TaskStatus.UNKNOWN), 605.0, POLICY)
    assert isinstance(error, UnknownStatus)
    assert (error.created, error.task.status) == ("yes", TaskStatus.UNKNOWN)


def test_an_unknown_status_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    odd = awaited(task())
    with caplog.at_level(logging.WARNING):
        for now in (5.0, 10.0):
            odd.saw(task(TaskStatus.UNKNOWN), now, POLICY)
    assert len(caplog.records) == 1


def test_a_known_status_in_between_begins_the_time_anew() -> None:
    odd = awaited(task())
    for status, now in ((TaskStatus.UNKNOWN, 0.0), (TaskStatus.PROCESSING, 300.0), (TaskStatus.UNKNOWN, 500.0)):
        assert odd.saw(task(status, at=int(now)), now, POLICY) is None
    assert odd.saw(task(TaskStatus.UNKNOWN, at=700), 700.0, POLICY) is None


def test_an_older_look_changes_nothing() -> None:
    late = awaited(task(at=20))
    late.saw(task(at=10), 5.0, POLICY)
    assert late.last == task(at=20)


# --- no look ---------------------------------------------------------------------------------------------------------


def test_a_task_that_was_seen_vanishes_after_three_misses_over_a_minute() -> None:
    gone = awaited(task())
    assert [gone.troubled(MISSING, now, POLICY) for now in (0.0, 30.0, 59.9)] == [None] * 3
    error = gone.troubled(MISSING, 60.0, POLICY)
    assert isinstance(error, TaskVanished)
    assert (error.created, error.task_id) == ("yes", "t-1")


def test_two_misses_are_too_few_however_far_apart() -> None:
    gone = awaited(task())
    assert [gone.troubled(MISSING, now, POLICY) for now in (0.0, 1000.0)] == [None] * 2


def test_a_look_in_between_begins_the_count_anew() -> None:
    back = awaited(task())
    for now in (0.0, 40.0):
        back.troubled(MISSING, now, POLICY)
    back.saw(task(), 50.0, POLICY)
    assert [back.troubled(MISSING, now, POLICY) for now in (60.0, 90.0, 119.9)] == [None] * 3


def test_a_missing_task_is_asked_for_by_both_ids_in_turn() -> None:
    gone, asked = awaited(task(own="mine")), []
    for now in (0.0, 10.0, 20.0):
        asked.append(gone.ask_as("t-1"))
        gone.troubled(MISSING, now, POLICY)
    assert asked == ["t-1", "mine", "t-1"]


def test_awaited_by_the_callers_id_the_other_is_the_vendors() -> None:
    gone = awaited(task(own="mine"))
    gone.troubled(MISSING, 0.0, POLICY)
    assert gone.ask_as("mine") == "t-1"


def test_a_task_without_another_id_is_asked_for_by_its_only_one() -> None:
    gone = awaited(task())
    gone.troubled(MISSING, 0.0, POLICY)
    assert gone.ask_as("t-1") == "t-1"


def test_an_id_never_seen_is_asked_for_as_it_is() -> None:
    assert awaited(None).ask_as("mine") == "mine"


def test_an_id_never_seen_is_not_found_at_once() -> None:
    assert awaited(None).troubled(MISSING, 0.0, POLICY) is MISSING


def test_a_refusal_for_good_ends_the_wait() -> None:
    error = AuthenticationError("no", code=1000, http_status=401)
    assert awaited(task()).troubled(error, 0.0, POLICY) is error


@pytest.mark.parametrize("error", [BUSY, NO_RECORD])
def test_for_a_task_that_was_seen_this_is_weather(error: KlingError) -> None:
    assert awaited(task()).troubled(error, 0.0, POLICY) is None


def test_for_an_id_never_seen_an_answer_that_is_none_ends_the_wait() -> None:
    assert awaited(None).troubled(NO_RECORD, 0.0, POLICY) is NO_RECORD


def test_pauses_grow_up_to_their_bound() -> None:
    one, pauses = awaited(task()), []
    for _ in range(5):
        one.troubled(BUSY, 100.0, POLICY)
        pauses.append(one.due - 100.0)
    assert pauses == [5.0, 10.0, 20.0, 30.0, 30.0]


# --- the later of two looks ------------------------------------------------------------------------------------------


def test_of_nothing_and_a_look_the_look_is_the_later() -> None:
    assert later(None, task()) == task()


def test_a_failure_after_a_success_changes_nothing() -> None:
    assert later(task(TaskStatus.SUCCEED), task(TaskStatus.FAILED, at=99)).status is TaskStatus.SUCCEED


def test_a_success_that_names_its_videos_completes_one_that_did_not() -> None:
    assert later(task(TaskStatus.SUCCEED, videos=0), task(TaskStatus.SUCCEED)).videos


@given(looks=st.lists(st.tuples(STATUSES, st.none() | st.integers(0, 9), st.integers(0, 1)), min_size=1))
def test_states_never_fall_and_ends_never_change(looks: list[tuple[TaskStatus, int | None, int]]) -> None:
    order = {TaskStatus.SUBMITTED: 0, TaskStatus.PROCESSING: 1, TaskStatus.UNKNOWN: 1}
    last: Task | None = None
    for status, at, videos in looks:
        before, last = last, later(last, task(status, at=at, videos=videos))
        if before is not None:
            assert order.get(last.status, 2) >= order.get(before.status, 2)
            assert not before.status.ended or last.status is before.status
            assert len(last.videos) >= len(before.videos) or not before.status.ended


# --- what an error says of the task ----------------------------------------------------------------------------------


def test_each_gets_an_error_of_their_own_with_its_cause() -> None:
    error = ServerError("busy", code=5001, http_status=503)
    error.__cause__ = LookupError("why")
    own = about(error, None)
    assert own is not error
    assert (type(own), own.message, own.__cause__) == (ServerError, "busy", error.__cause__)
    assert error.created == "no"


def test_of_a_task_that_was_seen_it_says_that_it_exists() -> None:
    own = about(BUSY, task(own="mine"))
    assert (own.created, own.task_id, own.external_task_id) == ("yes", "t-1", "mine")


@pytest.mark.parametrize(("error", "created"), [(BUSY, "unknown"), (MISSING, "no")])
def test_of_an_id_never_seen_only_the_vendors_word_is_proof(error: KlingError, created: str) -> None:
    own = about(error, None)
    assert (own.created, own.task_id) == (created, None)


def test_a_record_that_is_the_same_object_settles_nothing() -> None:
    same = task()
    one = awaited(same)
    one.failures = 3
    assert (one.saw(same, 0.0, POLICY), one.last, one.failures) == (None, same, 0)

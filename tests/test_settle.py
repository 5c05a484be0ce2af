"""What an error proves about a create, and when to post, to ask and to believe. No test waits: `now` is a number."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async.errors import (
    APIError,
    ClientClosed,
    ConfigurationError,
    KlingError,
    MalformedResponse,
    NotFound,
    ServerError,
    TransportError,
    error_for,
)
from kling_async.policies import RetryPolicy
from kling_async.rules.settle import Outcome, Settlement, outcome_of

POLICY = RetryPolicy()
LOST = TransportError("gone", sent=True)
NEVER_LEFT = TransportError("refused", sent=False)
BAD_CERTIFICATE = TransportError("certificate", sent=False, worth_retrying=False)
BUSY = ServerError("busy", code=5001, http_status=503)


def vendors(code: int) -> APIError:
    return error_for(code)("as the vendor says", code=code, http_status=400)


def settlement(*, doubtful: bool = False, policy: RetryPolicy = POLICY) -> Settlement:
    return Settlement(policy, lambda: 1.0, 100.0, doubtful=doubtful)


def asked_in_vain(course: Settlement) -> list[float]:
    """When each question was due, counted from the loss, until something else is."""
    due: list[float] = []
    while course.asking and len(due) < 99:
        due.append(course.at - 100.0)
        if course.absent(course.at) is not None:
            break
    return due


# --- what an error proves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NEVER_LEFT, Outcome.NOT_SENT),
        (BAD_CERTIFICATE, Outcome.REFUSED),
        (LOST, Outcome.LOST),
        (TransportError("certificate", sent=True, worth_retrying=False), Outcome.LOST),
        (ClientClosed("closed"), Outcome.REFUSED),
        (ConfigurationError("no simulator"), Outcome.REFUSED),
        (MalformedResponse("HTML", http_status=502), Outcome.LOST),
        (MalformedResponse("HTML", http_status=400, worth_retrying=False), Outcome.LOST),
        (MalformedResponse("a redirect", http_status=302, worth_retrying=False), Outcome.LOST),
        (NotFound("a success without a task", code=0, http_status=200), Outcome.LOST),
        (KlingError("anything else"), Outcome.LOST),
    ],
)
def test_what_an_error_proves(error: KlingError, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1200, 1202, 1203, 1300, 1301, 1304]
)
def test_documented_refusals_are_believed(code: int) -> None:
    assert outcome_of(vendors(code)) is Outcome.REFUSED


@pytest.mark.parametrize("code", [1302, 1303])
def test_a_full_account_made_nothing_and_may_have_room_later(code: int) -> None:
    assert outcome_of(vendors(code)) is Outcome.BUSY


def test_1201_may_be_a_duplicate() -> None:
    assert outcome_of(vendors(1201)) is Outcome.PERHAPS_DUPLICATE


@given(code=st.integers().filter(lambda code: code not in APIError.kinds))
def test_a_code_that_no_document_lists_proves_nothing(code: int) -> None:
    assert outcome_of(vendors(code)) is Outcome.LOST


@pytest.mark.parametrize("code", [5000, 5001, 5002])
def test_the_vendors_own_trouble_proves_nothing(code: int) -> None:
    assert outcome_of(vendors(code)) is Outcome.LOST


# --- what is next ----------------------------------------------------------------------------------------------------


def test_the_first_step_is_to_post_at_once() -> None:
    course = settlement()
    assert (course.asking, course.at, course.doubtful, course.in_doubt) == (False, 100.0, False, False)


def test_what_an_earlier_process_may_have_sent_is_asked_for_first() -> None:
    course = settlement(doubtful=True)
    assert (course.asking, course.at, course.in_doubt) == (True, 100.0, True)


def test_a_lost_answer_is_asked_for_on_the_schedule() -> None:
    course = settlement()
    course.lost(100.0)
    assert asked_in_vain(course) == [0.0, 1.0, 3.0, 10.0, 30.0]


def test_what_was_not_found_in_the_end_is_posted_again_at_once_and_stays_in_doubt() -> None:
    course = settlement()
    course.lost(100.0)
    asked_in_vain(course)
    assert (course.asking, course.at, course.in_doubt) == (False, 130.0, True)


def test_a_second_loss_is_asked_for_on_the_whole_schedule_again() -> None:
    course = settlement()
    course.lost(50.0)
    asked_in_vain(course)
    course.lost(100.0)
    assert asked_in_vain(course) == [0.0, 1.0, 3.0, 10.0, 30.0]


def test_a_schedule_of_one_question() -> None:
    course = settlement(policy=RetryPolicy(ask_after=(7.0,)))
    course.lost(100.0)
    assert asked_in_vain(course) == [7.0]


def test_answers_that_come_late_do_not_put_off_the_questions_behind_them() -> None:
    course = settlement()
    course.lost(100.0)
    course.absent(105.0)
    assert course.at == 105.0  # the second was due at 101
    course.absent(105.0)
    assert course.at == 105.0
    course.absent(105.0)
    assert course.at == 110.0


def test_1201_without_a_loss_is_believed_after_one_look() -> None:
    course, refusal = settlement(), vendors(1201)
    course.perhaps_duplicate(refusal, 100.0)
    assert (course.asking, course.at) == (True, 100.0)
    assert course.absent(100.0) is refusal
    assert not course.in_doubt


def test_1201_is_in_doubt_until_that_look() -> None:
    course = settlement()
    course.perhaps_duplicate(vendors(1201), 100.0)
    assert course.in_doubt
    assert not course.doubtful


def test_1201_after_a_loss_is_believed_after_the_whole_schedule() -> None:
    course, refusal = settlement(), vendors(1201)
    course.lost(50.0)
    asked_in_vain(course)
    course.perhaps_duplicate(refusal, 100.0)
    assert [course.absent(course.at) for _ in POLICY.ask_after] == [None, None, None, None, refusal]
    assert course.in_doubt  # what was lost first is not explained by it


def test_an_id_that_belongs_to_another_task_ends_the_doubt() -> None:
    course = settlement()
    course.lost(100.0)
    course.perhaps_duplicate(vendors(1201), 100.0)
    course.taken()
    assert not course.in_doubt


def test_what_was_not_sent_is_posted_again_after_growing_pauses() -> None:
    course, due = settlement(), []
    for _ in range(6):
        course.not_sent(NEVER_LEFT, 100.0)
        due.append(course.at - 100.0)
    assert due == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert not course.asking


def test_a_refusal_to_connect_that_will_not_pass_has_no_pause() -> None:
    course = settlement()
    course.not_sent(BAD_CERTIFICATE, 100.0)
    assert course.at == 100.0


def test_a_question_without_an_answer_is_repeated_after_growing_pauses() -> None:
    course, due = settlement(doubtful=True), []
    for _ in range(3):
        assert course.unanswered(BUSY, 100.0)
        due.append(course.at - 100.0)
    assert due == [0.5, 1.0, 2.0]
    assert course.asking


def test_no_answer_is_to_be_had_from_a_refusal_for_good() -> None:
    assert not settlement(doubtful=True).unanswered(vendors(1000), 100.0)


def test_questions_without_an_answer_do_not_count_as_answers() -> None:
    course = settlement()
    course.lost(100.0)
    for _ in range(9):
        course.unanswered(BUSY, 100.0)
    answered = 0
    while course.asking:
        course.absent(200.0)
        answered += 1
    assert answered == len(POLICY.ask_after)


# --- for every course of events --------------------------------------------------------------------------------------


@attrs.define
class Doubt:
    """What a watcher of the course knows: when the last answer was lost, and how often it was asked for since."""

    since: float | None = None
    answers: int = 0


EVENTS = st.sampled_from(["lost", "not sent", "1201", "absent", "unanswered"])
SCHEDULES = st.lists(st.floats(0.0, 60.0), min_size=1, max_size=6).map(lambda times: tuple(sorted(times)))


@settings(max_examples=500)
@given(
    events=st.lists(st.tuples(EVENTS, st.floats(0.0, 50.0)), max_size=60),
    ask_after=SCHEDULES,
    begins_doubtful=st.booleans(),
    draw=st.floats(0.0, 1.0),
)
def test_never_a_post_in_doubt_before_the_schedule_has_passed(
    events: list[tuple[str, float]], ask_after: tuple[float, ...], begins_doubtful: bool, draw: float
) -> None:
    course = Settlement(RetryPolicy(ask_after=ask_after), lambda: draw, 0.0, doubtful=begins_doubtful)
    doubt = Doubt(0.0 if begins_doubtful else None)
    now = 0.0
    for event, late in events:
        now = max(now, course.at) + late
        if course.asking:
            if event == "unanswered":
                course.unanswered(BUSY, now)
                continue
            doubt.answers += 1
            if course.absent(now) is not None:
                assert doubt.since is None or doubt.answers >= len(ask_after)
                return
            continue
        if doubt.since is not None:
            assert doubt.answers >= len(ask_after)
            assert now >= doubt.since + (0.0 if begins_doubtful and doubt.since == 0.0 else ask_after[-1])
            assert course.in_doubt
        if event == "not sent":
            course.not_sent(NEVER_LEFT, now)
        elif event == "1201":
            course.perhaps_duplicate(vendors(1201), now)
            doubt.answers = 0
        else:
            course.lost(now)
            doubt.since, doubt.answers = now, 0


@given(ask_after=SCHEDULES)
def test_what_an_earlier_process_sent_is_asked_for_on_the_same_schedule(ask_after: tuple[float, ...]) -> None:
    course = Settlement(RetryPolicy(ask_after=ask_after), lambda: 0.5, 0.0, doubtful=True)
    due = []
    while course.asking:
        due.append(course.at)
        course.absent(course.at)
    assert due == [0.0, *ask_after[1:]]  # the first without a wait: who knows how long ago it was sent

"""How often a task is looked at, by its age and by what was learnt. No test waits: an age is a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.models import Task, TaskStatus
from kling_async.rules.rhythm import Rhythm, lasted

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = 5.0
SECONDS = st.floats(0.001, 1e6)


def ended(took: float | None) -> Task:
    if took is None:
        return Task("t-1", TaskStatus.SUCCEED)
    return Task("t-1", TaskStatus.SUCCEED, created_at=EPOCH, updated_at=EPOCH + timedelta(seconds=took))


def taught(*took: float) -> Rhythm:
    rhythm = Rhythm(INTERVAL)
    for seconds in took:
        rhythm.learn(ended(seconds))
    return rhythm


# --- before anything is learnt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0.0, 5.0), (300.0, 5.0), (600.0, 5.0), (660.0, 5.5), (1800.0, 15.0), (3600.0, 30.0), (1e6, 30.0)],
)
def test_untaught_pauses_grow_from_ten_minutes_on_up_to_six_intervals(age: float, pause: float) -> None:
    assert Rhythm(INTERVAL).pause(age) == pytest.approx(pause)


def test_nine_durations_are_too_few() -> None:
    assert (taught(*[100.0] * 9).begins, taught(*[100.0] * 9).ends) == (0.0, 600.0)


def test_ten_are_enough() -> None:
    assert (taught(*[100.0] * 10).begins, taught(*[100.0] * 10).ends) == (50.0, 150.0)


@pytest.mark.parametrize("took", [None, 0.0, -5.0])
def test_a_record_without_a_duration_teaches_nothing(took: float | None) -> None:
    rhythm = taught(*[100.0] * 9)
    rhythm.learn(ended(took))
    assert rhythm.begins == 0.0


# --- what was learnt -------------------------------------------------------------------------------------------------


def test_the_tenths_at_both_ends_do_not_count() -> None:
    rhythm = taught(*[1.0] * 2, *[100.0] * 16, *[9000.0] * 2)
    assert (rhythm.begins, rhythm.ends) == (50.0, 150.0)


def test_the_quickest_and_the_slowest_but_those_do() -> None:
    # Control of the one above.
    rhythm = taught(*[1.0] * 3, *[100.0] * 14, *[9000.0] * 3)
    assert (rhythm.begins, rhythm.ends) == (0.5, 13_500.0)


@pytest.mark.parametrize(
    ("age", "pause"),
    [
        (0.0, 10.0),  # young: two intervals
        (35.0, 10.0),
        (41.0, 9.0),  # no longer than until the time begins
        (44.0, 6.0),
        (46.0, 5.0),  # nor shorter than an interval
        (50.0, 5.0),
        (150.0, 5.0),
        (165.0, 5.5),
        (450.0, 15.0),
        (900.0, 30.0),
        (9000.0, 30.0),
    ],
)
def test_taught_pauses_follow_the_formula(age: float, pause: float) -> None:
    assert taught(*[100.0] * 10).pause(age) == pytest.approx(pause)


def test_the_latest_hundred_count() -> None:
    rhythm = taught(*[1000.0] * 100, *[100.0] * 89)
    assert rhythm.ends == 1500.0
    assert taught(*[1000.0] * 100, *[100.0] * 90).ends == 150.0


@given(took=st.lists(SECONDS, max_size=250))
def test_what_is_remembered_is_bounded_and_in_order(took: list[float]) -> None:
    rhythm = taught(*took)
    assert rhythm._sorted == sorted(rhythm._lately)
    assert len(rhythm._sorted) == min(len([one for one in took if lasted(ended(one)) > 0]), 100)


@given(took=st.lists(SECONDS, max_size=30), age=st.floats(0, 1e9), interval=st.floats(0.01, 100))
def test_a_pause_is_one_to_six_intervals(took: list[float], age: float, interval: float) -> None:
    rhythm = Rhythm(interval)
    for seconds in took:
        rhythm.learn(ended(seconds))
    assert interval <= rhythm.pause(age) <= 6 * interval
    if age < rhythm.begins:
        assert rhythm.pause(age) <= 2 * interval
        assert age + rhythm.pause(age) <= max(rhythm.begins, age + interval) + 1e-6


# --- how long a task took --------------------------------------------------------------------------------------------


def test_a_duration_is_between_the_vendors_own_times() -> None:
    assert lasted(ended(93.5)) == 93.5


@pytest.mark.parametrize(("created", "updated"), [(None, EPOCH), (EPOCH, None), (None, None)])
def test_a_duration_without_both_times_is_nought(created: datetime | None, updated: datetime | None) -> None:
    assert lasted(Task("t-1", TaskStatus.SUCCEED, created_at=created, updated_at=updated)) == 0.0

"""The client's common pause after 1302, and the gap between requests of which the vendor takes but few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kling_async.rules.pace import Pace, Spacing


def pace(draw: float = 0.0) -> Pace:
    return Pace(lambda: draw)


def test_nobody_waits_before_the_first_1302() -> None:
    assert pace(1.0).wait(0.0) == 0.0


def test_the_first_1302_pauses_everybody_for_a_second() -> None:
    it = pace()
    it.limited(10.0, None)
    assert (it.wait(10.0), it.wait(10.75), it.wait(11.0)) == (1.0, 0.25, 0.0)


def test_who_waits_comes_back_within_as_much_again() -> None:
    it = pace(0.5)
    it.limited(10.0, None)
    assert it.wait(10.0) == 1.5


def test_of_many_that_arrive_together_the_first_sets_the_pause() -> None:
    it = pace()
    for moment in (10.0, 10.1, 10.9):
        it.limited(moment, None)
    assert it.wait(10.0) == 1.0


def test_what_the_vendor_asks_for_within_a_pause_counts_too() -> None:
    it = pace()
    it.limited(10.0, None)
    it.limited(10.5, 7.0)
    assert it.wait(10.5) == 7.0


def test_the_pause_doubles_up_to_a_minute_while_the_vendor_keeps_saying_it() -> None:
    it, now, pauses = pace(), 0.0, []
    for _ in range(9):
        it.limited(now, None)
        pauses.append(it.wait(now))
        now += pauses[-1]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_retry_after_is_honoured_up_to_a_minute() -> None:
    for asked, pause in ((0.2, 1.0), (7.0, 7.0), (3600.0, 60.0)):
        it = pace()
        it.limited(0.0, asked)
        assert it.wait(0.0) == pause


def test_a_good_answer_after_the_pause_ends_the_growth() -> None:
    it = pace()
    it.limited(0.0, None)
    it.fine(1.0)
    it.limited(2.0, None)
    assert it.wait(2.0) == 1.0


def test_a_good_answer_within_the_pause_was_sent_before_it_and_says_nothing() -> None:
    it = pace()
    it.limited(0.0, None)
    it.fine(0.5)
    it.limited(2.0, None)
    assert it.wait(2.0) == 2.0


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans(), st.none() | st.floats(0.0, 1e6))),
    draw=st.floats(0.0, 1.0),
)
def test_nobody_waits_longer_than_two_minutes_nor_less_than_the_pause(
    steps: list[tuple[float, bool, float | None]], draw: float
) -> None:
    it, now = Pace(lambda: draw), 0.0
    for after, is_limited, asked in steps:
        now += after
        if is_limited:
            it.limited(now, asked)
        else:
            it.fine(now)
        wait = it.wait(now)
        assert 0.0 <= wait <= 120.000001
        assert it.wait(now + wait) <= 1e-9 * now  # as the sum of two floats allows


# --- the gap ---------------------------------------------------------------------------------------------------------


def test_the_first_request_waits_for_nothing() -> None:
    assert Spacing(1.0).wait(0.0) == 0.0


def test_the_next_waits_from_the_end_of_the_one_before() -> None:
    it = Spacing(1.0)
    it.over(10.0)
    assert (it.wait(10.0), it.wait(10.75), it.wait(11.0), it.wait(20.0)) == (1.0, 0.25, 0.0, 0.0)

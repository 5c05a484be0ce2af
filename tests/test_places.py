"""Where awaited tasks stand in the list, which page shows them, and who of them is due."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import spec
from kling_async.rules.awaited import NOWHERE, Awaited
from kling_async.rules.places import STRETCH, Places, Sweep, fitting


def places_of(*keys: str) -> Places:
    """Places of these, who are seekers yet."""
    places = Places({key: Awaited(0.0, None) for key in keys})
    for key in keys:
        places.seek(key)
    return places


# --- pages -----------------------------------------------------------------------------------------------------------


def test_a_page_begins_and_ends_somewhere() -> None:
    assert (Sweep(1, 50).first, Sweep(1, 50).behind, Sweep(3, 200).first, Sweep(3, 200).behind) == (0, 50, 400, 600)


@pytest.mark.parametrize(
    ("first", "last", "page"),
    [
        (0, 0, Sweep(1, 50)),
        (0, 44, Sweep(1, 100)),  # no room behind the last on the smaller one
        (0, 40, Sweep(1, 50)),
        (44, 60, Sweep(1, 100)),
        (60, 80, Sweep(2, 50)),
        (499, 499, Sweep(10, 50)),  # room ends with the stretch
        (0, 499, Sweep(1, 500)),
        (500, 990, Sweep(2, 500)),
        (49_999, 49_999, Sweep(1000, 50)),
        (50_000, 50_000, Sweep(501, 100)),  # the smaller one would have number 1,001
        (499_999, 499_999, Sweep(1000, 500)),
    ],
)
def test_the_smallest_page_that_fits(first: int, last: int, page: Sweep) -> None:
    assert fitting(first, last) == page


@given(stretch=st.integers(0, spec.PAGE_NUM_MAX - 1), ends=st.tuples(st.integers(0, 499), st.integers(0, 499)))
def test_a_page_that_fits_shows_both_places_and_is_one_that_the_vendor_serves(
    stretch: int, ends: tuple[int, int]
) -> None:
    first, last = (stretch * STRETCH + end for end in sorted(ends))
    page = fitting(first, last)
    assert page.first <= first <= last < page.behind
    assert page.size % 50 == 0
    assert 50 <= page.size <= spec.PAGE_SIZE_MAX
    assert 1 <= page.number <= spec.PAGE_NUM_MAX


@given(stretch=st.integers(0, spec.PAGE_NUM_MAX - 1), ends=st.tuples(st.integers(0, 499), st.integers(0, 499)))
def test_it_has_room_for_what_is_pushed_along_within_the_stretch(stretch: int, ends: tuple[int, int]) -> None:
    first, last = (stretch * STRETCH + end for end in sorted(ends))
    assert fitting(first, last).behind > min(last + 5, stretch * STRETCH + STRETCH - 1)


def test_the_page_for_some_shows_the_first_and_the_last_of_them() -> None:
    places = places_of("a", "b", "c")
    for key, place in (("a", 130), ("b", 110), ("c", 120)):
        places.put(key, place)
    assert places.page_for(["a", "b", "c"]) == Sweep(3, 50)


# --- who stands where ------------------------------------------------------------------------------------------------


def test_a_task_that_is_shown_is_no_seeker_any_more() -> None:
    places = places_of("a", "b")
    places.put("a", 7)
    assert (places.seekers, places.stretches[0].keys) == ({"b"}, {"a"})


def test_a_task_moves_from_stretch_to_stretch() -> None:
    places = places_of("a", "b")
    for place in (7, 8, 499, 500):
        places.put("a", place)
    places.put("b", 501)
    assert (set(places.stretches), places.stretches[1].keys) == ({1}, {"a", "b"})


def test_a_task_that_is_lost_is_a_seeker_again() -> None:
    places = places_of("a")
    places.put("a", 7)
    places.seek("a")
    assert (places.seekers, places.stretches, places._awaited["a"].place) == ({"a"}, {}, NOWHERE)


def test_whoever_leaves_leaves_nothing_behind() -> None:
    places = places_of("a", "b")
    places.put("a", 7)
    places.rest("b", 5.0)
    for key in ("a", "b"):
        places.leave(key)
    assert (places.seekers, places.stretches, places._due_seekers) == (set(), {}, [])


# --- who is due ------------------------------------------------------------------------------------------------------


def stretch_of(**due: float) -> Places:
    """Places of these side by side, due when it says."""
    places = places_of(*due)
    for place, (key, when) in enumerate(due.items()):
        places.put(key, place)
        places.rest(key, when)
    return places


def test_who_is_due_by_the_horizon_is_named_once_somebody_is_due() -> None:
    places = stretch_of(a=5.0, b=7.0, c=9.0)
    assert sorted(places.due_in(0, 5.0, 7.5)) == ["a", "b"]


def test_nobody_is_named_before_that() -> None:
    places = stretch_of(a=5.0, b=7.0)
    assert (places.due_in(0, 4.9, 7.4), places.stretches[0].due) == ([], 5.0)


def test_whoever_was_named_is_not_named_again_before_resting() -> None:
    places = stretch_of(a=5.0, b=7.0, c=9.0)
    places.due_in(0, 5.0, 7.5)
    assert places.stretches[0].due == 9.0
    places.rest("a", 8.0)
    assert places.stretches[0].due == 8.0


def test_whoever_is_being_asked_for_is_not_named() -> None:
    places = stretch_of(a=5.0, b=7.0)
    places._awaited["a"].busy = True
    assert (places.due_in(0, 6.0, 7.5), places.stretches[0].due) == ([], 7.0)


def test_nobody_is_due_where_nobody_stands() -> None:
    assert places_of("a").due_in(3, 1e9, 1e9) == []


def test_when_everybody_there_is_being_asked_for_nobody_is_due() -> None:
    places = stretch_of(a=5.0)
    places._awaited["a"].busy = True
    assert (places.due_in(0, 6.0, 7.5), places.stretches[0].due) == ([], inf)


# --- seekers who are due ---------------------------------------------------------------------------------------------


def test_seekers_are_named_by_when_they_are_due() -> None:
    places = places_of("a", "b", "c")
    for key, due in (("a", 7.0), ("b", 5.0), ("c", 9.0)):
        places.rest(key, due)
    assert places.seekers_due == 5.0
    assert list(places.next_seekers(7.0)) == ["b", "a"]
    assert (places.seekers_due, list(places.next_seekers(8.9))) == (9.0, [])


def test_nobody_is_due_when_nobody_seeks() -> None:
    assert (places_of().seekers_due, list(places_of().next_seekers(1e9))) == (inf, [])


def outdated(places: Places, why: str) -> None:
    match why:
        case "rested again":
            places.rest("a", 50.0)
        case "shown":
            places.put("a", 7)
        case "busy":
            places._awaited["a"].busy = True
        case _:
            places.leave("a")
            del places._awaited["a"]


@pytest.mark.parametrize("why", ["rested again", "shown", "busy", "gone"])
def test_outdated_entries_name_nobody(why: str) -> None:
    places = places_of("a", "b")
    for key in ("a", "b"):
        places.rest(key, 5.0)
    outdated(places, why)
    assert list(places.next_seekers(5.0)) == ["b"]


def test_very_many_outdated_entries_are_put_away_by_and_by() -> None:
    places = places_of("a")
    for when in range(1500):
        places.rest("a", float(when))
    assert list(places.next_seekers(2000.0)) == []
    assert list(places.next_seekers(2000.0)) == ["a"]

"""How far pages are read for tasks whose place is not known. No test waits: `now` is a number."""

from __future__ import annotations

import pytest

from kling_async.policies import PollPolicy
from kling_async.rules.awaited import Awaited
from kling_async.rules.places import Places, Sweep
from kling_async.rules.scout import Scout

POLICY = PollPolicy(interval=5.0, singles=1, max_failure_wait=30.0)
FULL = Sweep(1, 500)
NOBODY = Places({})


def standing(*places: int) -> Places:
    """Tasks whose places are known."""
    taken = Places({str(place): Awaited(0.0, None) for place in places})
    for place in places:
        taken.put(str(place), place)
    return taken


SOMEBODY = standing(400_000)


def scout() -> Scout:
    return Scout(POLICY)


def expedition(scout: Scout, *, now: float = 0.0, found: int = 0, left: int = 50) -> list[Sweep]:
    """The pages of one, all of them full and showing so many."""
    pages: list[Sweep] = []
    while scout.ready(now) and len(pages) < 30:
        pages.append(scout.page(left, SOMEBODY))
        scout.read(pages[-1], now, full=True, found=found, left=left)
    return pages


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seekers", "size"), [(2, 50), (25, 50), (26, 100), (249, 500), (9999, 500)])
def test_the_first_page_is_twice_as_long_as_those_it_is_for(seekers: int, size: int) -> None:
    assert scout().page(seekers, NOBODY) == Sweep(1, size)


def test_where_others_are_known_it_is_as_long_as_can_be() -> None:
    # It may show those as well, so that they need no page of their own.
    assert scout().page(2, SOMEBODY) == FULL


@pytest.mark.parametrize("first", [Sweep(1, 50), Sweep(1, 100), Sweep(1, 450)])
def test_behind_a_short_page_the_whole_stretch_is_read(first: Sweep) -> None:
    one = scout()
    one.read(first, 0.0, full=True, found=9, left=9)
    assert one.page(9, NOBODY) == FULL


def test_pages_follow_each_other() -> None:
    one = scout()
    one.read(FULL, 0.0, full=True, found=9, left=9)
    assert one.page(9, NOBODY) == Sweep(2, 500)


# --- how far ---------------------------------------------------------------------------------------------------------


def test_fruitful_pages_go_on() -> None:
    assert expedition(scout(), found=2) == [Sweep(number, 500) for number in range(1, 31)]


@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize(("left", "pages"), [(2, 2), (99, 2), (100, 3), (1000, 12)])
def test_a_few_in_vain_are_borne(left: int, pages: int, found: int) -> None:
    # One more than a page for each hundred; a page that shows one is no better than a query for it.
    assert len(expedition(scout(), found=found, left=left)) == pages


def test_the_next_expedition_goes_on_where_the_last_stopped_an_interval_later() -> None:
    one = scout()
    assert expedition(one) == [FULL, Sweep(2, 500)]
    assert not one.ready(4.9)
    assert expedition(one, now=5.0) == [Sweep(3, 500), Sweep(4, 500)]


def test_it_is_over_when_one_is_left_who_is_asked_for_singly() -> None:
    one = scout()
    one.read(FULL, 0.0, full=True, found=30, left=1)
    assert (one.ready(0.0), one.page(2, SOMEBODY)) == (True, Sweep(2, 500))


@pytest.mark.parametrize(("number", "full"), [(3, False), (1000, True)])
def test_at_the_end_of_the_list_it_begins_again_after_an_interval(number: int, full: bool) -> None:
    one = scout()
    one.read(Sweep(number, 500), 0.0, full=full, found=0, left=9)
    assert (one.ready(9.9), one.ready(10.0), one.page(9, SOMEBODY)) == (False, True, FULL)


def test_lists_read_to_the_end_in_vain_are_read_less_and_less_often() -> None:
    one, now, pauses = scout(), 0.0, []
    for _ in range(9):
        one.read(FULL, now, full=False, found=0, left=9)
        pauses.append(next(pause for pause in range(1000) if one.ready(now + pause)))
        now += pauses[-1]
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 640, 640]


def test_with_somebody_new_it_begins_at_the_head_and_the_pauses_are_short_again() -> None:
    one = scout()
    for now in (0.0, 100.0, 200.0):
        one.read(Sweep(2, 500), now, full=False, found=0, left=9)
    one.read(Sweep(1, 500), 300.0, full=True, found=5, left=9)
    one.somebody_new()
    assert (one.ready(205.0), one.page(9, SOMEBODY)) == (True, FULL)


def test_when_all_were_found_the_pauses_are_short_again() -> None:
    one = scout()
    for now in (0.0, 100.0):
        one.read(FULL, now, full=False, found=0, left=9)
    one.read(FULL, 200.0, full=True, found=9, left=0)
    one.read(FULL, 300.0, full=False, found=0, left=9)
    assert (one.ready(309.9), one.ready(310.0)) == (False, True)


def test_what_was_in_vain_in_one_expedition_does_not_count_in_the_next() -> None:
    one = scout()
    one.read(FULL, 0.0, full=True, found=0, left=9)
    one.read(FULL, 0.0, full=True, found=8, left=1)
    assert len(expedition(one, now=100.0)) == 2


# --- failures --------------------------------------------------------------------------------------------------------


def test_pauses_grow_while_pages_fail() -> None:
    one, pauses = scout(), []
    for _ in range(5):
        one.failed(100.0)
        pauses.append(one.held_until - 100.0)
    assert pauses == [5.0, 10.0, 20.0, 30.0, 30.0]


def test_one_page_that_is_read_ends_the_growth() -> None:
    one = scout()
    for _ in range(3):
        one.failed(100.0)
    one.read(FULL, 200.0, full=True, found=9, left=9)
    assert one.held_until < 200.0
    one.failed(200.0)
    assert one.held_until == 205.0


def test_a_crowded_stretch_is_passed_over_since_it_is_read_anyway() -> None:
    assert scout().page(9, standing(*range(400), *range(500, 1000))) == Sweep(3, 500)
    assert scout().page(9, standing(*range(399), *range(500, 1000))) == FULL


def test_somebody_who_comes_while_a_page_is_on_its_way_is_looked_for_from_the_head() -> None:
    one = scout()
    sweep = one.page(9, SOMEBODY)
    one.somebody_new()
    one.read(sweep, 0.0, full=True, found=5, left=9)
    assert one.page(9, SOMEBODY) == FULL

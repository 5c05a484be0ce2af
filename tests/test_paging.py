from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async.models import Page, Task, TaskStatus
from kling_async.rules import paging
from kling_async.rules.paging import Walk


def tasks(*ids: object) -> tuple[Task, ...]:
    return tuple(Task(id=str(name), status=TaskStatus.PROCESSING) for name in ids)


class Listing:
    """The vendor's list, newest first; before each page new tasks may arrive."""

    def __init__(self, count: int, arrivals: Sequence[int] = ()) -> None:
        self.all = list(range(count))
        self._arrivals = iter(arrivals)
        self.asked: list[int] = []

    def page(self, number: int, size: int) -> Page:
        if self.asked:  # what was there when the walk began is what must be seen
            self.all[:0] = range(len(self.all), len(self.all) + next(self._arrivals, 0))
        self.asked.append(number)
        return Page(number, size, tasks(*self.all[(number - 1) * size : number * size]))


def walked(listing: Listing, walk: Walk, size: int) -> Iterator[Page]:
    while walk.next_page is not None:
        yield walk.took(listing.page(walk.next_page, size))


def ids(listing: Listing, size: int, first: int = 1) -> list[int]:
    return [int(task.id) for page in walked(listing, Walk(first, size), size) for task in page.tasks]


@settings(max_examples=60)
@given(count=st.integers(0, 40), size=st.integers(1, 9), arrivals=st.lists(st.integers(0, 12), max_size=60).map(tuple))
def test_nothing_is_repeated_and_nothing_is_lost(count: int, size: int, arrivals: tuple[int, ...]) -> None:
    seen = ids(Listing(count, arrivals), size)
    assert len(seen) == len(set(seen))
    assert [number for number in seen if number < count] == list(range(count))


def test_without_a_memory_tasks_would_be_repeated() -> None:
    # Control of the one above: arrivals do push tasks to later pages.
    listing = Listing(6, (2, 0, 0))
    shown = [task.id for number in (1, 2, 3) for task in listing.page(number, 3).tasks]
    assert len(shown) > len(set(shown))


def test_a_walk_ends_at_an_empty_page() -> None:
    listing = Listing(4)
    assert ids(listing, 2) == [0, 1, 2, 3]
    assert listing.asked == [1, 2, 3]


def test_a_short_page_is_not_believed_to_be_the_last() -> None:
    walk = Walk(1, 30)
    walk.took(Page(1, 30, tasks(1)))
    assert walk.next_page == 2


def test_an_empty_list_ends_at_once() -> None:
    listing = Listing(0)
    assert (ids(listing, 30), listing.asked) == ([], [1])


def test_a_page_of_nothing_but_repeats_is_not_the_end() -> None:
    walk = Walk(1, 2)
    walk.took(Page(1, 2, tasks(1, 2)))
    assert walk.took(Page(2, 2, tasks(1, 2))) == Page(2, 2, ())
    assert walk.next_page == 3


def test_a_page_without_repeats_is_passed_on_as_it_is() -> None:
    page = Page(1, 2, tasks(1, 2))
    assert Walk(1, 2).took(page) is page


def test_a_walk_may_begin_later() -> None:
    listing = Listing(5)
    assert (ids(listing, 2, first=2), listing.asked) == ([2, 3, 4], [2, 3, 4])


@pytest.mark.parametrize(("count", "cut_short"), [(1998, False), (1999, False), (2000, True), (3000, True)], ids=str)
def test_a_walk_ends_at_page_1000(count: int, cut_short: bool) -> None:
    listing, walk = Listing(count), Walk(998, 2)
    list(walked(listing, walk, 2))
    assert (listing.asked, walk.cut_short) == ([998, 999, 1000], cut_short)


def test_a_walk_of_all_1000_pages() -> None:
    listing = Listing(1500)
    assert ids(listing, 1) == list(range(1000))


def test_only_ids_seen_lately_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "_REMEMBERED", 3)
    walk = Walk(1, 1)
    for number in range(1, 6):
        walk.took(Page(number, 1, tasks(number)))
    assert [walk.took(Page(9, 1, tasks(number))).tasks for number in (5, 2, 1)] == [(), (), tasks(1)]

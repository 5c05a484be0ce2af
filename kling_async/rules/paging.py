"""Which page to ask for next, and what of it is new: the walk of one listing."""

from __future__ import annotations

from collections import deque

import attrs

from kling_async import spec
from kling_async.models import Page

_REMEMBERED = 10_000  # ids; a list that moves further than this between two pages is not one that a person watches


class Walk:
    """The state of one walk. The list may move while it is walked: new tasks push the others to later pages.

    Ids seen lately are remembered, so that what was pushed along is not shown twice. The end is believed only
    when a page is empty: a short page is most likely the last (assumed), but no document says so.
    """

    def __init__(self, page_num: int, page_size: int) -> None:
        self._size = page_size
        self._recent: deque[str] = deque()
        self._most = max(_REMEMBERED, 4 * page_size)
        self._known: set[str] = set()
        self.next_page: int | None = page_num
        self.cut_short = False

    def took(self, page: Page) -> Page:
        """The page without what was seen before; `next_page` and `cut_short` say how to go on."""
        shown = len(page.tasks) + page.unreadable
        full = shown >= self._size
        self.cut_short = full and page.number >= spec.PAGE_NUM_MAX
        ended = not shown or page.number >= spec.PAGE_NUM_MAX
        self.next_page = None if ended else page.number + 1
        return self._without_repeats(page)

    def _without_repeats(self, page: Page) -> Page:
        new = {task.id: task for task in reversed(page.tasks) if task.id not in self._known}
        self._known.update(new)
        self._recent.extend(reversed(new))
        while len(self._recent) > self._most:
            self._known.discard(self._recent.popleft())
        return page if len(new) == len(page.tasks) else attrs.evolve(page, tasks=tuple(reversed(new.values())))

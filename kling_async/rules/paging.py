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
        self._recent: deque[str] = deque(maxlen=max(_REMEMBERED, 4 * page_size))
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
        fresh = tuple(task for task in page.tasks if self._note(task.id))
        return page if len(fresh) == len(page.tasks) else attrs.evolve(page, tasks=fresh)

    def _note(self, id: str) -> bool:
        if id in self._known:
            return False
        if len(self._recent) == self._recent.maxlen:
            self._known.discard(self._recent[0])
        self._recent.append(id)
        self._known.add(id)
        return True

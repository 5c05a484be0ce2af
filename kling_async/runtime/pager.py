"""A listing that can be awaited for one page, or iterated: `async for task in it`, or `it.pages()`."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator

from kling_async import spec
from kling_async.models import Page, Task
from kling_async.rules.paging import Walk


class Pager:
    """The tasks of an account, newest first as the vendor shows them (observed).

    - `async for task in pager`: every task once, also when new ones push the list along while it is walked.
    - `async for page in pager.pages()`: the same by pages, without repeats.
    - `await pager`: the one page that was asked for, as the vendor sent it.

    Each iteration starts anew at the first page asked for, and holds no more than one page in memory.
    """

    def __init__(self, fetch: Callable[[int, int], Awaitable[Page]], *, page_num: int, page_size: int) -> None:
        self._fetch = fetch
        self._page_num = page_num
        self._page_size = page_size

    def __repr__(self) -> str:
        return f"<Pager from page {self._page_num}, {self._page_size} a page>"

    def __await__(self) -> Generator[object, None, Page]:
        return self._fetch(self._page_num, self._page_size).__await__()

    async def __aiter__(self) -> AsyncIterator[Task]:
        async for page in self.pages():
            for task in page.tasks:
                yield task

    async def pages(self) -> AsyncIterator[Page]:
        """The pages from the first asked for to the last that there is; tasks seen on an earlier one are left out.

        Warns:
            RuntimeWarning: page 1,000 was full: the vendor serves no further page, so older tasks may exist.
        """
        walk = Walk(self._page_num, self._page_size)
        while (number := walk.next_page) is not None:
            page = walk.took(await self._fetch(number, self._page_size))
            if page.tasks:
                yield page
        if walk.cut_short:
            warnings.warn(
                f"the vendor serves {spec.PAGE_NUM_MAX:,} pages and the last was full: older tasks may exist "
                f"(asked with page_size={self._page_size}; at most {spec.PAGE_SIZE_MAX} is allowed)",
                RuntimeWarning,
                stacklevel=2,
            )

"""Queries because of callbacks: what nobody signed, or two callbacks contradict, the vendor is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import attrs

from kling_async.errors import KlingError, NotFound
from kling_async.models import Task
from kling_async.rules.callbacks import Hints
from kling_async.rules.wire import read_task, task_call
from kling_async.runtime.transport import Transport
from kling_async.runtime.waiter import Waiter

_log = logging.getLogger("kling_async")

Settle = Callable[[str, Task], None]
"""Called with the path under which a task was found, and the task."""


@attrs.frozen
class Ear:
    """Who hears of tasks of one kind, and where to ask for one."""

    path: str
    waiter: Waiter


class Questions:
    """The queries of one event loop.

    Attributes:
        under_way: what a close has to end.
    """

    def __init__(self, transport: Transport, spacing: float) -> None:
        self._transport = transport
        self._hints = Hints(spacing)
        self._loop = asyncio.get_running_loop()
        self.under_way = set[asyncio.Task[None]]()

    def ask_soon(self, id: str, ears: Sequence[Ear], settle: Settle, *, limited: bool) -> bool:
        """Whether the task will be asked for; `limited`: as one of the few of which nobody here knows."""
        wait = self._hints.due(id, self._loop.time(), limited=limited)
        if wait is None:
            return False
        query = self._loop.create_task(self._ask(id, ears, settle, wait), name="kling_async query for a callback")
        self.under_way.add(query)
        query.add_done_callback(self.under_way.discard)
        return True

    async def _ask(self, id: str, ears: Sequence[Ear], settle: Settle, wait: float) -> None:
        await asyncio.sleep(wait)
        for ear in ears:
            try:
                task = read_task(await self._transport.read_once(task_call(ear.path, id)))
            except NotFound:
                continue
            except KlingError as error:
                _log.info("a query because of a callback failed: %s", error)
                return
            settle(ear.path, task)
            return

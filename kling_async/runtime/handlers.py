"""Handlers of users: called behind the vendor's back, one call after the other for a task, and none harms another."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine

from kling_async.models import Task

_log = logging.getLogger("kling_async")

_SECONDS = 10.0  # what handlers may take to come to their end when the client is closed

Handler = Callable[[Task], object]


class Handlers:
    """The handlers, and their calls under way in the running loop."""

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self._calls = set[asyncio.Task[None]]()
        self._last: dict[str, asyncio.Task[None]] = {}  # for each task

    def __repr__(self) -> str:
        return f"<Handlers {len(self._handlers)}, {len(self._calls)} calls under way>"

    def add(self, handler: Handler) -> None:
        """Calls this one, too, from now on."""
        self._handlers.append(handler)

    def tell(self, task: Task) -> None:
        """Calls all of them with the task, soon, behind the calls for the same task that are under way."""
        if not self._handlers:
            return
        loop = asyncio.get_running_loop()
        # Nothing of an earlier loop is left here: its end cancelled what was under way.
        work = self._call(task, self._last.get(task.id))
        this = self._last[task.id] = loop.create_task(work, name="kling_async handlers")
        self._calls.add(this)
        this.add_done_callback(functools.partial(self._done, task.id))

    async def _call(self, task: Task, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        await asyncio.gather(*(_called(handler, task) for handler in self._handlers))

    def _done(self, id: str, this: asyncio.Task[None]) -> None:
        self._calls.discard(this)
        if self._last.get(id) is this:
            del self._last[id]

    async def close(self) -> None:
        """Waits until all calls have ended, for 10 s at most; what is late then is cancelled."""
        loop = asyncio.get_running_loop()
        calls = {call for call in self._calls if call.get_loop() is loop}
        if not calls:
            return
        _, late = await asyncio.wait(calls, timeout=_SECONDS)
        for call in late:
            call.cancel()
        if late:
            _log.warning("calls of handlers had not ended after %g s: %d", _SECONDS, len(late))
            await asyncio.wait(late)


async def _called(handler: Handler, task: Task) -> None:
    """Calls a handler; what it raises ends here."""
    try:
        result = handler(task) if inspect.iscoroutinefunction(handler) else await asyncio.to_thread(handler, task)
        if isinstance(result, Coroutine):
            await result
    except Exception:
        _log.exception("a handler of callbacks failed for task %s", task.id)

"""Tasks of one kind, as a client offers them: written once for every kind."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Literal, overload

from kling_async import spec
from kling_async.checks import identifier, seconds, whole
from kling_async.errors import KlingError, RequestError
from kling_async.models import Page, Task
from kling_async.policies import DEFAULT_WAIT_SECONDS, PollPolicy, SlotPolicy
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.wire import page_call, read_task, read_tasks, task_call
from kling_async.runtime.carry import Kind
from kling_async.runtime.line import Line
from kling_async.runtime.pager import Pager
from kling_async.runtime.submit import Submitter
from kling_async.runtime.transport import Transport
from kling_async.runtime.waiter import Waiter

_log = logging.getLogger("kling_async")


class TaskResource:
    """Tasks of one kind: query, listing and waiting, the same for every kind."""

    def __init__(
        self,
        transport: Transport,
        path: str,
        *,
        polling: PollPolicy,
        slots: SlotPolicy,
        new_id: Callable[[], str],
        read_limit: Callable[[], Awaitable[int | None]],
    ) -> None:
        self._transport = transport
        self._path = path
        self._waiter = Waiter(transport, path, polling)
        read = read_limit if slots.read_packs and slots.limit is None else None
        self._line = Line(slots, self._waiter, draw=transport.draw, read_limit=read)
        self._submitter = Submitter(transport, path, self._line, new_id=new_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}, {self._waiter!r}, {self._line!r}>"

    @property
    def kind(self) -> Kind:
        """The parts that a batch works with."""
        return Kind(self._submitter, self._waiter)

    async def get(self, id: str | Task, *, timeout: float | None = None) -> Task:
        """The task as it is now, by the vendor's id or your own external id.

        Args:
            id: an id, or a task to look at again.
            timeout: the whole budget in seconds, repetitions included; `None` takes `RetryPolicy.timeout`.

        Raises:
            RequestError: an id that cannot be one.
            NotFound: the vendor does not know it, or it belongs to another account.
            APIError, TransportError, MalformedResponse: the vendor's refusal, or no answer within the budget.

        Source: specification, "Endpoints"; external ids in the path: document-api.
        """
        call = task_call(self._path, _id_of(id))
        task = read_task(await self._transport.read(call, timeout=budget(timeout)))
        self._waiter.absorb([task])
        return task

    def list(self, *, page_size: int = spec.PAGE_SIZE_DEFAULT, page_num: int = spec.PAGE_NUM_DEFAULT) -> Pager:
        """The account's tasks of this kind: iterate with `async for`, by `.pages()`, or await one page.

        Args:
            page_size: tasks a page, 1 to 500, default 30.
            page_num: where to begin, 1 to 1,000, default 1.

        Raises:
            RequestError: a number out of bounds.

        Source: specification, "Endpoints"; bounds: document-api.
        """
        return Pager(
            self._page,
            page_num=whole("page_num", page_num, least=1, most=spec.PAGE_NUM_MAX),
            page_size=whole("page_size", page_size, least=1, most=spec.PAGE_SIZE_MAX),
        )

    async def _page(self, number: int, size: int) -> Page:
        tasks, unreadable = read_tasks(await self._transport.read(page_call(self._path, number, size)))
        self._waiter.absorb(tasks)
        return Page(number, size, tasks, unreadable)

    async def wait(self, task: Task | str, *, timeout: float | None = DEFAULT_WAIT_SECONDS) -> Task:
        """The succeeded task. However many coroutines wait, one poller asks for all of them.

        Args:
            task: a task, or an id (the vendor's or your own).
            timeout: seconds, default 1,800; `None` waits for ever. The task itself is not touched by it.

        Raises:
            TaskFailed: the vendor says that it failed, and why.
            WaitTimeout: the time was over; it carries the task, and a later `wait` goes on.
            NotFound: the vendor does not know the id.
            AuthenticationError, AccountError, ...: polling is refused for good.
            ClientClosed: the client was closed meanwhile.
        """
        wanted = task if isinstance(task, Task) else _id_of(task)
        waiting = self._waiter.begin(wanted, budget(timeout))
        try:
            return await waiting.future
        finally:
            self._waiter.leave(wanted, waiting)

    @overload
    async def wait_all(
        self, tasks: Iterable[Task | str], *, timeout: float | None = ..., return_exceptions: Literal[False] = ...
    ) -> builtins.list[Task]: ...
    @overload
    async def wait_all(
        self, tasks: Iterable[Task | str], *, timeout: float | None = ..., return_exceptions: Literal[True]
    ) -> builtins.list[Task | KlingError]: ...
    async def wait_all(
        self,
        tasks: Iterable[Task | str],
        *,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
        return_exceptions: bool = False,
    ) -> builtins.list[Task] | builtins.list[Task | KlingError]:
        """The succeeded tasks in the order given; an empty list for none.

        Args:
            tasks: tasks or ids.
            timeout: seconds for all together, default 1,800; `None` waits for ever.
            return_exceptions: false raises the first error (the other tasks go on at the vendor's); true puts
                each error in its task's place.

        Raises:
            as `wait`; a `WaitTimeout` carries all that had not ended.
        """
        wanted, limit = _wanted(tasks), budget(timeout)
        if return_exceptions:
            return await self._waiter.wait_each(wanted, timeout=limit)
        return await self._waiter.wait_all(wanted, timeout=limit)

    def as_completed(
        self, tasks: Iterable[Task | str], *, timeout: float | None = DEFAULT_WAIT_SECONDS
    ) -> AsyncIterator[Task]:
        """The ended tasks in the order in which they end, failed ones included (look at `task.status`).

        Args:
            tasks: tasks or ids.
            timeout: seconds for all together, default 1,800; `None` waits for ever.

        Raises:
            WaitTimeout: the time was over; it carries all that had not ended.
            NotFound, AuthenticationError, ...: as `wait`; the iteration ends there.
        """
        return self._waiter.as_completed(_wanted(tasks), timeout=budget(timeout))

    def events(
        self, tasks: Iterable[Task | str], *, timeout: float | None = DEFAULT_WAIT_SECONDS
    ) -> AsyncIterator[Task]:
        """Each task whenever its status has changed, once for each change and in their order, up to its end.

        What is compared with is the task as you give it; of a bare id, the first look is a change. However slowly you
        read, no end is lost, and what waits for you is at most one change of each status for each task.

        Args:
            tasks: tasks or ids.
            timeout: seconds for all together, default 1,800; `None` waits for ever.

        Raises:
            as `as_completed`.
        """
        return self._waiter.events(_wanted(tasks), timeout=budget(timeout))

    async def _run(self, request: VideoExtendRequest | OmniVideoRequest, timeout: float | None) -> Task:
        task = await self._submitter.create(request)
        try:
            return await self.wait(task, timeout=timeout)
        except asyncio.CancelledError as cancelled:
            # Nobody else knows the id yet, and the task costs money from now on.
            told = f"task {task.id} ({task.external_task_id}) was accepted and goes on; wait for it by its id"
            cancelled.add_note(told)
            _log.warning("a run was cancelled; %s", told)
            raise

    async def close(self) -> None:
        """Stops polling; whoever still waits gets `ClientClosed`."""
        self._line.close()
        await self._waiter.close()


def _id_of(id: object) -> str:
    return id.id if isinstance(id, Task) else identifier("id", id, "a task's id, or your own external id")


def _wanted(tasks: Iterable[Task | str]) -> list[Task | str]:
    if isinstance(tasks, str | Task):
        raise RequestError("tasks: is a single task; it must be a list of tasks or ids")
    return [task if isinstance(task, Task) else _id_of(task) for task in tasks]


def budget(timeout: float | None) -> float | None:
    """The seconds that a caller gave, checked; `None` for none given."""
    return None if timeout is None else seconds("timeout", timeout, zero=True)

"""What a client offers: tasks of two kinds, written once, and the account."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Literal, overload

import attrs

from kling_async import spec
from kling_async.checks import identifier, seconds, whole
from kling_async.errors import KlingError, RequestError
from kling_async.models import Page, ResourcePack, Task, Video
from kling_async.policies import DEFAULT_WAIT_SECONDS, PollPolicy, SlotPolicy
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.wire import costs_call, page_call, read_packs, read_task, read_tasks, task_call
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
        self._line = Line(slots, self._waiter, draw=transport.draw)
        read = read_limit if slots.read_packs and slots.limit is None else None
        self._submitter = Submitter(transport, path, self._line, new_id=new_id, read_limit=read)

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
        task = read_task(await self._transport.read(call, timeout=_budget(timeout)))
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
        waiting = self._waiter.begin(wanted, _budget(timeout))
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
        wanted, limit = _wanted(tasks), _budget(timeout)
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
        return self._waiter.as_completed(_wanted(tasks), timeout=_budget(timeout))

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
        return self._waiter.events(_wanted(tasks), timeout=_budget(timeout))

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


class VideoExtend(TaskResource):
    """Extensions of videos that Kling made. Source: specification."""

    async def create(
        self,
        source: str | Video | VideoExtendRequest,
        *,
        prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        timeout: float | None = None,
    ) -> Task:
        """The task, accepted by the vendor exactly once; its end is `wait`'s business.

        Waits for a free slot of the account. A lost answer is settled by asking for the external id, and only what
        is not found is posted again, under the same id.

        Args:
            source: the id of the video to extend, a `Video` (such as `task.video`), or a whole request; with a
                request, nothing else may be given.
            prompt: see `VideoExtendRequest`, as all below; `None` leaves each to the vendor.
            model_name: default `None`: the vendor takes `kling-v1`.
            mode: default `None`: the vendor takes `std`.
            callback_url: default `None`: no callbacks.
            external_task_id: default `None`: the client makes one. With one of your own, the same create is safe to
                repeat, here and in other processes: the task that is there already is returned.
            timeout: seconds for all of it, the wait for a slot included; `None`: that wait has no bound, and settling
                takes at most `RetryPolicy.settle_timeout`.

        Raises:
            RequestError: refused here, before anything was sent.
            APIError: refused by the vendor; no task was made. `InvalidRequest` also says that `external_task_id`
                belongs to another video's task.
            ConcurrencyLimited: no slot became free within `timeout`; no task was made.
            TransportError: the request never left in all that time; no task was made.
            CreateUncertain: time ran out in doubt; a later `get` or `create` with the error's `external_task_id`
                picks the task up, if it was made.

        Source: specification, "Request Parameters".
        """
        request = _extension(source, prompt, model_name, mode, callback_url, external_task_id)
        return await self._submitter.create(request, timeout=_budget(timeout))

    async def run(
        self,
        source: str | Video | VideoExtendRequest,
        *,
        prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
    ) -> Task:
        """The succeeded task: `create`, then `wait`. Any number of these at once share one poller.

        Args and errors are those of `create` and `wait`; `timeout` begins when the vendor has accepted the task.
        """
        limit = _budget(timeout)
        request = _extension(source, prompt, model_name, mode, callback_url, external_task_id)
        return await self._run(request, limit)


class OmniVideo(TaskResource):
    """Omni-Video: the freer way to go on from a video. Source: specification, "Alternative"."""

    async def create(self, request: OmniVideoRequest, *, timeout: float | None = None) -> Task:
        """The task, accepted by the vendor exactly once. `timeout` and errors are those of extensions."""
        return await self._submitter.create(_omni(request), timeout=_budget(timeout))

    async def run(self, request: OmniVideoRequest, *, timeout: float | None = DEFAULT_WAIT_SECONDS) -> Task:
        """The succeeded task: `create`, then `wait`; `timeout` begins when the vendor has accepted the task."""
        limit = _budget(timeout)
        return await self._run(_omni(request), limit)


@attrs.frozen
class Account:
    """What the account has bought and used."""

    _transport: Transport

    async def costs(
        self, start: datetime, end: datetime, *, resource_pack_name: str | None = None, timeout: float | None = None
    ) -> tuple[ResourcePack, ...]:
        """The resource packs that were of use between two times. Free; the figures lag by up to 12 hours.

        Args:
            start: aware time.
            end: aware time, not before `start`.
            resource_pack_name: only this pack; `None` for all.
            timeout: the whole budget in seconds; `None` takes `RetryPolicy.timeout`.

        Raises:
            RequestError: a time without a zone, or an end before its start.
            RateLimited: more than one request a second, for longer than the budget.
            APIError, TransportError, MalformedResponse: as for `get`.

        Source: document-api, "Account".
        """
        first, last = _aware("start", start), _aware("end", end)
        if last < first:
            raise RequestError("end: must not be before start")
        call = costs_call(first, last, resource_pack_name)
        return read_packs(await self._transport.read(call, timeout=_budget(timeout)))


def _extension(
    source: str | Video | VideoExtendRequest,
    prompt: str | None,
    model_name: str | None,
    mode: str | None,
    callback_url: str | None,
    external_task_id: str | None,
) -> VideoExtendRequest:
    if isinstance(source, VideoExtendRequest):
        if any(given is not None for given in (prompt, model_name, mode, callback_url, external_task_id)):
            raise RequestError("source: is a whole request; give the other arguments within it")
        return source
    if isinstance(source, Task):
        raise RequestError("source: is a Task; it must be a video, such as task.video")
    return VideoExtendRequest(
        video_id=_extendable(source) if isinstance(source, Video) else source,
        prompt=prompt,
        model_name=model_name,
        mode=mode,
        callback_url=callback_url,
        external_task_id=external_task_id,
    )


def _extendable(video: Video) -> str:
    # Known to be too long is known to be refused: say so before it is sent.
    if video.duration is not None and video.duration + spec.EXTENSION_MIN_SECONDS > spec.TOTAL_MAX_SECONDS:
        raise RequestError(
            f"source: video {video.id} has {video.duration} s; with {spec.EXTENSION_MIN_SECONDS} s more it would "
            f"pass the vendor's {spec.TOTAL_MAX_SECONDS} s"
        )
    return video.id


def _omni(request: object) -> OmniVideoRequest:
    if not isinstance(request, OmniVideoRequest):
        raise RequestError(f"request: {type(request).__name__} is not allowed; it must be an OmniVideoRequest")
    return request


def _aware(name: str, time: object) -> datetime:
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise RequestError(f"{name}: must be a datetime with a time zone, such as datetime.now(UTC)")
    return time.astimezone(UTC)


def _id_of(id: object) -> str:
    return id.id if isinstance(id, Task) else identifier("id", id, "a task's id, or your own external id")


def _wanted(tasks: Iterable[Task | str]) -> list[Task | str]:
    if isinstance(tasks, str | Task):
        raise RequestError("tasks: is a single task; it must be a list of tasks or ids")
    return [task if isinstance(task, Task) else _id_of(task) for task in tasks]


def _budget(timeout: float | None) -> float | None:
    return None if timeout is None else seconds("timeout", timeout, zero=True)

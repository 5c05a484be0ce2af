"""Creates of one kind of task, each under an external id that stands for one request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import attrs

from kling_async.errors import RequestError
from kling_async.models import Task
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.settle import Settlement
from kling_async.rules.wire import Call, create_call, read_task, task_call
from kling_async.runtime.course import Course
from kling_async.runtime.line import Line
from kling_async.runtime.transport import Transport

_REMEMBERED = 10_000


class Submitter:
    """Creates tasks under one path."""

    def __init__(
        self,
        transport: Transport,
        path: str,
        line: Line,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self.transport = transport
        self.path = path
        self.line = line
        self.new_id = new_id
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def create(
        self,
        request: VideoExtendRequest | OmniVideoRequest,
        *,
        timeout: float | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
        doubtful: bool = False,
    ) -> Task:
        """The task that the vendor accepted, made by this create or by an earlier one with the same external id.

        Args:
            request: what to make.
            timeout: seconds for all of it, the line included; `None`: the line is not bounded, settling a lost answer
                takes `RetryPolicy.settle_timeout`, and trying to reach the vendor at all `RetryPolicy.timeout`.
            before_send: awaited once, when a slot is free, before the first byte leaves.
            doubtful: whether an earlier process may have sent this already: then it is asked for first.

        Raises:
            APIError: the vendor refused; no task was made (`created="no"`).
            TransportError: nothing was sent for as long as time allowed; no task was made.
            ConcurrencyLimited: no slot became free within `timeout`; no task was made.
            CreateUncertain: time ran out in doubt; a task may exist under the external id.
        """
        external_id = request.external_task_id or self.new_id()
        call = create_call(self.path, request, external_id)
        known = self._remember(external_id, call)
        now = asyncio.get_running_loop().time()
        course = Course(
            self.transport,
            self.path,
            self.line,
            request,
            call,
            external_id,
            deadline=None if timeout is None else now + timeout,
            before_send=before_send,
            settlement=Settlement(self.transport.retry, self.transport.draw, now, doubtful=doubtful or known.may_exist),
        )
        known.under_way += 1
        try:
            if self.transport.tracing is None:
                return await course.run()
            with self.transport.tracing.operation("create") as facts:
                facts["resource"], facts["external_task_id"] = self.path, external_id
                task = await course.run()
                facts["task_id"] = task.id
                return task
        finally:
            known.under_way -= 1
            known.may_exist |= course.may_exist

    async def ask(self, id: str) -> Task:
        """The task as it is now, by either id."""
        return read_task(await self.transport.read(task_call(self.path, id)))

    def _remember(self, external_id: str, call: Call) -> _Known:
        """Refuses an id that stands for another request already: the vendor could not tell us the difference."""
        body = hash(call.body)
        known = self._known.setdefault(external_id, _Known(body))
        if known.body != body and (known.under_way or known.may_exist):
            raise RequestError(
                f"external_task_id: {external_id!r} was used for another request; give this one an id of its own"
            )
        known.body = body
        self._known.move_to_end(external_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known


@attrs.define(eq=False)
class _Known:
    """What this process did under one external id."""

    body: int
    under_way: int = 0
    may_exist: bool = False  # then the next create asks first, and its refusal does not say that there is no task

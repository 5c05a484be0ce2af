"""The course of one create, exactly once: a slot, the posts, the questions, and an outcome that is known in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import attrs

from kling_async.errors import (
    APIError,
    ClientClosed,
    ConcurrencyLimited,
    CreateUncertain,
    InvalidRequest,
    KlingError,
    NotFound,
)
from kling_async.events import Created, How, QueuedForSlot
from kling_async.models import Task
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.settle import Outcome, Settlement, outcome_of
from kling_async.rules.wire import Call, read_task, task_call
from kling_async.runtime.hook import Hook
from kling_async.runtime.line import Line
from kling_async.runtime.transport import Transport

_log = logging.getLogger("kling_async")


@attrs.define(eq=False)
class Course:
    """The course of one create, from the line to its outcome."""

    _transport: Transport
    _path: str
    _line: Line
    _request: VideoExtendRequest | OmniVideoRequest
    _call: Call
    _external_id: str
    _deadline: float | None = attrs.field(kw_only=True)
    _before_send: Callable[[], Awaitable[None]] | None = attrs.field(kw_only=True)
    _settlement: Settlement = attrs.field(kw_only=True)
    _closings: int = attrs.field(init=False)
    _ticket: int | None = attrs.field(default=None, init=False)
    _since: float = attrs.field(default=0.0, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _until: float = attrs.field(default=0.0, init=False)
    _posts: int = attrs.field(default=0, init=False)
    _sending: bool = attrs.field(default=False, init=False)
    _last: KlingError | None = attrs.field(default=None, init=False)
    _queued_at: float | None = attrs.field(default=None, init=False)
    _queued_seconds: float = attrs.field(default=0.0, init=False)
    _told_of_line: bool | None = attrs.field(default=None, init=False)  # that it waits; true: for others' slots

    def __attrs_post_init__(self) -> None:
        self._closings = self._line.closings

    @property
    def _hook(self) -> Hook | None:
        return self._transport.hook

    @property
    def may_exist(self) -> bool:
        """Whether a task may exist under the id, as far as this course knows."""
        return self._sending or self._settlement.in_doubt

    async def run(self) -> Task:
        """The task, or the truth about why there is none."""
        self._renew()
        self._since = self._began
        try:
            while (task := await self._step()) is None:
                pass
        except KlingError as error:
            error.external_task_id, error.attempts = self._external_id, max(error.attempts, self._posts)
            if self._settlement.in_doubt:  # never "no" where a task may exist
                raise self._uncertain(error) from error
            raise
        except asyncio.CancelledError as cancelled:
            if self.may_exist:
                cancelled.add_note(f"a create was under way; if it arrived, its task is known as {self._external_id}")
                _log.warning("a create was cancelled; if it arrived, its task is known as %s", self._external_id)
            raise
        finally:
            if self._ticket is not None:
                self._line.left(self._ticket)
        return task

    async def _step(self) -> Task | None:
        """The next step when it is due: the task, or nothing yet."""
        now = self._now()
        if max(self._settlement.at, now) >= self._until:
            raise self._last or self._transport.too_late()
        if self._settlement.at > now:
            await asyncio.sleep(self._settlement.at - now)
        self._see_whether_open()
        return await (self._ask() if self._settlement.asking else self._post())

    def _see_whether_open(self) -> None:
        """Asked after each wait: what goes out now would open again what was closed meanwhile."""
        if self._closings != self._line.closings:
            raise ClientClosed("the client was closed while a create was under way")

    async def _post(self) -> Task | None:
        if self._ticket is None:
            self._ticket = await self._line.enter(deadline=self._deadline, queued=self._queued)
            self._renew()
        if self._before_send is not None:
            # On disk before the first byte; no slot is lost when that fails, since the ticket goes back.
            before_send, self._before_send = self._before_send, None
            await before_send()
        self._see_whether_open()
        try:
            self._posts, self._sending = self._posts + 1, True
            answer = await self._transport.create(self._call, deadline=self._until, resend=self._posts - 1)
            task = read_task(answer)
        except KlingError as error:
            self._sending = False
            await self._not_accepted(error)
            self._bound()  # anew, as a doubt may have arisen
            return None
        return self._accepted(task, "accepted", answer.request_id)

    async def _not_accepted(self, error: KlingError) -> None:
        """Goes on as the error allows, or raises it."""
        now = self._now()
        if error.attempts or self._last is None:  # else nothing was sent, and why is what the last one said
            self._last = error
        match outcome_of(error):
            case Outcome.LOST:
                _log.info("the answer to create %s was lost (%s); asking for it", self._external_id, error.in_brief)
                self._settlement.lost(now)
            case Outcome.PERHAPS_DUPLICATE if isinstance(error, APIError):
                self._settlement.perhaps_duplicate(error, now)
            case Outcome.BUSY if isinstance(error, ConcurrencyLimited) and self._ticket is not None:
                self._last = None
                await self._line.again(self._ticket, refusal=error, deadline=self._deadline, queued=self._queued)
                self._renew()
            case Outcome.NOT_SENT | Outcome.BUSY:
                self._settlement.not_sent(error, now)
            case _:
                if isinstance(error, APIError) and error.refuses_all:
                    self._line.stop(error)
                raise error

    async def _ask(self) -> Task | None:
        call = task_call(self._path, self._external_id)
        try:
            answer = await self._transport.read_once(call, deadline=self._until)
            task = read_task(answer)
        except NotFound as error:
            self._last = self._last or error
            if (refusal := self._settlement.absent(self._now())) is not None:
                raise refusal from None
        except KlingError as error:
            self._last = error
            if not self._settlement.unanswered(error, self._now()):
                raise
        else:
            self._check_same(task)
            was_lost = self._settlement.doubtful and self._posts > 0
            return self._accepted(task, "settled" if was_lost else "adopted", answer.request_id)
        return None

    def _accepted(self, task: Task, how: How, request_id: str | None) -> Task:
        # The vendor's answer may leave the id out; it is the task's all the same.
        task = task if task.external_task_id else attrs.evolve(task, external_task_id=self._external_id)
        ticket, self._ticket = self._ticket, None
        self._line.accepted(ticket, task)
        _log.info("task %s was %s as %s, request id: %s", task.id, how, task.external_task_id, request_id)
        if self._hook is not None:
            self._tell_created(self._hook, task, how, request_id)
        return task

    def _tell_created(self, hook: Hook, task: Task, how: How, request_id: str | None) -> None:
        hook.knows(task)
        hook.tell(
            Created(
                at=hook.now(),
                resource=self._path,
                task_id=task.id,
                external_task_id=self._external_id,
                status=task.status,
                how=how,
                request_id=request_id,
                posts=self._posts,
                seconds=self._now() - self._since,
                queued_seconds=self._queued_seconds,
            )
        )

    def _queued(self) -> None:
        """It has to wait for a slot: told once, and once more if it turns out to be others who hold them all."""
        if self._hook is None:
            return
        self._queued_at, slots = self._now(), self._line.slots
        if self._told_of_line is None or (slots.foreign and not self._told_of_line):
            self._told_of_line = slots.foreign
            self._hook.tell(
                QueuedForSlot(
                    at=self._hook.now(),
                    resource=self._path,
                    external_task_id=self._external_id,
                    waiting=slots.waiting,
                    foreign=slots.foreign,
                )
            )

    def _check_same(self, task: Task) -> None:
        """A task found under the caller's id must be the one that was asked for, as far as its record tells.

        An id that we made ourselves is nobody else's.
        """
        source, request = task.parent_video, self._request
        if request.external_task_id is None or source is None or not isinstance(request, VideoExtendRequest):
            return
        if source.id == request.video_id:
            return
        self._settlement.taken()
        raise InvalidRequest(
            f"external_task_id {self._external_id!r} belongs to task {task.id}, which extends another video",
            code=1201,
            http_status=400,
            task_id=task.id,
            host=self._transport.host,
        )

    def _uncertain(self, error: KlingError) -> CreateUncertain:
        return CreateUncertain(
            f"whether a create made its task is not known, and asking did not settle it: {error.message}",
            external_task_id=self._external_id,
            host=error.host,
            attempts=error.attempts,
        )

    def _renew(self) -> None:
        """Settling has its own time, which does not run while the create stands in line."""
        self._began = self._now()
        if self._queued_at is not None:
            self._queued_seconds += self._began - self._queued_at
            self._queued_at = None
        self._bound()

    def _bound(self) -> None:
        """Without a doubt to settle, a create tries no longer than a read does, unless the caller gave it more."""
        retry = self._transport.retry
        is_brief = self._last is not None and self._deadline is None and not self.may_exist
        until = self._began + (min(retry.timeout, retry.settle_timeout) if is_brief else retry.settle_timeout)
        self._until = until if self._deadline is None else min(until, self._deadline)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

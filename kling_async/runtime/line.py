"""The line of creates in front of the account's slots: futures and timers around `rules.slots`."""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from math import isinf

import attrs

from kling_async.errors import APIError, ClientClosed, ConcurrencyLimited, KlingError
from kling_async.models import Task
from kling_async.policies import SlotPolicy
from kling_async.rules.slots import Slots
from kling_async.runtime.listeners import One
from kling_async.runtime.waiter import Waiter

_log = logging.getLogger("kling_async")

Queued = Callable[[], None]
"""Called when a create has to wait for its turn."""


class Line:
    """Who may create now. A slot is held until its task ends, which the waiter sees.

    Tasks that nobody waits for are polled for too, but only while somebody stands in line for their slots.
    """

    def __init__(
        self,
        policy: SlotPolicy,
        waiter: Waiter,
        *,
        draw: Callable[[], float],
        read_limit: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self._policy = policy
        self._waiter = waiter
        self._draw = draw
        self._read_limit = read_limit  # until it was read
        self._reading = asyncio.Lock()
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closings = 0
        self._begin_anew()
        waiter.tell(self)

    def _begin_anew(self) -> None:
        self.slots = Slots(self._policy, self._draw)
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._tasks: dict[int, Task] = {}
        self._tickets: dict[str, int] = {}  # by the task's id
        self._watched: dict[int, One] = {}
        self._unwatched: dict[int, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told_of_foreign = False

    def __repr__(self) -> str:
        return f"<Line {self.slots!r}>"

    async def enter(self, *, deadline: float | None, queued: Queued | None = None) -> int:
        """A ticket, when its turn to send has come. It must come back by `accepted`, `again` or `left`.

        Args:
            deadline: by the loop's clock; `None`: no bound.
            queued: called if the turn has to be waited for; `None`: nobody wants to know.

        Raises:
            ConcurrencyLimited: no slot became free before `deadline`.
            AuthenticationError, AccountError, AddressNotAllowed: another create was refused, and so would this one be.
        """
        if self._read_limit is not None:
            with suppress(TimeoutError):  # what that means is told below
                await self._take_limit(self._read_limit, deadline)
        self._belong()
        ticket = next(self._numbers)
        self.slots.join(ticket)
        await self._turn_of(ticket, deadline, queued)
        return ticket

    async def _take_limit(self, read: Callable[[], Awaitable[int | None]], deadline: float | None) -> None:
        """Reads the limit, once; those behind wait for that, so the order is kept."""
        if not self._reading.locked():
            self._reading = asyncio.Lock()  # a lock that somebody waited for belongs to the loop of then
        async with asyncio.timeout_at(deadline), self._reading:
            if self._read_limit is None:
                return
            try:
                limit = await read()
            except KlingError as error:
                limit = None
                _log.warning("the account's packs could not be read (%s); the limit will be learnt", error.in_brief)
            self._read_limit = None
            if limit is not None:
                self._policy = attrs.evolve(self._policy, limit=limit)
                self.slots.give(limit)

    def _belong(self) -> None:
        """To the running loop: what another one left behind can neither be woken nor freed by us."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._begin_anew()

    async def again(
        self, ticket: int, *, refusal: ConcurrencyLimited, deadline: float | None, queued: Queued | None = None
    ) -> None:
        """Back to the head of the line after a `refusal` (1303), until the next turn. The rest is as for `enter`."""
        self.slots.full(ticket, self._now())
        if self.slots.foreign and not self._told_of_foreign:
            self._told_of_foreign = True
            _log.warning(
                "all slots of the account are taken, none by this client; trying again now and then (request id: %s)",
                refusal.request_id,
            )
        await self._turn_of(ticket, deadline, queued)

    async def _turn_of(self, ticket: int, deadline: float | None, queued: Queued | None) -> None:
        if self._move(ours=ticket):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns[ticket] = turn
        try:
            if queued is not None:
                queued()
            async with asyncio.timeout_at(deadline):
                await turn
        except TimeoutError:
            self.left(ticket)
            raise ConcurrencyLimited(
                "no slot of the account became free in time; nothing was sent", code=1303, http_status=429
            ) from None
        except BaseException:
            # Can a cancellation come after the turn was given? Yes: then it is passed on to the next in line.
            self.left(ticket)
            raise
        finally:
            self._turns.pop(ticket, None)

    def accepted(self, ticket: int | None, task: Task) -> None:
        """The vendor has the task: the slot is held until the task ends.

        `None` for a task that was found, and never stood in line.
        """
        self._belong()
        self._told_of_foreign = False
        ticket = next(self._numbers) if ticket is None else ticket
        if task.status.ended or task.id in self._tickets:
            self.left(ticket)  # picked up, not made: it holds no slot, or holds one already
            return
        forgotten = self.slots.accepted(ticket, self._now(), made_at=_stamp(task.created_at))
        self._tasks[ticket] = task
        self._unwatched[ticket] = None
        self._tickets[task.id] = ticket
        if forgotten is not None:
            self._drop(forgotten)
        self._move()

    def left(self, ticket: int) -> None:
        """The create is over without a task."""
        self.slots.left(ticket)
        self._move()

    def stop(self, error: APIError) -> None:
        """Refused for the account's sake: everybody in line hears it now, and nothing of theirs was created."""
        self._fail_line(error.to_others())

    def close(self) -> None:
        """Ends the line: whoever stands in it gets `ClientClosed`."""
        self.closings += 1
        if self._loop is asyncio.get_running_loop():
            self._fail_line(ClientClosed("the client was closed while a create waited for a slot; it was not sent"))
            self._loop = None

    def _fail_line(self, error: KlingError) -> None:
        for ticket in self.slots.drain():
            turn = self._turns.get(ticket)
            if turn is not None and not turn.done():
                turn.set_exception(copy.copy(error))
        self._see_to_timer()
        self._see_to_watching()

    @property
    def holds_any(self) -> bool:
        """Whether any slot is held."""
        return bool(self._tickets)

    def holds(self, id: str) -> bool:
        """Whether a slot is held by this task."""
        return id in self._tickets

    def ended(self, task: Task) -> None:
        """A task was seen to have ended, by anybody."""
        ticket = self._tickets.get(task.id)
        if ticket is not None:
            self._drop(ticket, ended_at=_stamp(task.updated_at))
            self._move()

    def _drop(self, ticket: int, *, ended_at: float | None = None) -> None:
        self.slots.ended(ticket, self._now(), ended_at=ended_at)
        task = self._tasks.pop(ticket)
        del self._tickets[task.id]
        self._unwatched.pop(ticket, None)
        watched = self._watched.pop(ticket, None)
        if watched is not None:
            self._waiter.leave(task, watched)

    def _move(self, ours: int | None = None) -> bool:
        """Lets go whoever may send now, and sees to it that this is asked again when it should.

        Whether `ours` is among them: it is the ticket of the caller, who does not wait for it yet.
        """
        go = self.slots.ready(self._now())
        for ticket in go:
            turn = self._turns.get(ticket)
            if turn is not None and not turn.done():
                turn.set_result(None)
            elif ticket != ours:
                self.slots.left(ticket)
        self._see_to_timer()
        self._see_to_watching()
        return ours in go

    def _see_to_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not isinf(at := self.slots.wake_at):
            self._timer = asyncio.get_running_loop().call_at(at, self._move)

    def _see_to_watching(self) -> None:
        if not self.slots.starved:
            for ticket in list(self._watched):
                self._unwatched[ticket] = None
                self._waiter.leave(self._tasks[ticket], self._watched.pop(ticket))
            return
        while self._unwatched:
            ticket, _ = self._unwatched.popitem()
            watched = self._watched[ticket] = self._waiter.begin(self._tasks[ticket], None)
            watched.future.add_done_callback(functools.partial(self._unwatchable, ticket))

    def _unwatchable(self, ticket: int, _: asyncio.Future[Task]) -> None:
        """The task ended, or cannot be asked for any more: either way its slot is not ours to count."""
        if ticket in self._tasks and ticket in self._watched:
            self._drop(ticket)
            self._move()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _stamp(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()

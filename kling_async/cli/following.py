"""Tasks followed to their ends, and their films saved, with what a person sees of it meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs

from kling_async.cli.board import Board
from kling_async.cli.exits import common, exit_of
from kling_async.cli.finding import Found
from kling_async.cli.options import Target
from kling_async.cli.session import Session
from kling_async.client import KlingClient
from kling_async.errors import APIError, KlingError
from kling_async.models import Task
from kling_async.policies import DEFAULT_WAIT_SECONDS
from kling_async.resources import TaskResource
from kling_async.runtime.carry import Outcome

Begin = Callable[[], Awaitable[Found]]
"""How a task is found, or made."""

_LATELY = 100  # tasks, from which is learnt how long they take


@attrs.frozen
class Wishes:
    """What is done with each task.

    Attributes:
        waits: whether it is awaited; else it must have ended.
        omni: whether all are known to be Omni-Video tasks.
        out: where the films go to, `None` for nowhere.
        timeout: seconds to wait for each, `None` for ever.
    """

    waits: bool = True
    omni: bool = False
    out: Target | None = None
    timeout: float | None = DEFAULT_WAIT_SECONDS


class Followers:
    """Follows some tasks, each by itself."""

    def __init__(self, session: Session, kling: KlingClient, board: Board, wishes: Wishes) -> None:
        self._session = session
        self._kling = kling
        self._board = board
        self._wishes = wishes
        self._pending: dict[str, None] = {}
        self._learning = set[asyncio.Task[None]]()

    async def follow(self, begins: Mapping[str, Begin]) -> int:
        """The exit code for all of them together."""
        self._pending = dict.fromkeys(begins)
        ours = [asyncio.create_task(self._one(key, begin)) for key, begin in begins.items()]
        try:
            with self._board.shown():
                codes = await asyncio.gather(*ours)
        finally:  # what ends one for the account's sake must not be told by the others too
            for task in (*ours, *self._learning):
                task.cancel()
            await asyncio.wait((*ours, *self._learning))
        if self._pending and self._session.goes_on is not None:
            self._session.screen.note(f"To go on: {self._session.goes_on()}")
        return common(codes)

    def again(self) -> str:
        """The command that goes on from here."""
        wishes, timeout = self._wishes, None
        if wishes.waits and wishes.timeout != DEFAULT_WAIT_SECONDS:
            timeout = "none" if wishes.timeout is None else wishes.timeout
        command = "wait" if wishes.waits else "download"
        options = {"--omni": wishes.omni, "--out": wishes.out, "--timeout": timeout}
        return self._session.again(command, self._pending, options)

    async def _one(self, key: str, begin: Begin) -> int:
        last: tuple[str | None, Outcome] = (None, Outcome(key))
        try:
            async for seen in self._course(key, begin):
                last = seen
            kind, outcome = last
        except KlingError as error:
            if isinstance(error, APIError) and error.refuses_all:
                raise  # once for all, not once for each
            kind, outcome = last[0], attrs.evolve(last[1], error=error)
        if outcome.error is None or exit_of(outcome.error).is_final:
            self._pending.pop(outcome.key)
        self._board.over(outcome.key, outcome.task)
        return self._session.outcome(outcome, kind)

    async def _course(self, key: str, begin: Begin) -> AsyncIterator[tuple[str, Outcome]]:
        """The kind of a task, and the task as far as it is, up to its end and its film."""
        one = await begin()
        name, task = one.name, one.task
        self._named(key, name)
        self._moved(name, task)
        yield one.kind, Outcome(name, task)
        if self._wishes.waits:
            self._learn_from(one.resource)
            async for seen in one.resource.events([one.task], timeout=self._wishes.timeout):
                task = seen
                self._moved(name, task)
                yield one.kind, Outcome(name, task)
            task = await one.resource.wait(task)  # which says why there is no film, where there is none
        yield one.kind, Outcome(name, task, path=await self._saved(name, task))

    def _named(self, key: str, name: str) -> None:
        """What was called by a key is called by its own name from now on."""
        self._pending = {name if one == key else one: None for one in self._pending}
        self._board.renamed(key, name)

    def _moved(self, name: str, task: Task) -> None:
        began = task.created_at
        self._board.moved(name, task.status.value, age=max(0.0, time.time() - began.timestamp()) if began else 0.0)

    async def _saved(self, name: str, task: Task) -> Path | None:
        if self._wishes.out is None:
            return None
        progress = partial(self._board.arrived, name)
        return await self._kling.download(task, self._wishes.out.path(task), progress=progress)

    def _learn_from(self, resource: TaskResource) -> None:
        """Asks once how long the account's tasks took lately, if anybody looks."""
        if not self._learning and self._session.screen.front is not None:
            self._learning.add(asyncio.create_task(self._learn(resource)))

    async def _learn(self, resource: TaskResource) -> None:
        with suppress(KlingError):  # then it is not known
            for task in (await resource.list(page_size=_LATELY)).tasks:
                self._board.learn(task)

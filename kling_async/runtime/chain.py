"""Films of a given length: one extension behind the other, each paid once, none in vain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import cast

import attrs

from kling_async.errors import RequestError
from kling_async.models import NoVideo, Task, TaskFailed, Video, units_of
from kling_async.requests import VideoExtendRequest
from kling_async.rules.chain import ChainPlan, plan_chain
from kling_async.runtime.batch import Batch

Carry = Callable[[int, VideoExtendRequest], Awaitable[Task]]
"""Takes a step's number and its request to its end."""


class Chain:
    """A film that grows to a length: `async for task in chain` gives each finished step.

    What broke off can be walked again, and goes on with the step that it stood at; so does a chain with a journal in
    another process.
    """

    def __init__(
        self,
        video: Video,
        target: Decimal,
        *,
        prompts: Sequence[str | None],
        request: VideoExtendRequest,
        carrier: Callable[[], AbstractAsyncContextManager[Carry]],
        new_id: Callable[[], str] | None,
    ) -> None:
        self._target = target
        self._video = video
        self._prompts = prompts
        self._request = request
        self._carrier = carrier
        self._new_id = new_id
        self._step: VideoExtendRequest | None = None
        self._tasks: list[Task] = []
        self._stepping = False

    def __repr__(self) -> str:
        return f"<Chain {len(self._tasks)} steps done, {self.plan}>"

    @property
    def plan(self) -> ChainPlan:
        """What is left to do; before the first step, all of it."""
        return plan_chain(self._video.duration, self._target)

    @property
    def video(self) -> Video:
        """The film as it is: the source, then the video of the last finished step."""
        return self._video

    @property
    def units(self) -> Decimal:
        """What the finished steps cost, exact, as far as the vendor told; those that a journal had done included."""
        return units_of(self._tasks)

    def __aiter__(self) -> AsyncIterator[Task]:
        return self._walk()

    async def _walk(self) -> AsyncGenerator[Task]:
        async with self._carrier() as carry:
            while self._wants_more():
                yield await self._taken(carry)

    def _wants_more(self) -> bool:
        if self._tasks and self._video.duration is None:  # whether a step helps is not to be guessed: it is paid
            last = self._tasks[-1]
            raise NoVideo(f"the vendor did not tell how long the video of task {last.id} is", task=last)
        return self.plan.most > 0

    async def _taken(self, carry: Carry) -> Task:
        """The next step, finished."""
        if self._stepping:
            raise RequestError("chain: a step is under way already; a second walk would pay it twice")
        self._stepping = True
        # Under the id that it had, where an earlier try did not learn its outcome.
        self._step = self._step or self._next()
        try:
            task = await carry(len(self._tasks) + 1, self._step)
        except TaskFailed:
            self._step = None  # taken anew, it is another task
            raise
        finally:
            self._stepping = False
        self._video, self._step = task.video, None
        self._tasks.append(task)
        return task

    def _next(self) -> VideoExtendRequest:
        prompt = self._prompts[min(len(self._tasks), len(self._prompts) - 1)]
        own = self._new_id and self._new_id()
        return attrs.evolve(self._request, video_id=self._video.id, prompt=prompt, external_task_id=own)


@asynccontextmanager
async def journalled(batch: Batch, key: str) -> AsyncGenerator[Carry]:
    """Takes steps by a batch, each a job of its own: what its journal has done already is not done again."""

    async def carry(number: int, request: VideoExtendRequest) -> Task:
        [outcome] = [outcome async for outcome in batch.run({f"{key}, step {number}": request})]
        if outcome.error is not None:
            raise outcome.error
        return cast("Task", outcome.task)  # a job without an error has its task

    async with batch:
        yield carry

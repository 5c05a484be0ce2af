"""The ways to wait for tasks, all by one poller: for one, for several, as they end, or at each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from kling_async.errors import KlingError
from kling_async.models import Task, WaitTimeout
from kling_async.runtime.listeners import Changes, Each, End, One, Several
from kling_async.runtime.poller import Poller, key_of


class Waiter(Poller):
    """Waits for any number of tasks with one poller, which starts with the first and stops with the last."""

    async def wait(self, task: Task | str, *, timeout: float | None) -> Task:
        """The succeeded task.

        Raises:
            TaskFailed: it failed.
            WaitTimeout: `timeout` seconds (`None`: no bound) were over.
            KlingError: the wait cannot go on.
        """
        one = self.begin(task, timeout)
        try:
            return await one.future
        finally:
            self.leave(task, one)

    def begin(self, task: Task | str, timeout: float | None) -> One:
        """Begins a wait, whose future says how it went; to be left by `leave`. So `wait` needs but one coroutine."""
        one = One()
        self.listen(task, one)
        if timeout is not None and not one.future.done():
            if timeout > 0:
                one.timer = asyncio.get_running_loop().call_later(timeout, self._late, one, task, timeout)
            else:
                self._late(one, task, timeout)
        return one

    def leave(self, task: Task | str, one: One) -> None:
        """Lets go of a wait."""
        if one.timer is not None:
            one.timer.cancel()
        one.future.cancel()
        self.unlisten(key_of(task), one)

    def _late(self, one: One, task: Task | str, timeout: float) -> None:
        one.ended(key_of(task), _timed_out([self.last(task)], timeout))

    async def wait_all(self, tasks: Sequence[Task | str], *, timeout: float | None) -> list[Task]:
        """The succeeded tasks in the order given.

        Raises:
            TaskFailed: one of them failed; raised at once, the others go on at the vendor's.
            WaitTimeout: `timeout` seconds (`None`: no bound) were over; the error has all that had not ended.
            KlingError: the wait for one of them cannot go on.
        """
        ends, late = await self._wait_for(tasks, timeout, patient=False)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        if late:
            raise _timed_out(late, timeout)
        return [end for end in ends if isinstance(end, Task)]

    async def wait_each(self, tasks: Sequence[Task | str], *, timeout: float | None) -> list[Task | KlingError]:
        """What `wait` would return or raise for each task by itself, in the order given."""
        ends, late = await self._wait_for(tasks, timeout, patient=True)
        late.reverse()
        outcomes = list[Task | KlingError]()
        for end in ends:
            if not isinstance(end, Task | KlingError | None):
                raise end  # a fault of ours is nobody's outcome
            outcomes.append(_timed_out([late.pop()], timeout) if end is None else end)
        return outcomes

    async def _wait_for(
        self, tasks: Sequence[Task | str], timeout: float | None, *, patient: bool
    ) -> tuple[list[End | None], list[Task | str]]:
        """How each ended, `None` for what had not when it was over; and these, as they were last seen."""
        keys = dict.fromkeys(map(key_of, tasks))
        several = Several(keys, patient=patient)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            await self.listen_to_all(tasks, several)
            if keys and (timeout is None or timeout > 0):
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await several.over.wait()
            ends = [several.ends.get(key_of(task)) for task in tasks]
            late = [self.last(task) for task, end in zip(tasks, ends, strict=True) if end is None]
            return ends, late
        finally:
            self.unlisten_to_all(keys, several)

    async def as_completed(self, tasks: Sequence[Task | str], *, timeout: float | None) -> AsyncIterator[Task]:
        """The ended tasks, failed ones included, in the order in which their ends are seen.

        Raises:
            WaitTimeout: `timeout` seconds (`None`: no bound) were over; the error has all that had not ended.
            KlingError: the wait for one of them cannot go on.
        """
        async for task in self._hear_of(tasks, Each([key_of(task) for task in tasks]), timeout):
            yield task

    async def events(self, tasks: Sequence[Task | str], *, timeout: float | None) -> AsyncIterator[Task]:
        """Each task whenever its status has changed, up to its end. Raises as `as_completed`."""
        async for task in self._hear_of(tasks, Changes(map(key_of, tasks)), timeout):
            yield task

    async def _hear_of(
        self, tasks: Sequence[Task | str], listener: Each | Changes, timeout: float | None
    ) -> AsyncIterator[Task]:
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            await self.listen_to_all(tasks, listener)
            while True:
                # The bound is set anew around each step: it must not run out inside the caller's loop body.
                try:
                    async with asyncio.timeout_at(deadline):
                        news = await listener.next()
                except TimeoutError:
                    late = [self.last(task) for task in tasks if listener.awaits(key_of(task))]
                    raise _timed_out(late, timeout) from None
                if isinstance(news, BaseException):
                    raise news
                if news is None:
                    return
                yield news
        finally:
            self.unlisten_to_all(dict.fromkeys(map(key_of, tasks)), listener)


def _timed_out(late: Sequence[Task | str], timeout: float | None) -> WaitTimeout:
    """The error of a wait that was over before these tasks were."""
    count = "the task" if len(late) == 1 else f"{len(late)} tasks"
    return WaitTimeout(f"{count} had not ended after {timeout or 0:g} s", pending=tuple(late))

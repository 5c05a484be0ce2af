"""The one poller of a resource, and everybody who waits: id -> futures, settled by whatever is seen anywhere."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from math import isinf
from weakref import WeakMethod

from kling_async.errors import ClientClosed, KlingError, NotFound
from kling_async.models import Task, TaskFailed, TaskStatus, WaitTimeout
from kling_async.policies import PollPolicy
from kling_async.rules.watch import Fetch, Settled, Single, Watch
from kling_async.rules.wire import page_call, read_task, read_tasks, task_call
from kling_async.runtime.transport import Transport

_log = logging.getLogger("kling_async")

_Ending = asyncio.Future[Task]


class Waiter:
    """Waits for any number of tasks with one poller, which starts with the first and stops with the last."""

    def __init__(self, transport: Transport, path: str, policy: PollPolicy) -> None:
        self._transport = transport
        self._path = path
        self._policy = policy
        self._watch = Watch(policy)
        self._endings: dict[str, set[_Ending]] = {}
        self._poller: asyncio.Task[None] | None = None  # the one at work
        self._pollers = set[asyncio.Task[None]]()  # and those that still put their fetches away
        self._stirred = asyncio.Event()
        self._listener: Callable[[], Callable[[Task], None] | None] = lambda: None

    def __repr__(self) -> str:
        polling = "polling" if self._poller else "idle"
        return f"<Waiter {sum(map(len, self._endings.values()))} waiting, {polling}, {self._watch!r}>"

    # --- for those who wait ------------------------------------------------------------------------------------

    async def wait_all(self, tasks: Sequence[Task | str], *, timeout: float | None) -> list[Task]:
        """The succeeded tasks in the order given.

        Raises:
            TaskFailed: one of them failed; raised at once, the others go on at the vendor's.
            WaitTimeout: `timeout` seconds (`None`: no bound) were over; the error has all that had not ended.
            KlingError: the wait for one of them cannot go on.
        """
        endings = self._endings_of(tasks)
        try:
            await self._until_done(endings, timeout, asyncio.FIRST_EXCEPTION)
            pending = [task for task, ending in zip(tasks, endings, strict=True) if not ending.done()]
            for ending in endings:
                if ending.done():
                    ending.result()
            if pending:
                raise self._timed_out(pending, timeout)
            return [ending.result() for ending in endings]
        finally:
            self._forget(tasks, endings)

    async def wait_each(self, tasks: Sequence[Task | str], *, timeout: float | None) -> list[Task | KlingError]:
        """What `wait_all` would return or raise for each task by itself, in the order given."""
        endings = self._endings_of(tasks)
        try:
            await self._until_done(endings, timeout, asyncio.ALL_COMPLETED)
            return [self._outcome(task, ending, timeout) for task, ending in zip(tasks, endings, strict=True)]
        finally:
            self._forget(tasks, endings)

    def _outcome(self, task: Task | str, ending: _Ending, timeout: float | None) -> Task | KlingError:
        try:
            return ending.result() if ending.done() else self._timed_out([task], timeout)
        except KlingError as error:
            return error

    async def as_completed(self, tasks: Sequence[Task | str], *, timeout: float | None) -> AsyncIterator[Task]:
        """The ended tasks, failed ones included, in the order in which their ends are seen.

        Raises:
            WaitTimeout: `timeout` seconds (`None`: no bound) were over; the error has all that had not ended.
            KlingError: the wait for one of them cannot go on.
        """
        done: asyncio.Queue[_Ending] = asyncio.Queue()
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        endings = self._endings_of(tasks)
        try:
            left = dict(zip(endings, tasks, strict=True))
            for ending in endings:
                ending.add_done_callback(done.put_nowait)
            while left:
                # The bound is set anew around each step: it must not run out inside the caller's loop body.
                try:
                    async with asyncio.timeout_at(deadline):
                        ended = await done.get()
                except TimeoutError:
                    raise self._timed_out(left.values(), timeout) from None
                del left[ended]
                yield _ended(ended)
        finally:
            self._forget(tasks, endings)

    @staticmethod
    async def _until_done(endings: Sequence[_Ending], timeout: float | None, when: str) -> None:
        if endings:
            await asyncio.wait(endings, timeout=timeout, return_when=when)

    def _timed_out(self, tasks: Iterable[Task | str], timeout: float | None) -> WaitTimeout:
        """The error of a wait that was over before these tasks were."""
        pending = tuple(self._watch.last(_key(task)) or task for task in tasks)
        count = "the task" if len(pending) == 1 else f"{len(pending)} tasks"
        return WaitTimeout(f"{count} had not ended after {timeout or 0:g} s", pending=pending)

    def absorb(self, tasks: Iterable[Task]) -> None:
        """Takes in tasks that were seen elsewhere: a page that somebody walked, an answer to a query."""
        seen = list(tasks)
        self._tell_ended(seen)
        if self._endings:
            self._settle(self._watch.absorb(seen, asyncio.get_running_loop().time()), {})

    def watch(self, task: Task) -> asyncio.Future[Task]:
        """A future of the ended task, which nobody has to await. It keeps the poller busy until `unwatch`."""
        return self._endings_of([task])[0]

    def unwatch(self, task: Task, watched: asyncio.Future[Task]) -> None:
        """Lets go of a future that `watch` gave."""
        self._forget([task], [watched])

    def tell(self, listener: Callable[[Task], None]) -> None:
        """Tells a bound method of every ended task that is seen, awaited or not, perhaps several times."""
        self._listener = WeakMethod(listener)  # a circle would keep a client that nobody closed from being noticed

    def _tell_ended(self, tasks: Iterable[Task]) -> None:
        if (listener := self._listener()) is not None:
            for task in tasks:
                if task.status.ended:
                    listener(task)

    async def close(self) -> None:
        """Stops polling; whoever still waits gets `ClientClosed`."""
        ours = [poller for poller in self._pollers if poller.get_loop() is asyncio.get_running_loop()]
        for poller in ours:
            poller.cancel()
        if self._poller in ours:
            # Not left to the poller itself: one that is cancelled before its first step never runs.
            self._stop_polling(ClientClosed("the client was closed while tasks were awaited"))
        if ours:
            await asyncio.wait(ours)

    # --- futures -----------------------------------------------------------------------------------------------

    def _endings_of(self, tasks: Iterable[Task | str]) -> list[_Ending]:
        """A future for each task; nobody has to await it."""
        endings = [self._ending(task) for task in tasks]
        self._stirred.set()
        return endings

    def _ending(self, task: Task | str) -> _Ending:
        loop = asyncio.get_running_loop()
        ending: _Ending = loop.create_future()
        if isinstance(task, Task) and task.status.ended:
            _end(ending, task)
            return ending
        self._see_to_poller()
        key = _key(task)
        self._watch.add(key, loop.time(), last=task if isinstance(task, Task) else None)
        self._endings.setdefault(key, set()).add(ending)
        return ending

    def _see_to_poller(self) -> None:
        """A poller of the running loop, with a watch of its own: what an earlier one left behind is void."""
        loop = asyncio.get_running_loop()
        if self._poller is None or self._poller.get_loop() is not loop or self._poller.done():
            self._transport.claim()  # or else this would take the poller from a loop that still runs
            self._watch = Watch(self._policy)
            self._endings = {}
            self._stirred = asyncio.Event()
            self._poller = loop.create_task(self._poll(), name=f"kling_async poller of {self._path}")
            self._pollers.add(self._poller)
            self._poller.add_done_callback(self._pollers.discard)

    def _stop_polling(self, error: BaseException) -> None:
        """Tells everybody who waits; whoever waits from now on starts a poller anew."""
        self._poller = None
        self._fail_all(error)

    def _forget(self, tasks: Iterable[Task | str], endings: Iterable[_Ending]) -> None:
        """Lets go of futures that nobody awaits any more, and of tasks that nobody waits for."""
        for task, ending in zip(tasks, endings, strict=True):
            key = _key(task)
            ending.cancel()
            others = self._endings.get(key)
            if others is not None:
                others.discard(ending)
                if not others:
                    del self._endings[key]
                    self._watch.discard(key)
        if not self._endings:
            self._stirred.set()

    def _settle(self, settled: Iterable[Settled], known: Mapping[str, Task | None]) -> None:
        for key, outcome in settled:
            for ending in self._endings.pop(key, ()):
                _end(ending, outcome if isinstance(outcome, Task) else _about(outcome, known.get(key)))

    def _fail_all(self, error: BaseException) -> None:
        for key, endings in list(self._endings.items()):
            last = self._watch.last(key)
            self._watch.discard(key)
            del self._endings[key]
            for ending in endings:
                _end(ending, _about(error, last) if isinstance(error, KlingError) else error)

    # --- the poller --------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Fetches what the watch plans, until nobody waits."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        fetches = set[asyncio.Task[None]]()
        try:
            while self._endings and self._poller is this:
                self._stirred.clear()
                for fetch in self._watch.plan(loop.time()):
                    under_way = loop.create_task(self._fetch(fetch))
                    fetches.add(under_way)
                    under_way.add_done_callback(fetches.discard)
                await self._until_stirred(self._watch.wake_at)
        except Exception as error:
            self._stop_polling(error)
        finally:
            # Can somebody begin to wait while the fetches below are awaited? Yes, and then starts a poller anew;
            # so everything that is this one's own ends before the first await.
            if self._poller is this:
                self._stop_polling(ClientClosed("polling was stopped while tasks were awaited"))
            for under_way in fetches:
                under_way.cancel()
            if fetches:
                await asyncio.wait(fetches)

    async def _until_stirred(self, wake_at: float) -> None:
        try:
            async with asyncio.timeout_at(None if isinf(wake_at) else wake_at):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _fetch(self, fetch: Fetch) -> None:
        """One planned fetch; a fault of ours in it ends the poller."""
        try:
            await self._look(fetch)
        except Exception as error:
            # Everybody is told, and the next wait starts afresh. It must have a watch of its own, since this one
            # might wait for an answer to this fetch for ever.
            self._stop_polling(error)
        finally:
            self._stirred.set()

    async def _look(self, fetch: Fetch) -> None:
        """Whatever comes of a fetch goes to the watch, and what that settles to the futures."""
        clock = asyncio.get_running_loop().time
        try:
            tasks, unreadable = await self._ask(fetch)
        except KlingError as error:
            _log.info("a poll of %s failed: %s", self._path, error)
            known = {key: self._watch.last(key) for key in self._endings}
            self._settle(self._watch.failed(fetch, error, clock()), known)
        else:
            self._tell_ended(tasks)
            self._settle(self._watch.absorb(tasks, clock(), fetch=fetch, unreadable=unreadable), {})

    async def _ask(self, fetch: Fetch) -> tuple[Sequence[Task], int]:
        if isinstance(fetch, Single):
            return [read_task(await self._transport.read_once(task_call(self._path, fetch.id)))], 0
        return read_tasks(await self._transport.read_once(page_call(self._path, fetch.number, fetch.size)))


def _key(task: Task | str) -> str:
    return task if isinstance(task, str) else task.id


def _end(ending: _Ending, outcome: Task | BaseException) -> None:
    """Settles a future. One that nobody looks at any more must not complain."""
    if isinstance(outcome, Task) and outcome.status is not TaskStatus.FAILED:
        ending.set_result(outcome)
        return
    if isinstance(outcome, Task):
        reason = outcome.status_message or "the vendor gave no reason"
        outcome = TaskFailed(f"task {outcome.id} failed: {reason}", task=outcome)
    ending.set_exception(outcome)
    ending.exception()


def _ended(ending: _Ending) -> Task:
    try:
        return ending.result()
    except TaskFailed as failed:
        return failed.task


def _about(error: KlingError, last: Task | None) -> KlingError:
    """A copy of the error for one of many who get it, with what is known of the task."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    if last is not None:
        own.created, own.task_id, own.external_task_id = "yes", last.id, last.external_task_id
    elif own.created == "no" and not isinstance(error, NotFound):
        own.created = "unknown"  # an id that was never seen; only the vendor's word would be proof
    return own

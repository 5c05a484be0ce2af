"""The one poller of a resource: what is seen of a task anywhere goes to everybody who listens for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from math import isinf
from typing import Protocol
from weakref import ref

from kling_async.errors import ClientClosed, KlingError
from kling_async.models import NoVideo, Task, TaskStatus
from kling_async.policies import PollPolicy
from kling_async.rules.awaited import about
from kling_async.rules.parked import Parked
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Fetch, News, Single, Watch
from kling_async.rules.wire import page_call, read_task, read_wanted, task_call
from kling_async.runtime.listeners import Audience, Listener
from kling_async.runtime.transport import Transport

_log = logging.getLogger("kling_async")

_AT_ONCE = 1000  # how many tasks are taken in before others get their turn


class Holder(Protocol):
    """Who wants to know of ends that nobody awaits."""

    @property
    def holds_any(self) -> bool:
        """Whether any end is of interest."""

    def holds(self, id: str) -> bool:
        """Whether the end of this task is of interest."""

    def ended(self, task: Task) -> None:
        """The task was seen to have ended."""


class Poller:
    """Looks after any number of tasks, from the first listener until the last has heard of an end, or has left."""

    def __init__(self, transport: Transport, path: str, policy: PollPolicy) -> None:
        self._transport = transport
        self._path = path
        self._policy = policy
        self._rhythm = Rhythm(policy.interval)
        self._parked = Parked()
        self._poller: asyncio.Task[None] | None = None  # the one at work
        self._pollers = set[asyncio.Task[None]]()  # and those that still put their fetches away
        self._holder: Callable[[], Holder | None] = lambda: None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._watch = Watch(self._policy, self._transport.draw, self._rhythm)
        self._listeners = Audience()
        self._stirred = asyncio.Event()
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        polling = "polling" if self._poller else "idle"
        return f"<{type(self).__name__} {len(self._listeners)} waiting, {polling}, {self._watch!r}>"

    def absorb(self, tasks: Iterable[Task]) -> None:
        """Takes in tasks that were seen elsewhere: a page that somebody walked, an answer to a query."""
        seen = list(tasks)
        self._tell_ended(seen)
        if self._listeners:
            self._tell(self._watch.absorb(seen, asyncio.get_running_loop().time()))

    def awaits(self, id: str) -> bool:
        """Whether somebody waits for a task by this id."""
        return id in self._listeners

    def hear(self, task: Task) -> None:
        """Takes in a task that a verified callback told of. Its end is kept for whoever waits for it later.

        While callbacks arrive, polls become rare; an interval after the last one they are as frequent as ever.
        """
        now = asyncio.get_running_loop().time()
        is_awaited = task.id in self._listeners or task.external_task_id in self._listeners
        self._watch.heard(now)
        self.absorb([task])
        if task.status.ended and not is_awaited and (task.videos or task.status is TaskStatus.FAILED):
            self._parked.put(task, now)

    def tell(self, holder: Holder) -> None:
        """Tells of every ended task that is seen and of interest to `holder`, awaited or not, perhaps several times."""
        self._holder = ref(holder)  # a circle would keep a client that nobody closed from being noticed

    def _tell_ended(self, tasks: Iterable[Task | None]) -> None:
        if (holder := self._holder()) is not None and holder.holds_any:
            for task in tasks:
                if task is not None and task.status.ended:
                    holder.ended(task)

    def _is_wanted(self, id: str) -> bool:
        return id in self._watch or ((holder := self._holder()) is not None and holder.holds(id))

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

    # --- listeners ---------------------------------------------------------------------------------------------

    def last(self, task: Task | str) -> Task | str:
        """The task as it was last seen, or as it was given."""
        return self._watch.last(key_of(task)) or task

    async def listen_to_all(self, tasks: Sequence[Task | str], listener: Listener) -> None:
        """`listen` for many tasks, without holding up the loop."""
        for number, task in enumerate(tasks, 1):
            self.listen(task, listener)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def listen(self, task: Task | str, listener: Listener) -> None:
        """Tells the listener of the task from now on; at once, where there is something to tell already."""
        key, now = key_of(task), asyncio.get_running_loop().time()
        given = task if isinstance(task, Task) else None
        end = given if given is not None and given.status.ended else self._parked.get(key, now)
        if (hook := self._transport.hook) is not None and given is not None:
            hook.knows(given)
        if end is not None:
            listener.ended(key, end)
            if hook is not None:
                hook.saw(self._path, end)
            return
        self._see_to_poller()
        self._tell(self._watch.add(key, now, last=given))
        last = self._watch.last(key)
        if last is not None and not last.status.ended and (given is None or given.status is not last.status):
            listener.changed(key, last)
        self._listeners.add(key, listener)
        self._stirred.set()

    def unlisten_to_all(self, keys: Iterable[str], listener: Listener) -> None:
        """`unlisten` for many."""
        for key in keys:
            self.unlisten(key, listener)

    def unlisten(self, key: str, listener: Listener) -> None:
        """Lets go of a listener, and of a task that nobody awaits any more."""
        if self._listeners.remove(key, listener):
            self._watch.discard(key)
            if not self._listeners:
                self._stirred.set()

    def _tell(self, news: Iterable[News]) -> None:
        for key, outcome in news:
            if isinstance(outcome, Task) and not outcome.status.ended:
                for listener in self._listeners.of(key):
                    listener.changed(key, outcome)
            else:
                for listener in self._listeners.pop(key):
                    listener.ended(key, outcome if isinstance(outcome, Task) else about(outcome, None))
            if (hook := self._transport.hook) is not None and isinstance(outcome, Task | NoVideo):
                hook.saw(self._path, outcome if isinstance(outcome, Task) else outcome.task)

    def _see_to_poller(self) -> None:
        """A poller of the running loop, with a watch of its own: what an earlier one left behind is void."""
        loop = asyncio.get_running_loop()
        if self._poller is None or self._poller.get_loop() is not loop or self._poller.done():
            self._transport.claim()  # or else this would take the poller from a loop that still runs
            self._begin_anew()
            # It serves everybody, so it must not go on in the context (the trace, the request) of who came first.
            name, context = f"kling_async poller of {self._path}", Context()
            self._poller = loop.create_task(self._poll(), name=name, context=context)
            self._pollers.add(self._poller)
            self._poller.add_done_callback(self._pollers.discard)

    def _stop_polling(self, error: BaseException) -> None:
        """Tells everybody who waits; whoever waits from now on starts a poller anew."""
        self._poller = None
        left, self._listeners = self._listeners, Audience()
        for key in left:
            last = self._watch.last(key)
            self._watch.discard(key)
            for listener in left.of(key):
                listener.ended(key, about(error, last) if isinstance(error, KlingError) else error)

    # --- the poller --------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Fetches what the watch plans, until nobody waits."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        fetches = set[asyncio.Task[None]]()
        try:
            while self._listeners and self._poller is this:
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
        """Whatever comes of a fetch goes to the watch, and what is new by that to who listens."""
        clock = asyncio.get_running_loop().time
        watch = self._watch
        try:
            tasks = await self._ask(fetch)
        except KlingError as error:
            _log.info("a poll of %s failed: %s", self._path, error)
            self._tell(watch.failed(fetch, error, clock()))
            if (hook := self._transport.hook) is not None:
                hook.poll_failed(self._path, fetch.id if isinstance(fetch, Single) else None, error)
        else:
            if (hook := self._transport.hook) is not None:
                hook.polled(self._path)
            self._tell_ended(tasks)
            self._tell(watch.absorb(tasks, clock(), fetch=fetch))

    async def _ask(self, fetch: Fetch) -> list[Task | None]:
        if isinstance(fetch, Single):
            return [read_task(await self._transport.read_once(task_call(self._path, fetch.id)))]
        envelope = await self._transport.read_once(page_call(self._path, fetch.number, fetch.size))
        async with self._reading:  # one page in a turn of the loop: several at once would hold everybody up
            await asyncio.sleep(0)
            return read_wanted(envelope, self._is_wanted, self._watch.last)


def key_of(task: Task | str) -> str:
    """What a task is listened for by: its id, or the one that was given."""
    return task if isinstance(task, str) else task.id

"""Who waits for tasks, and what each wants to hear: one end, several, each as it comes, or every change."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

from kling_async.models import Task, TaskFailed, TaskStatus

End = Task | BaseException
"""The ended task, or the error that ends the wait for it."""


class Listener(Protocol):
    """Hears of awaited tasks, by the ids that they are awaited as. Nothing that it does may raise."""

    def changed(self, key: str, task: Task) -> None:
        """The task has another status than before, and goes on."""

    def ended(self, key: str, end: End) -> None:
        """The wait for the task is over."""


class Audience:
    """Who listens to which task. Nearly always it is one, who then needs no set."""

    def __init__(self) -> None:
        self._listeners: dict[str, Listener | set[Listener]] = {}

    def __len__(self) -> int:
        return sum(len(self.of(key)) for key in self._listeners)

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def __contains__(self, key: str | None) -> bool:
        return key in self._listeners

    def __iter__(self) -> Iterator[str]:
        return iter(self._listeners)

    def of(self, key: str) -> Collection[Listener]:
        """Who listens to this task."""
        found = self._listeners.get(key)
        if found is None:
            return ()
        return found if isinstance(found, set) else (found,)

    def add(self, key: str, listener: Listener) -> None:
        """Lets somebody listen."""
        found = self._listeners.setdefault(key, listener)
        if isinstance(found, set):
            found.add(listener)
        elif found is not listener:
            self._listeners[key] = {found, listener}

    def remove(self, key: str, listener: Listener) -> bool:
        """Lets somebody go; whether that was the last."""
        found = self._listeners.get(key)
        if isinstance(found, set):
            found.discard(listener)
        if found == set() or found is listener:
            del self._listeners[key]
            return True
        return False

    def pop(self, key: str) -> Collection[Listener]:
        """Who listened to this task, whom they all leave."""
        listeners = self.of(key)
        self._listeners.pop(key, None)
        return listeners


class One:
    """Waits for a single task: a future of its end, which nobody has to await, and the timer that ends the wait."""

    __slots__ = ("future", "timer")

    def __init__(self) -> None:
        self.future: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None

    def changed(self, key: str, task: Task) -> None:
        """Nothing: the end counts."""

    def ended(self, key: str, end: End) -> None:  # noqa: ARG002 - it has but one
        """Settles the future, unless its waiter was cancelled in this very turn of the loop."""
        if self.future.done():
            return
        verdict = succeeded(end)
        if isinstance(verdict, Task):
            self.future.set_result(verdict)
        else:
            self.future.set_exception(verdict)
            self.future.exception()  # one that nobody looks at any more must not complain


class Several:
    """Waits for several tasks: `over` is set when all have ended, or unless `patient` at the first error."""

    def __init__(self, keys: Iterable[str], *, patient: bool) -> None:
        self.ends: dict[str, End] = {}
        self.over = asyncio.Event()
        self._left = set(keys)
        self._patient = patient

    def changed(self, key: str, task: Task) -> None:
        """Nothing: the ends count."""

    def ended(self, key: str, end: End) -> None:
        """Keeps the end."""
        self.ends[key] = verdict = succeeded(end)
        self._left.discard(key)
        if not self._left or not (self._patient or isinstance(verdict, Task)):
            self.over.set()


class Each:
    """Hears the ends as they come, as often as each task was given."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._left = Counter(keys)
        self._ends: deque[tuple[str, End]] = deque()
        self._came = asyncio.Event()

    def awaits(self, key: str) -> bool:
        """Whether an end of this task is still to be given."""
        return key in self._left

    def changed(self, key: str, task: Task) -> None:
        """Nothing: the ends count."""

    def ended(self, key: str, end: End) -> None:
        """Keeps the end until it is asked for."""
        self._ends.extend([(key, end)] * self._left[key])
        self._came.set()

    async def next(self) -> End | None:
        """The next end, `None` when all have been given."""
        while self._left and not self._ends:
            self._came.clear()
            await self._came.wait()
        if not self._left:
            return None
        key, end = self._ends.popleft()
        self._left[key] -= 1
        if not self._left[key]:
            del self._left[key]
        return end


class Changes:
    """Hears every change of status once, in order.

    A slow reader costs memory for one change of each status a task, however often a task goes to and fro.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._left = set(keys)
        self._news: dict[tuple[str, TaskStatus | None], End] = {}
        self._came = asyncio.Event()

    def awaits(self, key: str) -> bool:
        """Whether the end of this task is still to be given."""
        return key in self._left

    def changed(self, key: str, task: Task) -> None:
        """Keeps the change until it is asked for."""
        self._news.pop((key, task.status), None)  # where it has come back to stands behind where it was meanwhile
        self._news[key, task.status] = task
        self._came.set()

    def ended(self, key: str, end: End) -> None:
        """Keeps the end until it is asked for."""
        self._news[key, end.status if isinstance(end, Task) else None] = end
        self._came.set()

    async def next(self) -> End | None:
        """The next change, `None` when all ends have been given."""
        while self._left and not self._news:
            self._came.clear()
            await self._came.wait()
        if not self._left:
            return None
        first = next(iter(self._news))
        end = self._news.pop(first)
        if not isinstance(end, Task) or end.status.ended:
            self._left.discard(first[0])
        return end


def succeeded(end: End) -> End:
    """The task if it has succeeded, else the error that says why not."""
    if isinstance(end, Task) and end.status is TaskStatus.FAILED:
        reason = end.status_message or "the vendor gave no reason"
        return TaskFailed(f"task {end.id} failed: {reason}", task=end)
    return end

"""The account's books: its videos, its tasks with their slots, its units. They move by the clock alone."""

from __future__ import annotations

import heapq
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Final

from attrs import Factory, define, evolve, field, frozen

from kling_async.spec import (
    KEPT_DAYS,
    STATUS_FAILED,
    STATUS_PROCESSING,
    STATUS_SUBMITTED,
    STATUS_SUCCEED,
)

if TYPE_CHECKING:
    from kling_async.simulator.checks import Order

DAY: Final = 86_400.0
TERMINAL: Final = (STATUS_SUCCEED, STATUS_FAILED)


@frozen
class Video:
    """A film that the account has: the seconds of its source and of each extension behind it."""

    id: str
    model: str
    made_at: float
    segments: tuple[Decimal, ...]

    @property
    def duration(self) -> Decimal:
        """Seconds in all."""
        return sum(self.segments, Decimal())

    def is_kept(self, now: float) -> bool:
        """Whether the vendor still has it. Source: document-api, 30 days."""
        return now - self.made_at <= KEPT_DAYS * DAY


@define(eq=False)
class Task:
    """One task: what was ordered, how it will end, and how far it has come.

    `number` counts the account's tasks from 0; `failure` is the reason it will fail for, `None` when it will
    succeed with `result`; times are Unix seconds.
    """

    id: str
    number: int
    family: str
    order: Order
    created_at: float
    cost: Decimal
    source: Video | None
    result: Video
    failure: str | None = None
    status: str = STATUS_SUBMITTED
    updated_at: float = field(default=Factory(lambda task: task.created_at, takes_self=True))

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.status in TERMINAL


@frozen
class Change:
    """A task took a status at a Unix time: the stuff that callbacks are made of."""

    at: float
    task_id: str
    status: str


@define(eq=False)
class Ledger:
    """Everything the account owns. `remaining` are its units, `in_flight` its slots in use."""

    total: Decimal
    remaining: Decimal = field(default=Factory(lambda ledger: ledger.total, takes_self=True))
    reserved: Decimal = Decimal()
    in_flight: int = 0
    peak: int = 0
    videos: dict[str, Video] = Factory(dict)
    tasks: dict[str, Task] = Factory(dict)
    by_external_id: dict[str, Task] = Factory(dict)
    changes: list[Change] = Factory(list)
    _families: dict[str, list[Task]] = Factory(dict)
    _due: list[tuple[float, int, str, Task]] = Factory(list)
    _pushed: int = 0

    def open(self, task: Task, *, submitted_seconds: float, task_seconds: float) -> None:
        """Take a task in: it holds a slot and its price until it ends, `task_seconds` from now."""
        self.tasks[task.id] = task
        if task.order.external_id is not None:
            self.by_external_id[task.order.external_id] = task
        self._families.setdefault(task.family, []).append(task)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.reserved += task.cost
        self.changes.append(Change(task.created_at, task.id, task.status))
        self._push(task.created_at + min(submitted_seconds, task_seconds), STATUS_PROCESSING, task)
        self._push(task.created_at + task_seconds, STATUS_SUCCEED, task)

    @property
    def next_change_at(self) -> float:
        """When the next change falls due; infinite when none will."""
        return self._due[0][0] if self._due else inf

    def settle(self, now: float) -> None:
        """Bring every task to where it stands at `now`. A clock that is set back undoes nothing."""
        while self._due and self._due[0][0] <= now:
            due, _, status, task = heapq.heappop(self._due)
            if status == STATUS_SUCCEED:
                status = self._close(task, due)
            task.status, task.updated_at = status, due
            self.changes.append(Change(due, task.id, status))

    def find(self, family: str, id: str) -> Task | None:
        """The family's task with this id, its own or the caller's."""
        task = self.tasks.get(id) or self.by_external_id.get(id)
        return task if task is not None and task.family == family else None

    def page(self, family: str, *, number: int, size: int) -> list[Task]:
        """Page `number` (from 1) of the family's tasks, newest first. Observed: that is what users see."""
        tasks = self._families.get(family, [])
        end = max(0, len(tasks) - (number - 1) * size)
        return tasks[max(0, end - size) : end][::-1]

    def can_pay(self, cost: Decimal) -> bool:
        """Whether the units left, less the price of what is in flight, are enough."""
        return self.remaining - self.reserved >= cost

    def _push(self, due: float, status: str, task: Task) -> None:
        # The count keeps what is due at one time in the order of its making, and tasks from being compared.
        self._pushed += 1
        heapq.heappush(self._due, (due, self._pushed, status, task))

    def _close(self, task: Task, due: float) -> str:
        """Free the slot; a success is paid for and leaves its video."""
        self.in_flight -= 1
        self.reserved -= task.cost
        if task.failure is not None:
            return STATUS_FAILED
        self.remaining -= task.cost
        self.videos[task.result.id] = task.result = evolve(task.result, made_at=due)
        return STATUS_SUCCEED

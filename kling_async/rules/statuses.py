"""The last known status of each task: what tells a change from what was told already. Pure."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from kling_async.models import Task, TaskStatus
from kling_async.rules.awaited import later


class Statuses:
    """The statuses of the latest hundred thousand tasks, by the vendor's id.

    Args:
        tasks: how many are kept. Of one that was forgotten, the next look is a change from nothing.
    """

    def __init__(self, *, tasks: int = 100_000) -> None:
        self._most = tasks
        self._tasks: OrderedDict[str, Task] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def of(self, id: str) -> TaskStatus | None:
        """The last known status, `None` for a task that was never seen."""
        last = self._tasks.get(id)
        return None if last is None else last.status

    def note(self, task: Task) -> bool:
        """Whether a look shows another status than is known; from now on it is known. An older look never does."""
        last = self._tasks.get(task.id)
        latest = later(last, task)
        if last is not None and latest.status is last.status:
            return False
        self._tasks[task.id] = attrs.evolve(latest, raw={}, videos=(), parent_video=None)  # records are large
        self._tasks.move_to_end(task.id)
        if len(self._tasks) > self._most:
            self._tasks.popitem(last=False)
        return True

"""Ends that were told before anybody waited for them: a callback may overtake the answer to its create. Pure."""

from __future__ import annotations

from collections import OrderedDict

from kling_async.models import Task

_KEPT_SECONDS = 600.0
_MOST = 10_000


class Parked:
    """Ended tasks by both of their ids, for ten minutes each, the latest ten thousand ids."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, tuple[float, Task]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def put(self, task: Task, now: float) -> None:
        """Keeps an ended task. The first end that was told stays."""
        for key in {task.id, task.external_task_id or task.id}:
            if self.get(key, now) is None:
                self._tasks[key] = (now, task)
        while len(self._tasks) > _MOST or (self._tasks and self._is_over(next(iter(self._tasks.values()))[0], now)):
            self._tasks.popitem(last=False)

    def get(self, key: str, now: float) -> Task | None:
        """The ended task of this id, if it is kept."""
        since, task = self._tasks.get(key, (now, None))
        if task is not None and self._is_over(since, now):
            del self._tasks[key]
            return None
        return task

    @staticmethod
    def _is_over(since: float, now: float) -> bool:
        return now - since > _KEPT_SECONDS

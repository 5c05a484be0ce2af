"""How long to pause between two looks at a task: by its age, and by when tasks usually end. Pure.

With I = `PollPolicy.interval` in seconds, and the tasks' whole durations as the vendor's own times tell them:

- from half of what the quickest tenth took, until one and a half of what nine tenths took: I;
- younger: up to 2 I, but no longer than until that time begins;
- older: I times the age by that time's end, up to 6 I.

Until ten tasks have ended nothing is younger, and nothing older than ten minutes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from kling_async.models import Task

_FEWEST = 10  # durations, before they are believed
_MOST = 100  # that are remembered: what is usual changes over the day
_YOUNG = 2.0
_OLD = 6.0
_UNLEARNT_OLD_SECONDS = 600.0  # an extension takes one to several minutes (observed)


class Rhythm:
    """The pauses of one resource's tasks.

    Attributes:
        begins: from this age in seconds on, a task may well end.
        ends: until this age.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._lately: deque[float] = deque()
        self._sorted: list[float] = []
        self.begins = 0.0
        self.ends = _UNLEARNT_OLD_SECONDS

    def learn(self, task: Task) -> None:
        """Takes in how long an ended task took, if its record tells."""
        if (took := lasted(task)) <= 0.0:
            return
        self._lately.append(took)
        insort(self._sorted, took)
        if len(self._lately) > _MOST:
            del self._sorted[bisect_left(self._sorted, self._lately.popleft())]
        if (usual := self.usual) is not None:
            self.begins, self.ends = usual[0] / 2, usual[1] * 1.5

    @property
    def usual(self) -> tuple[float, float] | None:
        """Seconds that the quickest tenth stayed below, and that nine tenths took; `None` until ten have ended."""
        if (count := len(self._sorted)) < _FEWEST:
            return None
        return self._sorted[count // 10], self._sorted[count - 1 - count // 10]

    def pause(self, age: float) -> float:
        """Seconds until the next look at a task of this age in seconds."""
        if age < self.begins:
            return max(self._interval, min(_YOUNG * self._interval, self.begins - age))
        return self._interval * min(max(1.0, age / self.ends), _OLD)


def lasted(task: Task) -> float:
    """Seconds from a task's creation to its last change, by the vendor's times; nought if they are unknown."""
    if task.created_at is None or task.updated_at is None:
        return 0.0
    return (task.updated_at - task.created_at).total_seconds()

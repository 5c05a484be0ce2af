"""What is done with a callback: what it is answered, whether it is news, when a hint is worth a query. Pure.

`now` is passed in: Unix seconds for the memory, seconds of any clock that does not jump for the rest.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Mapping
from math import inf

import attrs

from kling_async import spec
from kling_async.models import Task
from kling_async.rules.awaited import later
from kling_async.rules.signatures import picked

# --- answers ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Answer:
    """What to answer the poster of a callback.

    Attributes:
        status: of HTTP.
        body: a word for people; it does not say what was wrong with a forged callback.
        headers: beside the length.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=lambda: {"Content-Type": "text/plain; charset=utf-8"})

    @property
    def ok(self) -> bool:
        """Whether the callback was taken in."""
        return self.status == 200


TAKEN = Answer(200, b"ok\n")
REFUSED = Answer(401, b"refused\n")
WRONG_METHOD = Answer(405, b"only POST\n", {"Allow": "POST"})
TOO_LARGE = Answer(413, b"too large\n")
WRONG_TYPE = Answer(415, b"only application/json\n")
TRY_LATER = Answer(503, b"try later\n")


def refused_unread(headers: Mapping[str, str], *, method: str = "POST", length: int | None = None) -> Answer | None:
    """The refusal of what need not be read, `None` for what may be a callback.

    Args:
        headers: with names in any case.
        method: of HTTP.
        length: of the body where it is known; else the header's is taken.

    Raises:
        WebhookError: a header that is no text.
    """
    if method != "POST":
        return WRONG_METHOD
    given = picked(headers, ("content-type", "content-length"))
    # No type at all is no type that we do not know.
    if given.get("content-type", "application/json").partition(";")[0].strip().lower() != "application/json":
        return WRONG_TYPE
    announced = given.get("content-length", "")
    # Beyond twenty digits it need not be counted (and Python would not).
    known = int(announced[:20]) if announced.isascii() and announced.isdecimal() else 0
    return TOO_LARGE if (known if length is None else length) > spec.CALLBACK_MAX_BYTES else None


# --- what is known already -------------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What a callback says beside what was known of its task."""

    NEWS = "news"
    KNOWN = "known"  # the same state once more, or an earlier one
    CONFLICT = "conflict"  # two ends of one task


class Memory:
    """The deliveries that were taken, and the last that callbacks told of each task. Bounded; the oldest go first.

    Args:
        deliveries: how many are kept, for as long as the vendor's signature would pass again.
        tasks: how many are kept.
    """

    def __init__(self, *, deliveries: int = 50_000, tasks: int = 10_000) -> None:
        self._most_deliveries = deliveries
        self._most_tasks = tasks
        self._deliveries: OrderedDict[str, float] = OrderedDict()
        self._tasks: OrderedDict[str, Task] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Memory {len(self._deliveries)} deliveries, {len(self._tasks)} tasks>"

    def note(self, delivery: str, now: float, *, sent_at: float) -> bool:
        """Whether this delivery is new; from now on it is not."""
        while self._deliveries and next(iter(self._deliveries.values())) < now:
            self._deliveries.popitem(last=False)
        if delivery in self._deliveries:
            return False
        # Not sorted where the vendor's clocks differ: then one stays for a little longer than it must.
        self._deliveries[delivery] = sent_at + spec.WEBHOOK_TOLERANCE_SECONDS
        if len(self._deliveries) > self._most_deliveries:
            self._deliveries.popitem(last=False)
        return True

    def forget(self, delivery: str) -> None:
        """Makes a delivery new again: it could not be taken in."""
        self._deliveries.pop(delivery, None)

    def judge(self, task: Task) -> Verdict:
        """What this look at a task says beside the ones before; news are remembered."""
        last = self._tasks.get(task.id)
        if last is not None and last.status.ended and task.status.ended and last.status is not task.status:
            return Verdict.CONFLICT
        latest = later(last, task)
        if last is not None and latest.status is last.status and bool(latest.videos) == bool(last.videos):
            return Verdict.KNOWN
        self._tasks[task.id] = attrs.evolve(latest, raw={}, parent_video=None)
        self._tasks.move_to_end(task.id)
        if len(self._tasks) > self._most_tasks:
            self._tasks.popitem(last=False)
        return Verdict.NEWS


# --- hints -----------------------------------------------------------------------------------------------------------


class Hints:
    """When a callback that proves nothing may cause a query of ours: a flood of them causes no flood of queries.

    Args:
        spacing: seconds between two queries for one task.
        burst: how many queries that are limited (for tasks that nobody awaits here) may be sent at once.
        per_second: how many of those per second in the long run.
    """

    def __init__(self, spacing: float, *, burst: int = 10, per_second: float = 1.0) -> None:
        self._spacing = spacing
        self._burst = float(burst)
        self._per_second = per_second
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._left = self._burst
        self._counted_at = -inf

    def __len__(self) -> int:
        return len(self._asked)

    def due(self, id: str, now: float, *, limited: bool) -> float | None:
        """In how many seconds to ask for the task; `None`: not because of this hint.

        One query is sent at once; for all hints that follow it within `spacing`, one more when that is over.
        """
        self._tidy(now)
        last = self._asked.get(id, -inf)
        if last > now or (limited and not self._spared(now)):
            return None
        at = max(now, last + self._spacing)
        self._asked[id] = at
        self._asked.move_to_end(id)
        return at - now

    def _tidy(self, now: float) -> None:
        # Begins with those that were asked for longest ago; what stands behind one that is due later waits for it.
        while self._asked and next(iter(self._asked.values())) + self._spacing <= now:
            self._asked.popitem(last=False)

    def _spared(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Alarm:
    """Tells of something at most once in so many seconds, and then how often it was: no flood fills the log."""

    def __init__(self, spacing: float = 60.0) -> None:
        self._spacing = spacing
        self._told_at = -inf
        self._untold = 0

    def rings(self, now: float) -> int:
        """How many times it was since it was told last, this one included; 0: not to be told now."""
        self._untold += 1
        if now - self._told_at < self._spacing:
            return 0
        self._told_at = now
        count, self._untold = self._untold, 0
        return count

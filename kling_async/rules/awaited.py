"""One awaited task: what each look at it, or each failure to look, says about its wait. Pure: `now` is passed in."""

from __future__ import annotations

import copy
import logging

import attrs

from kling_async.errors import KlingError, MalformedResponse, NotFound
from kling_async.models import NoVideo, Task, TaskStatus, TaskVanished, UnknownStatus
from kling_async.policies import PollPolicy
from kling_async.rules.retry import worth_retrying

_log = logging.getLogger("kling_async")

# A query right after a create found the task in all tries that were reported (observed); no document promises it.
_MISSES_TO_VANISH = 3
_SECONDS_TO_VANISH = 60.0

NOWHERE = -1
"""The place of a task that no page has shown."""

_STAGES = {
    TaskStatus.SUBMITTED: 0,
    TaskStatus.PROCESSING: 1,
    TaskStatus.UNKNOWN: 1,  # somewhere on the way, as far as anybody knows
    TaskStatus.SUCCEED: 2,
    TaskStatus.FAILED: 2,
}


@attrs.define(eq=False)
class Awaited:
    """When to look next, and how the task was last seen (`None`: never)."""

    due: float
    last: Task | None
    born: float = 0.0  # when it was created, as far as is known: no later than this
    place: int = NOWHERE  # in the list, where a page has shown it
    strayed: bool = False  # it was not where it had been, and is looked for behind that
    busy: bool = False  # being asked for, or about to be
    sought: set[str] | None = None  # those whom the page that it is looked for on has not shown yet
    failures: int = 0
    _misses: int = 0
    _missed_since: float = 0.0
    _odd_since: float | None = None  # when it was first seen with a status that no document lists
    _bare_since: float | None = None  # when it was first seen to have succeeded without a video

    def ask_as(self, key: str) -> str:
        """The id to ask by: `key`, and in turn the task's other id where that was not found."""
        if self.last is None or self._misses % 2 == 0:
            return key
        return (self.last.external_task_id or key) if key == self.last.id else self.last.id

    def saw(self, task: Task, now: float, policy: PollPolicy) -> Task | KlingError | None:
        """What a look settles: the ended task, an error that carries it, or nothing yet."""
        self.failures = self._misses = 0
        if task is self.last and (task.status is TaskStatus.PROCESSING or task.status is TaskStatus.SUBMITTED):
            return None  # nothing new, as with nearly all records of a page
        self.last = last = later(self.last, task)
        if last.status is TaskStatus.SUCCEED and not last.videos:
            return self._saw_no_video(last, now)
        if last.status.ended:
            return last
        if last.status is TaskStatus.UNKNOWN:
            return self._saw_unknown(last, now, policy)
        self._odd_since = None
        return None

    def _saw_no_video(self, last: Task, now: float) -> KlingError | None:
        if self._bare_since is None or now <= self._bare_since:
            self._bare_since = now  # one more look before it is believed
            return None
        return NoVideo(f"task {last.id} succeeded, but the vendor shows no video of it", task=last)

    def _saw_unknown(self, last: Task, now: float, policy: PollPolicy) -> KlingError | None:
        if self._odd_since is None:
            self._odd_since = now
            _log.warning("task %s has the status %.40r, which no document lists", last.id, last.raw.get("task_status"))
        if now - self._odd_since < policy.unknown_status_wait:
            return None
        return UnknownStatus(f"task {last.id} keeps a status that no document lists", task=last)

    def troubled(self, error: KlingError, now: float, policy: PollPolicy) -> KlingError | None:
        """What a failed look settles: the error that ends the wait, or nothing while the trouble may pass."""
        if self.last is not None and isinstance(error, NotFound):
            return self._missed(self.last, now, policy)
        # For a task that was seen, an answer that is not the vendor's is weather.
        if not worth_retrying(error) and not (self.last is not None and isinstance(error, MalformedResponse)):
            return error
        self._pause(now, policy)
        return None

    def _missed(self, last: Task, now: float, policy: PollPolicy) -> KlingError | None:
        """The vendor does not know a task that it showed before: believed when it says so again and again."""
        if self._misses == 0:
            self._missed_since = now
        self._misses += 1
        if self._misses >= _MISSES_TO_VANISH and now - self._missed_since >= _SECONDS_TO_VANISH:
            return TaskVanished(f"the vendor no longer knows task {last.id}, which it accepted", task=last)
        self._pause(now, policy)
        return None

    def _pause(self, now: float, policy: PollPolicy) -> None:
        self.failures += 1
        self.due = now + policy.failure_wait(self.failures)


def about(error: KlingError, last: Task | None) -> KlingError:
    """A copy of the error for one of many who get it, with what is known of the task."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    if last is not None:
        own.created, own.task_id, own.external_task_id = "yes", last.id, last.external_task_id
    elif own.created == "no" and not isinstance(error, NotFound):
        own.created = "unknown"  # an id that was never seen; only the vendor's word would be proof
    return own


def later(one: Task | None, other: Task) -> Task:
    """The later of two looks at a task: no look leads back to an earlier state, nor to an older record of the same.

    The state comes first: the vendor's servers need not agree on the time, and an end not believed is never seen again.
    """
    if one is None:
        return other
    if _STAGES[one.status] != _STAGES[other.status]:
        return max(one, other, key=lambda task: _STAGES[task.status])
    if one.status.ended:
        return other if other.status is one.status and other.videos and not one.videos else one
    is_older = one.updated_at and other.updated_at and other.updated_at < one.updated_at
    return one if is_older else other

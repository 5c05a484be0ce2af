"""Watches and tasks for the tests of the watch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kling_async.errors import ServerError
from kling_async.models import Task, TaskStatus, Video
from kling_async.policies import PollPolicy
from kling_async.rules.places import Sweep
from kling_async.rules.rhythm import Rhythm
from kling_async.rules.watch import Watch

POLICY = PollPolicy(interval=5.0, singles=4, concurrency=10, max_failure_wait=30.0)
BUSY = ServerError("busy", code=5001, http_status=503)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def task(
    id: object, status: TaskStatus = TaskStatus.PROCESSING, *, at: int | None = None, own: str | None = None
) -> Task:
    updated = None if at is None else EPOCH + timedelta(seconds=at)
    films = (Video("v"),) if status is TaskStatus.SUCCEED else ()
    return Task(id=str(id), status=status, external_task_id=own, updated_at=updated, videos=films)


def done(id: object, *, at: int | None = None) -> Task:
    return task(id, TaskStatus.SUCCEED, at=at)


def fresh(policy: PollPolicy = POLICY, *, draw: float = 0.0) -> Watch:
    """A watch without chance that has learnt nothing yet."""
    return Watch(policy, lambda: draw, Rhythm(policy.interval))


def watch_of(*ids: object, seen: bool = True, policy: PollPolicy = POLICY) -> Watch:
    watch = fresh(policy)
    for key in ids:
        watch.add(str(key), 0.0, last=task(key) if seen else None)
    return watch


def seen_on_a_page(*ids: object, policy: PollPolicy = POLICY, at: float = 0.0) -> Watch:
    """A watch that has been shown these at the head of the list, one behind the other."""
    watch = watch_of(*ids, policy=policy)
    watch.absorb([task(key) for key in ids], at, fetch=Sweep(1, 50))
    return watch

"""The hook of a user: told of everything at the very moment; what it raises harms nobody."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from kling_async.checks import refusal
from kling_async.errors import ConfigurationError, KlingError
from kling_async.events import CallbackOutcome, CallbackReceived, Event, OnEvent, PollFailed, StatusChanged
from kling_async.models import Task
from kling_async.rules.callbacks import Alarm
from kling_async.rules.statuses import Statuses
from kling_async.rules.wire import scrubbed

_log = logging.getLogger("kling_async")

_MESSAGE_MOST = 500


class Hook:
    """Calls a user's function with events.

    Raises:
        ConfigurationError: it cannot be called, or would have to be awaited.
    """

    def __init__(self, function: object, *, wall: Callable[[], float]) -> None:
        if not callable(function) or any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
            raise refusal("on_event", function, "a plain function that takes an event", error=ConfigurationError)
        self._function: OnEvent = function
        self._wall = wall
        self._alarm = Alarm()
        self._statuses = Statuses()
        self._failures = Counter[str]()  # of polls in a row, by resource

    def now(self) -> datetime:
        """When it is, for an event."""
        return datetime.fromtimestamp(self._wall(), UTC)

    def tell(self, event: Event) -> None:
        """Tells of an event."""
        try:
            self._function(event)
        # What a hook looks at may have been cancelled: that is no cancellation of ours.
        except (Exception, asyncio.CancelledError):
            if times := self._alarm.rings(asyncio.get_running_loop().time()):
                _log.exception("on_event failed (%d times, this is the last)", times)

    def knows(self, task: Task) -> None:
        """Takes the status of a task for told: whoever gave it has seen it."""
        self._statuses.note(task)

    def saw(self, resource: str, task: Task) -> None:
        """Tells of the status of a task, if it is another one than before."""
        before = self._statuses.of(task.id)
        if not self._statuses.note(task):
            return
        began, changed = task.created_at, task.updated_at
        self.tell(
            StatusChanged(
                at=self.now(),
                resource=resource,
                task_id=task.id,
                external_task_id=task.external_task_id,
                before=before,
                status=task.status,
                message=scrubbed(task.status_message)[:_MESSAGE_MOST],
                seconds=None if began is None or changed is None else (changed - began).total_seconds(),
            )
        )

    def polled(self, resource: str) -> None:
        """Takes note that a look went well."""
        del self._failures[resource]

    def poll_failed(self, resource: str, asked: str | None, error: KlingError) -> None:
        """Tells that a look failed; `asked`: the id that was asked for, `None` for a page of the list."""
        self._failures[resource] += 1
        failures = self._failures[resource]
        self.tell(PollFailed(at=self.now(), resource=resource, asked=asked, failures=failures, error=error))

    def callback_received(self, outcome: CallbackOutcome, task: Task | None, *, why: str) -> None:
        """Tells of a callback; of what was refused, nothing that it says is passed on."""
        if task is None:
            self.tell(CallbackReceived(at=self.now(), outcome=outcome, why=why))
            return
        self.tell(
            CallbackReceived(
                at=self.now(),
                outcome=outcome,
                task_id=task.id,
                external_task_id=task.external_task_id,
                status=task.status,
                why=why,
            )
        )

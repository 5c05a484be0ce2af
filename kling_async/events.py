"""What a client tells as it happens, for dashboards and counters: frozen facts, none of them secret.

A hook (`KlingClient(on_event=...)`) gets them. They hold ids and figures, but no prompt, no key and no signed URL, so
that they may be written down as they are: `attrs.asdict(event)`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

import attrs

from kling_async.errors import KlingError
from kling_async.models import TaskStatus


@attrs.frozen(kw_only=True)
class _Event:
    at: datetime  # aware UTC, by this machine's clock


@attrs.frozen(kw_only=True)
class QueuedForSlot(_Event):
    """A create stands in line for a slot of the account: once when it begins to, and once if others hold all slots.

    Attributes:
        at: when, as aware UTC; so in every event.
        resource: the path of its kind of task, such as `/v1/videos/video-extend`; so in every event that has one.
        external_task_id: what the create will carry.
        waiting: how many creates of this client stand in line, this one included.
        foreign: whether none of the slots is this client's: others hold them, and it is tried again now and then. Told
            once until a create is accepted, for the create that found out.
    """

    resource: str
    external_task_id: str
    waiting: int
    foreign: bool


How = Literal["accepted", "settled", "adopted"]
"""How a create came by its task, see `Created`."""


@attrs.frozen(kw_only=True)
class Created(_Event):
    """A create has its task.

    Attributes:
        task_id: the vendor's id.
        external_task_id: what the create carried.
        status: as the vendor told it.
        how: `accepted`: the vendor answered this create. `settled`: an answer was lost, and asking for the external id
            found the task that was made all the same. `adopted`: it was there already, made by an earlier create or
            another process; this one made none.
        request_id: the vendor's id of the exchange that told, `None` when it sent none.
        posts: how often this create was sent.
        seconds: from the call until now.
        queued_seconds: what of it the create stood in line for a slot.
    """

    resource: str
    task_id: str
    external_task_id: str
    status: TaskStatus
    how: How
    request_id: str | None
    posts: int
    seconds: float
    queued_seconds: float


@attrs.frozen(kw_only=True)
class StatusChanged(_Event):
    """A task that is awaited has another status: once for each change, however many wait, by a poll or a callback.

    Attributes:
        task_id: the vendor's id.
        external_task_id: the caller's own, `None` when it has none.
        before: the status that was known before, `None` for none.
        status: the new one.
        message: the vendor's reason of a failure, else mostly empty.
        seconds: from its creation to this change by the vendor's clock, `None` when it did not say.
    """

    resource: str
    task_id: str
    external_task_id: str | None
    before: TaskStatus | None
    status: TaskStatus
    message: str
    seconds: float | None


@attrs.frozen(kw_only=True)
class PollFailed(_Event):
    """A look at awaited tasks failed. Waits go on unless the error is final; then whoever waits gets it too.

    Attributes:
        asked: the id that was asked for, `None` for a page of the list.
        failures: how many looks of this resource have failed in a row, this one included.
        error: why; `error.request_id` is the vendor's id of the exchange.
    """

    resource: str
    asked: str | None
    failures: int
    error: KlingError


CallbackOutcome = Literal["accepted", "repeated", "conflict", "hint", "refused", "not stored"]
"""What became of a callback, see `CallbackReceived`."""


@attrs.frozen(kw_only=True)
class CallbackReceived(_Event):
    """A callback was given to `kling.callbacks`, and answered.

    Attributes:
        outcome: `accepted`: the vendor's, and taken in. `repeated`: a delivery that was known already. `conflict`: the
            vendor's, but it tells another end of the task than one before; a query decides. `hint`: nothing proves
            that it is the vendor's, since no secret is set; it causes a query at most. `refused`: forged, malformed,
            too old or too large. `not stored`: the `callback_store` failed, the vendor was asked to send it again.
        task_id: the task that it tells of; `None` for what was refused and for hints, which anybody can write.
        external_task_id: likewise.
        status: likewise.
        why: the reason of a refusal, else empty.
    """

    outcome: CallbackOutcome
    task_id: str | None = None
    external_task_id: str | None = None
    status: TaskStatus | None = None
    why: str = ""


@attrs.frozen(kw_only=True)
class Downloaded(_Event):
    """A film is on disk, whole.

    Attributes:
        task_id: its task, `None` when only the video was given; `external_task_id` likewise.
        video_id: which film.
        path: where it is.
        size: its bytes.
        requests: how many were sent for it by this call, redirects included.
        seconds: from the call until now, the wait for its turn included.
    """

    task_id: str | None
    external_task_id: str | None
    video_id: str
    path: Path
    size: int
    requests: int
    seconds: float


Event = QueuedForSlot | Created | StatusChanged | PollFailed | CallbackReceived | Downloaded
"""Whatever a hook may get; `match` tells them apart."""

OnEvent = Callable[[Event], object]
"""A hook: a plain function, called in the event loop at the very moment. It should be quick; to do more, put the event
into a queue. What it raises is logged, and harms nobody."""

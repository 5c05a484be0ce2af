"""What comes from the vendor, as users hold it in their hands: tasks, videos, pages, packs, all frozen.

The errors that carry a task stand here too, beside what they carry.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Context, Decimal
from functools import reduce

import attrs

from kling_async import spec
from kling_async.errors import KlingError


def supports(model: str, mode: str, seconds: int) -> bool:
    """Whether the specification's model table has a tick for this model, mode and length of clip.

    Args:
        model: a model name such as `"kling-v1-6"`; a name that the table does not list gives `False`.
        mode: `"std"` or `"pro"`.
        seconds: 5 or 10, the length of the source clip as the table counts it.

    Source: specification, "Model Support".
    """
    return (model, mode, seconds) in spec.MODEL_TABLE


class TaskStatus(enum.StrEnum):
    """How far a task is. Source: specification, "Response", and document-api.

    `UNKNOWN` stands for a word that no document lists (`task.raw` has it); such a task counts as not ended.
    """

    SUBMITTED = spec.STATUS_SUBMITTED
    PROCESSING = spec.STATUS_PROCESSING
    SUCCEED = spec.STATUS_SUCCEED
    FAILED = spec.STATUS_FAILED
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the task will not change any more."""
        return self is TaskStatus.SUCCEED or self is TaskStatus.FAILED


@attrs.frozen
class Video:
    """A video at the vendor's: a task's result, or the one that it extended.

    Attributes:
        id: what a next extension takes as `video_id` (it is not the task's id).
        url: where the file is, for 30 days; `None` when the vendor sent none.
        duration: seconds, exact; `None` when the vendor sent none.
        watermark_url: the file with a watermark, `None` when none was asked for.
    """

    id: str
    # Result URLs carry their own signature in the query: whoever sees one can fetch the film.
    url: str | None = attrs.field(default=None, repr=lambda url: repr(url and url.partition("?")[0]))
    duration: Decimal | None = None
    watermark_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Task:
    """One task as the vendor last told it.

    Attributes:
        id: the vendor's id.
        status: how far it is.
        status_message: the vendor's reason of a failure, else mostly empty.
        external_task_id: the caller's own id of it, `None` when it has none.
        created_at: aware UTC time, `None` when the vendor sent none.
        updated_at: likewise, of the last change of status.
        videos: the results; empty until the task has succeeded.
        parent_video: the video before the extension, `None` when the vendor sent none.
        final_unit_deduction: the units that the task cost, exact; `None` until it has ended.
        raw: the record as the vendor sent it, for fields that are not listed here.

    Source: specification, "Response"; `parent_video` and `watermark_url`: document-api.
    """

    id: str
    status: TaskStatus
    status_message: str = ""
    external_task_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    videos: tuple[Video, ...] = ()
    parent_video: Video | None = None
    final_unit_deduction: Decimal | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def video(self) -> Video:
        """The first result video.

        Raises:
            NoVideo: the task has none, or none yet.
        """
        if not self.videos:
            raise NoVideo(f"task {self.id} is {self.status} and has no video", task=self)
        return self.videos[0]

    @property
    def kept_until(self) -> datetime | None:
        """When the vendor deletes the videos: 30 days after the task's last change; `None` when it sent no times.

        Source: document-api.
        """
        ended = self.updated_at or self.created_at
        return None if ended is None else ended + timedelta(days=spec.KEPT_DAYS)


_EXACT = Context(prec=60)  # more digits than sums of money have, whatever the caller's own context says


def units_of(tasks: Iterable[Task]) -> Decimal:
    """What the tasks cost together, exact: the sum of `final_unit_deduction`, each task once.

    What the vendor has not told (a task that has not ended, or has no deduction in its record) counts as nothing.
    """
    told = {task.id: task.final_unit_deduction or Decimal(0) for task in tasks}
    return reduce(_EXACT.add, told.values(), Decimal(0))


@attrs.frozen
class Page:
    """One page of a listing.

    Attributes:
        number: from 1.
        size: as asked for.
        tasks: as the vendor ordered them.
        unreadable: how many records of the page were no tasks that could be read.
    """

    number: int
    size: int
    tasks: tuple[Task, ...]
    unreadable: int = 0


@attrs.frozen
class ResourcePack:
    """What an account has bought. Source: document-api, "Account". The figures lag by up to 12 hours.

    Attributes:
        type: `decreasing_total` (units that are used up) or `constant_period`.
        status: `toBeOnline`, `online`, `expired` or `runOut`.
        total_quantity: units bought, exact; `None` when the vendor sent none. `remaining_quantity` likewise.
        effective_time: aware UTC; `purchase_time` and `invalid_time` (the end) likewise.
    """

    name: str
    id: str
    type: str
    status: str
    total_quantity: Decimal | None = None
    remaining_quantity: Decimal | None = None
    purchase_time: datetime | None = None
    effective_time: datetime | None = None
    invalid_time: datetime | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


class _AboutTask(KlingError):
    """An error that carries its task."""

    def __init__(self, message: str, *, task: Task) -> None:
        super().__init__(message, created="yes", task_id=task.id, external_task_id=task.external_task_id)
        self.task = task


class TaskFailed(_AboutTask):
    """The task ended as `failed`: `task.status_message` is the vendor's reason, `task` the whole record."""

    advice = "Read the vendor's reason; a new create makes (and pays for) a new task."


class NoVideo(_AboutTask):
    """The task has no result video (yet), or one without its length where that is needed to go on."""

    advice = "Wait for the task with `wait(task)`; if it has ended, `task.raw` is what the vendor sent."


class TaskVanished(_AboutTask):
    """The vendor no longer knows a task that it had accepted: asked by both ids, several times over a minute."""

    advice = "Quote the task id to the vendor's support; it is never created anew on its own."


class UnknownStatus(_AboutTask):
    """The task keeps a status that no document lists; `task.raw` has the vendor's word."""

    advice = "Look for a newer version of this package; a later `wait` goes on."


class WaitTimeout(KlingError, TimeoutError):
    """The time to wait was over before the task was: nothing is lost, a later `wait` goes on.

    Attributes:
        pending: the tasks (or ids) that had not ended, each as it was last seen.
    """

    advice = "Wait again with the same task or id: `wait(error.pending[0])`."

    def __init__(self, message: str, *, pending: tuple[Task | str, ...]) -> None:
        first = pending[0]
        if isinstance(first, str):
            super().__init__(message, created="unknown")
        else:
            super().__init__(message, created="yes", task_id=first.id, external_task_id=first.external_task_id)
        self.pending = pending

"""What a batch will do for a job, told from what its journal knows, before anything is sent."""

from __future__ import annotations

from typing import Literal

import attrs

from kling_async.models import Task, TaskStatus
from kling_async.requests import OmniVideoRequest, VideoExtendRequest

Doing = Literal["create", "settle", "wait", "save", "nothing"]


@attrs.frozen
class Forecast:
    """What a batch will do for one job.

    Attributes:
        key: the user's.
        request: what the job asks for; `external_task_id` is the batch's own affair.
        does: `create` (and pay), `settle` (ask for a create that may have been sent, and create where there is none),
            `wait` for the task that was made, `save` its film, or `nothing`: it is done, or failed for good.
        task: the task as the journal knows it, `None` before there is one.
    """

    key: str
    request: VideoExtendRequest | OmniVideoRequest
    does: Doing
    task: Task | None = None

    @property
    def may_pay(self) -> bool:
        """Whether the vendor may make a task for it."""
        return self.does in {"create", "settle"}


def doing(state: str, task: Task | None, *, saved: bool, retry_failed: bool) -> Doing:
    """What comes next for a job in this state of the journal (`planned` too, where it does not know the job).

    `saved` says whether its film is where it should be, or should be nowhere.
    """
    if state == "failed" and retry_failed:
        return "create"
    if state == "failed":  # a success without a film may have one by now, and is looked at again
        return "nothing" if task is None or task.status is TaskStatus.FAILED else "wait"
    steps: dict[str, Doing] = {"planned": "create", "intent": "settle", "accepted": "wait"}
    return steps.get(state, "nothing" if saved else "save")

"""What `--json` shows: one object a line, with members that are documented in README and stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from kling_async.cli.texts import iso
from kling_async.errors import APIError, KlingError
from kling_async.models import ResourcePack, Task, TaskStatus, Video
from kling_async.rules.forecast import Forecast
from kling_async.runtime.carry import Outcome

Members = Mapping[str, object]


def line(members: Members) -> str:
    """One object, on one line, in ASCII: no reader and no terminal can misread it."""
    return json.dumps(members)


def of_task(task: Task, kind: str | None) -> dict[str, object]:
    """A task's members."""
    return {
        "kind": kind,
        "id": task.id,
        "external_task_id": task.external_task_id,
        "status": task.status.value,
        "status_message": task.status_message,
        "created_at": iso(task.created_at),
        "updated_at": iso(task.updated_at),
        "videos": [_video(video) for video in task.videos],
        "parent_video": task.parent_video and _video(task.parent_video),
        "final_unit_deduction": _exact(task.final_unit_deduction),
    }


def of_outcome(outcome: Outcome, kind: str | None) -> dict[str, object]:
    """What became of something: the task's members, none where no task is known, and `key`, `path` and `error`."""
    error, task = outcome.error, outcome.task
    known = {**_NO_TASK, "kind": kind} if task is None else of_task(task, kind)
    if task is None and error is not None:
        known |= {"id": error.task_id, "external_task_id": error.external_task_id}
    path = None if outcome.path is None else str(outcome.path)
    return {"key": outcome.key, **known, "path": path, "error": error and _error(error)}


def of_forecast(forecast: Forecast) -> dict[str, object]:
    """What would be done for a job."""
    task = forecast.task
    return {
        "key": forecast.key,
        "does": forecast.does,
        "may_pay": forecast.may_pay,
        "id": task and task.id,
        "status": task and task.status.value,
    }


def of_pack(pack: ResourcePack) -> dict[str, object]:
    """A pack's members."""
    return {
        "name": pack.name,
        "id": pack.id,
        "type": pack.type,
        "status": pack.status,
        "total_quantity": _exact(pack.total_quantity),
        "remaining_quantity": _exact(pack.remaining_quantity),
        "purchase_time": iso(pack.purchase_time),
        "effective_time": iso(pack.effective_time),
        "invalid_time": iso(pack.invalid_time),
    }


def _video(video: Video) -> dict[str, object]:
    return {
        "id": video.id,
        "url": video.url,
        "duration": _exact(video.duration),
        "watermark_url": video.watermark_url,
    }


def _error(error: KlingError) -> dict[str, object]:
    return {
        "class": type(error).__name__,
        "message": error.message,
        "created": error.created,
        "code": error.code if isinstance(error, APIError) else None,
        "request_id": error.request_id,
    }


def _exact(number: Decimal | None) -> str | None:
    return None if number is None else format(number, "f")


_NO_TASK: Members = {name: [] if name == "videos" else None for name in of_task(Task("", TaskStatus.UNKNOWN), None)}

"""Records as nearly all of them are, read in half a converter's time; all others are `records`' business."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kling_async import spec
from kling_async.models import Task, TaskStatus, Video

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STATUSES: Mapping[object, TaskStatus] = {
    spec.STATUS_SUBMITTED: TaskStatus.SUBMITTED,
    spec.STATUS_PROCESSING: TaskStatus.PROCESSING,
    spec.STATUS_SUCCEED: TaskStatus.SUCCEED,
    spec.STATUS_SUCCEEDED: TaskStatus.SUCCEED,
    spec.STATUS_FAILED: TaskStatus.FAILED,
}

NOT_USUAL = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)
"""What reading raises for a record that is not as usual, which need not mean that it is wrong."""


def usual_task(record: Any) -> Task:
    """The task of a record. Raises one of NOT_USUAL."""
    told = record.get
    info, result = told("task_info") or {}, told("task_result") or {}
    parent, own = info.get("parent_video"), info.get("external_task_id")
    units = told("final_unit_deduction")
    return Task(
        _text(record["task_id"]),
        STATUSES[record["task_status"]],
        _text_or_none(told("task_status_msg")) or "",
        _text_or_none(own),
        _time(record["created_at"]),
        _time(record["updated_at"]),
        tuple([_video(video) for video in result.get("videos") or ()]),
        _video(parent) if parent else None,
        _number_or_none(units),
        record,
    )


def _video(record: Any) -> Video:
    told = record.get
    return Video(
        _text(record["id"]),
        _text_or_none(told("url")),
        _number_or_none(told("duration")),
        _text_or_none(told("watermark_url")),
    )


def _text(value: object) -> str:
    if type(value) is str and value:
        return value
    raise TypeError


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else _text(value)


def _time(value: object) -> datetime:
    if type(value) is int:
        return EPOCH + timedelta(0, 0, 0, value)
    raise TypeError


def _number_or_none(value: object) -> Decimal | None:
    if value is None:
        return None
    number = Decimal(_text(value))
    if not number.is_finite():
        raise ValueError("it is no finite number")
    return number

"""The records that the vendor answers with. Members without a value are left out, as seen on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_async.spec import STATUS_SUCCEED

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from kling_async.simulator.ledger import Ledger, Task, Video
    from kling_async.simulator.wire import JSON


def task_record(task: Task, url_of: Callable[[Video], str]) -> dict[str, JSON]:
    """One task, as create, get and list show it.

    `task_result` is absent until the task has succeeded, `task_status_msg` unless it has failed, and the
    deduction is "0" for a failure. Source: specification, "Response"; `parent_video`: document-api.
    """
    record: dict[str, JSON] = {
        "task_id": task.id,
        "task_status": task.status,
        "task_info": _info(task, url_of),
        "created_at": milliseconds(task.created_at),
        "updated_at": milliseconds(task.updated_at),
    }
    if not task.is_over:
        return record
    if task.status == STATUS_SUCCEED:
        record["task_result"] = {"videos": [video_record(task.result, url_of)]}
        record["final_unit_deduction"] = str(task.cost)
    else:
        record["task_status_msg"] = task.failure
        record["final_unit_deduction"] = "0"
    return record


def _info(task: Task, url_of: Callable[[Video], str]) -> dict[str, JSON]:
    info: dict[str, JSON] = {}
    if task.order.external_id is not None:
        info["external_task_id"] = task.order.external_id
    if task.status == STATUS_SUCCEED and task.source is not None:
        info["parent_video"] = video_record(task.source, url_of)
    return info


def video_record(video: Video, url_of: Callable[[Video], str]) -> dict[str, JSON]:
    """A video with its place and its seconds as a decimal string."""
    return {"id": video.id, "url": url_of(video), "duration": f"{video.duration:f}"}


def pack_record(ledger: Ledger, *, slots: int | None, opened_at: float, ends_at: float, now: float) -> dict[str, JSON]:
    """The account's one resource pack. Observed: its name carries the limit on tasks in flight."""
    limit = "" if slots is None else f"{slots}Con-"
    return {
        "resource_pack_name": f"Simulated-Video-{ledger.total}Units-{limit}12Months",
        "resource_pack_id": "simulated-pack-1",
        "resource_pack_type": "decreasing_total",
        "total_quantity": _number(ledger.total),
        "remaining_quantity": _number(ledger.remaining),
        "purchase_time": milliseconds(opened_at),
        "effective_time": milliseconds(opened_at),
        "invalid_time": milliseconds(ends_at),
        "status": _pack_status(ledger, ends_at=ends_at, now=now),
    }


def _pack_status(ledger: Ledger, *, ends_at: float, now: float) -> str:
    if now >= ends_at:
        return "expired"
    return "online" if ledger.remaining > 0 else "runOut"


def _number(quantity: Decimal) -> float:
    return int(quantity) if quantity == int(quantity) else float(quantity)


def milliseconds(moment: float) -> int:
    """Unix milliseconds. Source: document-api: all times are."""
    return round(moment * 1000)

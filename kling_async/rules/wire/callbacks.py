"""The body of a callback -> the task that it tells of, in either of the vendor's two shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from kling_async.errors import MalformedResponse, NotFound, WebhookError
from kling_async.models import Task
from kling_async.rules.wire.answers import Envelope
from kling_async.rules.wire.records import read_task


def read_callback(body: bytes) -> Task:
    """The task in the body of a callback; `raw` is the record as it came.

    The newer shape does not tell `parent_video` and `final_unit_deduction`: there they are `None`.

    Raises:
        WebhookError: the body is no JSON in UTF-8, or no task with an id and a status.

    Source: document-api, "Callbacks": the task itself without an envelope, by the names of queries or by newer ones.
    """
    try:
        record = json.loads(body.decode())
    except (ValueError, RecursionError):  # bad UTF-8 and endless digits are ValueErrors too
        raise WebhookError("the body of a callback is no JSON") from None
    if not isinstance(record, dict):
        raise WebhookError("the body of a callback is no JSON object")
    members = record if "task_id" in record else _by_the_names_of_queries(record)
    try:
        return attrs.evolve(read_task(Envelope(members, None, 200)), raw=record)
    except (MalformedResponse, NotFound) as error:
        del record, members  # a traceback that shows locals must not show signed URLs
        raise WebhookError(f"the body of a callback is no task: {error.message}") from None


def _by_the_names_of_queries(record: Mapping[str, Any]) -> dict[str, Any]:
    outputs = record.get("outputs")
    return {
        "task_id": record.get("id"),
        "task_status": record.get("status"),
        "task_status_msg": record.get("message"),
        "task_info": {"external_task_id": record.get("external_id")},
        "created_at": record.get("create_time"),
        "updated_at": record.get("update_time"),
        "task_result": {"videos": [one for one in outputs if _is_video(one)] if isinstance(outputs, list) else None},
    }


def _is_video(output: object) -> bool:
    return isinstance(output, dict) and output.get("type") in {None, "", "video"}

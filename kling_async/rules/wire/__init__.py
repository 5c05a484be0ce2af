"""The wire as pure functions: request -> call; (status, headers, body) -> model or error.

The vendor's spelling (`pageNum`, `task_status_msg`, milliseconds, numbers as texts) lives and dies in this folder.
"""

from kling_async.rules.wire.answers import Envelope, Response, read_envelope, scrubbed, server_time
from kling_async.rules.wire.calls import Call, costs_call, create_call, journalled_request, page_call, task_call
from kling_async.rules.wire.records import (
    journalled_task,
    read_journalled_task,
    read_packs,
    read_task,
    read_tasks,
    read_wanted,
)

__all__ = [
    "Call",
    "Envelope",
    "Response",
    "costs_call",
    "create_call",
    "journalled_request",
    "journalled_task",
    "page_call",
    "read_envelope",
    "read_journalled_task",
    "read_packs",
    "read_task",
    "read_tasks",
    "read_wanted",
    "scrubbed",
    "server_time",
    "task_call",
]

"""Requests and errors as texts for PostgreSQL, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from kling_async import spec
from kling_async.errors import KlingError
from kling_async.models import Task
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.wire import journalled_request
from kling_async.runtime.carry import Request

_KINDS: Mapping[str, type[Request]] = {
    spec.VIDEO_EXTEND_PATH: VideoExtendRequest,
    spec.OMNI_VIDEO_PATH: OmniVideoRequest,
}


def path_of(request: Request) -> str:
    """Where such a request is sent."""
    return spec.VIDEO_EXTEND_PATH if isinstance(request, VideoExtendRequest) else spec.OMNI_VIDEO_PATH


def whole_request(request: Request) -> str:
    """The request as a worker sends it, signed queries included."""
    return journalled_request(request)


def read_request(path: str, text: str) -> Request:
    """The request of a text that `whole_request` made."""
    return _KINDS[path].from_dict(json.loads(text))


def told(error: KlingError) -> str:
    """An error with all its plain facts; what it says of a task stands beside it in the journal."""
    facts = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
    carried = [name for name in ("task", "pending") if name in vars(error)]
    return json.dumps({"kind": type(error).__name__, "facts": facts, "carried": carried})


def read_told(text: str, task: Task | None) -> KlingError:
    """The error of a text that `told` made; the root of all errors where its kind is one of a newer version."""
    record = json.loads(text)
    kind = next((kind for kind in _kinds(KlingError) if kind.__name__ == record["kind"]), KlingError)
    error = kind.__new__(kind)
    error.args = (record["facts"]["message"],)
    vars(error).update(record["facts"])
    vars(error).update({name: {"task": task, "pending": (task,)}[name] for name in record["carried"]})
    return error


def _kinds(root: type[KlingError]) -> Iterator[type[KlingError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


def plain(text: str) -> str:
    """JSON as PostgreSQL takes it: half of a surrogate pair is spelt out, which means the same."""
    return text.encode("utf-8", "backslashreplace").decode()

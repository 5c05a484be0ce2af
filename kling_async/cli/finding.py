"""Of which kind a task is: an id does not tell, so the vendor is asked."""

from __future__ import annotations

import attrs

from kling_async.client import KlingClient
from kling_async.errors import NotFound
from kling_async.models import Task
from kling_async.resources import TaskResource

EXTENSION = "video-extend"
OMNI = "omni-video"


@attrs.frozen
class Found:
    """A task, the resource that it is of, and what its user calls it."""

    name: str
    kind: str
    resource: TaskResource
    task: Task


def resource_of(kling: KlingClient, kind: str) -> TaskResource:
    """The resource of a kind."""
    return kling.omni_video if kind == OMNI else kling.video_extend


async def found(kling: KlingClient, id: str, *, omni: bool) -> Found:
    """The task with this id (the vendor's or your own): an extension, or else an Omni-Video task.

    With `omni`, it is known to be the latter.

    Raises:
        NotFound: it is neither.
        KlingError: as `get`.
    """
    if not omni:
        try:
            return Found(id, EXTENSION, kling.video_extend, await kling.video_extend.get(id))
        except NotFound:
            pass
    return Found(id, OMNI, kling.omni_video, await kling.omni_video.get(id))

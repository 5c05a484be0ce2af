"""One create: an external id before the first byte, and a truthful outcome: accepted, refused, or unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import attrs

from kling_async.errors import (
    APIError,
    ClientClosed,
    ConfigurationError,
    CreateUncertain,
    KlingError,
    TransportError,
)
from kling_async.models import Task
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.wire import create_call, read_task
from kling_async.runtime.transport import Transport

_log = logging.getLogger("kling_async")


@attrs.define
class Submitter:
    """Creates tasks under one path.

    Attributes:
        new_id: makes an external id for requests that have none of their own.
    """

    _transport: Transport
    _path: str
    _new_id: Callable[[], str]

    async def create(self, request: VideoExtendRequest | OmniVideoRequest) -> Task:
        """The task that the vendor accepted.

        Raises:
            APIError: the vendor refused; no task was made (`created="no"`).
            TransportError, ClientClosed: nothing was sent; no task was made.
            CreateUncertain: the answer was lost; a task may exist under the external id.
        """
        external_id = request.external_task_id or self._new_id()
        try:
            task = read_task(await self._transport.create(create_call(self._path, request, external_id)))
        except KlingError as error:
            error.external_task_id = external_id
            if _proves_not_created(error):
                raise
            raise CreateUncertain(
                f"the answer to a create was lost: {error.message}",
                external_task_id=external_id,
                host=error.host,
                attempts=error.attempts,
            ) from error
        except asyncio.CancelledError:
            _log.warning("a create was cancelled; if its request had left, the task is known as %s", external_id)
            raise
        # The vendor's answer may leave the id out; it is the task's all the same.
        return task if task.external_task_id else attrs.evolve(task, external_task_id=external_id)


def _proves_not_created(error: KlingError) -> bool:
    """Whether no task can exist: the vendor refused by a code that it documents, or the request never left."""
    if isinstance(error, APIError):
        return error.proves_not_created
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, ClientClosed | ConfigurationError)  # raised before anything is sent

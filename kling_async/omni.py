"""Omni-Video, the freer way to go on from a video."""

from __future__ import annotations

from kling_async import spec
from kling_async.errors import RequestError
from kling_async.models import Task
from kling_async.policies import DEFAULT_WAIT_SECONDS
from kling_async.requests import OmniVideoRequest
from kling_async.resources import TaskResource, budget


class OmniVideo(TaskResource):
    """Omni-Video: the freer way to go on from a video. Source: specification, "Alternative"."""

    async def create(self, request: OmniVideoRequest, *, timeout: float | None = None) -> Task:
        """The task, accepted by the vendor exactly once. `timeout` and errors are those of extensions."""
        return await self._submitter.create(_omni(request), timeout=budget(timeout))

    async def run(self, request: OmniVideoRequest, *, timeout: float | None = DEFAULT_WAIT_SECONDS) -> Task:
        """The succeeded task: `create`, then `wait`; `timeout` begins when the vendor has accepted the task."""
        limit = budget(timeout)
        return await self._run(_omni(request), limit)

    async def next_shot(
        self,
        video_url: str,
        *,
        prompt: str | None = None,
        model_name: str = spec.OMNI_MODELS[0],
        mode: str | None = None,
        aspect_ratio: str | None = None,
        duration: int | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
    ) -> Task:
        """The finished task whose video goes on from any short clip: `run` with `OmniVideoRequest.next_shot(...)`.

        Args and errors are those of the two; `timeout` begins when the vendor has accepted the task.
        """
        request = OmniVideoRequest.next_shot(
            video_url,
            prompt=prompt,
            model_name=model_name,
            mode=mode,
            aspect_ratio=aspect_ratio,
            duration=duration,
            callback_url=callback_url,
            external_task_id=external_task_id,
        )
        return await self.run(request, timeout=timeout)


def _omni(request: object) -> OmniVideoRequest:
    if not isinstance(request, OmniVideoRequest):
        raise RequestError(f"request: {type(request).__name__} is not allowed; it must be an OmniVideoRequest")
    return request

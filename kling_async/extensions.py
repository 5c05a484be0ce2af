"""Extensions: the videos that Kling made, made longer, by one step or by many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from decimal import Decimal

from kling_async import spec
from kling_async.checks import refusal
from kling_async.checks import seconds as checked_seconds
from kling_async.errors import RequestError
from kling_async.models import Task, Video
from kling_async.policies import DEFAULT_WAIT_SECONDS
from kling_async.requests import VideoExtendRequest
from kling_async.resources import TaskResource, budget
from kling_async.rules.chain import plan_chain
from kling_async.runtime.batch import Batch
from kling_async.runtime.chain import Carry, Chain, journalled
from kling_async.runtime.journal import Journal


class VideoExtend(TaskResource):
    """Extensions of videos that Kling made. Source: specification."""

    async def create(
        self,
        source: str | Video | Task | VideoExtendRequest,
        *,
        prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        timeout: float | None = None,
    ) -> Task:
        """The task, accepted by the vendor exactly once; its end is `wait`'s business.

        Waits for a free slot of the account. A lost answer is settled by asking for the external id, and only what
        is not found is posted again, under the same id.

        Args:
            source: what to extend: a video's id, a `Video`, a succeeded `Task` (its first video), or a whole request;
                with a request, nothing else may be given.
            prompt: see `VideoExtendRequest`, as all below; `None` leaves each to the vendor.
            model_name: default `None`: the vendor takes `kling-v1`.
            mode: default `None`: the vendor takes `std`.
            callback_url: default `None`: no callbacks.
            external_task_id: default `None`: the client makes one. With one of your own, the same create is safe to
                repeat, here and in other processes: the task that is there already is returned.
            timeout: seconds for all of it, the wait for a slot included; `None`: that wait has no bound, and settling
                takes at most `RetryPolicy.settle_timeout`.

        Raises:
            RequestError: refused here, before anything was sent: a value that the vendor would refuse, or a source that
                is known to be too long or too old.
            NoVideo: the task given has none (yet).
            APIError: refused by the vendor; no task was made. `InvalidRequest` also says that `external_task_id`
                belongs to another video's task.
            ConcurrencyLimited: no slot became free within `timeout`; no task was made.
            TransportError: the request never left in all that time; no task was made.
            CreateUncertain: time ran out in doubt; a later `get` or `create` with the error's `external_task_id`
                picks the task up, if it was made.

        Source: specification, "Request Parameters".
        """
        request = self._extension(source, prompt, model_name, mode, callback_url, external_task_id)
        return await self._submitter.create(request, timeout=budget(timeout))

    async def run(
        self,
        source: str | Video | Task | VideoExtendRequest,
        *,
        prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
    ) -> Task:
        """The succeeded task: `create`, then `wait`. Any number of these at once share one poller.

        Args and errors are those of `create` and `wait`; `timeout` begins when the vendor has accepted the task.
        """
        limit = budget(timeout)
        request = self._extension(source, prompt, model_name, mode, callback_url, external_task_id)
        return await self._run(request, limit)

    def extend_to(
        self,
        source: str | Video | Task,
        *,
        seconds: float | Decimal,
        prompts: str | Sequence[str] | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        callback_url: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        key: str | None = None,
        retry_failed: bool = False,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
    ) -> Chain:
        """A film that grows step by step to a length: `async for task in chain` gives each finished step.

        Nothing is sent before the first step is asked for; `chain.plan` says how many there will be, and how long the
        film. Each step adds 4 to 5 s, and is taken only where it can help: while the film is shorter than `seconds`,
        and has room for 4 s within the vendor's 180.

        Args:
            source: a video's id, a `Video`, or a succeeded `Task`. Of a bare id nobody knows how long the video is
                before the first step has ended; `Video(id, duration=Decimal(5))` says it.
            seconds: how long the film shall be at least, at most 180. With more than 176, up to 4 s may be missing.
            prompts: one for all steps, or one for each; the last one serves the steps that are left. Default `None`:
                the vendor decides.
            model_name: of every step; default `None`: the vendor takes `kling-v1`.
            mode: of every step; default `None`: the vendor takes `std`.
            callback_url: of every step; default `None`: no callbacks.
            journal: the file that remembers the steps (`KlingClient.batch` says how); with it, an interrupted chain
                goes on where it was, in another process too. Default `None`: what is known is in this object alone.
            key: names this chain in the journal for good; default `None`: the source's id does.
            retry_failed: whether a step whose task failed in an earlier run is made (and paid) anew.
            timeout: seconds for each step from its create on, default 1,800; `None` waits for ever.

        Raises:
            RequestError: refused here, before anything was sent: a value that the vendor would refuse, a length that
                cannot be reached, or a source that is known to be too old.
            NoVideo: the task given has none (yet).
            while it is walked, as `run`: what was finished before stays so, and a later walk goes on.

        Source: document-api; what the vendor counts is the whole film.
        """
        video = self._source(source)
        target = _target(seconds)
        if plan_chain(video.duration, target).is_stuck:
            raise _too_long(video)
        limit = budget(timeout)
        given = _prompts(prompts)
        request = VideoExtendRequest(
            video_id=video.id, prompt=given[0], model_name=model_name, mode=mode, callback_url=callback_url
        )
        name = _name(key, video, journal)

        def carrier() -> AbstractAsyncContextManager[Carry]:
            if journal is None:
                return nullcontext(lambda _, step: self._run(step, limit))
            kinds = {VideoExtendRequest.__name__: self.kind}
            batch = Batch(Journal(journal, self._transport.wall), kinds, timeout=limit, retry_failed=retry_failed)
            return journalled(batch, name)

        new_id = self._submitter.new_id if journal is None else None
        return Chain(video, target, prompts=given, request=request, carrier=carrier, new_id=new_id)

    def _extension(
        self,
        source: str | Video | Task | VideoExtendRequest,
        prompt: str | None,
        model_name: str | None,
        mode: str | None,
        callback_url: str | None,
        external_task_id: str | None,
    ) -> VideoExtendRequest:
        if isinstance(source, VideoExtendRequest):
            if any(given is not None for given in (prompt, model_name, mode, callback_url, external_task_id)):
                raise RequestError("source: is a whole request; give the other arguments within it")
            return source
        return VideoExtendRequest(
            video_id=source if isinstance(source, str) else self._extendable(source),
            prompt=prompt,
            model_name=model_name,
            mode=mode,
            callback_url=callback_url,
            external_task_id=external_task_id,
        )

    def _extendable(self, source: object) -> str:
        video = self._source(source)
        # Known to be too long is known to be refused: say so before it is sent.
        if video.duration is not None and video.duration + spec.EXTENSION_MIN_SECONDS > spec.TOTAL_MAX_SECONDS:
            raise _too_long(video)
        return video.id

    def _source(self, source: object) -> Video:
        """The video to extend, if it is not known to be gone."""
        if isinstance(source, str):
            return Video(source)
        if isinstance(source, Video):
            return source
        if not isinstance(source, Task):
            raise refusal("source", source, "a video's id, a Video, a Task that has one, or a VideoExtendRequest")
        until = source.kept_until
        if until is not None and until < datetime.fromtimestamp(self._transport.wall(), UTC):
            raise RequestError(
                f"source: task {source.id} is expired: its video was kept until {until:%Y-%m-%d}, "
                f"{spec.KEPT_DAYS} days from its end"
            )
        return source.video


def _too_long(video: Video) -> RequestError:
    return RequestError(
        f"source: video {video.id} has {video.duration} s; with {spec.EXTENSION_MIN_SECONDS} s more it would "
        f"pass the vendor's {spec.TOTAL_MAX_SECONDS} s"
    )


def _target(wanted: float | Decimal) -> Decimal:
    number = checked_seconds("seconds", float(wanted) if isinstance(wanted, Decimal) else wanted)
    if number > spec.TOTAL_MAX_SECONDS:
        raise RequestError(f"seconds: {wanted} are too many; the vendor's films have at most {spec.TOTAL_MAX_SECONDS}")
    return Decimal(str(wanted))


def _prompts(prompts: object) -> tuple[str | None, ...]:
    """One prompt or more, each checked as a request checks it."""
    given = (prompts,) if prompts is None or isinstance(prompts, str) else prompts
    if not isinstance(given, list | tuple) or not given:
        raise refusal("prompts", prompts, "a text, or a list of at least one")
    for prompt in given:
        VideoExtendRequest(video_id="checked", prompt=prompt)
    return tuple(given)


def _name(key: object, video: Video, journal: object) -> str:
    """What a chain is called in its journal."""
    if key is None:
        return video.id
    if journal is None:
        raise RequestError("key: names a chain in a journal; give the journal too")
    if not isinstance(key, str) or not key:
        raise refusal("key", key, "a text that names the chain")
    return key

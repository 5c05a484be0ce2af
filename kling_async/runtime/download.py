"""Result files on disk: streamed, resumed where they broke off, whole under their names or not there at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, overload

import attrs

from kling_async import spec
from kling_async.checks import refusal
from kling_async.errors import ClientClosed, DownloadError, KlingError, RequestError
from kling_async.events import Downloaded
from kling_async.models import Task, Video
from kling_async.policies import DownloadPolicy, RetryPolicy
from kling_async.rules.addresses import Refused
from kling_async.rules.fetching import GiveUp, Whole
from kling_async.rules.names import file_name, folded, safe_name
from kling_async.runtime.fetch import Fetch, Progress, source_of
from kling_async.runtime.hook import Hook
from kling_async.runtime.pool import SessionPool
from kling_async.runtime.tracing import Tracing


@attrs.frozen
class Wanted:
    """One download of several.

    Attributes:
        path: the file to write.
        again: asks the vendor for the task once more, for a fresh URL; `None`: nobody can.
        progress: `None`: nobody wants to know.
    """

    video: Video | Task
    path: Path
    again: Callable[[], Awaitable[Task]] | None = None
    progress: Progress | None = None


@attrs.define
class Downloader:
    """Fetches result files. No credentials go to their hosts.

    Attributes:
        home: the API's own origin: besides https, files may lie there (a simulator on loopback has no TLS).
        wall: Unix seconds, for the age of films.
        draw: random numbers from 0 to 1, for pauses.
        hook: told of films that are on disk; `None`: nobody wants to know.
        tracing: told of each request; likewise.
    """

    _pool: SessionPool
    home: str
    policy: DownloadPolicy
    retry: RetryPolicy
    wall: Callable[[], float]
    draw: Callable[[], float]
    hook: Hook | None = None
    tracing: Tracing | None = None
    _under_way: set[str] = attrs.field(factory=set, init=False)

    async def fetch(
        self,
        video: Video | Task,
        path: str | os.PathLike[str],
        *,
        again: Callable[[], Awaitable[Task]] | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """The path, where the whole film is now; a file that stood there is replaced.

        Args:
            video: a video, or a task that has one.
            path: the file to write; its folder must exist.
            again: asked for the task once more when the URL has gone; `None`: nobody can be asked.
            progress: called as the film arrives; what it raises ends the download.

        Raises:
            RequestError: the video has no URL, or not one of https and a public host; the path is a folder, or is
                being written.
            NoVideo: a task that has no video (yet).
            DownloadError: the film is too old, or could not be fetched or written. What is there of it stays beside the
                path where a later call can go on from it.
            ClientClosed: the client was closed meanwhile; likewise.
        """
        if not isinstance(video, Video | Task):
            raise refusal("video", video, "a Video, or a Task that has one")
        fetch = self._prepared(Wanted(video, Path(path), again, progress))
        place = os.path.realpath(fetch.target)  # noqa: ASYNC240 - one stat; one file has many spellings
        if place in self._under_way:
            raise RequestError(f"path: {fetch.target} is being downloaded already")
        self._under_way.add(place)
        began = asyncio.get_running_loop().time()
        try:
            await self._traced(fetch)
        except DownloadError as error:
            error.created = "yes"  # there is a film, so there is a task
            if isinstance(video, Task):
                error.task_id, error.external_task_id = video.id, video.external_task_id
            raise
        finally:
            self._under_way.discard(place)
        if self.hook is not None:
            self.hook.tell(_downloaded(video, fetch, at=self.hook.now(), began=began))
        return fetch.target

    @overload
    async def fetch_all(self, wanted: Sequence[Wanted], *, return_exceptions: Literal[False]) -> list[Path]: ...
    @overload
    async def fetch_all(self, wanted: Sequence[Wanted], *, return_exceptions: bool) -> list[Path | KlingError]: ...
    async def fetch_all(
        self, wanted: Sequence[Wanted], *, return_exceptions: bool
    ) -> list[Path] | list[Path | KlingError]:
        """The paths in the order given; `PoolLimits.files` says how many are fetched at once.

        Args:
            wanted: what to fetch.
            return_exceptions: false raises the first error, and leaves the other films for a later call; true puts
                each error in its film's place.
        """

        async def one(each: Wanted) -> Path | KlingError:
            try:
                return await self.fetch(each.video, each.path, again=each.again, progress=each.progress)
            except KlingError as error:
                if not return_exceptions:
                    raise
                return error

        loading = [asyncio.create_task(one(each), name=f"kling_async film {each.path}") for each in wanted]
        try:
            return await asyncio.gather(*loading)
        finally:
            for task in loading:
                task.cancel()
            if loading:
                await asyncio.wait(loading)

    # --- what is asked for ---------------------------------------------------------------------------------------

    def _prepared(self, wanted: Wanted) -> Fetch:
        given, target = wanted.video, wanted.path
        video = given.video if isinstance(given, Task) else given
        if "\0" in str(target):
            raise RequestError("path: holds a null character, which no file's name can")
        # One stat, no slower than the thread that would do it; os.path's own takes a name too long for a "no".
        if os.path.isdir(target):  # noqa: PTH112
            raise RequestError(f"path: {target} is a folder; it must name a file")
        if isinstance(given, Task):
            self._check_age(given, target)
        if video.url is None:
            raise RequestError(f"video: {video.id} has no URL; ask for its task again")
        source = source_of(video.url, home=self.home)
        if isinstance(source, Refused):
            raise RequestError(f"video: the URL of {video.id} {source.why}")
        return Fetch(
            self._pool, self.policy, self.retry, self.draw, self.home, target, video.id, source,
            again=wanted.again, progress=wanted.progress, tracing=self.tracing,
        )  # fmt: skip

    def _check_age(self, task: Task, target: Path) -> None:
        until = task.kept_until
        if until is None or datetime.fromtimestamp(self.wall(), UTC) <= until:
            return
        raise DownloadError(
            f"{target}: expired: task {task.id} ended on {until - timedelta(days=spec.KEPT_DAYS):%Y-%m-%d}; "
            f"films are kept for {spec.KEPT_DAYS} days",
            created="yes",
            task_id=task.id,
            external_task_id=task.external_task_id,
        )

    async def _traced(self, fetch: Fetch) -> None:
        if self.tracing is None:
            await self._fetched(fetch)
            return
        with self.tracing.operation("download") as facts:
            facts["video_id"] = fetch.video_id
            await self._fetched(fetch)
            facts["size"] = fetch.size

    async def _fetched(self, fetch: Fetch) -> None:
        share = self._pool.share("files")
        verdict: Whole | GiveUp
        try:
            async with share.gate:
                with share.within(None):
                    # It may have been closed while this one waited for its turn.
                    verdict = GiveUp("not begun") if share.closed else await fetch.carry_out()
        except TimeoutError:
            verdict = GiveUp("ended by the close")
        # Raised from here, where neither a cause nor a frame shows a signed URL.
        if isinstance(verdict, Whole):
            return
        if fetch.hook_error is not None:
            raise fetch.hook_error
        kind = ClientClosed if share.closed else DownloadError
        why = "the client was closed before the film was whole" if share.closed else verdict.why
        raise kind(f"{fetch.target}: {why}{fetch.left}", host=fetch.host, attempts=fetch.requests)


def _downloaded(given: Video | Task, fetch: Fetch, *, at: datetime, began: float) -> Downloaded:
    task, video = (given, given.video) if isinstance(given, Task) else (None, given)
    return Downloaded(
        at=at,
        task_id=None if task is None else task.id,
        external_task_id=None if task is None else task.external_task_id,
        video_id=video.id,
        path=fetch.target,
        size=fetch.size,
        requests=fetch.requests,
        seconds=asyncio.get_running_loop().time() - began,
    )


def wanted_in(
    folder: Path,
    tasks: Iterable[Task],
    *,
    name: Callable[[Task], str] | None,
    again: Callable[[Task], Awaitable[Task]],
    progress: Callable[[Task, int, int | None], None] | None,
) -> list[Wanted]:
    """The downloads of many tasks to one folder, each under a name of its own.

    Raises:
        RequestError: what is no task, no folder, no name, or a name twice.
    """
    if isinstance(tasks, str | Task | Video):
        raise RequestError(f"tasks: is a single {type(tasks).__name__}; it must be a list of tasks")
    if not folder.is_dir():
        raise RequestError(f"folder: there is no folder {folder}")
    wanted: dict[str, Wanted] = {}
    for task in tasks:
        if not isinstance(task, Task):
            raise refusal("tasks", task, "a list of tasks")
        path = folder / _name_of(task, name)
        if folded(path.name) in wanted:
            raise RequestError(f"name: two tasks would be {path.name}, the second is {task.id}; give each its own")
        wanted[folded(path.name)] = Wanted(task, path, partial(again, task), progress and partial(progress, task))
    return list(wanted.values())


def _name_of(task: Task, name: Callable[[Task], str] | None) -> str:
    if name is None:
        return file_name(task.external_task_id or task.id)
    wanted: object = name(task)
    if not isinstance(wanted, str) or not wanted:
        raise refusal("name", wanted, f"a function that gives a file name, here for task {task.id}")
    return safe_name(wanted)

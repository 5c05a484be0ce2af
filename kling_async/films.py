"""What a client does with films: fetches them, one or many, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal, overload

from kling_async.errors import KlingError, NotFound
from kling_async.extensions import VideoExtend
from kling_async.models import Task, Video
from kling_async.omni import OmniVideo
from kling_async.runtime.download import Downloader, wanted_in


class Films:
    """The downloads of a client, which has the rest."""

    _downloader: Downloader
    video_extend: VideoExtend
    omni_video: OmniVideo

    async def download(
        self,
        video: Video | Task,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Path:
        """The path, where the whole film is now; a file that stood there is replaced.

        The film is written to `<path>.part` and renamed when it is whole. What breaks off goes on where it was, also in
        a later call or another process, if the film's host can prove that it is the same film still. Hosts are https
        ones at public addresses (or the API's own origin); no credentials are sent there.

        Args:
            video: a succeeded task, for its first video; or a video. A URL of a task that has gone is asked for anew.
            path: the file to write; its folder must exist.
            progress: called as the film arrives with the bytes that are there, and how many there will be (`None` while
                that is not known). What it raises ends the download.

        Raises:
            RequestError: the video has no https URL of a public host, or the path is a folder.
            NoVideo: the task has no video (yet).
            DownloadError: the task ended more than 30 days ago (`expired`), or the film could not be fetched or
                written; the message says what is kept of it.
            ClientClosed: the client was closed meanwhile; likewise.
        """
        again = partial(self._seen_again, video) if isinstance(video, Task) else None
        return await self._downloader.fetch(video, path, again=again, progress=progress)

    @overload
    async def download_all(
        self,
        tasks: Iterable[Task],
        folder: str | os.PathLike[str],
        *,
        name: Callable[[Task], str] | None = ...,
        progress: Callable[[Task, int, int | None], None] | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> list[Path]: ...
    @overload
    async def download_all(
        self,
        tasks: Iterable[Task],
        folder: str | os.PathLike[str],
        *,
        name: Callable[[Task], str] | None = ...,
        progress: Callable[[Task, int, int | None], None] | None = ...,
        return_exceptions: Literal[True],
    ) -> list[Path | KlingError]: ...
    async def download_all(
        self,
        tasks: Iterable[Task],
        folder: str | os.PathLike[str],
        *,
        name: Callable[[Task], str] | None = None,
        progress: Callable[[Task, int, int | None], None] | None = None,
        return_exceptions: bool = False,
    ) -> list[Path] | list[Path | KlingError]:
        """The films of many tasks in a folder, as paths in the order given. `PoolLimits.files` bounds how many at once.

        A file that stands there under a task's name is fetched again and replaced, as by `download`.

        Args:
            tasks: succeeded tasks, each for its first video.
            folder: where to; it must exist.
            name: the file name for a task, such as `lambda task: f"{task.external_task_id}.mp4"`. What could leave the
                folder, or what some system refuses, is made plain. `None`: your own id or the vendor's, and `.mp4`.
            progress: as for `download`, with the task in front.
            return_exceptions: false raises the first error, and leaves the others for a later call; true fetches what
                can be fetched and puts each error in its task's place.

        Raises:
            RequestError: what is no task, a folder that does not exist, or two tasks with the same name: nothing was
                fetched.
            as `download`.
        """
        wanted = wanted_in(Path(folder), tasks, name=name, again=self._seen_again, progress=progress)
        return await self._downloader.fetch_all(wanted, return_exceptions=return_exceptions)

    async def _seen_again(self, task: Task) -> Task:
        """The task as it is now. It does not tell of which kind it is, but only extensions have a parent."""
        kinds = (self.video_extend, self.omni_video) if task.parent_video else (self.omni_video, self.video_extend)
        try:
            return await kinds[0].get(task.id)
        except NotFound:
            return await kinds[1].get(task.id)

"""A result file on disk: streamed to `<name>.part`, checked for its length, then renamed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from kling_async.checks import refusal
from kling_async.errors import ClientClosed, DownloadError, RequestError
from kling_async.models import Task, Video
from kling_async.runtime.pool import SessionPool

_STALL_SECONDS = 30.0  # without a single byte; there is no bound on the whole: files are large, lines are slow
_BLOCK_BYTES = 1024 * 1024


@attrs.define
class Downloader:
    """Fetches result files. No credentials go to their hosts.

    Attributes:
        home: the API's own origin: besides https, files may lie there (a simulator on loopback has no TLS).
    """

    _pool: SessionPool
    home: str
    _under_way: set[str] = attrs.field(factory=set, init=False)

    async def fetch(self, video: Video | Task, path: str | os.PathLike[str]) -> Path:
        """The path, where the whole film is now; a file that stood there is replaced.

        Raises:
            RequestError: the video has no URL, or not one of https; the path is a folder, or is being written.
            NoVideo: a task that has no video (yet).
            DownloadError: the file could not be fetched or written; nothing is left at the path or beside it.
            ClientClosed: the client was closed meanwhile; likewise.
        """
        if not isinstance(video, Video | Task):
            raise refusal("video", video, "a Video, or a Task that has one")
        source = self._vetted(video.video if isinstance(video, Task) else video)
        target = Path(path)
        if "\0" in str(target):
            raise RequestError("path: holds a null character, which no file's name can")
        # One stat, no slower than the thread that would do it; os.path's own takes a name too long for a "no".
        if os.path.isdir(target):  # noqa: ASYNC240, PTH112
            raise RequestError(f"path: {target} is a folder; it must name a file")
        place = os.path.realpath(target)  # noqa: ASYNC240 - likewise; one file has many spellings
        if place in self._under_way:
            raise RequestError(f"path: {target} is being downloaded already")
        self._under_way.add(place)
        try:
            return await self._fetch(source, target)
        except DownloadError as error:
            error.created = "yes"  # there is a film, so there is a task
            if isinstance(video, Task):
                error.task_id, error.external_task_id = video.id, video.external_task_id
            raise
        finally:
            self._under_way.discard(place)

    def _vetted(self, video: Video) -> _Source:
        if video.url is None:
            raise RequestError(f"video: {video.id} has no URL; ask for its task again")
        source = _source(video.url)
        if source is None:
            raise RequestError(f"video: the URL of {video.id} is none")
        if not source.origin.startswith("https://") and source.origin != self.home:
            raise RequestError(f"video: the URL of {video.id} is not https, and not of the API's own host")
        return source

    async def _fetch(self, source: _Source, target: Path) -> Path:
        part = target.with_name(target.name + ".part")
        share = self._pool.share("files")
        try:
            async with share.gate:
                with share.within(None):
                    if share.session.closed:  # while this one waited for its turn
                        raise TimeoutError
                    arrived = await self._stream(share.session, source, part)
            _check(arrived, target, source.host)
            # The rename is the one step that makes the film appear, and it is whole by then. Not in a thread: one that
            # a cancellation leaves behind could rename what the next download of this path has just begun.
            part.replace(target)
        except (OSError, aiohttp.ClientError, ValueError, RuntimeError) as error:
            # Without its cause, whose words and frames hold the signed URL.
            if share.session.closed:
                raise ClientClosed(
                    f"{target}: the client was closed before the film was whole", host=source.host
                ) from None
            raise DownloadError(f"{target}: {_told(error)}", host=source.host) from None
        finally:
            # Where it cannot be removed it could not be written either, and that has been told.
            with suppress(OSError):
                part.unlink()
        return target

    async def _stream(self, session: aiohttp.ClientSession, source: _Source, part: Path) -> _Arrived:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_STALL_SECONDS, sock_read=_STALL_SECONDS)
        # A compressed body would make Content-Length say nothing about what arrives.
        headers = {"Accept-Encoding": "identity"}
        async with session.get(source.url, timeout=timeout, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                return _Arrived(answer.status)
            with part.open("wb") as file:
                size = await _copy(answer, file)
                await asyncio.to_thread(_settle, file)
            return _Arrived(answer.status, size, answer.content_length)


@attrs.frozen
class _Source:
    """Where a film lies. The URL does not show itself: whoever has its signed query has the film."""

    url: URL = attrs.field(repr=False)
    origin: str
    host: str | None


@attrs.frozen
class _Arrived:
    """What came of a request for a film; `promised` bytes by its Content-Length."""

    status: int
    size: int = 0
    promised: int | None = None


def _source(text: str) -> _Source | None:
    try:
        parts, url = urlsplit(text), URL(text, encoded=True)
        # Asked for here, since yarl looks at host and port only when they are asked for.
        return _Source(url, f"{parts.scheme}://{parts.netloc}", url.host) if url.host else None
    except ValueError:
        return None


def _check(arrived: _Arrived, target: Path, host: str | None) -> None:
    # Raised here and not where the answer is: a traceback that shows locals would show its signed URL.
    if arrived.status != 200:
        raise DownloadError(f"{target}: the file's host answered {arrived.status}", host=host)
    if arrived.size == 0 or arrived.size != (arrived.promised or arrived.size):
        raise DownloadError(f"{target}: {arrived.size} bytes arrived", host=host)


async def _copy(answer: aiohttp.ClientResponse, file: IO[bytes]) -> int:
    size = 0
    async for block in answer.content.iter_chunked(_BLOCK_BYTES):
        await asyncio.to_thread(file.write, block)
        size += len(block)
    return size


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the file's host was silent for {_STALL_SECONDS:.0f} s"
    if isinstance(error, aiohttp.ClientError) or not isinstance(error, OSError):
        return f"the connection broke: {type(error).__name__}"
    return error.strerror or type(error).__name__

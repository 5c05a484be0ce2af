"""One download: requests, redirects and bytes, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import attrs
from yarl import URL

from kling_async.errors import KlingError
from kling_async.models import Task
from kling_async.policies import DownloadPolicy, RetryPolicy
from kling_async.rules.addresses import Place, Refused, place_of, redirected, vetted
from kling_async.rules.fetching import Again, Course, Ending, Follow, GiveUp, Refresh, Take, Whole
from kling_async.runtime.guard import AddressRefused
from kling_async.runtime.parts import Part, Unwritable
from kling_async.runtime.pool import SessionPool
from kling_async.runtime.tracing import Tracing

_log = logging.getLogger("kling_async")

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and with how many there will be (`None` while that is not known)."""

# What the HTTP library ends in: a TimeoutError is an OSError, and a RuntimeError is what reading from a connection
# closed by us can be.
_NETWORK = (aiohttp.ClientError, OSError, ValueError, RuntimeError)


@attrs.frozen
class Source:
    """Where a film lies. The URL does not show itself: whoever has its signed query has the film."""

    text: str = attrs.field(repr=False)
    url: URL = attrs.field(repr=False)
    place: Place


def source_of(text: str, *, home: str, came_from: Place | None = None) -> Source | Refused:
    """Where a film lies, if it may be fetched there; the arguments are those of `vetted`."""
    place = vetted(text, home=home, came_from=came_from)
    if isinstance(place, Refused):
        return place
    # Quoted anew, a signature breaks. A URL that was vetted is plain enough for every parser to read it alike.
    return Source(text, URL(text, encoded=True), place)


class Fetch:
    """One download under way.

    Attributes:
        target: where the film will be.
        video_id: which film.
        host: who was asked last.
        hook_error: what the progress callback raised, `None` when it raised nothing.
        left: what a failed download has left beside the path, as the end of a sentence.
    """

    def __init__(
        self,
        pool: SessionPool,
        policy: DownloadPolicy,
        retry: RetryPolicy,
        draw: Callable[[], float],
        home: str,
        target: Path,
        video_id: str,
        source: Source,
        *,
        again: Callable[[], Awaitable[Task]] | None,
        progress: Progress | None,
        tracing: Tracing | None,
    ) -> None:
        self.target = target
        self.host = source.place.host
        self.hook_error: Exception | None = None
        self.left = ""
        self._pool = pool
        self._policy = policy
        self._home = home
        self.video_id = video_id
        self._source = source
        self._again = again
        self._progress = progress
        self._tracing = tracing
        self._status: int | None = None  # of the last answer
        self._part = Part(target, video_id)
        self._course = Course(policy, retry, draw)

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self._course.requests

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return self._course.kept.size

    async def carry_out(self) -> Whole | GiveUp:
        """How it ended. On disk is the whole film then, or what a later call can go on from, or nothing."""
        verdict: Whole | GiveUp | None = None
        try:
            verdict = await self._carried_out()
        except Unwritable as error:
            verdict = GiveUp(str(error))
        finally:
            keep = self._course.can_resume and not (isinstance(verdict, GiveUp) and not verdict.keep)
            await self._part.leave(keep=keep)
            if keep and verdict != Whole():
                there = self._course.kept.size
                self.left = f"; {there:,} bytes of it are kept beside it, and the next download goes on from there"
        return verdict

    async def _carried_out(self) -> Whole | GiveUp:
        self._course.found(await self._part.open())
        while True:
            verdict = await self._attempt()
            if isinstance(verdict, Refresh):
                verdict = await self._refreshed(verdict.why)
            if isinstance(verdict, Again):
                _log.info("%s: %s; going on at byte %d", self.target, verdict.why, self._course.kept.size)
                await asyncio.sleep(verdict.pause)
            elif isinstance(verdict, Whole):
                await self._part.finish()
                return verdict
            else:
                return verdict

    async def _refreshed(self, why: str) -> Again | GiveUp:
        """A fresh URL from the vendor."""
        if self._again is None:
            return GiveUp(why)  # but whoever has the task may come back with its fresh URL
        try:
            task = await self._again()
        except KlingError as error:
            return GiveUp(f"{why}, and asking for a fresh URL failed: {error.message}")
        url = next((video.url for video in task.videos if video.id == self.video_id), None)
        if url is None:
            return GiveUp(f"{why}, and the vendor has no other URL of this film", keep=False)
        source = source_of(url, home=self._home)
        if isinstance(source, Refused):
            return GiveUp(f"{why}, and the fresh URL {source.why}")
        self._source = source
        return Again(why, 0.0)

    async def _attempt(self) -> Ending:
        """What came of one request and the redirects that it leads to."""
        self._course.begin()
        source = self._source
        while True:
            verdict = await self._ask(source)
            if not isinstance(verdict, Follow):
                return verdict
            to = redirected(source.text, verdict.location)
            found = source_of(to, home=self._home, came_from=source.place)
            if isinstance(found, Refused):
                return GiveUp(f"the file's host redirects to a URL that {found.why}")
            source = found

    async def _ask(self, source: Source) -> Ending | Follow:
        """What came of one request."""
        self._status = None
        if self._tracing is None:
            return await self._asked(source)
        resend, url = self.requests, source.text.partition("?")[0]  # whoever has the query has the film
        attempt = self._tracing.attempt("GET", url, template=None, resend=resend)
        try:
            verdict = await self._asked(source)
        except BaseException as error:
            attempt.ended(status=self._status, error=error)
            raise
        attempt.ended(status=self._status, error=verdict.why if isinstance(verdict, Again | GiveUp) else None)
        return verdict

    async def _asked(self, source: Source) -> Ending | Follow:
        self.host = source.place.host
        session = self._session(source.place)
        silence = self._policy.stall_timeout
        timeout = aiohttp.ClientTimeout(total=None, connect=silence, sock_connect=silence, sock_read=silence)
        headers = self._course.headers()
        try:
            async with session.get(source.url, timeout=timeout, headers=headers, allow_redirects=False) as answer:
                self._status = answer.status
                verdict = self._course.heard(answer.status, answer.headers)
                return await self._taken(answer) if isinstance(verdict, Take) else verdict
        except _NETWORK as error:
            return self._broken(error)

    def _session(self, place: Place) -> aiohttp.ClientSession:
        """Home is allowed by name, in a session of its own; every other connection is guarded."""
        return self._pool.share("home" if place == place_of(self._home) else "files").session

    async def _taken(self, answer: aiohttp.ClientResponse) -> Ending:
        """What it means how this body ended."""
        await _held(answer, self._part.begin(self._course.kept))
        broken = ""
        stop = self._told()
        try:
            while stop is None and (chunk := await answer.content.readany()):
                stop = self._arrived(chunk)
                if self._part.is_full:
                    stop = stop or self._arrived(answer.content.read_nowait())
                    await _held(answer, self._part.room())
        except _NETWORK as error:
            broken = self._reason(error)  # not the error itself: it and this frame would keep each other in memory
        await self._part.flush()
        if stop is not None:
            return stop
        return self._course.failed(broken) if broken else self._course.ended()

    def _arrived(self, chunk: bytes) -> GiveUp | None:
        self._part.add(chunk)
        return self._course.arrived(len(chunk)) or self._told()

    def _told(self) -> GiveUp | None:
        """Tells how far it is; a reason to stop where whoever is told raises."""
        kept = self._course.kept
        if self._progress is None:
            return None
        try:
            self._progress(kept.size, kept.total)
        except Exception as error:  # the user's own, raised where no frame shows a signed URL
            self.hook_error = error
            return GiveUp("the progress callback failed")
        return None

    def _broken(self, error: Exception) -> Ending:
        """What it means that a connection was not made, or broke."""
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(cause, AddressRefused):
            return GiveUp(f"{self.host} leads to an address that is not public: {cause}")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return GiveUp("the certificate of the file's host is not valid")
        return self._course.failed(self._reason(error))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"the file's host was silent for {self._policy.stall_timeout:g} s"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "the name of the file's host is not known"
        return f"the connection broke: {type(error).__name__}"


async def _held(answer: aiohttp.ClientResponse, disk: Awaitable[None]) -> None:
    """Waits for the disk, and lets nothing arrive meanwhile.

    A connection that breaks takes along what lies in the HTTP library by then: who has waited reads that first.
    """
    transport = answer.connection and answer.connection.transport
    if transport is not None:
        transport.pause_reading()
    try:
        await disk
    finally:
        if transport is not None:
            transport.resume_reading()

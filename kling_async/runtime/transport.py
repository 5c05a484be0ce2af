"""One call: the Authorization header, the attempts, one budget of time, and one seam for foreign exceptions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from kling_async.credentials import Signer
from kling_async.errors import (
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    KlingError,
    RateLimited,
    TransportError,
)
from kling_async.policies import RetryPolicy
from kling_async.rules.pace import Pace, Spacing
from kling_async.rules.retry import RetrySchedule
from kling_async.rules.wire import Call, Envelope, Response, read_envelope, server_time
from kling_async.runtime.foreign import bare, is_final, told
from kling_async.runtime.hook import Hook
from kling_async.runtime.pool import Body, Purpose, SessionPool, Share
from kling_async.runtime.tracing import Attempt, Tracing
from kling_async.spec import COSTS_MAX_REQUESTS_PER_SECOND, TOKEN_TIME_CODES

_log = logging.getLogger("kling_async")

_BODY_MAX_BYTES = 8 * 1024 * 1024  # a page of 500 tasks has about half a MiB


@attrs.define
class Transport:
    """Sends calls to one host.

    Attributes:
        base_url: where calls go to; empty while there is nothing to call (a simulator that does not run).
        wall: Unix seconds, for tokens; deadlines run by the event loop's own monotonic clock.
        retry: how reads are repeated, and creates settled.
        draw: random numbers from 0 to 1, for jitter.
        hook: told of what happens, by whoever it happens to; `None`: nobody wants to know.
        tracing: told of each request; likewise.
        loop: the only event loop to be used from, `None` for any: a simulator that runs in it could answer no other.
    """

    base_url: str
    _pool: SessionPool
    _signer: Signer
    retry: RetryPolicy
    wall: Callable[[], float]
    draw: Callable[[], float]
    hook: Hook | None = None
    tracing: Tracing | None = None
    loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _pace: Pace = attrs.field(init=False)
    _costs: Spacing = attrs.field(factory=lambda: Spacing(1 / COSTS_MAX_REQUESTS_PER_SECOND), init=False)
    _line: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    _line_loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._pace = Pace(self.draw)

    @property
    def host(self) -> str:
        """The host that calls go to, as errors name it."""
        return _host(self.base_url)

    async def read(self, call: Call, *, timeout: float | None = None) -> Envelope:
        """The answer to a read, repeated while that makes sense and time remains.

        Args:
            call: what to ask.
            timeout: the whole budget in seconds, pauses included; `None` takes the policy's.

        Raises:
            APIError, TransportError, MalformedResponse: the last attempt's, when the budget is spent or no
                repetition can help.
            ClientClosed: the client was closed meanwhile.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self.retry.timeout if timeout is None else timeout)
        share = self._share("reads")
        schedule: RetrySchedule | None = None
        last: KlingError | None = None
        attempts = 0
        while True:
            try:
                envelope = await self._exchange(call, share, deadline, resend=attempts)
                return attrs.evolve(envelope, attempts=attempts + envelope.attempts) if attempts else envelope
            except KlingError as error:
                # The next attempt must not open again what somebody has closed under this one.
                if share.closed:
                    raise self._closed(attempts + error.attempts) from error
                if last is not None and not error.attempts:
                    raise last from None  # why this one was not even sent in time
                error.attempts = attempts = attempts + error.attempts
                schedule = schedule or RetrySchedule(self.retry, self.draw)
                pause = schedule.after(error)
                if pause is None or clock() + pause >= deadline:
                    raise
                _log.info("%d requests for %s failed, the next in %.1f s: %s", attempts, call.target, pause, error)
                last = error.with_traceback(None)  # whose frames would hold it, and it them
            await asyncio.sleep(pause)

    async def read_once(self, call: Call, *, deadline: float | None = None) -> Envelope:
        """The answer to a read that is sent once. `deadline` by the loop's clock; `None`: the attempt's own."""
        return await self._exchange(call, self._share("reads"), deadline)

    async def read_spaced(self, call: Call, *, timeout: float | None = None) -> Envelope:
        """The answer to a read of which the vendor takes but one a second: it stands in line for that first.

        Args:
            call: what to ask.
            timeout: the whole budget in seconds, the line included; `None`: the line has no bound, and then it takes
                the policy's.

        Raises:
            as `read`; TransportError too where its turn did not come in time.
        """
        clock = asyncio.get_running_loop().time
        deadline = None if timeout is None else clock() + timeout
        share = self._share("reads")
        line = self._line_of_this_loop()
        with self._in_time(share, deadline):
            await line.acquire()
        try:
            return await self.read(call, timeout=None if deadline is None else deadline - clock())
        finally:
            line.release()

    def _line_of_this_loop(self) -> asyncio.Lock:
        """A lock that somebody waited for belongs to the loop of then."""
        loop = asyncio.get_running_loop()
        if self._line_loop is not loop:
            self._line_loop, self._line = loop, asyncio.Lock()
        return self._line

    async def create(self, call: Call, *, deadline: float | None = None, resend: int = 0) -> Envelope:
        """The answer to a create, which is sent once. `deadline` by the loop's clock; `None`: the attempt's own.

        `resend` says how often it was sent before.

        A refusal for the token's time alone (1003, 1004) proves that nothing was made: then it is sent once more.

        Raises:
            APIError: the vendor's refusal.
            TransportError, MalformedResponse: no answer of the vendor's; `sent` tells whether it may have acted.
        """
        return await self._exchange(call, self._share("creates"), deadline, resend=resend)

    def claim(self) -> None:
        """Takes the client for the running event loop.

        Raises:
            ConfigurationError: another running loop has it.
        """
        self._share("reads")

    def _share(self, purpose: Purpose) -> Share:
        if not self.base_url:
            raise ConfigurationError("the simulator is not running: use `async with KlingClient.simulated() as kling`")
        if self.loop is not None and self.loop is not asyncio.get_running_loop():
            raise ConfigurationError("this client and its simulator were entered in another event loop; enter it here")
        return self._pool.share(purpose)

    async def _exchange(self, call: Call, share: Share, deadline: float | None, *, resend: int = 0) -> Envelope:
        send = self._send if call.about != "costs" else self._send_spaced
        header, response, attempt = await send(call, share, deadline, resend)
        try:
            return self._envelope(call, response, attempt, attempts=1)
        except AuthenticationError as error:
            signed_anew = error.code in TOKEN_TIME_CODES and self._signer.refused(
                header, server_time=server_time(response.headers), now=self.wall()
            )
            if not signed_anew:
                raise
        try:
            _, response, attempt = await send(call, share, deadline, resend + 1)
        except KlingError as error:
            error.attempts += 1
            raise
        return self._envelope(call, response, attempt, attempts=2)

    def _envelope(self, call: Call, response: Response, attempt: Attempt | None, *, attempts: int) -> Envelope:
        now = asyncio.get_running_loop().time()
        try:
            envelope = read_envelope(call, response, host=self.host, attempts=attempts)
        except KlingError as error:
            error.host, error.attempts = self.host, attempts
            if isinstance(error, RateLimited):
                self._pace.limited(now, error.retry_after)
            if isinstance(error, AuthenticationError):
                error.message += f", asked with {self._signer.credentials!r}"
            _log.debug("%s %s was answered: %s", call.method, call.target, error)
            if attempt is not None:
                attempt.ended(status=response.status, request_id=error.request_id, error=error)
            raise error.with_traceback(None) from None  # the frames of reading hold the whole answer
        self._pace.fine(now)
        _log.debug("%s %s went well, request id: %s", call.method, call.target, envelope.request_id)
        if attempt is not None:
            attempt.ended(status=response.status, request_id=envelope.request_id)
        return envelope

    async def _send(
        self, call: Call, share: Share, deadline: float | None, resend: int
    ) -> tuple[str, Response, Attempt | None]:
        """The header that was sent, what came back, and who is to hear how it ended."""
        clock = asyncio.get_running_loop().time
        now = clock()
        if share.gate.locked() or self._pace.wait(now):
            await self._turn(share, deadline)
            now = clock()
        else:
            await share.gate.acquire()  # at once: most requests need no timer for their turn
        try:
            if share.closed:  # while this one waited for its turn, or for its next attempt
                raise self._closed()
            until = now + self.retry.attempt_timeout
            if deadline is not None and deadline < until:
                until = deadline
                if until <= now:
                    raise self.too_late()
            header = self._signer.header(self.wall())
            if self.tracing is None:
                return header, await self._request(call, share, header, until), None
            url, template = self.base_url + call.target, call.template
            attempt = self.tracing.attempt(call.method, url, template=template, resend=resend)
            try:
                return header, await self._request(call, share, header, until), attempt
            except BaseException as error:
                attempt.ended(error=error)
                raise
        finally:
            share.gate.release()

    async def _send_spaced(
        self, call: Call, share: Share, deadline: float | None, resend: int
    ) -> tuple[str, Response, Attempt | None]:
        """`_send`, not sooner after the one before than the vendor allows; `read_spaced` lets one in at a time."""
        clock = asyncio.get_running_loop().time
        with self._in_time(share, deadline):
            await asyncio.sleep(self._costs.wait(clock()))
        try:
            return await self._send(call, share, deadline, resend)
        finally:
            self._costs.over(clock())

    async def _turn(self, share: Share, deadline: float | None) -> None:
        clock = asyncio.get_running_loop().time
        with self._in_time(share, deadline):
            while pause := self._pace.wait(clock()):
                await asyncio.sleep(pause)
            await share.gate.acquire()

    @contextmanager
    def _in_time(self, share: Share, deadline: float | None) -> Iterator[None]:
        """Bounds a wait for one's turn, and tells what it means when that is over."""
        try:
            with share.until(deadline):
                yield
        except TimeoutError:
            raise (self._closed() if share.closed else self.too_late()) from None

    def too_late(self) -> TransportError:
        """The error of a request whose time was over before it left."""
        return TransportError("it was not this request's turn in time", sent=False, host=self.host)

    def _closed(self, attempts: int = 0) -> ClientClosed:
        return ClientClosed("the client was closed before the answer came", host=self.host, attempts=attempts)

    async def _request(self, call: Call, share: Share, header: str, until: float) -> Response:
        """The one place where exceptions of the HTTP library become ours."""
        body = None if call.body is None else Body(call.body)
        url = _url(self.base_url + call.target)
        began = asyncio.get_running_loop().time()
        try:
            with share.until(until):
                async with share.request(call.method, url, authorization=header, body=body) as answer:
                    return self._heard(answer, await _body(answer))
        except Exception as error:  # a TraceConfig or a session of a user's may raise anything
            raise TransportError(
                "the client was closed before the answer came" if share.closed else told(error, until - began),
                sent=body is None or body.left,
                worth_retrying=not is_final(error),
                host=self.host,
                attempts=1,
            ) from (bare(error) if share.is_direct else None)

    def _heard(self, answer: aiohttp.ClientResponse, body: bytes) -> Response:
        """What arrived, without our secrets, should it echo them."""
        location = answer.headers.get("Location") if 300 <= answer.status < 400 else None
        if location is None:
            return Response(answer.status, answer.headers, self._signer.unsaid(body))
        headers = answer.headers.copy()
        unsaid = self._signer.unsaid(location.encode("utf-8", "surrogateescape"))
        headers["Location"] = unsaid.decode("utf-8", "surrogateescape")
        return Response(answer.status, headers, self._signer.unsaid(body))


@lru_cache(maxsize=4096)
def _url(url: str) -> URL:
    """The parsed URL: a page or a task that is polled is asked for again and again."""
    return URL(url, encoded=True)


@lru_cache(maxsize=64)
def _host(base_url: str) -> str:
    return urlsplit(base_url).netloc


def _body(answer: aiohttp.ClientResponse) -> Awaitable[bytes]:
    """The whole body, if it is of a size that the vendor's answers have."""
    length = answer.content_length
    if length is not None and length <= _BODY_MAX_BYTES and "Content-Encoding" not in answer.headers:
        return answer.read()
    return _in_parts(answer)


async def _in_parts(answer: aiohttp.ClientResponse) -> bytes:
    """The body up to its bound, which holds for what is unpacked: a small body may unpack without end."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > _BODY_MAX_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {_BODY_MAX_BYTES} bytes")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)

"""The only client sessions: for creates, for reads, and two without credentials for files.

Creates and reads have connections of their own, so that a thousand polls never keep a create waiting. What is
over a share's limit queues here, first come first served, before its request's time begins to run.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from math import inf
from types import TracebackType
from typing import Literal, cast

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from kling_async.errors import ConfigurationError
from kling_async.policies import PoolLimits
from kling_async.runtime.guard import guarded
from kling_async.runtime.network import Network
from kling_async.version import VERSION

# Whole requests are bounded by `Share.within`.
_TIMEOUT = aiohttp.ClientTimeout(sock_connect=10.0)
_JSON = "application/json"

Purpose = Literal["creates", "reads", "files", "home"]
"""`files` reaches public addresses alone; `home` is for files that lie at the API's own origin."""


def _headers(accept: str) -> dict[str, str]:
    return {"User-Agent": f"kling_async/{VERSION}", "Accept": accept}


class Body(aiohttp.BytesPayload):
    """A create's body, which knows whether it has begun to leave: before that, no server can have acted on it."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type=_JSON)
        self.left = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Leaves."""
        self.left = True
        await super().write_with_length(writer, content_length)


@attrs.define(eq=False)
class Share:
    """One purpose's connections: `gate` lets as many requests through as there are connections.

    Attributes:
        is_ours: whether we opened the session; else a user did, and closes it.
        is_direct: whether it is ours, and leads straight to its hosts. Else the causes of errors may hold a proxy's
            password, and default headers go to the proxy too: ours must not be among them.
    """

    session: aiohttp.ClientSession
    gate: asyncio.Semaphore
    is_ours: bool = True
    is_direct: bool = True
    under_way: set[Within] = attrs.field(factory=set, init=False)
    _said: str | None = attrs.field(default=None, init=False, repr=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed or self.session.closed

    def request(
        self, method: str, url: URL, *, authorization: str, body: Body | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request with this header, which follows no redirects."""
        if self.is_direct:
            if authorization is not self._said:  # nearly always it is the one of the request before
                self._said = self.session.headers["Authorization"] = authorization
            return self.session.request(method, url, data=body, allow_redirects=False)
        return self.session.request(
            method,
            url,
            data=body,
            headers={**_headers(_JSON), "Authorization": authorization},
            allow_redirects=False,
            # What a user's session may have set otherwise.
            timeout=_TIMEOUT,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=(),
        )

    def within(self, seconds: float | None) -> Within:
        """Bounds what is done within: by so many seconds (`None`: by none), and by the end of the session.

        Left alone, aiohttp never wakes whoever reads the body of a connection that was closed from this side.
        """
        return self.until(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def until(self, deadline: float | None) -> Within:
        """The same, up to a time of the loop's clock."""
        return Within(self, inf if deadline is None else deadline)

    def see_to(self, until: float) -> None:
        """Sees to it that what is under way ends by then. One timer serves all requests: nearly none ever needs it."""
        if self._timer is None or until < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(until, self._end_late, until)

    def _end_late(self, until: float) -> None:
        self._timer = None
        for scope in list(self.under_way):
            if scope.until <= until:
                scope.expire()
        left = min((scope.until for scope in self.under_way if scope.until > until), default=inf)
        if left < inf:
            self.see_to(left)

    async def close(self) -> None:
        """Closes the session, and ends what is under way in it."""
        if self._timer is not None:
            self._timer.cancel()
        self._closed = True
        for scope in self.under_way:
            scope.expire()
        if self.is_ours:
            await self.session.close()


class Within:
    """A bound on one request, whole: what takes longer is cancelled, and ends in a `TimeoutError`."""

    __slots__ = ("_cancelling", "_expired", "_share", "_task", "until")

    def __init__(self, share: Share, until: float) -> None:
        self._share = share
        self._expired = False
        self.until = until

    def __enter__(self) -> None:
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancelling = self._task.cancelling()
        self._share.under_way.add(self)
        if self.until < inf:
            self._share.see_to(self.until)

    def expire(self) -> None:
        """Ends what is done within."""
        if not self._expired:
            self._expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._share.under_way.discard(self)
        # A cancellation from outside, of the same moment, stays one.
        if self._expired and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


@attrs.define(eq=False)
class _Opened:
    """What belongs to one event loop in one process."""

    loop: asyncio.AbstractEventLoop
    process: int
    shares: dict[Purpose, Share]
    _guard: AsyncGenerator[None, None] = attrs.field(init=False)
    _closing: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._guard = self._until_closed()
        with suppress(StopIteration):
            self._guard.asend(None).send(None)  # to its yield; nothing is awaited on the way
        _open.add(self)

    async def _until_closed(self) -> AsyncGenerator[None, None]:
        """Closes the sessions when it is closed itself: by us, or else by the event loop at its end.

        `asyncio.run` closes every asynchronous generator before the loop. That is the last moment at which
        connections can be closed; from then on each could only complain.
        """
        async with AsyncExitStack() as stack:  # goes through with it if the first is cancelled
            stack.callback(_open.discard, self)
            for share in self.shares.values():
                stack.push_async_callback(share.close)
            yield

    async def close(self) -> None:
        """Closes the sessions."""
        await self._guard.aclose()

    def close_soon(self) -> None:
        """Closes the sessions in their own loop, as soon as that runs."""
        self._closing = self.loop.create_task(self.close())


# All that is open in this process, so that no part of it is ever collected, and complains, by itself. What a forked
# child inherits stays here too: closing it there would end the parent's TLS connections.
_open: set[_Opened] = set()


class SessionPool:
    """The sessions of the running event loop, opened at first use and closed by `close`.

    Used from a second loop, it opens anew there if the first has ended; two live loops at once are refused,
    since neither could close what the other opened. A forked child opens its own.
    """

    def __init__(self, limits: PoolLimits, network: Network = Network(), *, proxy: str | None = None) -> None:
        self._limits = limits
        self._network = network
        self._proxy = proxy
        self._process = os.getpid()
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        state = "closed" if self._opened is None else "open"
        return f"<SessionPool {state}, {self._limits!r}>"

    def share(self, purpose: Purpose) -> Share:
        """The session for a purpose, and the gate to pass before using it.

        Raises:
            ConfigurationError: the pool is in use by another event loop that is still running, or the user's session
                is closed, or another process's.
        """
        loop = asyncio.get_running_loop()
        opened = self._opened
        if opened is None or opened.loop is not loop or opened.process != os.getpid():
            self._leave_behind()
            opened = self._opened = self._open(loop)
        return opened.shares[purpose]

    def _open(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        limits, network = self._limits, self._network
        shares: dict[Purpose, Share] = {
            "creates": self._api_share(limits.creates),
            "reads": self._api_share(limits.reads),
            "files": self._own_share(
                limits.files,
                accept="*/*",
                proxy=network.proxy if network.proxy_files else None,
                public=not network.proxy_files,
            ),
            "home": self._own_share(limits.files, accept="*/*", proxy=self._proxy),
        }
        return _Opened(loop, os.getpid(), shares)

    def _api_share(self, limit: int) -> Share:
        session = self._network.session
        if session is None:
            return self._own_share(limit, accept=_JSON, proxy=self._proxy)
        if session.closed:
            raise ConfigurationError("session: was closed by whoever it belongs to; make a client with a new one")
        if self._process != os.getpid():
            raise ConfigurationError("session: belongs to the process that this one was forked from")
        return Share(session, asyncio.Semaphore(limit), is_ours=False, is_direct=False)

    def _own_share(self, limit: int, *, accept: str, proxy: str | None, public: bool = False) -> Share:
        trust: ssl.SSLContext | Literal[True] = self._network.tls or True
        session = aiohttp.ClientSession(
            connector=guarded(limit, trust=trust) if public else aiohttp.TCPConnector(limit=limit, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(accept),
            proxy=proxy,
            trace_configs=list(self._network.trace_configs),
            timeout=_TIMEOUT,
        )
        return Share(session, asyncio.Semaphore(limit), is_direct=proxy is None)

    def _leave_behind(self) -> None:
        """Lets go of sessions that another loop or the parent process opened."""
        left, self._opened = self._opened, None
        if left is None or left.process != os.getpid():
            return
        if left.loop.is_running():
            self._opened = left
            raise ConfigurationError("this client is in use by another running event loop; give each loop its own")
        _abandon(left)

    async def close(self) -> None:
        """Closes the sessions of this loop. A second call does nothing."""
        opened = self._opened
        if opened is None or opened.loop is not asyncio.get_running_loop():
            self._leave_behind()
            return
        self._opened = None
        await opened.close()

    def __del__(self) -> None:
        if self._opened is not None and self._opened.process == os.getpid():
            _abandon(self._opened)


def _abandon(opened: _Opened) -> None:
    """One warning for all sessions, in place of one from each part of each."""
    if not opened.loop.is_closed():
        opened.loop.call_soon_threadsafe(opened.close_soon)
    warnings.warn("a KlingClient was not closed: use `async with`, or await close()", ResourceWarning, stacklevel=3)

"""The simulated vendor on a port: aiohttp.web, thin, around the engine."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from aiohttp import hdrs, web

from kling_async.simulator.account import ACCESS_KEY, API_KEY, SECRET_KEY, WEBHOOK_SECRET
from kling_async.simulator.callbacks import Delivery, Sender
from kling_async.simulator.engine import Engine
from kling_async.simulator.virtual import wall
from kling_async.simulator.wire import BAD_REQUEST, INTERNAL, MAX_BODY_BYTES, STATUS_OF, Ending

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Sequence
    from decimal import Decimal
    from random import Random
    from types import TracebackType

    from kling_async.simulator.account import Accepted
    from kling_async.simulator.callbacks import Posted
    from kling_async.simulator.faults import Fault
    from kling_async.simulator.ledger import Task
    from kling_async.simulator.wire import Reply

logger = logging.getLogger(__name__)

# Handlers are woken before the end, so this is for what hangs elsewhere; 0 would mean for ever to aiohttp.
_SHUTDOWN_SECONDS: Final = 0.05
_ANYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 -- read, not bound to
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close() sends RST


class Simulator:
    """The vendor, embedded: an async context manager with a `url` that any Kling client can talk to.

    Args:
        engine: a vendor that exists already, with its tasks; the options of `Engine` say nothing then.
        host: the address to listen on.
        port: the port, 0 for any free one. It is kept: after `stop`, `start` listens there again.
        clock: Unix seconds. Everything moves by it: tokens, tasks, ages, the `Date` of each answer. Default: the
            machine's, or the running loop's if that is a `VirtualLoop`.
        rng: where ids and the length of each extension come from; a seeded one makes a run repeatable.
        lenient: take `negative_prompt` and `cfg_scale` and ignore them, as the live service seems to do; by default
            they are refused, as the specification says.
        slots: how many tasks may be in flight at once, `None` for any number.
        units: what the resource pack holds, `None` for more than anybody uses.
        task_seconds: from create to the end of a task, in seconds, default 2; or a function of the task.
        submitted_seconds: how much of that it is `submitted` before it is `processing`, default 0.5.
        webhook_secret: signs the callbacks; several, as while one rotates. Default `None`: they are not signed.
        delivery: what goes wrong with callbacks, default nothing. It may be set later: `simulator.delivery = ...`.

    Raises:
        ValueError: a webhook secret that is no base64.
        OSError: on entering, when the port is not to be had.
    """

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    api_key = API_KEY
    webhook_secret = WEBHOOK_SECRET  # for those that shall sign

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = wall,
        rng: Random | None = None,
        lenient: bool = False,
        slots: int | None = None,
        units: int | Decimal | None = None,
        task_seconds: float | Callable[[Task], float] = 2.0,
        submitted_seconds: float = 0.5,
        webhook_secret: str | Sequence[str] | None = None,
        delivery: Delivery = Delivery(),
    ) -> None:
        self.engine = engine or Engine(
            clock=clock,
            rng=rng,
            lenient=lenient,
            slots=slots,
            units=units,
            task_seconds=task_seconds,
            submitted_seconds=submitted_seconds,
        )
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._stopping = asyncio.Event()
        self._sender = Sender(self.engine, () if webhook_secret is None else webhook_secret, delivery)

    def __repr__(self) -> str:
        state = "stopped" if self._runner is None else self.url
        return f"<Simulator {state}, {self.engine!r}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        """Whether it listens now."""
        return self._runner is not None

    @property
    def port(self) -> int:
        """Where it listens; 0 as long as no port was asked for and none has been found."""
        return self._port

    @property
    def url(self) -> str:
        """What to give a client as its base URL."""
        host = _ANYWHERE.get(self._host, f"[{self._host}]" if ":" in self._host else self._host)
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. The engine goes on where it was."""
        self._stopping = asyncio.Event()
        runner = web.ServerRunner(_Server(self._handle, self.engine), shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        self.engine.base_url = self.url
        self._sender.start()

    async def stop(self) -> None:
        """End every connection at once, as a crash would: nobody waits for a delayed answer or an idle client."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._stopping.set()
        await self._sender.stop()
        for connection in runner.server.connections if runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()
        await asyncio.sleep(0)  # the transports close their sockets one turn after abort()

    # Callbacks.

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """What callbacks are signed with; empty when they are not signed."""
        return self._sender.secrets

    @property
    def delivery(self) -> Delivery:
        """What goes wrong with callbacks from now on."""
        return self._sender.delivery

    @delivery.setter
    def delivery(self, delivery: Delivery) -> None:
        self._sender.delivery = delivery

    @property
    def posted(self) -> list[Posted]:
        """Every callback that was sent and what it was answered, in the order of the answers."""
        return self._sender.posted

    # The engine's, within reach.

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of the source videos that stand ready."""
        return self.engine.sources

    @property
    def accepted(self) -> list[Accepted]:
        """Every create that was taken, in order."""
        return self.engine.accepted

    @property
    def refused(self) -> Counter[int]:
        """How many creates the rules refused, by code."""
        return self.engine.refused

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The scripted faults that have not struck yet."""
        return self.engine.faults

    def count(self, name: str, *, family: str | None = None) -> int:
        """How many calls came in with this name, see `Engine.count`."""
        return self.engine.count(name, family=family)

    def script(self, *faults: Fault) -> None:
        """Make the next answers go wrong, see `Fault`."""
        self.engine.script(*faults)

    def clear_faults(self) -> None:
        """Let everything go well from now on."""
        self.engine.clear_faults()

    def fail_next(self, times: int = 1, *, message: str = "The generation failed") -> None:
        """Let the next tasks that are created fail, see `Engine.fail_next`."""
        self.engine.fail_next(times, message=message)

    def fail_task(self, id: str, *, message: str = "The generation failed") -> None:
        """Let a task in flight fail, see `Engine.fail_task`."""
        self.engine.fail_task(id, message=message)

    def add_source(
        self,
        *,
        duration: float | Decimal | str = "5.0",
        model: str = "kling-v1",
        age_days: float = 0.0,
        id: str | None = None,
    ) -> str:
        """The id of a new source video, see `Engine.add_source`."""
        return self.engine.add_source(duration=duration, model=model, age_days=age_days, id=id)

    # One call.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await _read(request)
        except (web.RequestPayloadError, ConnectionError, RuntimeError):
            # A broken chunk or compression; or the caller has hung up, for which aiohttp has several errors,
            # and then nobody reads this.
            return _plain(self.engine.refuse(BAD_REQUEST, "request body can not be read"))
        reply = self.engine.handle(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, request.headers, body
        )
        if reply.created is not None and self.engine.wants_callbacks(reply.created):
            self._sender.stir()
        await self._pause(reply.delay)
        return await self._send(reply, request)

    async def _send(self, reply: Reply, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None or self._stopping.is_set():
            return web.Response()  # nobody is there to read it
        if reply.raw is not None:
            transport.write(reply.raw)
            _end(transport, reply.ending)
            return web.Response()
        if not reply.pace and reply.cut is None:
            return _plain(reply)
        headers = {hdrs.CONTENT_LENGTH: str(len(reply.body)), **reply.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        await self._trickle(response, reply)
        _end(transport, reply.ending)
        return response

    async def _trickle(self, response: web.StreamResponse, reply: Reply) -> None:
        sent = reply.body[: reply.cut]
        step = 1 if reply.pace else max(1, len(sent))
        for place in range(0, len(sent), step):
            await self._pause(reply.pace)
            await response.write(sent[place : place + step])

    async def _pause(self, seconds: float) -> None:
        """So many seconds, or until the server stops."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)


class _Protocol(web.RequestHandler):
    """aiohttp's side of one connection, except that what is no HTTP is answered in JSON too."""

    engine: Engine

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The envelope for a request that could not be parsed, or for a mistake of ours."""
        del request, message  # the message shows the caller's bytes in a drawing of several lines
        if isinstance(exc, ConnectionError):
            raise exc  # the caller hung up while we wrote: aiohttp knows what to do with that
        if status == STATUS_OF[BAD_REQUEST]:
            reply = self.engine.refuse(BAD_REQUEST, "request is not valid HTTP")
        else:
            logger.error("The simulator failed", exc_info=exc)
            reply = self.engine.refuse(INTERNAL, f"the simulator failed: {exc!r}")
        response = _plain(reply)
        response.force_close()
        return response


class _Server(web.Server):
    """A factory of those connections."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], engine: Engine) -> None:
        super().__init__(handler)
        self._engine = engine

    def __call__(self) -> web.RequestHandler:
        protocol = _Protocol(self, loop=self._loop, access_log=logger)
        protocol.engine = self._engine
        return protocol


async def _read(request: web.BaseRequest) -> bytes:
    """The body, or as much of it as shows that it is too large. aiohttp reads on and throws away the rest."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        # curl waits a second for this before it sends a body of more than a kilobyte.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES and (chunk := await request.content.readany()):
        body += chunk
    return bytes(body)


def _plain(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


def _end(transport: asyncio.Transport, ending: Ending) -> None:
    if ending is Ending.CLOSE:
        transport.close()  # what was written still goes out
    elif ending is Ending.RESET:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

"""A TCP proxy between client and vendor that cuts either direction at any byte, delays, resets, and talks nonsense.

It reads whole exchanges, so that what it does to one is exact. A request that it holds arrives late, as it may on a
real network: also when its sender has given up long ago.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
from typing import Literal

import attrs
from listening import NO_LINGER, Listening

_OWN_ID = re.compile(rb'("external_task_id": ?")([^"]*)')
_ASKED = re.compile(rb"^(GET /v1/videos/video-extend/)([^ ?]+)")


@attrs.frozen(kw_only=True)
class Mishap:
    """What befalls one exchange.

    Attributes:
        on: the method that it is meant for; `None`: any.
        hold: seconds before the request goes on to the vendor.
        forward: how many of its bytes go on; `None`: all.
        lag: seconds before the answer goes back.
        deliver: how many of its bytes go back; `None`: all.
        instead: what goes back in its place.
        then: what becomes of the client's connection.
    """

    on: Literal["POST", "GET"] | None = None
    hold: float = 0.0
    forward: int | None = None
    lag: float = 0.0
    deliver: int | None = None
    instead: bytes | None = attrs.field(default=None, repr=False)
    then: Literal["keep", "close", "reset"] = "keep"


_NONE = Mishap()


@attrs.define(eq=False)
class Middleman(Listening):
    """Listens between a client and the vendor at `target`.

    With `anonymous`, the vendor never sees an external id twice, nor is it ever asked for one that it knows.
    """

    target: int
    anonymous: bool = False
    mishaps: list[Mishap] = attrs.field(factory=list, init=False)
    _aliases: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._relay(reader, writer):
            pass

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; whether the connection lives on."""
        request = await _message(reader)
        mishap = self._take(request)
        await asyncio.sleep(mishap.hold)
        reply, is_whole = await self._ask(self._renamed(request)[: mishap.forward], is_cut=mishap.forward is not None)
        await asyncio.sleep(mishap.lag)
        writer.write(reply[: mishap.deliver] if mishap.instead is None else mishap.instead)
        await writer.drain()
        if mishap.then == "keep" and (is_whole or mishap.instead is not None) and mishap.deliver is None:
            return True
        if mishap.then == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        else:
            writer.close()
        return False

    def _take(self, request: bytes) -> Mishap:
        for mishap in self.mishaps:
            if mishap.on is None or request.startswith(mishap.on.encode()):
                self.mishaps.remove(mishap)
                return mishap
        return _NONE

    async def _ask(self, request: bytes, *, is_cut: bool) -> tuple[bytes, bool]:
        """What the vendor says, and whether that is a whole answer."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return b"", False
        try:
            writer.write(request)
            if is_cut:
                writer.write_eof()
            return await _message(reader), True
        except asyncio.IncompleteReadError as error:
            return error.partial, False
        except ConnectionError:
            return b"", False
        finally:
            writer.transport.abort()

    def _renamed(self, request: bytes) -> bytes:
        if not self.anonymous:
            return request
        request = _ASKED.sub(lambda match: match[1] + b"0" * len(match[2]), request)
        return _OWN_ID.sub(lambda match: match[1] + b"%0*d" % (len(match[2]), next(self._aliases)), request)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message: its head, and a body of the length that it names."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    try:
        return head + await reader.readexactly(int(length[1]) if length else 0)
    except asyncio.IncompleteReadError as error:
        raise asyncio.IncompleteReadError(head + error.partial, None) from None

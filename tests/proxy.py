"""An HTTP proxy on loopback: it tunnels, forwards, asks for a password, and keeps count of what it was shown."""

from __future__ import annotations

import asyncio
import base64
import re

import attrs
from listening import Listening

_REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@attrs.define(eq=False)
class Proxy(Listening):
    """Listens, and leads everybody to one port of this machine, whatever name they ask for.

    Attributes:
        target: that port.
        password: of the user `user`; `None`: nobody is asked for one.
        heads: what each connection began with.
    """

    target: int
    password: str | None = None
    heads: list[str] = attrs.field(factory=list, init=False)

    @property
    def url(self) -> str:
        user = "" if self.password is None else f"user:{self.password}@"
        return f"http://{user}127.0.0.1:{self.port}"

    @property
    def authorizations(self) -> list[str]:
        """What was shown to the proxy itself, or to anybody through it in the clear."""
        return [line for head in self.heads for line in head.split("\r\n") if "authorization" in line.lower()]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        if self.password is not None:
            basic = base64.b64encode(f"user:{self.password}".encode()).decode()
            if f"proxy-authorization: basic {basic}".lower() not in head.lower():
                writer.write(_REFUSED)
                await writer.drain()
                return
        there, onward = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            if head.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.write(re.sub(r" http://[^/ ]+", " ", head, count=1).encode("latin-1"))
            await asyncio.gather(_poured(reader, onward), _poured(there, writer))
        finally:
            onward.transport.abort()


async def _poured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    writer.close()

"""What the scripted servers of the tests have in common: they listen on loopback, and leave nothing behind."""

from __future__ import annotations

import asyncio
import ssl
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

import attrs

NO_LINGER = struct.pack("ii", 1, 0)  # closing sends RST


@attrs.define(eq=False)
class Listening:
    """A server whose conversations are its subclass's."""

    port: int = attrs.field(default=0, init=False)
    connections: int = attrs.field(default=0, init=False)
    _server: asyncio.Server | None = attrs.field(default=None, init=False)
    _at_work: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        raise NotImplementedError

    def certificate(self) -> ssl.SSLContext | None:
        """What it proves itself with; `None`: it speaks in the clear."""
        return None

    async def open(self) -> None:
        """Listens, from the second time on at the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.certificate())
            self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Refuses new connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets one turn after abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.converse(reader, writer)
        finally:
            writer.transport.abort()
            self._at_work.discard(task)

"""A scripted TCP server for what the simulator cannot do: it counts what arrived in full, and ends as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Literal, Self

import attrs
from listening import NO_LINGER, Listening


@attrs.frozen(kw_only=True)
class Act:
    """What happens to one request.

    Attributes:
        read: what is read first: `nothing`, the `head`, all, or so many bytes of the body.
        wait: seconds before anything is sent.
        say: what is sent then.
        pace: seconds before each byte of that; 0 for all at once.
        then: what becomes of the connection.
    """

    read: Literal["nothing", "head", "all"] | int = "all"
    wait: float = 0.0
    say: bytes = attrs.field(default=b"", repr=False)
    pace: float = 0.0
    then: Literal["keep", "close", "reset", "silence"] = "close"


@attrs.frozen
class Received:
    """A request that arrived with its whole body."""

    line: str
    headers: Mapping[str, str]
    body: bytes


@attrs.define(eq=False)
class FaultServer(Listening):
    """Plays one act for each request, in order; the last one again and again."""

    acts: list[Act]
    received: list[Received] = attrs.field(factory=list, init=False)
    sent: int = attrs.field(default=0, init=False)  # bytes that the other side took, or the sockets between
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, *acts: Act, tls: ssl.SSLContext | None = None) -> Self:
        return cls(list(acts), tls=tls)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def certificate(self) -> ssl.SSLContext | None:
        return self.tls

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = b""
        while True:
            act = self.acts[0] if len(self.acts) == 1 else self.acts.pop(0)
            await self._read(act, begun, reader)
            await self._say(act, writer)
            if act.then != "keep":
                break
            # Whoever comes again on this connection shows it by a byte; only then the next act is taken.
            begun = await reader.readexactly(1)
        await self._end(act, reader, writer)

    async def _read(self, act: Act, begun: bytes, reader: asyncio.StreamReader) -> None:
        if act.read == "nothing":
            return
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        length = int(headers.get("content-length", 0))
        wanted = {"head": 0, "all": length}.get(str(act.read), act.read)
        body = await reader.readexactly(int(wanted))
        if act.read == "all":
            self.received.append(Received(head[0], headers, body))

    async def _say(self, act: Act, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(act.wait)
        size = 1 if act.pace else 65_536
        for place in range(0, len(act.say), size):
            if act.pace:
                await asyncio.sleep(act.pace)
            writer.write(act.say[place : place + size])
            await writer.drain()
            self.sent += len(act.say[place : place + size])

    async def _end(self, act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if act.then == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        elif act.then == "silence":
            while await reader.read(65_536):  # until the other side gives up
                pass
        else:
            writer.close()
            await writer.wait_closed()


def answer(body: bytes, *, status: str = "200 OK", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP answer."""
    named = {"Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def envelope(data: object, *, code: int = 0, status: str = "200 OK", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer of the vendor's."""
    body = json.dumps({"code": code, "message": "as scripted", "request_id": "r-1", "data": data}).encode()
    return answer(body, status=status, headers={"Content-Type": "application/json", **(headers or {})})


def task_record(id: str = "t-1", status: str = "submitted") -> dict[str, object]:
    """A task as the vendor shows it."""
    return {"task_id": id, "task_status": status, "created_at": 1_700_000_000_000, "updated_at": 1_700_000_000_000}

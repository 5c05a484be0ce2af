"""A file host on loopback: ranges, validators, and what goes wrong with them. It keeps count of what it sent."""

from __future__ import annotations

import asyncio
import fcntl
import random
import re
import socket
import struct
import termios
from collections.abc import Callable
from pathlib import Path

import attrs
from listening import NO_LINGER, Listening

_PERIOD = 1_048_573  # prime, so that no block of a download begins where another one did
_BASE = random.Random(1).randbytes(_PERIOD)  # noqa: S311 - the same film each time
_BLOCK = 256 * 1024


def film(start: int, end: int) -> bytes:
    """The bytes of a film from one place to another: no two pieces of it are alike."""
    pieces = []
    while start < end:
        period, place = divmod(start, _PERIOD)
        whole = period.to_bytes(8, "big") + _BASE[8:] if place < 8 else _BASE
        pieces.append(whole[place : place + end - start])
        start += len(pieces[-1])
    return b"".join(pieces)


def is_film(path: Path, size: int) -> bool:
    """Whether a file is a film of this size, byte by byte."""
    if path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return all(file.read(_BLOCK) == film(place, min(place + _BLOCK, size)) for place in range(0, size, _BLOCK))


@attrs.define
class Asked:
    """One request, and how many bytes of the film were sent for it."""

    line: str
    headers: dict[str, str]
    start: int = 0
    sent: int = 0


@attrs.define(eq=False)
class FileServer(Listening):
    """Serves one film under every path.

    Attributes:
        size: of the film.
        headers: what is sent beside lengths and ranges: validators.
        ranges: whether it knows them.
        breaks: after how many bytes of a request its connection is reset; `None`: not at all. What was sent by then has
            arrived at the other side's socket.
        break_times: how often at most.
        pause: seconds after each 256 KiB.
        first: whole answers that are given before, one a request, in place of the film; `None` gives the film.
        shows: what is changed about an answer's head.
    """

    size: int
    headers: dict[str, str] = attrs.field(factory=lambda: {"ETag": '"film"'})
    ranges: bool = True
    breaks: int | None = None
    break_times: int = 1_000_000
    pause: float = 0.0
    first: list[bytes | None] = attrs.field(factory=list)
    shows: Callable[[str], str] = lambda head: head
    asked: list[Asked] = attrs.field(factory=list, init=False)

    @property
    def sent(self) -> int:
        """Bytes of the film, over all requests."""
        return sum(asked.sent for asked in self.asked)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._served(reader, writer):
            pass

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is good for another request."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        asked = Asked(
            lines[0], {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        )
        self.asked.append(asked)
        if self.first and (answer := self.first.pop(0)) is not None:
            writer.write(answer)
            await writer.drain()
            return False
        status, named = self._head(asked)
        head = "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items()), "", ""])
        writer.write(self.shows(head).encode("latin-1"))
        return status.startswith("416") or await self._sent(asked, writer)

    def _head(self, asked: Asked) -> tuple[str, dict[str, str]]:
        span = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        known = {self.headers.get("ETag"), self.headers.get("Last-Modified")}
        if span is None or not self.ranges or asked.headers.get("if-range", "") not in known:
            return "200 OK", {"Content-Length": str(self.size), **self.headers}
        asked.start = int(span[1])
        if asked.start >= self.size:
            return "416 Range Not Satisfiable", {"Content-Range": f"bytes */{self.size}", "Content-Length": "0"}
        named = {
            "Content-Length": str(self.size - asked.start),
            "Content-Range": f"bytes {asked.start}-{self.size - 1}/{self.size}",
        }
        return "206 Partial Content", {**named, **self.headers}

    async def _sent(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        until = self.size if self.breaks is None or not self.break_times else asked.start + self.breaks
        for place in range(asked.start, min(until, self.size), _BLOCK):
            block = film(place, min(place + _BLOCK, until, self.size))
            writer.write(block)
            await writer.drain()
            asked.sent += len(block)
            await asyncio.sleep(self.pause)
        if until >= self.size:
            return True
        self.break_times -= 1
        await _taken(writer)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        return False


async def _taken(writer: asyncio.StreamWriter) -> None:
    """Waits until the other side's system has all that was written."""
    connection = writer.get_extra_info("socket")
    while writer.transport.get_write_buffer_size() or _left(connection):
        await asyncio.sleep(0.0005)


def _left(connection: socket.socket) -> int:
    left: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    return left

"""A loop that knows names of its own, and sees each connection that somebody tries to make."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from kling_async.testing import VirtualLoop

PUBLIC = "93.184.216.34"


class WatchedLoop(VirtualLoop):
    """Looks up names in a book, and leads public addresses to where they are to be found in this test.

    Attributes:
        names: the answers for each name, one a question; the last one again and again.
        leads: ports on loopback that stand for public addresses; any other attempt to connect is refused.
        looked_up: what names were asked for.
        tried: what addresses somebody tried to connect to.
        ports: likewise, of loopback.
    """

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]] | None = None) -> None:
        super().__init__()
        self.names = {name: [list(answer) for answer in answers] for name, answers in (names or {}).items()}
        self.leads: dict[str, int] = {}
        self.looked_up: list[str] = []
        self.tried: list[str] = []
        self.ports: set[int] = set()

    async def getaddrinfo(  # type: ignore[override] # the arguments that are used
        self, host: str, port: int, **_: Any
    ) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]:
        self.looked_up.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_info(address, port) for address in (answers[0] if len(answers) == 1 else answers.pop(0))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:  # noqa: ARG002
        return f"{sockaddr[0]}%{sockaddr[3]}", str(sockaddr[1])

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.tried.append(address[0])
        if address[0] != "127.0.0.1":
            port = self.leads.get(address[0])
            if port is None:
                raise ConnectionRefusedError("nobody is there")
            address = ("127.0.0.1", port)
        self.ports.add(address[1])
        await super().sock_connect(sock, address)


def _info(address: str, port: int) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]:
    host, _, zone = address.partition("%")
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, int(zone or 0))
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)


def watched() -> WatchedLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WatchedLoop)
    return loop

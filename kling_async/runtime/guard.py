"""What keeps the session for files from any address that is not public, whatever a name or a URL says."""

from __future__ import annotations

import socket
import ssl
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from kling_async.rules.addresses import is_public


class AddressRefused(OSError):
    """No socket is opened to an address that is not public."""


class PublicResolver(AbstractResolver):
    """The system's resolver, without names that lead, be it with one of their addresses, to one that is not public."""

    def __init__(self) -> None:
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name: all of them public.

        Raises:
            AddressRefused: one of them is not.
            OSError: the name has none.
        """
        found = await self._system.resolve(host, port, family)
        if not found:
            raise OSError(f"{host} has no address")
        for one in found:
            _check(one["host"])
        return found

    async def close(self) -> None:
        """Does nothing: the system's resolver holds nothing open."""


def public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for an address, if that is public.

    The last moment before anything is sent, for literal addresses too, which no resolver sees: what is judged here is
    what is connected to, and no other answer can come in between.
    """
    family, kind, protocol, _, (host, *_) = address
    _check(str(host))
    return socket.socket(family, kind, protocol)


def guarded(limit: int, *, trust: ssl.SSLContext | Literal[True]) -> aiohttp.TCPConnector:
    """A connector that reaches public addresses alone. Each connection asks for a name anew, and judges the answer.

    `trust` says whose certificates count; true: the system's.
    """
    return aiohttp.TCPConnector(
        limit=limit, ssl=trust, resolver=PublicResolver(), use_dns_cache=False, socket_factory=public_socket
    )


def _check(address: str) -> None:
    if not is_public(address):
        raise AddressRefused(f"{address} is not a public address")

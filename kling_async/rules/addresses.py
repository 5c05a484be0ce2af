"""Which URLs a file may be fetched from, and which addresses a socket may be opened to: public ones."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

import attrs

from kling_async.checks import web_parts

# Written down here, since what `ipaddress` calls global changes between releases of Python.
# Source: IANA, "IPv4 Special-Purpose Address Registry".
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a carrier's customers; a cloud's metadata too
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's metadata, although of a public range
            "169.254.0.0/16",  # link-local, and with it the metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# Source: IANA, "IPv6 Special-Purpose Address Registry" and "IPv6 Global Unicast Address Assignments".
_PUBLIC_6 = IPv6Network("2000::/3")  # all that was ever given out; unique-local, site-local, multicast lie outside
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which leads to any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 shows the whole of it

_PLACE = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[(?P<six>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Place:
    """Where a URL leads, as scheme, host and port; two that are equal are the same origin."""

    scheme: str
    host: str
    port: int


@attrs.frozen
class Refused:
    """Why a URL is not followed; goes on from "the URL of ..."."""

    why: str


def is_public(address: str) -> bool:
    """Whether an address, written in the usual way, is one that anybody on the internet can reach.

    What carries an IPv4 address within (mapped, NAT64) is judged by that; what may lead anywhere (6to4, Teredo, a zone
    of this machine) is not public, and neither is what is no address.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(found) if isinstance(found, IPv4Address) else _is_public_6(found)


def is_here(url: str) -> bool:
    """Whether a URL leads to this machine by its own word, as a simulator's does."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def place_of(url: str) -> Place | None:
    """Where a URL leads, `None` for one that parsers could read in different ways.

    Host and port stand there plainly, and nothing else does: no user, no percent signs, no letters beyond ASCII.
    """
    parts = web_parts(url)
    found = _PLACE.fullmatch(parts.netloc) if parts else None
    if parts is None or found is None:
        return None
    port = int(found["port"]) if found["port"] else _PORTS[parts.scheme]
    return Place(parts.scheme, (found["six"] or found["host"]).lower(), port)


def vetted(url: str, *, home: str, came_from: Place | None = None) -> Place | Refused:
    """Where a URL leads, if a film may be fetched there: by https from a public host, or from the API's own origin.

    A name is not looked up here: the connection does that, and judges what it finds by `is_public`.

    Args:
        url: a film's, or what a host redirects to.
        home: the API's own origin, allowed as it stands and wherever it lies; the simulator's is on loopback.
        came_from: who redirects there, `None` for nobody. Only home itself leads back home.
    """
    place, own = place_of(url), place_of(home)
    if place is None:
        return Refused("has no plain host")
    if place == own:
        return place if came_from in {None, own} else Refused("leads to the API's own host")
    if place.scheme != "https":
        return Refused("is not https, and not of the API's own host")
    if _is_literal(place.host) and not is_public(place.host):
        return Refused("leads to an address that is not public, or not written in the usual way")
    return place


def _is_literal(host: str) -> bool:
    """Whether a host is an address: who connects would read 127.1, 0x7f.1 and 2130706433 as one too."""
    return ":" in host or _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None


def redirected(url: str, location: str) -> str:
    """The URL that a redirect names, which may be relative; empty for one that cannot be read."""
    try:
        # A whole URL stays as it is: a signature breaks when its URL is written anew.
        whole = location if urlsplit(location).scheme else urljoin(url, location)
    except ValueError:
        return ""
    return whole.partition("#")[0]

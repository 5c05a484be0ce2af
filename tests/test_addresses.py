"""Where a film may be fetched from, and where a socket may go."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hostile import LITERALS
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from kling_async.rules.addresses import Place, Refused, is_here, is_public, place_of, redirected, vetted

HOME = "http://127.0.0.1:8765"
AT_HOME = Place("http", "127.0.0.1", 8765)
ELSEWHERE = Place("https", "files.example", 443)

PUBLIC_ADDRESSES = [
    "8.8.8.8",
    "93.184.216.34",
    "172.15.0.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450::5",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "223.255.255.254",
    "192.0.1.1",
]
OTHER_ADDRESSES = [
    "127.0.0.1",
    "10.0.0.1",
    "0.0.0.0",  # noqa: S104 - what must not be reached
    "169.254.169.254",
    "168.63.129.16",
    "100.64.0.1",
    "224.0.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.9",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd00::1",
    "ff0e::1",
    "2001:db8::1",
    "2001::1",
    "2002:808:808::",
    "3fff::1",
    "::8.8.8.8",
    "64:ff9b:1::808:808",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2606:4700::1111%eth0",
    "100::1",
    "4000::1",
]
GOOD = [
    "https://8.8.8.8/f",
    "https://files.example:8443/f",
    "https://[2606:4700::1111]/f",
    "https://1.files.example/f",
    "https://0x7f.example/f",
    "https://files.example./f",
]
ALMOST_HOME = [
    "http://127.0.0.1:8766/f",
    "https://127.0.0.1:8765/f",
    "http://127.0.0.2:8765/f",
    "http://localhost:8765/f",
    "http://127.1:8765/f",
    "http://user@127.0.0.1:8765/f",
    "http://[::ffff:127.0.0.1]:8765/f",
    "http://127.0.0.1/f",
]


@pytest.mark.parametrize(
    "address",
    PUBLIC_ADDRESSES,
)
def test_public_address_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    OTHER_ADDRESSES,
)
def test_address_that_is_not_public_is_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "files.example", "127.1", "0x7f000001", "017.0.0.1", "[::1]", "8.8.8.8 "])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_public(address: IPv4Address | IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if is_public(str(address)) and mapped is None and not str(address).startswith("64:ff9b::"):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_link_local, address.is_loopback))


@given(st.ip_addresses(v=4))
def test_mapped_address_is_judged_by_what_it_maps(address: IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address)) == is_public(f"64:ff9b::{address}")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://files.example/f?sign=a%2Fb#c", ELSEWHERE),
        ("HTTPS://Files.Example:443", ELSEWHERE),
        ("http://127.0.0.1:8765/f", AT_HOME),
        ("https://[2606:4700::1111]:8443/f", Place("https", "2606:4700::1111", 8443)),
        ("https://xn--bcher-kva.example/", Place("https", "xn--bcher-kva.example", 443)),
        ("http://a_b.example", Place("http", "a_b.example", 80)),
    ],
)
def test_plain_url_has_its_place(url: str, place: Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", LITERALS.values(), ids=LITERALS.keys())
def test_hostile_url_is_refused(url: str) -> None:
    assert isinstance(vetted(url, home=HOME), Refused)
    assert isinstance(vetted(url, home=""), Refused)


@pytest.mark.parametrize(
    "url",
    GOOD,
)
def test_public_https_is_taken(url: str) -> None:
    assert isinstance(vetted(url, home=HOME), Place)


def test_home_is_taken_as_it_stands() -> None:
    assert vetted(f"{HOME}/f", home=HOME) == AT_HOME
    assert vetted("http://127.0.0.1:8765/f", home="HTTP://127.0.0.1:8765") == AT_HOME


@pytest.mark.parametrize(
    "url",
    ALMOST_HOME,
)
def test_what_is_almost_home_is_refused(url: str) -> None:
    assert isinstance(vetted(url, home=HOME), Refused)


def test_home_on_https_needs_no_public_address() -> None:
    assert isinstance(vetted("https://10.0.0.1/f", home="https://10.0.0.1"), Place)


@pytest.mark.parametrize("home", ["", "http://", "not a url", "http://bücher.example"])
def test_without_a_plain_home_nothing_is_home(home: str) -> None:
    assert isinstance(vetted("http://files.example/f", home=home), Refused)


def test_home_may_redirect_to_itself_and_to_the_public() -> None:
    assert vetted(f"{HOME}/g", home=HOME, came_from=AT_HOME) == AT_HOME
    assert vetted("https://files.example/g", home=HOME, came_from=AT_HOME) == ELSEWHERE


def test_home_may_not_redirect_to_another_private_address() -> None:
    assert isinstance(vetted("http://127.0.0.1:9/g", home=HOME, came_from=AT_HOME), Refused)


def test_nobody_else_redirects_home() -> None:
    assert vetted(f"{HOME}/g", home=HOME, came_from=ELSEWHERE) == Refused("leads to the API's own host")


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/g?sign=a%2fb", "https://files.example/g?sign=a%2fb"),
        ("g", "https://files.example/a/g"),
        ("//other.example/g", "https://other.example/g"),
        ("https://other.example/../g?", "https://other.example/../g?"),
        ("https://other.example/g#part", "https://other.example/g"),
        ("https://[", ""),
        ("//[", ""),
    ],
)
def test_redirect_may_be_relative(location: str, url: str) -> None:
    assert redirected("https://files.example/a/f?sign=1", location) == url


@given(
    st.lists(
        st.sampled_from([*"abc19.:/?#@\\\\[]%-_ ", "https://", "[::1]", "127.0.0.1", "ä", "0x7f", "\t"]), max_size=12
    )
)
@example(["https://", "a", ":", "1"])
@example(["https://", "A", "?", "@", "b"])
def test_what_is_taken_is_read_alike_by_the_one_who_connects(pieces: list[str]) -> None:
    text = "".join(["https://", *pieces])
    place = vetted(text, home="")
    if isinstance(place, Place):
        url = URL(text, encoded=True)
        assert (url.scheme, (url.raw_host or "").lower(), url.port) == (place.scheme, place.host, place.port)


def test_reasons_show_no_url() -> None:
    for url in LITERALS.values():
        refused = vetted(url, home=HOME)
        assert isinstance(refused, Refused)
        assert "127" not in refused.why


def test_hypothesis_is_about_addresses() -> None:
    assert ip_address("8.8.8.8").is_global  # the control of the oracle


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://localhost:8765", True),
        ("http://[::1]:8765", True),
        ("https://api-singapore.klingai.com", False),
        ("http://10.0.0.1", False),
        ("", False),
    ],
)
def test_what_leads_to_this_machine(url: str, is_one: bool) -> None:
    assert is_here(url) == is_one

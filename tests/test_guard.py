"""No socket is opened to an address that is not public, however it is spelled, named, or come by."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from faultserver import Act, FaultServer, answer
from fileserver import FileServer, film
from hostile import LITERALS, NAMES
from lookout import PUBLIC, WatchedLoop

from kling_async import ApiKey, DownloadError, DownloadPolicy, KlingClient, KlingError, RequestError, RetryPolicy, Video
from kling_async.rules import addresses
from kling_async.runtime import fetch, guard
from kling_async.runtime.guard import AddressRefused, PublicResolver, public_socket
from kling_async.testing import wall

HOSTILE = {**LITERALS, **{f"name {name}": f"https://{name}/f" for name in NAMES}}

_made: list[int] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.__new__" and _made is not None and arguments[1] in {socket.AF_INET, socket.AF_INET6}:
        _made.append(1)


sys.addaudithook(_listen)  # the interpreter's own word; it can never be taken out, so it listens when asked to


@contextmanager
def sockets_made() -> Iterator[list[int]]:
    """One entry for each socket that is made, by whomever."""
    global _made  # noqa: PLW0603
    _made = []
    try:
        yield _made
    finally:
        _made = None


def kling(home: str = "http://127.0.0.1:1") -> KlingClient:
    return KlingClient(
        ApiKey("key"),
        base_url=home,
        wall=wall,
        draw=lambda: 0.5,
        retry=RetryPolicy(),
        downloads=DownloadPolicy(attempts=2),
    )


def run(act: Callable[[], Coroutine[None, None, None]], names: dict[str, list[list[str]]] | None = None) -> WatchedLoop:
    """The loop in which it was carried out."""
    loop = WatchedLoop({**{name: [found] for name, found in NAMES.items()}, **(names or {})})
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(act())
    return loop


def refused(url: str, path: Path, *, home: str = "http://127.0.0.1:1") -> tuple[KlingError, list[int]]:
    """The error of a download, and the sockets that were made for it."""
    caught: list[KlingError] = []

    async def download() -> None:
        async with kling(home) as client:
            with sockets_made() as sockets, pytest.raises((RequestError, DownloadError)) as refusal:
                await client.download(Video("v", url=url), path)
            caught.append(refusal.value)
            made.extend(sockets)

    made: list[int] = []
    loop = run(download)
    assert loop.tried == []
    assert not [*path.parent.iterdir()]
    return caught[0], made


def test_there_are_sixty_and_more() -> None:
    assert len(set(HOSTILE.values())) == len(HOSTILE) >= 60


@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_socket_is_made_for_a_hostile_url(url: str, tmp_path: Path) -> None:
    error, made = refused(url, tmp_path / "film")
    assert made == []
    assert error.attempts <= 1


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leads_inside_is_told(name: str, tmp_path: Path) -> None:
    error, _ = refused(f"https://{name}/f?sign=secret", tmp_path / "film")
    assert "not public" in error.message
    assert "secret" not in str(error)


# --- controls: what the guard is for happens without it --------------------------------------------------------------


def tried(url: str, path: Path) -> list[str]:
    async def download() -> None:
        async with kling() as client:
            with pytest.raises(KlingError):
                await client.download(Video("v", url=url), path)

    return run(download).tried


PLAIN = [name for name, url in HOSTILE.items() if name.startswith("name") or url in {
    LITERALS[plain] for plain in ("loopback", "private 10", "metadata", "loopback, IPv6", "loopback, mapped")
}]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_without_judgement_somebody_would_connect(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_is_public_4", lambda _: True)
    monkeypatch.setattr(addresses, "_is_public_6", lambda _: True)
    assert tried(HOSTILE[name], tmp_path / "film")


def test_sockets_are_noticed() -> None:
    with sockets_made() as sockets:
        socket.socket(socket.AF_INET).close()
    socket.socket(socket.AF_INET).close()
    assert sockets == [1]


@pytest.mark.parametrize("name", NAMES)
def test_either_layer_is_enough_for_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the socket alone; it may have tried public addresses before
        patch.setattr(PublicResolver, "resolve", aiohttp.ThreadedResolver.resolve)
        patch.setattr(PublicResolver, "_loop", property(lambda _: asyncio.get_running_loop()), raising=False)
        assert {*tried(f"https://{name}/f", tmp_path / "film")} <= {"93.184.216.34", "2606:2800:220:1::1"}
    monkeypatch.setattr(guard, "public_socket", lambda info: socket.socket(*info[:3]))  # the resolver alone
    assert tried(f"https://{name}/f", tmp_path / "film") == []


@pytest.mark.parametrize("plain", ["loopback", "loopback, IPv6", "loopback, mapped", "metadata", "private 10"])
def test_socket_alone_is_enough_for_a_literal(plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = addresses.Place("https", LITERALS[plain].removeprefix("https://").partition("/f")[0].strip("[]"), 443)
    if plain == "metadata":
        place = addresses.Place("https", "169.254.169.254", 443)
    monkeypatch.setattr(fetch, "vetted", lambda *_, **__: place)
    assert tried(LITERALS[plain], tmp_path / "film") == []


# --- names that change -----------------------------------------------------------------------------------------------


def test_name_that_changes_its_answer_is_judged_anew(tmp_path: Path) -> None:
    messages = []

    async def download() -> None:
        async with kling() as client:
            with pytest.raises(DownloadError) as caught:
                await client.download(Video("v", url="https://rebound.example/f"), tmp_path / "film")
            messages.append(caught.value.message)

    loop = run(download, {"rebound.example": [[PUBLIC], ["127.0.0.1"]]})
    assert loop.tried == [PUBLIC]
    assert loop.looked_up == ["rebound.example"] * 2
    assert "127.0.0.1 is not a public address" in messages[0]


def test_name_that_leads_nowhere_is_tried_again_and_told(tmp_path: Path) -> None:
    async def download() -> None:
        async with kling() as client:
            with pytest.raises(DownloadError, match=r"name of the file's host is not known, 2 times") as caught:
                await client.download(Video("v", url="https://unknown.example/f"), tmp_path / "film")
            assert caught.value.attempts == 2

    loop = run(download, {"unknown.example": []})
    assert (loop.tried, len(loop.looked_up)) == ([], 2)


async def test_resolver_and_socket_take_what_is_public() -> None:
    public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 443))).close()
    with pytest.raises(AddressRefused):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443)))
    await PublicResolver().close()


def test_resolver_without_any_address_is_an_error() -> None:
    async def resolve() -> None:
        with pytest.raises(OSError, match="no address"):
            await PublicResolver().resolve("empty.example", 443)
        assert [one["host"] for one in await PublicResolver().resolve("good.example", 443)] == [PUBLIC]

    run(resolve, {"empty.example": [[]], "good.example": [[PUBLIC]]})


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
def test_redirect_to_a_hostile_url_is_not_followed(url: str, tmp_path: Path) -> None:
    if {"\r", "\0"} & {*url}:
        pytest.skip("no header can hold it")
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + url.encode() + b"\r\n\r\n"

    home = set()

    async def download() -> None:
        async with FaultServer.of(Act(say=moved)) as server, kling(server.url) as client:
            home.add(server.port)
            with pytest.raises(DownloadError):
                await client.download(Video("v", url=f"{server.url}/f"), tmp_path / "film")

    loop = run(download)
    assert set(loop.tried) == {"127.0.0.1"}
    assert loop.ports == home


async def test_redirects_within_home_are_followed_five_times(tmp_path: Path) -> None:
    def moved(to: str) -> bytes:
        return answer(b"", status="307 Temporary", headers={"Location": to})

    async with FileServer(1000) as server, kling(server.url) as client:
        server.first = [moved("/1"), moved("2"), moved(f"{server.url}/3"), moved("/4"), moved("/5?sign=a%2fb#f")]
        await client.download(Video("v", url=f"{server.url}/a/f"), tmp_path / "film")
        assert [asked.line.split()[1] for asked in server.asked][1:] == ["/1", "/2", "/3", "/4", "/5?sign=a%2fb"]
        server.first = [moved("/again")] * 6
        with pytest.raises(DownloadError, match="redirects more than 5 times"):
            await client.download(Video("v", url=f"{server.url}/a/f"), tmp_path / "other")
    assert (tmp_path / "film").read_bytes() == film(0, 1000)


async def test_redirect_to_another_port_of_this_machine_is_refused(tmp_path: Path) -> None:
    async with FileServer(1000) as inside, FileServer(1000) as server, kling(server.url) as client:
        server.first = [answer(b"", status="302 Found", headers={"Location": inside.url})]
        with pytest.raises(DownloadError, match="redirects to a URL that is not https"):
            await client.download(Video("v", url=f"{server.url}/f"), tmp_path / "film")
        assert inside.connections == 0


async def test_redirect_to_nowhere_is_told(tmp_path: Path) -> None:
    async with FileServer(1000) as server, kling(server.url) as client:
        server.first = [answer(b"", status="302 Found")]
        with pytest.raises(DownloadError, match="redirects to nowhere"):
            await client.download(Video("v", url=f"{server.url}/f"), tmp_path / "film")


# --- the same over TLS, from a public host ---------------------------------------------------------------------------

PROGRAM = """
import asyncio, ssl, sys
from pathlib import Path
from faultserver import Act, FaultServer, answer
from lookout import PUBLIC, WatchedLoop, watched
from kling_async import ApiKey, DownloadError, KlingClient, Video

def to(location):
    return Act(say=answer(b"", status="302 Found", headers={"Location": location}))

async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1])
    async with FaultServer.of(Act(say=answer(b"home"))) as home:
        await downloads(tls, home, KlingClient(ApiKey("key"), base_url=home.url))

async def downloads(tls, home, client):
    whole, hops = Act(say=answer(b"a film")), []
    for location in ("https://127.0.0.1/f", home.url, "https://inside.example/f", "http://localhost/f", "/f"):
        acts = [to(location), whole]
        async with FaultServer.of(*acts, tls=tls) as server, client:
            watched().leads = {PUBLIC: server.port}
            try:
                await client.download(Video("v", url="https://localhost/f?sign=1"), Path(sys.argv[2]))
                keys = [asked.headers.get("authorization") for asked in server.received]
                hops.append((Path(sys.argv[2]).read_bytes(), keys))
            except DownloadError as error:
                hops.append(error.message.partition(": ")[2])
    assert home.connections == 0
    assert set(watched().tried) == {PUBLIC}, watched().tried
    for hop in hops:
        print(hop)

loop = WatchedLoop({"localhost": [[PUBLIC]], "inside.example": [["10.0.0.1"]]})
with asyncio.Runner(loop_factory=lambda: loop) as runner:
    runner.run(main())
"""


@pytest.mark.real_time
def test_public_host_with_a_certificate_leads_nowhere_inside(tmp_path: Path) -> None:
    certificate = Path(__file__).parent / "samples" / "loopback.pem"
    places = [str(Path(__file__).parent), str(Path(fetch.__file__).parents[2])]
    done = subprocess.run(  # noqa: S603 - our own program, in a process that trusts the certificate from its start
        [sys.executable, "-W", "error", "-c", PROGRAM, str(certificate), str(tmp_path / "film")],
        env={**os.environ, "SSL_CERT_FILE": str(certificate), "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    address, home, inside, http, own = done.stdout.splitlines()
    assert "leads to an address that is not public" in address
    assert "leads to the API's own host" in home
    assert "10.0.0.1 is not a public address" in inside
    assert "not https" in http
    assert own == "(b'a film', [None, None])"  # the control: a good redirect is followed, without credentials

"""Users' own proxies, certificates, hooks and sessions: what holds with them, and what is shown of them."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import pickle
import ssl
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from faultserver import Act, FaultServer, answer, envelope, task_record
from proxy import Proxy

from kling_async import (
    ApiKey,
    ClientClosed,
    ConfigurationError,
    CreateUncertain,
    DownloadError,
    KlingClient,
    KlingError,
    MalformedResponse,
    Network,
    PoolLimits,
    RateLimited,
    RequestError,
    RetryPolicy,
    TransportError,
    Video,
)
from kling_async.simulator import Simulator
from kling_async.testing import wall

CERTIFICATE = Path(__file__).parent / "samples" / "loopback.pem"
PASSWORD = "planted-proxy-password"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
KEY = "test-key-of-some-length"
TASK = Act(say=envelope(task_record()))
FILM = Act(say=answer(b"a film"))
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client(url: str, network: Network, *, timeout: float = 5.0) -> KlingClient:
    retry = RetryPolicy(timeout=timeout, ask_after=(0.0,), settle_timeout=10.0)
    return KlingClient(ApiKey(KEY), base_url=url, network=network, wall=wall, draw=lambda: 0.5, retry=retry)


def shown(error: BaseException) -> str:
    """All that can be shown of an error and of its causes, their arguments included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    for part in (told, told.__cause__, told.__context__):
        if part is not None:
            part.stack[:] = [frame for frame in part.stack if frame.filename != __file__]
    causes = f"{error.__cause__!r} {error.__context__ if not error.__suppress_context__ else None!r}"
    return "\n".join([*told.format(), repr(error), causes, str(pickle.dumps(error))])


def assert_no_password(text: str) -> None:
    assert PASSWORD not in text
    assert BASIC not in text


# --- certificates ----------------------------------------------------------------------------------------------------


async def test_certificate_of_a_bundle_is_trusted(tls: ssl.SSLContext) -> None:
    async with FaultServer.of(TASK, tls=tls) as server:
        url = f"https://localhost:{server.port}"
        async with client(url, Network(tls=CERTIFICATE)) as kling:
            assert (await kling.video_extend.get("t-1")).id == "t-1"
        async with client(url, Network(tls=ssl.create_default_context(cafile=CERTIFICATE))) as kling:
            assert (await kling.video_extend.create("v-1")).id == "t-1"


async def test_without_the_bundle_it_is_not_trusted(tls: ssl.SSLContext) -> None:
    async with (
        FaultServer.of(TASK, tls=tls) as server,
        client(f"https://localhost:{server.port}", Network()) as kling,
    ):
        with pytest.raises(TransportError, match="certificate") as caught:
            await kling.video_extend.create("v-1")
        assert (caught.value.sent, server.received) == (False, [])


def test_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tls: .*none\.pem cannot be read as certificates: No such file"):
        Network(tls=tmp_path / "none.pem")


def test_bundle_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"tls: .* cannot be read as certificates"):
        Network(tls=str(tmp_path / "empty.pem"))


# --- a proxy ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def secure(tls: ssl.SSLContext) -> AsyncIterator[FaultServer]:
    async with FaultServer.of(TASK, tls=tls) as server:
        yield server


async def test_api_is_reached_through_the_proxy(secure: FaultServer) -> None:
    async with (
        Proxy(secure.port, PASSWORD) as proxy,
        client("https://localhost", Network(proxy=proxy.url, tls=CERTIFICATE)) as kling,
    ):
        assert (await kling.video_extend.create("v-1")).id == "t-1"
        assert (await kling.video_extend.get("t-1")).id == "t-1"
    assert {head.partition("\r\n")[0] for head in proxy.heads} == {"CONNECT localhost:443 HTTP/1.1"}
    assert {asked.headers["authorization"] for asked in secure.received} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("password", [PASSWORD, None])
async def test_proxy_is_shown_its_password_and_never_our_key(secure: FaultServer, password: str | None) -> None:
    async with (
        Proxy(secure.port, password) as proxy,
        client("https://localhost", Network(proxy=proxy.url, tls=CERTIFICATE)) as kling,
    ):
        await kling.video_extend.create("v-1")
        await kling.video_extend.get("t-1")
    assert len(proxy.heads) == 2
    assert {line.partition(": ")[2] for line in proxy.authorizations} == ({f"Basic {BASIC}"} if password else set())


async def test_plain_calls_are_forwarded(simulator: Simulator) -> None:
    async with Proxy(int(simulator.url.rpartition(":")[2]), PASSWORD) as proxy:
        network = Network(proxy=proxy.url)
        async with KlingClient(
            ApiKey(simulator.api_key), base_url="http://api.example", network=network, wall=wall
        ) as kling:
            await kling.video_extend.create(simulator.sources[0])
    assert len(simulator.accepted) == 1
    assert proxy.heads[0].startswith("POST http://api.example/v1/videos/video-extend ")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    for name in ("kling_async", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


async def test_wrong_password_of_a_proxy_is_told_once_and_not_shown(
    secure: FaultServer, log: pytest.LogCaptureFixture
) -> None:
    async with Proxy(secure.port, "another") as proxy:
        network = Network(proxy=f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}", tls=CERTIFICATE)
        async with client("https://localhost", network) as kling:
            with pytest.raises(TransportError, match="the proxy refuses to connect: it answered 407") as caught:
                await kling.video_extend.create("v-1")
            assert_no_password(shown(caught.value) + repr(kling) + repr(network) + log.text)
    assert (caught.value.sent, caught.value.created, len(proxy.heads)) == (False, "no", 1)
    assert BASIC in proxy.heads[0]  # the control: it was said, to the proxy


async def test_proxy_that_cannot_be_reached_is_told_as_one(log: pytest.LogCaptureFixture) -> None:
    network = Network(proxy=f"http://user:{PASSWORD}@127.0.0.1:1")
    async with client("https://localhost", network, timeout=1.0) as kling:
        with pytest.raises(TransportError, match=r"cannot connect to the proxy 127\.0\.0\.1:1") as caught:
            await kling.video_extend.create("v-1")
        assert_no_password(shown(caught.value) + log.text)
    assert not caught.value.sent


async def test_certificate_behind_a_proxy_is_checked_and_the_error_shows_no_password(secure: FaultServer) -> None:
    async with (
        Proxy(secure.port, PASSWORD) as proxy,
        client("https://localhost", Network(proxy=proxy.url)) as kling,
    ):
        with pytest.raises(TransportError, match="certificate") as caught:
            await kling.video_extend.create("v-1")
        assert_no_password(shown(caught.value))
    assert secure.received == []


@pytest.mark.parametrize(
    "url",
    ["", "proxy.example", f"socks5://user:{PASSWORD}@h", f"http://user:{PASSWORD}@h/path", f"http://h?{PASSWORD}"],
)
def test_url_that_is_no_proxys_is_refused_unsaid(url: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy: must be the URL of a proxy") as caught:
        Network(proxy=url)
    assert_no_password(str(caught.value) + repr(caught.value) + str(pickle.dumps(caught.value)))


def test_network_shows_no_password_and_is_not_pickled() -> None:
    network = Network(proxy=f"http://user:{PASSWORD}@h:1")
    assert_no_password(repr(network))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(network)


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def test_proxy_of_the_environment_is_taken_where_it_is_trusted(
    secure: FaultServer, environment: pytest.MonkeyPatch
) -> None:
    async with Proxy(secure.port, PASSWORD) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        async with client("https://localhost", Network(trust_env=True, tls=CERTIFICATE)) as kling:
            await kling.video_extend.get("t-1")
        assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    ("network", "no_proxy", "found"),
    [
        (Network(trust_env=True), "", "http://of-the-environment:1"),
        (Network(trust_env=True), "api.example", None),
        (Network(), "", None),
        (Network(trust_env=True, proxy="http://given:1"), "", "http://given:1"),
        (Network(proxy="http://given:1"), "api.example", "http://given:1"),
    ],
)
def test_which_proxy_is_taken(
    network: Network, no_proxy: str, found: str | None, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTPS_PROXY", "http://of-the-environment:1")
    environment.setenv("NO_PROXY", no_proxy)
    assert network.proxy_for("https://api.example") == found
    if network.proxy is None:
        assert network.proxy_for("http://api.example") is None  # another scheme


def test_odd_proxy_of_the_environment_is_refused_unsaid(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", f"socks5://user:{PASSWORD}@h")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: must be the URL of a proxy") as caught:
        client("https://api.example", Network(trust_env=True))
    assert_no_password(shown(caught.value))


# --- films -----------------------------------------------------------------------------------------------------------


async def test_films_go_straight_to_their_hosts_and_are_guarded(secure: FaultServer, tmp_path: Path) -> None:
    async with (
        Proxy(secure.port, PASSWORD) as proxy,
        client("https://api.example", Network(proxy=proxy.url, tls=CERTIFICATE)) as kling,
    ):
        with pytest.raises(DownloadError, match="is not a public address"):
            await kling.download(Video("v-1", url="https://localhost/f"), tmp_path / "film")
    assert (proxy.heads, secure.connections) == ([], 0)


async def test_films_go_through_the_proxy_where_that_is_said(tls: ssl.SSLContext, tmp_path: Path) -> None:
    async with FaultServer.of(FILM, tls=tls) as server, Proxy(server.port, PASSWORD) as proxy:
        network = Network(proxy=proxy.url, proxy_files=True, tls=CERTIFICATE)
        async with client("https://api.example", network) as kling:
            await kling.download(Video("v-1", url="https://localhost/f?sig=1"), tmp_path / "film")
            with pytest.raises(RequestError, match="not public"):
                await kling.download(Video("v-1", url="https://127.0.0.1/f"), tmp_path / "other")
    assert (tmp_path / "film").read_bytes() == b"a film"
    assert [line.partition(": ")[2] for line in proxy.authorizations] == [f"Basic {BASIC}"]
    assert "authorization" not in server.received[0].headers


async def test_film_that_the_proxy_refuses_shows_no_password(secure: FaultServer, tmp_path: Path) -> None:
    async with Proxy(secure.port, "another") as proxy:
        url = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
        async with client("https://api.example", Network(proxy=url, proxy_files=True)) as kling:
            with pytest.raises(DownloadError) as caught:
                await kling.download(Video("v-1", url="https://localhost/f"), tmp_path / "film")
            assert_no_password(shown(caught.value))


@pytest.mark.parametrize("network", [{"proxy_files": True}, {"proxy_files": True, "trust_env": True}])
def test_films_through_a_proxy_need_one(network: dict[str, bool]) -> None:
    with pytest.raises(ConfigurationError, match="proxy_files: needs `proxy`"):
        Network(**network)  # type: ignore[arg-type]


# --- hooks of aiohttp ------------------------------------------------------------------------------------------------


async def test_trace_configs_see_calls_and_films(tmp_path: Path) -> None:
    seen: list[str] = []
    config = aiohttp.TraceConfig()

    async def begun(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(f"{params.method} {params.url.path}")

    config.on_request_start.append(begun)
    async with (
        FaultServer.of(TASK, TASK, FILM) as server,
        client(server.url, Network(trace_configs=[config])) as kling,
    ):
        await kling.video_extend.create("v-1")
        await kling.video_extend.get("t-1")
        await kling.download(Video("v-1", url=f"{server.url}/f"), tmp_path / "film")
    assert seen == ["POST /v1/videos/video-extend", "GET /v1/videos/video-extend/t-1", "GET /f"]


@pytest.mark.parametrize("moment", ["on_request_start", "on_request_end"])
async def test_trace_config_that_raises_never_makes_a_create_lie(moment: str) -> None:
    config = aiohttp.TraceConfig()

    async def fail(*_: object) -> None:
        raise LookupError("mine")

    getattr(config, moment).append(fail)
    async with (
        FaultServer.of(TASK) as server,
        client(server.url, Network(trace_configs=[config])) as kling,
    ):
        with pytest.raises(KlingError, match="LookupError: mine") as caught:
            await kling.video_extend.create("v-1", timeout=5.0)
        is_sent = moment == "on_request_end"
        assert isinstance(caught.value, CreateUncertain if is_sent else TransportError)
        assert bool(server.received) == is_sent


# --- a session of the user's -----------------------------------------------------------------------------------------


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        yield session


async def test_calls_go_through_the_users_session(session: aiohttp.ClientSession) -> None:
    async with FaultServer.of(TASK) as server, client(server.url, Network(session=session)) as kling:
        await kling.video_extend.create("v-1")
        await kling.video_extend.get("t-1")
        for asked in server.received:
            assert asked.headers["x-mine"] == "1"
            assert asked.headers["authorization"] == f"Bearer {KEY}"
            assert asked.headers["user-agent"].startswith("kling_async/")


async def test_users_session_is_neither_closed_nor_given_our_key(session: aiohttp.ClientSession) -> None:
    async with FaultServer.of(TASK) as server:
        for _ in range(2):
            async with client(server.url, Network(session=session)) as kling:
                await kling.video_extend.get("t-1")
        assert not session.closed
        async with session.get(server.url):
            pass
        assert "authorization" not in server.received[-1].headers


async def test_films_are_not_fetched_with_the_users_session(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with FaultServer.of(FILM) as server, client(server.url, Network(session=session)) as kling:
        await kling.download(Video("v-1", url=f"{server.url}/f"), tmp_path / "film")
        assert not {"x-mine", "authorization"} & set(server.received[0].headers)


async def test_no_redirect_is_followed_with_the_users_session(session: aiohttp.ClientSession) -> None:
    async with FaultServer.of(TASK) as other:
        away = Act(say=answer(b"", status="302 Found", headers={"Location": other.url}))
        async with FaultServer.of(away) as server, client(server.url, Network(session=session)) as kling:
            with pytest.raises(MalformedResponse, match="redirect"):
                await kling.video_extend.get("t-1")
        assert other.connections == 0


async def test_what_the_users_session_is_set_to_does_not_change_errors() -> None:
    busy = Act(say=envelope(None, code=1302, status="429 no"))
    async with (
        FaultServer.of(busy) as server,
        aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.001)) as session,
        client(server.url, Network(session=session), timeout=0.1) as kling,
    ):
        with pytest.raises(RateLimited):
            await kling.video_extend.get("t-1")


async def test_middleware_of_the_users_session_posts_no_create_again() -> None:
    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await handler(request)
        return await handler(request)

    async with (
        FaultServer.of(Act(say=envelope(task_record()), then="keep")) as server,
        aiohttp.ClientSession(middlewares=[twice]) as session,
        client(server.url, Network(session=session)) as kling,
    ):
        await kling.video_extend.create("v-1")
        assert len(server.received) == 1
        async with session.get(server.url):
            pass
        assert len(server.received) == 3  # the control: it does so for others


async def test_full_pool_of_the_users_session_proves_that_a_create_never_left() -> None:
    async with (
        FaultServer.of(Act(then="silence")) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        client(server.url, Network(session=session)) as kling,
    ):
        asking = asyncio.create_task(kling.video_extend.get("t-1"))
        await asyncio.sleep(0.1)
        with pytest.raises(TransportError) as caught:
            await kling.video_extend.create("v-1", timeout=1.0)
        assert not caught.value.sent
        asking.cancel()
        await asyncio.wait([asking])
        assert b"POST" not in b"".join(one.line.encode() for one in server.received)


async def test_close_ends_calls_in_the_users_session_at_once(session: aiohttp.ClientSession) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        kling = client(server.url, Network(session=session))
        asking = asyncio.create_task(kling.video_extend.get("t-1"))
        await asyncio.sleep(0.1)
        await kling.close()
        with pytest.raises(ClientClosed):
            await asking
        assert asyncio.get_running_loop().time() < 1.0
        assert not session.closed


async def test_session_that_its_owner_closed_is_told(session: aiohttp.ClientSession) -> None:
    kling = client("http://127.0.0.1:1", Network(session=session))
    await session.close()
    with pytest.raises(ConfigurationError, match="session: was closed by whoever it belongs to"):
        await kling.video_extend.get("t-1")
    await kling.close()


async def test_forked_process_does_not_use_the_parents_session(session: aiohttp.ClientSession) -> None:
    kling = client("http://127.0.0.1:1", Network(session=session))
    kling._pool._process = os.getpid() + 1
    with pytest.raises(ConfigurationError, match="session: belongs to the process"):
        await kling.video_extend.get("t-1")
    await kling.close()


async def test_proxy_of_the_users_session_is_not_shown_in_errors() -> None:
    url = f"http://user:{PASSWORD}@127.0.0.1:1"
    async with (
        aiohttp.ClientSession(proxy=url) as session,
        client("https://api.example", Network(session=session), timeout=0.1) as kling,
    ):
        with pytest.raises(TransportError) as caught:
            await kling.video_extend.get("t-1")
        assert_no_password(shown(caught.value))


async def test_odd_proxy_of_the_users_session_is_not_shown_either() -> None:
    async with (
        aiohttp.ClientSession(proxy=f"http://user:{PASSWORD}@[::1") as session,
        client("https://api.example", Network(session=session), timeout=0.1) as kling,
    ):
        with pytest.raises(TransportError) as caught:
            await kling.video_extend.get("t-1")
        assert_no_password(shown(caught.value))


async def test_session_with_a_proxy_beside_it_is_refused(session: aiohttp.ClientSession) -> None:
    for network in ({"proxy": "http://h:1"}, {"trust_env": True}):
        with pytest.raises(ConfigurationError, match="session: brings its own proxy"):
            Network(session=session, **network)
    assert Network(session=session, proxy="http://h:1", proxy_files=True).session is session


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # aiohttp's, for `auth`
async def test_session_with_credentials_of_its_own_is_refused() -> None:
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", PASSWORD)) as session:
        with pytest.raises(ConfigurationError, match="session: has an `auth` of its own") as caught:
            Network(session=session)
        assert_no_password(shown(caught.value))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"proxy": 1}, "proxy: must be the URL of a proxy"),
        ({"trust_env": 1}, r"trust_env: 1 \(int\) is not allowed; it must be True or False"),
        ({"proxy_files": "no"}, "proxy_files: .* must be True or False"),
        ({"tls": False}, r"tls: False \(bool\) is not allowed"),
        ({"trace_configs": [1]}, "trace_configs: list is not allowed; it must be a list of aiohttp.TraceConfig"),
        ({"trace_configs": 1}, "trace_configs: 1 "),
        ({"session": "mine"}, "session: 'mine' .* must be an aiohttp.ClientSession"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Network(**cast("Any", given))


async def test_share_of_creates_is_not_set_aside_in_a_users_session(session: aiohttp.ClientSession) -> None:
    async with FaultServer.of(TASK) as server:
        limits = PoolLimits(creates=2, reads=3)
        kling = KlingClient(ApiKey(KEY), base_url=server.url, network=Network(session=session), pool=limits, wall=wall)
        async with kling:
            shares = [kling._pool.share(purpose) for purpose in ("creates", "reads")]
            assert [share.gate._value for share in shares] == [2, 3]  # how many at once is ours to say all the same
            assert {share.session for share in shares} == {session}

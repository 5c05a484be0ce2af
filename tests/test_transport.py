"""One call over real sockets: what is raised, what it proves about a POST, and what is repeated."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faultserver import Act, FaultServer, answer, envelope, task_record
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async import (
    AccessKey,
    AccountError,
    APIError,
    ApiKey,
    AuthenticationError,
    ClientClosed,
    KlingClient,
    KlingError,
    MalformedResponse,
    NotFound,
    TransportError,
)
from kling_async.credentials import Credentials, Signer
from kling_async.policies import PoolLimits, RetryPolicy
from kling_async.rules.wire import Call
from kling_async.runtime.pool import SessionPool
from kling_async.runtime.transport import Transport
from kling_async.simulator import Fault, Simulator
from kling_async.testing import VirtualLoop, wall

POST = Call("POST", "/v1/videos/video-extend", b'{"video_id": "v-1", "external_task_id": "e-1"}', "create")
GET = Call("GET", "/v1/videos/video-extend/t-1", about="task")
OK = envelope(task_record())

MakeTransport = Callable[..., Transport]


@pytest.fixture
async def transport() -> AsyncIterator[MakeTransport]:
    """Makes transports; their pools are closed at the end."""
    pools: list[SessionPool] = []

    def make(
        url: str,
        *,
        credentials: Credentials = ApiKey("test-key"),  # noqa: B008 -- frozen
        retry: RetryPolicy = RetryPolicy(),
        limits: PoolLimits = PoolLimits(),
        wall: Callable[[], float] = wall,
    ) -> Transport:
        pools.append(SessionPool(limits))
        return Transport(url, pools[-1], Signer(credentials), retry, wall, lambda: 0.5)

    yield make
    for pool in pools:
        await pool.close()


@pytest.fixture
def dead_port() -> int:
    """A port at which nothing listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return int(once.getsockname()[1])


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port at which the connections that nobody accepts are too many already: the next is left unanswered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
        for one in waiting:
            one.close()


@pytest.fixture
def self_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parent / "samples" / "loopback.pem")
    return context


async def refused(call: Awaitable[object]) -> KlingError:
    with pytest.raises(KlingError) as caught:
        await call
    return caught.value


async def not_sent(call: Awaitable[object]) -> TransportError:
    error = await refused(call)
    assert isinstance(error, TransportError)
    assert not error.sent
    return error


async def lost(call: Awaitable[object]) -> TransportError:
    error = await refused(call)
    assert isinstance(error, TransportError)
    assert error.sent
    return error


# --- a POST: the rows of what can go wrong, and what each proves -----------------------------------------------------


async def test_refused_connection_proves_that_nothing_was_sent(transport: MakeTransport, dead_port: int) -> None:
    error = await not_sent(transport(f"http://127.0.0.1:{dead_port}").create(POST))
    assert error.host == f"127.0.0.1:{dead_port}"
    assert "cannot connect" in error.message


async def test_failed_name_resolution_proves_that_nothing_was_sent(
    transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await not_sent(transport("http://api.example").create(POST))
    assert error.worth_retrying


async def test_host_that_cannot_be_one_proves_that_nothing_was_sent(transport: MakeTransport) -> None:
    await not_sent(transport(f"http://{'a' * 64}.example").create(POST))


async def test_failed_tls_setup_proves_that_nothing_was_sent(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(read="nothing", say=b"no TLS here, not at all\r\n")) as server:
        await not_sent(transport(server.url.replace("http", "https")).create(POST))


async def test_bad_certificate_proves_that_nothing_was_sent(
    transport: MakeTransport, self_signed: ssl.SSLContext
) -> None:
    async with FaultServer.of(Act(say=OK), tls=self_signed) as server:
        error = await not_sent(transport(server.url).create(POST))
        assert not error.worth_retrying
        assert not server.received


async def test_connect_timeout_proves_that_nothing_was_sent(transport: MakeTransport, deaf_port: int) -> None:
    begun = asyncio.get_running_loop().time()
    await not_sent(transport(f"http://127.0.0.1:{deaf_port}").create(POST))
    assert asyncio.get_running_loop().time() - begun <= 10.001


async def test_total_expired_in_the_queue_proves_that_nothing_was_sent(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        one_at_a_time = transport(server.url, limits=PoolLimits(reads=1))
        first = asyncio.create_task(refused(one_at_a_time.read(GET, timeout=9.0)))
        await asyncio.sleep(0.1)
        error = await not_sent(one_at_a_time.read(GET, timeout=2.0))
        assert error.attempts == 0
        await first
        assert len(server.received) == 1


async def test_total_expired_after_sending_is_unknown(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        begun = asyncio.get_running_loop().time()
        await lost(transport(server.url).create(POST))
        assert asyncio.get_running_loop().time() - begun == pytest.approx(20.0, abs=0.01)
        assert server.received[0].body == POST.body


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize(
    ("read", "arrived"),
    [("nothing", 0), ("head", 0), (0, 0), (1, 0), (20, 0), ("all", 1)],
    ids=["on accept", "after the head", "at body byte 0", "after 1 byte", "after 20 bytes", "after the body"],
)
async def test_connection_that_ends_without_an_answer_is_unknown(
    transport: MakeTransport, read: str, arrived: int, then: str
) -> None:
    # Rows "RST on accept, after headers, or after full body" and "clean close": the type cannot tell them apart.
    async with FaultServer.of(Act(read=read, then=then)) as server:  # type: ignore[arg-type]
        await lost(transport(server.url).create(POST))
        assert len(server.received) == arrived
        assert server.connections == 1


async def test_close_of_a_stale_connection_is_unknown(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(say=OK, then="keep"), Act(then="close")) as server:
        sender = transport(server.url)
        await sender.create(POST)
        await lost(sender.create(POST))
        assert server.connections == 1  # so the second did go out on the old one
        assert len(server.received) == 2


@pytest.mark.parametrize("then", ["reset", "close"])
async def test_answer_cut_in_its_body_is_unknown(transport: MakeTransport, then: str) -> None:
    async with FaultServer.of(Act(say=OK[:-20], then=then)) as server:  # type: ignore[arg-type]
        await lost(transport(server.url).create(POST))
        assert len(server.received) == 1


async def test_half_a_json_of_the_right_length_is_no_answer(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(say=answer(b'{"code": 0, "mess'))) as server:
        error = await refused(transport(server.url).create(POST))
        assert isinstance(error, MalformedResponse)
        assert len(server.received) == 1


async def test_garbage_status_line_is_unknown_although_the_library_calls_it_400(transport: MakeTransport) -> None:
    # The connection stays: an end right behind the garbage would sometimes be told as status 0.
    async with FaultServer.of(Act(say=b"THIS IS NOT HTTP\r\n\r\n", then="silence")) as server:
        error = await lost(transport(server.url).create(POST))
        assert getattr(error.__cause__, "status", None) == 400  # the control: by status it would read as refused
        assert len(server.received) == 1


async def test_html_502_is_no_answer(transport: MakeTransport) -> None:
    page = answer(b"<html>Bad Gateway</html>", status="502 Bad Gateway", headers={"Content-Type": "text/html"})
    async with FaultServer.of(Act(say=page)) as server:
        error = await refused(transport(server.url).create(POST))
        assert isinstance(error, MalformedResponse)
        assert error.http_status == 502
        assert len(server.received) == 1


async def test_redirect_to_a_dead_host_is_no_answer_and_not_followed(transport: MakeTransport, dead_port: int) -> None:
    moved = answer(b"", status="302 Found", headers={"Location": f"http://127.0.0.1:{dead_port}/"})
    async with FaultServer.of(Act(say=moved)) as server:
        error = await refused(transport(server.url).create(POST))
        assert isinstance(error, MalformedResponse)
        assert len(server.received) == 1


async def test_cancellation_after_sending_stays_a_cancellation(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        call = asyncio.create_task(transport(server.url).create(POST))
        await asyncio.sleep(1.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.received) == 1


async def test_post_is_sent_once_whatever_comes_back(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(say=envelope(None, code=5000, status="500 Oops"))) as server:
        error = await refused(transport(server.url).create(POST))
        assert isinstance(error, APIError)
        assert error.attempts == len(server.received) == 1


# --- reads: what is repeated -----------------------------------------------------------------------------------------

PASSING = {
    "5000": Fault.code(5000),
    "5001": Fault.code(5001),
    "5002": Fault.code(5002),
    "5999, not listed": Fault.code(5999),
    "1302": Fault.code(1302),
    "1303": Fault.code(1303),
    "reset": Fault.reset(),
    "close": Fault.close(),
    "HTML 502": Fault.html(502),
    "HTML 200": Fault.html(200),
    "empty 503": Fault.empty(503),
    "truncated": Fault.truncated(),
    "truncated, reset": Fault.truncated(reset=True),
    "truncated, right length": Fault.truncated(complete=True),
    "garbage": Fault.garbage(),
}
STANDING = {
    **{str(code): Fault.code(code) for code in (1000, 1001, 1002, 1100, 1101, 1102, 1103, 1200, 1201, 1202, 1203)},
    **{str(code): Fault.code(code) for code in (1300, 1301, 1304, 4711)},
    "redirect": Fault.redirect("https://elsewhere.example/"),
    "HTML 404": Fault.html(404),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
async def test_read_is_repeated_after(kling: KlingClient, simulator: Simulator, fault: Fault) -> None:
    simulator.script(fault)
    assert (await kling.video_extend.list()).tasks == ()
    # A connection that ends without an answer may be repeated by the HTTP library first; more than that, never.
    assert simulator.count("list") == 2


@pytest.mark.parametrize("fault", STANDING.values(), ids=STANDING.keys())
async def test_read_is_not_repeated_after(kling: KlingClient, simulator: Simulator, fault: Fault) -> None:
    simulator.script(fault)
    error = await refused(kling.video_extend.list())
    assert isinstance(error, APIError | MalformedResponse)
    assert simulator.count("list") == error.attempts == 1


async def test_read_is_not_repeated_after_a_bad_certificate(
    transport: MakeTransport, self_signed: ssl.SSLContext
) -> None:
    async with FaultServer.of(Act(say=OK), tls=self_signed) as server:
        begun = asyncio.get_running_loop().time()
        error = await refused(transport(server.url).read(GET))
        assert error.attempts == 1
        assert asyncio.get_running_loop().time() == pytest.approx(begun, abs=0.1)


async def test_unknown_id_is_not_found_at_once(kling: KlingClient, simulator: Simulator) -> None:
    with pytest.raises(NotFound):
        await kling.video_extend.get("no-such-task")
    assert simulator.count("get") == 1


async def test_429_alone_says_nothing(kling: KlingClient, simulator: Simulator) -> None:
    # An empty wallet and a rate limit have the same status; the code decides.
    simulator.script(Fault.code(1102, http_status=429))
    with pytest.raises(AccountError):
        await kling.video_extend.list()
    assert simulator.count("list") == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault.code(5000, times=None),
        Fault.slow(1000.0, times=None),
        Fault.trickle(1.0, times=None),
        Fault.html(times=None),
    ],
    ids=["5000", "silence", "slow bytes", "HTML"],
)
@pytest.mark.parametrize("budget", [0.0, 3.0, 7.5, None])
async def test_read_fails_within_its_budget(
    kling: KlingClient, simulator: Simulator, fault: Fault, budget: float | None
) -> None:
    simulator.script(fault)
    begun = asyncio.get_running_loop().time()
    await refused(kling.account.costs(*_days(), timeout=budget))
    assert asyncio.get_running_loop().time() - begun <= (30.0 if budget is None else budget) + 0.002


def _days() -> tuple[datetime, datetime]:
    return datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


async def test_silent_connection_is_given_up_in_time_for_another_attempt(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.slow(1000.0))
    await kling.video_extend.list()
    assert asyncio.get_running_loop().time() == pytest.approx(20.25, abs=0.1)


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("3600", 60.0)])
async def test_retry_after_is_honoured_up_to_its_cap(
    transport: MakeTransport, simulator: Simulator, asked: str, waited: float
) -> None:
    simulator.script(Fault.code(5001, headers={"Retry-After": asked}))
    reader = transport(simulator.url, credentials=ApiKey(simulator.api_key), retry=RetryPolicy(timeout=300.0))
    begun = asyncio.get_running_loop().time()
    await reader.read(Call("GET", "/v1/videos/video-extend"))
    assert asyncio.get_running_loop().time() - begun == pytest.approx(waited, abs=0.05)


async def test_retry_after_beyond_the_budget_fails_at_once(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(5001, headers={"Retry-After": "50"}))
    begun = asyncio.get_running_loop().time()
    await refused(kling.video_extend.list())
    assert asyncio.get_running_loop().time() - begun < 1.0


async def test_error_tells_how_many_requests_were_sent(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(5000, times=None))
    error = await refused(kling.video_extend.list())
    assert error.attempts == simulator.count("list") > 2
    assert error.host == simulator.url.removeprefix("http://")


async def test_read_under_way_when_the_client_closes_says_so(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(5.0))
    read = asyncio.ensure_future(_page(kling))
    await asyncio.sleep(1.0)
    await kling.close()
    with pytest.raises(ClientClosed):
        await read
    assert "SessionPool closed" in repr(kling)  # and nothing was opened again


async def test_read_in_the_middle_of_a_body_when_the_client_closes_says_so(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.trickle(1.0))
    read = asyncio.ensure_future(_page(kling))
    await asyncio.sleep(5.0)
    await kling.close()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ClientClosed):
        await read
    assert asyncio.get_running_loop().time() - begun < 0.1


async def test_read_between_attempts_when_the_client_closes_says_so(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(5001, headers={"Retry-After": "10"}))
    read = asyncio.ensure_future(_page(kling))
    await asyncio.sleep(5.0)
    await kling.close()
    with pytest.raises(ClientClosed):
        await read
    assert simulator.count("list") == 1


async def test_create_in_the_queue_when_the_client_closes_was_not_sent(transport: MakeTransport) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        sender = transport(server.url, limits=PoolLimits(creates=1))
        first = asyncio.create_task(lost(sender.create(POST)))
        await asyncio.sleep(1.0)
        second = asyncio.create_task(refused(sender.create(POST)))
        await asyncio.sleep(1.0)
        await sender._pool.close()
        assert (await first).sent
        assert isinstance(await second, ClientClosed)
        assert len(server.received) == 1


async def _page(kling: KlingClient) -> object:
    return await kling.video_extend.list()


# --- tokens ----------------------------------------------------------------------------------------------------------


class Shifted:
    """A clock so many seconds off the loop's."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return wall() + self.seconds


def _signed_by(simulator: Simulator) -> AccessKey:
    return AccessKey(simulator.access_key, simulator.secret_key)


LIST = Call("GET", "/v1/videos/video-extend")


@pytest.mark.parametrize("code", [1003, 1004])
async def test_refusal_for_the_tokens_time_is_answered_with_a_new_token(
    transport: MakeTransport, simulator: Simulator, code: int
) -> None:
    simulator.script(Fault.code(code))
    reader = transport(simulator.url, credentials=_signed_by(simulator))
    await reader.read(LIST)
    assert simulator.count("list") == reader._signer.signings == 2


async def test_second_refusal_for_the_tokens_time_is_an_error(transport: MakeTransport, simulator: Simulator) -> None:
    simulator.script(Fault.code(1004, times=None))
    error = await refused(transport(simulator.url, credentials=_signed_by(simulator)).read(LIST))
    assert isinstance(error, AuthenticationError)
    assert error.attempts == simulator.count("list") == 2


async def test_api_key_has_no_time_to_renew(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1004))
    error = await refused(kling.video_extend.list())
    assert isinstance(error, AuthenticationError)
    assert simulator.count("list") == 1


async def test_create_refused_for_the_tokens_time_is_sent_once_more(
    transport: MakeTransport, simulator: Simulator
) -> None:
    simulator.script(Fault.code(1004))
    body = b'{"video_id": "%s"}' % simulator.sources[0].encode()
    await transport(simulator.url, credentials=_signed_by(simulator)).create(Call("POST", POST.target, body, "create"))
    assert (simulator.count("create"), len(simulator.accepted)) == (2, 1)


async def test_connection_that_breaks_under_the_new_token_counts_two_requests(
    transport: MakeTransport, simulator: Simulator
) -> None:
    simulator.script(Fault.code(1004), Fault.reset())
    error = await lost(transport(simulator.url, credentials=_signed_by(simulator)).create(POST))
    assert error.attempts == simulator.count("create") == 2


async def test_500_requests_with_an_expired_token_sign_one_new(transport: MakeTransport) -> None:
    vendors = Shifted()
    async with Simulator(clock=vendors) as simulator:
        reader = transport(simulator.url, credentials=_signed_by(simulator))
        await reader.read(LIST)
        vendors.seconds = 3600.0
        await asyncio.gather(*(reader.read(LIST) for _ in range(500)))
        assert reader._signer.signings == 2
        # Only what was on its way with the old token came back.
        assert simulator.count("list") <= 501 + PoolLimits().reads


@pytest.mark.parametrize("seconds", [-600.0, 600.0, -7200.0, 7200.0])
async def test_clock_that_is_off_costs_one_request_once(transport: MakeTransport, seconds: float) -> None:
    async with Simulator(clock=Shifted(seconds)) as simulator:
        reader = transport(simulator.url, credentials=_signed_by(simulator))
        for _ in range(3):
            await reader.read(LIST)
        assert simulator.count("list") <= 4


async def test_wrong_key_is_asked_once_and_named_without_its_secret(
    transport: MakeTransport, simulator: Simulator
) -> None:
    reader = transport(simulator.url, credentials=AccessKey("AK-of-nobody", "secret-of-nobody-at-all-of-32-letters"))
    error = await refused(reader.read(LIST))
    assert isinstance(error, AuthenticationError)
    assert simulator.count("list") == 1
    assert "body" in str(error)
    assert "secret-of-nobody" not in str(error)


async def test_cookies_are_not_taken(transport: MakeTransport) -> None:
    said = envelope(task_record(), headers={"Set-Cookie": "session=of-somebody"})
    async with FaultServer.of(Act(say=said, then="keep")) as server:
        # By name: the HTTP library takes no cookies from bare addresses anyway.
        reader = transport(server.url.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await reader.read(GET)
        assert [request.headers.get("cookie") for request in server.received] == [None, None]


# --- answers that must not be believed -------------------------------------------------------------------------------

MIB = 1024 * 1024


async def test_body_over_the_bound_is_dropped_before_it_has_arrived(transport: MakeTransport) -> None:
    endless = answer(b" " * (32 * MIB))
    async with FaultServer.of(Act(say=endless)) as server:
        error = await lost(transport(server.url).create(POST))
        assert "larger than" in error.message
        assert server.sent < 16 * MIB  # the bound, and what lies in the buffers of two sockets


async def test_body_just_under_the_bound_is_read(transport: MakeTransport) -> None:
    body = b'{"code": 0, "data": "' + b"a" * (8 * MIB - 100) + b'"}'
    async with FaultServer.of(Act(say=answer(body))) as server:
        assert (await transport(server.url).create(POST)).data == "a" * (8 * MIB - 100)


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
async def test_compressed_bomb_needs_little_memory(transport: MakeTransport, kind: str) -> None:
    packed = _bomb(kind)
    async with FaultServer.of(Act(say=answer(packed, headers={"Content-Encoding": kind}))) as server:
        tracemalloc.start()
        try:
            await lost(transport(server.url).create(POST))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 24 * MIB


def _bomb(kind: str) -> bytes:
    """64 MiB of noughts."""
    packer = zlib.compressobj(1, wbits=31 if kind == "gzip" else 15)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(64)), packer.flush()])


async def test_compressed_answer_is_read(transport: MakeTransport) -> None:
    packed = answer(gzip.compress(b'{"code": 0, "data": 7}'), headers={"Content-Encoding": "gzip"})
    async with FaultServer.of(Act(say=packed)) as server:
        assert (await transport(server.url).read(GET)).data == 7


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("call", [GET, POST], ids=["read", "create"])
async def test_redirect_is_never_followed(transport: MakeTransport, call: Call, status: str) -> None:
    async with FaultServer.of(Act(say=OK)) as elsewhere:
        moved = answer(b"", status=status, headers={"Location": f"{elsewhere.url}/secret?token=1"})
        async with FaultServer.of(Act(say=moved)) as server:
            sender = transport(server.url)
            error = await refused(sender.read(call) if call is GET else sender.create(call))
            assert isinstance(error, MalformedResponse)
            assert elsewhere.url in error.message
            assert "token" not in error.message
            assert len(server.received) == 1
        assert elsewhere.connections == 0  # so no Authorization went there either


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x00\x01",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ],
    ids=["endless header", "many headers", "length", "chunk", "gzip", "version", "upgrade", "two lengths"],
)
async def test_odd_answer_is_an_error_of_ours(transport: MakeTransport, said: bytes) -> None:
    async with FaultServer.of(Act(say=said)) as server:
        error = await refused(transport(server.url).create(POST))
        assert isinstance(error, TransportError | MalformedResponse)
        assert getattr(error, "sent", True)


_PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 503 \r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: deflate\r\n",
        b"Content-Encoding: br\r\n",
        b"Content-Type: text/html; charset=\xff\r\n",
        b"Set-Cookie: a=\x00\r\n",
        b"Retry-After: 99999999999999999999999\r\n",
        b"Date: never\r\n",
        b"Date: Fri, 31 Dec 99999 23:59:59 GMT\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b'{"code": 0}',
        b'{"code": 1004, "message": null, "request_id": 7}',
        b'{"code": 1e999}',
        b"[" * 2000,
        b"\x1f\x8b\x08\x00",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    said=st.lists(_PIECES | st.binary(max_size=40), max_size=8).map(b"".join), then=st.sampled_from(["close", "reset"])
)
def test_whatever_bytes_come_back_no_foreign_exception_leaks(said: bytes, then: str) -> None:
    async def ask() -> None:
        async with FaultServer.of(Act(say=said, then=then)) as server:  # type: ignore[arg-type]
            pool = SessionPool(PoolLimits())
            credentials = AccessKey("access", "secret-of-at-least-thirty-two-characters")
            sender = Transport(server.url, pool, Signer(credentials), RetryPolicy(), wall, lambda: 0.5)
            try:
                await sender.create(POST)
            except KlingError as error:
                assert getattr(error, "sent", True)  # noqa: PT017 -- an answer is allowed too
            finally:
                await pool.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(ask())

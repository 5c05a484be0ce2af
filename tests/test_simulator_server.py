from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import logging
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from simulator_desk import EXTEND, OMNI, SHOT, SOURCE, Clock
from yarl import URL

from kling_async.simulator import Fault, Simulator
from kling_async.simulator.faults import GARBAGE
from kling_async.spec import VENDOR_CODES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from kling_async.simulator.wire import JSON

# Delays of an hour must not pass by themselves here.
pytestmark = pytest.mark.real_time

CODES = {row.code for row in VENDOR_CODES}
SIGNED = {"Authorization": f"Bearer {Simulator.api_key}"}
BODY = {"video_id": SOURCE}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def vendor(clock: Clock) -> AsyncIterator[Simulator]:
    async with Simulator(clock=clock, task_seconds=60) as simulator:
        yield simulator


@pytest.fixture
async def http_session(vendor: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(vendor.url, headers=SIGNED) as session:
        yield session


async def raw(vendor: Simulator, request: bytes) -> bytes:
    """Everything that comes back on a connection of its own until the vendor ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def envelope(answer: bytes) -> dict[str, Any]:
    """The envelope in a raw answer, checked for a code that the vendor has."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    found: dict[str, Any] = json.loads(body)
    assert found["code"] in CODES
    return found


async def envelope_of(answer: aiohttp.ClientResponse) -> tuple[int, object]:
    return answer.status, (await answer.json())["code"]


def leftovers() -> set[str]:
    """Tasks beside this one."""
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


# The main road.


async def test_an_extension_from_create_to_film(
    vendor: Simulator, clock: Clock, http_session: aiohttp.ClientSession
) -> None:
    async with http_session.post(EXTEND, json=BODY) as answer:
        task_id = (await answer.json())["data"]["task_id"]
    clock.now += 60
    async with http_session.get(f"{EXTEND}/{task_id}") as answer:
        [video] = (await answer.json())["data"]["task_result"]["videos"]
    async with aiohttp.request("GET", video["url"]) as answer:
        film = await answer.read()
    assert (answer.status, answer.content_type, film[4:8]) == (200, "video/mp4", b"ftyp")


async def test_what_was_accepted_can_be_asked_for(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    async with http_session.post(EXTEND, json=BODY | {"external_task_id": "mine"}):
        pass
    assert [accepted.external_task_id for accepted in vendor.accepted] == ["mine"]


async def test_the_other_calls(http_session: aiohttp.ClientSession) -> None:
    async with http_session.post(OMNI, json=SHOT) as answer:
        created = await envelope_of(answer)
    async with http_session.get(OMNI, params={"pageNum": 1, "pageSize": 30}) as answer:
        listed = len((await answer.json())["data"])
    async with http_session.get("/account/costs?start_time=1&end_time=2") as answer:
        costs = await envelope_of(answer)
    assert (created, listed, costs) == ((200, 0), 1, (200, 0))


async def test_an_id_that_holds_a_slash(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    async with http_session.post(EXTEND, json=BODY | {"external_task_id": "a/b é"}):
        pass
    async with http_session.get(URL(f"{vendor.url}{EXTEND}/a%2Fb%20%C3%A9", encoded=True)) as answer:
        assert await envelope_of(answer) == (200, 0)


async def test_http_client_of_the_standard_library_can_use_it(vendor: Simulator) -> None:
    def talk() -> tuple[int, object]:
        connection = http.client.HTTPConnection("127.0.0.1", vendor.port)
        connection.request("POST", EXTEND, json.dumps(BODY), SIGNED)
        answer = connection.getresponse()
        found = answer.status, json.load(answer)["code"]
        connection.close()
        return found

    assert await asyncio.to_thread(talk) == (200, 0)


WAYS_TO_ASK: list[Mapping[str, str]] = [
    {},
    {"Content-Type": "application/json"},
    {"CONTENT-TYPE": "application/json; charset=utf-8"},
    {"Connection": "close"},
    {"Accept": "text/html"},
    {"X-Unknown": "1"},
    {"Accept-Encoding": "gzip, br"},
]


@pytest.mark.parametrize("headers", WAYS_TO_ASK, ids=str)
async def test_headers_as_seen_on_the_wire(http_session: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
    async with http_session.get(EXTEND, headers=headers) as answer:
        assert await envelope_of(answer) == (200, 0)


async def test_a_range_and_its_condition(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    path = f"/files/{SOURCE}.mp4"
    async with http_session.get(path) as answer:
        film, etag = await answer.read(), answer.headers["ETag"]
    async with http_session.get(path, headers={"Range": "bytes=100-", "If-Range": etag}) as answer:
        assert (answer.status, await answer.read()) == (206, film[100:])


async def test_head_of_a_film(http_session: aiohttp.ClientSession) -> None:
    async with http_session.get(f"/files/{SOURCE}.mp4") as answer:
        film = await answer.read()
    async with http_session.head(f"/files/{SOURCE}.mp4") as answer:
        assert (answer.headers["Content-Length"], await answer.read()) == (str(len(film)), b"")


async def test_head_of_nothing(http_session: aiohttp.ClientSession) -> None:
    async with http_session.head("/nothing") as answer:
        assert (answer.status, await answer.read()) == (404, b"")


async def test_the_date_is_the_engine_s(http_session: aiohttp.ClientSession) -> None:
    async with http_session.get("/nothing") as answer:
        assert answer.headers.getall("Date") == ["Fri, 15 Jan 2027 08:00:00 GMT"]


# Errors are JSON, whatever was sent.


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_unknown_path_or_method(http_session: aiohttp.ClientSession, method: str) -> None:
    async with http_session.request(method, "/nothing?a=b") as answer:
        assert await envelope_of(answer) == (404, 1202)


async def test_a_body_too_large(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json"}
    async with http_session.post(EXTEND, data=BytesIO(b" " * 5 * 1024 * 1024), headers=headers) as answer:
        assert await envelope_of(answer) == (400, 1200)


async def test_a_compressed_body(http_session: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with http_session.post(EXTEND, data=gzip.compress(json.dumps(BODY).encode()), headers=headers) as answer:
        assert await envelope_of(answer) == (200, 0)


POST_HEAD = f"POST {EXTEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {Simulator.api_key}\r\n".encode()
CHUNKED = POST_HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
NOT_HTTP = {
    "words": b"hello, vendor\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bad target": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad header": b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "endless path": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
    "two lengths": POST_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad chunk": CHUNKED + b"zz\r\n",
}


@pytest.mark.parametrize("request_", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_what_is_no_http_is_answered_in_json(vendor: Simulator, request_: bytes) -> None:
    assert envelope(await raw(vendor, request_))["code"] == 1200


ODD_HTTP = {
    "absolute target": b"GET http://elsewhere/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "authority target": b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "asterisk target": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "slashes": b"GET //[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /nothing HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("request_", ODD_HTTP.values(), ids=ODD_HTTP.keys())
async def test_odd_requests_are_answered_in_json(vendor: Simulator, request_: bytes) -> None:
    assert envelope(await raw(vendor, request_))["code"] == 1202


async def test_an_absolute_target_is_this_vendor_all_the_same(vendor: Simulator) -> None:
    request = f"GET http://elsewhere{EXTEND}?pageNum=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = await raw(vendor, request.encode() + f"Authorization: Bearer {vendor.api_key}\r\n\r\n".encode())
    assert envelope(answer)["code"] == 0


async def test_a_body_in_chunks(vendor: Simulator) -> None:
    body = json.dumps(BODY).encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert envelope(await raw(vendor, CHUNKED + chunks))["code"] == 0


async def test_compression_that_is_none(vendor: Simulator) -> None:
    body = b"not compressed at all"
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    assert envelope(await raw(vendor, POST_HEAD + head + body))["code"] == 1200


async def test_curl_is_told_to_send_its_body(vendor: Simulator) -> None:
    body = json.dumps(BODY).encode()
    head = b"Expect: 100-continue\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(POST_HEAD + head)
    told = await reader.readuntil(b"\r\n\r\n")
    writer.write(body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert (told, envelope(answer)["code"]) == (b"HTTP/1.1 100 Continue\r\n\r\n", 0)


async def test_a_mistake_of_a_test_is_told_in_json(
    vendor: Simulator, http_session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    def mistake(body: object) -> None:
        raise KeyError("oops")

    vendor.script(Fault.changed(mistake))
    async with http_session.get(EXTEND) as answer:
        assert await envelope_of(answer) == (500, 5000)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_caller_who_hangs_up_is_no_error(vendor: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(POST_HEAD + b'Content-Length: 500\r\n\r\n{"video_id":')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await vendor.stop()
    assert (vendor.accepted, caplog.records) == ([], [])


# Faults on the wire.


async def test_reset(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.reset())
    with pytest.raises(aiohttp.ClientOSError):
        await http_session.post(EXTEND, json=BODY)


async def test_reset_after_the_task_was_made(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.reset(after=True))
    with pytest.raises(aiohttp.ClientOSError):
        await http_session.post(EXTEND, json=BODY)
    assert len(vendor.accepted) == 1


async def test_close(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.close())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http_session.post(EXTEND, json=BODY)


@pytest.mark.parametrize("reset", [False, True])
async def test_truncated(vendor: Simulator, http_session: aiohttp.ClientSession, reset: bool) -> None:
    vendor.script(Fault.truncated(reset=reset))
    async with http_session.post(EXTEND, json=BODY) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_truncated_at_its_first_byte(vendor: Simulator) -> None:
    vendor.script(Fault.truncated(0))
    answer = await raw(vendor, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_truncated_with_the_right_length(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.truncated(complete=True))
    async with http_session.post(EXTEND, json=BODY) as answer:
        with pytest.raises(json.JSONDecodeError):
            await answer.json()


async def test_a_film_that_breaks_off_at_a_byte(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.truncated(1000, on="file"))
    answer = await raw(vendor, f"GET /files/{SOURCE}.mp4 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert len(answer.partition(b"\r\n\r\n")[2]) == 1000


async def test_trickle(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.trickle(1e-9))
    async with http_session.post(EXTEND, json=BODY) as answer:
        assert await envelope_of(answer) == (200, 0)


async def test_garbage(vendor: Simulator) -> None:
    vendor.script(Fault.garbage())
    assert await raw(vendor, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == GARBAGE


async def test_html(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.html(504))
    async with http_session.get(EXTEND) as answer:
        assert (answer.status, answer.content_type) == (504, "text/html")


async def test_a_redirect_leads_to_its_target(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.script(Fault.redirect(f"{vendor.url}/files/{SOURCE}.mp4"))
    async with http_session.get(EXTEND) as answer:
        assert (answer.status, answer.content_type) == (200, "video/mp4")


async def test_the_connection_goes_on_after_a_harmless_fault(
    vendor: Simulator, http_session: aiohttp.ClientSession
) -> None:
    vendor.script(Fault.empty(), Fault.code(1302, headers={"Retry-After": "1"}))
    async with http_session.get(EXTEND) as empty:
        assert await empty.read() == b""
    async with http_session.get(EXTEND) as slowed:
        assert slowed.headers["Retry-After"] == "1"
    async with http_session.get(EXTEND) as answer:
        assert await envelope_of(answer) == (200, 0)


# Start, stop, and start again.


def seen_and_delayed() -> tuple[asyncio.Event, Fault]:
    """A fault that holds the answer back for an hour, and an event that says when it began to."""
    seen = asyncio.Event()

    def change(body: dict[str, JSON]) -> JSON:
        seen.set()
        return body

    return seen, Fault.changed(change, delay=3600)


async def test_stopping_does_not_wait_for_a_delayed_answer(
    vendor: Simulator, http_session: aiohttp.ClientSession
) -> None:
    seen, fault = seen_and_delayed()
    vendor.script(fault)
    asked = asyncio.ensure_future(http_session.get(EXTEND))
    await seen.wait()
    await vendor.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked


async def test_stopping_ends_the_delays_of_callers_who_hung_up(vendor: Simulator) -> None:
    seen, fault = seen_and_delayed()
    vendor.script(fault)
    _, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    await seen.wait()
    writer.close()
    await writer.wait_closed()
    await vendor.stop()
    assert leftovers() == set()


async def test_stopping_ends_a_trickle(
    vendor: Simulator, http_session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.script(Fault.trickle(3600))
    async with http_session.get(EXTEND) as answer:
        await vendor.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert caplog.records == []


async def test_stopping_ends_idle_connections(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    await vendor.stop()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_stopping_twice_is_stopping(vendor: Simulator) -> None:
    await vendor.stop()
    await vendor.stop()
    assert not vendor.running


async def test_a_stopped_vendor_is_not_there(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    await vendor.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http_session.get(EXTEND)


async def test_a_restarted_vendor_is_where_it_was(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    async with http_session.post(EXTEND, json=BODY | {"external_task_id": "mine"}):
        pass
    await vendor.stop()
    async with vendor, http_session.get(f"{EXTEND}/mine") as answer:
        assert await envelope_of(answer) == (200, 0)


async def test_another_server_may_take_the_engine_over(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    async with http_session.post(EXTEND, json=BODY | {"external_task_id": "mine"}):
        pass
    await vendor.stop()
    async with Simulator(vendor.engine, port=vendor.port) as second, http_session.get(f"{EXTEND}/mine") as answer:
        assert (second.url, await envelope_of(answer)) == (vendor.url, (200, 0))


def test_one_simulator_in_two_loops() -> None:
    simulator = Simulator()

    async def ask() -> int:
        async with simulator, aiohttp.request("GET", simulator.url) as answer:
            return answer.status

    assert [asyncio.run(ask()), asyncio.run(ask())] == [404, 404]


async def test_a_port_in_use_is_an_oserror(vendor: Simulator) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Simulator(port=vendor.port).start()


async def test_results_are_on_the_port_that_answers(vendor: Simulator) -> None:
    assert vendor.engine.base_url == vendor.url == f"http://127.0.0.1:{vendor.port}"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- not bound to
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_the_url_of_a_host(host: str, url: str) -> None:
    assert Simulator(host=host, port=80).url == url


def test_the_options_reach_the_engine() -> None:
    assert Simulator(slots=3).engine.slots == 3


async def test_repr_shows_live_state(vendor: Simulator) -> None:
    shown = repr(vendor)
    await vendor.stop()
    assert (shown.split(", ")[0], repr(vendor).split(", ")[0]) == (f"<Simulator {vendor.url}", "<Simulator stopped")


async def test_the_engine_is_within_reach(vendor: Simulator, http_session: aiohttp.ClientSession) -> None:
    vendor.fail_next()
    source = vendor.add_source(duration=7, model="kling-v1-6")
    for fields in (BODY, {"video_id": source, "external_task_id": "mine"}, {}):
        async with http_session.post(EXTEND, json=fields):
            pass
    vendor.fail_task("mine")
    vendor.script(Fault.reset())
    left = len(vendor.faults)
    vendor.clear_faults()
    failures = [task.failure for task in vendor.engine._ledger.tasks.values()]
    assert (failures, vendor.refused, left, vendor.faults, vendor.count("create")) == (
        ["The generation failed"] * 2,
        {1201: 1},
        1,
        (),
        3,
    )


def test_the_secret_key_is_long_enough_for_its_algorithm() -> None:
    assert len(Simulator.secret_key) >= 32


def test_the_example_of_the_specification_stands_ready() -> None:
    assert Simulator().sources[0] == SOURCE

"""Callbacks over HTTP: what is refused unread, what is read no further, and what reaches the function behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from kling_async import Answer
from kling_async.rules.callbacks import TAKEN
from kling_async.runtime.receivers import CallbackApp, answered
from kling_async.spec import CALLBACK_MAX_BYTES

JSON = {"Content-Type": "application/json"}


class Taken:
    """What reached the function behind."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: Mapping[str, str] = {}

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        self.bodies.append(body)
        self.headers = headers
        return Answer(413, b"too large\n") if len(body) > CALLBACK_MAX_BYTES else TAKEN


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture(params=["aiohttp", "asgi"])
async def url(request: pytest.FixtureRequest, taken: Taken) -> AsyncIterator[str]:
    """A real server around each of the receivers."""
    if request.param == "aiohttp":

        async def handle(request: web.Request) -> web.Response:
            return await answered(request, taken)

        app = web.Application()
        app.router.add_route("*", "/callback", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
        await runner.cleanup()
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(CallbackApp(taken), log_level="error", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/callback"
        server.should_exit = True
        await serving


async def asked(
    url: str,
    data: bytes | AsyncIterator[bytes] | None = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] = JSON,
) -> tuple[int, str, Mapping[str, str]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, data=data, headers=headers) as response:
        return response.status, await response.text(), response.headers.copy()


async def test_callback_reaches_the_function_byte_for_byte(url: str, taken: Taken) -> None:
    body = b'{"task_id": "\xe5\xa4\xaa"}  '
    assert (await asked(url, body, headers=JSON | {"Webhook-Id": "msg-1"}))[:2] == (200, "ok\n")
    assert taken.bodies == [body]
    assert {name.lower(): value for name, value in taken.headers.items()}["webhook-id"] == "msg-1"


async def test_body_in_pieces_reaches_it_too(url: str, taken: Taken) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"%d" % number
            await asyncio.sleep(0.01)

    assert (await asked(url, pieces()))[0] == 200
    assert taken.bodies == [b"0123456789"]


async def test_largest_body_passes(url: str, taken: Taken) -> None:
    assert (await asked(url, b"x" * CALLBACK_MAX_BYTES))[0] == 200
    assert len(taken.bodies[0]) == CALLBACK_MAX_BYTES


async def test_body_that_says_it_is_too_large_is_not_read(url: str, taken: Taken) -> None:
    assert (await asked(url, b"x" * (CALLBACK_MAX_BYTES + 1)))[0] == 413
    assert not taken.bodies


async def test_body_that_turns_out_too_large_is_read_no_further(url: str, taken: Taken) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield b"x" * 65536
            sent += 65536
            await asyncio.sleep(0.01)

    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.post(url, data=endless(), headers=JSON))
        response = await asking
        assert response.status == 413
        response.close()
    assert sent <= 4 * CALLBACK_MAX_BYTES
    assert all(len(body) <= CALLBACK_MAX_BYTES + 65536 for body in taken.bodies)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_405(url: str, taken: Taken, method: str) -> None:
    status, _, headers = await asked(url, method=method)
    assert (status, headers["Allow"]) == (405, "POST")
    assert not taken.bodies


async def test_unknown_type_is_415_and_not_read(url: str, taken: Taken) -> None:
    assert (await asked(url, b"{}", headers={"Content-Type": "text/html"}))[0] == 415
    assert not taken.bodies


async def test_header_that_came_twice_is_seen_twice(url: str, taken: Taken) -> None:
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = "POST /callback HTTP/1.1", f"Host: {host}", "Content-Length: 2", "Webhook-Id: a", "Webhook-Id: b"
    writer.write("\r\n".join([*lines, "Connection: close", "", "{}"]).encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
    assert [value for name, value in taken.headers.items() if name.lower() == "webhook-id"] in (["a", "b"], ["a, b"])


# --- ASGI without a server -------------------------------------------------------------------------------------------

Message = MutableMapping[str, object]


async def called(app: CallbackApp, scope: Message, *messages: Message) -> list[Message]:
    """What the application sends."""
    sent: list[Message] = []
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_connection_that_ends_in_the_body_is_not_answered(taken: Taken) -> None:
    scope: Message = {"type": "http", "method": "POST", "headers": []}
    begun: Message = {"type": "http.request", "body": b"{", "more_body": True}
    assert await called(CallbackApp(taken), scope, begun, {"type": "http.disconnect"}) == []
    assert not taken.bodies


async def test_websockets_are_closed(taken: Taken) -> None:
    assert [m["type"] for m in await called(CallbackApp(taken), {"type": "websocket"})] == ["websocket.close"]


async def test_it_lives_with_its_server(taken: Taken) -> None:
    phases: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await called(CallbackApp(taken), {"type": "lifespan"}, *phases)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_function_behind_is_not_shown() -> None:
    show: Callable[[object], str] = repr
    assert show(CallbackApp(Taken())) == "CallbackApp()"

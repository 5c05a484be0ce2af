"""Callbacks over HTTP: an ASGI application and a handler for aiohttp.web, around a function that takes them in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, cast

import attrs

from kling_async import spec
from kling_async.rules.callbacks import TOO_LARGE, Answer, refused_unread

if TYPE_CHECKING:
    from aiohttp import web

TakeIn = Callable[[bytes, Mapping[str, str]], Awaitable[Answer]]
Message = MutableMapping[str, object]


# --- aiohttp.web -----------------------------------------------------------------------------------------------------


async def answered(request: web.Request, take_in: TakeIn) -> web.Response:
    """The response to a request that should be a callback; its body is read no further than one may be long."""
    answer = refused_unread(request.headers, method=request.method)
    if answer is None:
        body = await _read(request)
        answer = TOO_LARGE if body is None else await take_in(body, request.headers)
    from aiohttp import web  # noqa: PLC0415 - whoever gave us the request has it; everybody else does without

    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def _read(request: web.Request) -> bytes | None:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > spec.CALLBACK_MAX_BYTES:
            return None
    return bytes(body)


# --- ASGI ------------------------------------------------------------------------------------------------------------

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@attrs.frozen
class CallbackApp:
    """An ASGI application that takes callbacks at whatever path it is mounted."""

    _take_in: TakeIn = attrs.field(repr=False)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        answer = refused_unread(headers, method=str(scope["method"]))
        if answer is None:
            body = await _body(receive)
            if body is None:
                return  # nobody is there any more
            # One byte too many, and it is refused by its length.
            answer = await self._take_in(body, headers)
        lines = {"content-length": str(len(answer.body)), **answer.headers}
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})


def _headers(scope: Message) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        known, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[known] = f"{headers[known]}, {text}" if known in headers else text
    return headers


async def _body(receive: Receive) -> bytes | None:
    """The body, or as much of it as shows that it is too large; `None` when the connection ended before it did."""
    body = bytearray()
    while len(body) <= spec.CALLBACK_MAX_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += cast("bytes", message.get("body", b""))
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _live(receive: Receive, send: Send) -> None:
    """Begins and ends with the server, where it is no part of another application."""
    while True:
        phase = str((await receive())["type"])
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return

"""What a user of a web framework writes: read by strict type checkers, never run. No type in it may be unknown."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import assert_type

from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from kling_async import Answer, AnyCallbackStore, Callbacks, CallbackStore, KlingClient, Task
from kling_async.simulator import Delivery, Posted, Simulator

store: AnyCallbackStore = CallbackStore("callbacks.sqlite3")
kling = KlingClient(webhook_secrets=["whsec_..."], callback_store=store)


@kling.callbacks.on_task
async def later(task: Task) -> None:
    assert_type(task, Task)


@kling.callbacks.on_task
def at_once(task: Task) -> str:
    return task.id


@asynccontextmanager
async def lifespan(_: object) -> AsyncGenerator[None]:
    async with kling:
        yield


async def any_framework(body: bytes, headers: dict[str, str]) -> None:
    assert_type(kling.callbacks, Callbacks)
    answer = await kling.callbacks.receive(body, headers)
    assert_type(answer, Answer)
    assert_type(answer.status, int)
    assert_type(answer.body, bytes)
    assert_type(answer.ok, bool)
    assert_type(kling.callbacks.verify(body, headers), Task)
    task = kling.callbacks.verify(body, headers)
    await later(task)
    assert_type(at_once(task), str)


fast = FastAPI(lifespan=lifespan)
fast.router.routes.append(Route("/kling", kling.callbacks.asgi))
star = Starlette(routes=[Route("/kling", kling.callbacks.asgi)], lifespan=lifespan)
plain = web.Application()
plain.router.add_post("/kling", kling.callbacks.aiohttp_handler)

simulator = Simulator(webhook_secret="whsec_...", delivery=Delivery(lose=0.5))
assert_type(simulator.posted, list[Posted])

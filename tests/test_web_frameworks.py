"""README's examples for web frameworks, run in them, behind real servers: the vendor calls, and a wait ends."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.test import AsyncClient
from posts import OTHER, SECRET, body, headers

from kling_async import KlingClient, Task, TaskStatus
from kling_async.simulator import Simulator
from kling_async.spec import CALLBACK_MAX_BYTES

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"<!-- web: (\w+) -->\n```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
FRAMEWORKS = ["fastapi", "starlette", "aiohttp", "django"]

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of the tests", MIDDLEWARE=[])
urlpatterns: list[object] = []


def now() -> float:
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Unix seconds that go with the loop's time, and now with the machine's, which the examples' clients have."""
    return time.time() + now()


@pytest.fixture
async def vendor() -> AsyncIterator[Simulator]:
    """A vendor that signs. Its tasks end between two looks of the default policy."""
    async with Simulator(clock=wall, task_seconds=62.0, submitted_seconds=10.0, webhook_secret=SECRET) as simulator:
        yield simulator


@asynccontextmanager
async def served(framework: str, module: ModuleType) -> AsyncIterator[str]:
    """The URL of a server that runs the example."""
    if framework == "aiohttp":
        runner = web.AppRunner(module.app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()
        return
    if framework == "django":
        urlpatterns[:] = module.urlpatterns
    app = get_asgi_application() if framework == "django" else module.app
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving
    if framework == "django":
        await cast("KlingClient", module.kling).close()


@pytest.fixture(params=FRAMEWORKS)
async def example(
    request: pytest.FixtureRequest, vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, KlingClient]]:
    """The URL of the example's server, and its client."""
    monkeypatch.setenv("KLING_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("KLING_BASE_URL", vendor.url)
    monkeypatch.setenv("KLING_API_KEY", vendor.api_key)
    module = ModuleType("example")
    exec(compile(BLOCKS[request.param], "README.md", "exec"), module.__dict__)  # noqa: S102 - our own README
    async with served(request.param, module) as url:
        monkeypatch.setenv("PUBLIC_URL", url)
        yield f"{url}/kling/callback", module.kling


async def asked(url: str, data: bytes, told: dict[str, str], method: str = "POST") -> int:
    async with aiohttp.ClientSession() as session, session.request(method, url, data=data, headers=told) as response:
        return response.status


async def test_wait_ends_when_the_vendor_calls(example: tuple[str, KlingClient], vendor: Simulator) -> None:
    url, kling = example
    task = await kling.video_extend.create(vendor.sources[0], callback_url=url)
    begun = now()
    assert (await kling.video_extend.wait(task)).status is TaskStatus.SUCCEED
    # Polls are at 60 and 65. What this machine takes counts at the vendor's, whose clock it moves too.
    assert 60.5 <= now() - begun <= 62.5
    await asyncio.sleep(1.0)
    assert [(posted.status, posted.answer) for posted in vendor.posted] == [
        ("submitted", 200),
        ("processing", 200),
        ("succeed", 200),
    ]


async def test_every_kind_of_answer_comes_through(example: tuple[str, KlingClient]) -> None:
    url, _ = example
    given = body()
    true, false = headers(given, at=wall()), headers(given, at=wall(), secrets=(OTHER,))
    assert await asked(url, given, true) == 200
    assert await asked(url, given, true) == 200
    assert await asked(url, given, false) == 401
    assert await asked(url, given, {"Content-Type": "application/json"}) == 401
    assert await asked(url, given, true | {"Content-Type": "text/html"}) == 415
    assert await asked(url, b" " * (CALLBACK_MAX_BYTES + 1), true) == 413
    assert await asked(url, b"", {}, "GET") == 405


async def test_handlers_run_behind_the_answer(example: tuple[str, KlingClient]) -> None:
    url, kling = example
    heard: list[str] = []

    @kling.callbacks.on_task
    async def handle(task: Task) -> None:
        await asyncio.sleep(5.0)
        heard.append(task.id)

    assert await asked(url, body(), headers(body(), at=wall())) == 200
    assert now() < 4.0
    await asyncio.sleep(6.0)
    assert len(heard) == 1


@pytest.mark.parametrize("example", ["fastapi"], indirect=True)
async def test_error_is_told_in_http(example: tuple[str, KlingClient], vendor: Simulator) -> None:
    url, _ = example
    wrong = url.replace("kling/callback", "extend/no-such-video")
    async with aiohttp.ClientSession() as session, session.post(wrong) as response:
        told = await response.json()
    assert response.status == 422
    assert told["created"] == "no"
    assert "video_id no-such-video does not exist" in told["error"]


@pytest.mark.parametrize("example", ["fastapi"], indirect=True)
async def test_request_that_waits_is_answered_when_the_vendor_calls(
    example: tuple[str, KlingClient], vendor: Simulator
) -> None:
    url, _ = example
    begun = now()
    extend = url.replace("kling/callback", f"extend/{vendor.sources[0]}")
    async with aiohttp.ClientSession() as session, session.post(extend) as response:
        assert (await response.json())["video"].startswith(vendor.url)
    assert now() - begun <= 62.5


@pytest.mark.parametrize("example", ["django"], indirect=True)
@pytest.mark.parametrize(("secret", "status"), [(SECRET, 200), (OTHER, 401)])
async def test_djangos_own_test_client_serves_as_well(
    example: tuple[str, KlingClient], secret: str, status: int
) -> None:
    told = headers(body(), at=wall(), secrets=(secret,))
    del told["Content-Type"]  # which the test client adds by itself
    response = await AsyncClient().post("/kling/callback", body(), content_type="application/json", headers=told)
    assert response.status_code == status


def test_readme_has_an_example_for_each() -> None:
    assert sorted(BLOCKS) == sorted(FRAMEWORKS)

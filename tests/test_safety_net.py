"""Polling beside callbacks: rare while they arrive, and as frequent as ever an interval after the last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from posts import LEGACY, SECRET, body, headers

from kling_async import ApiKey, KlingClient, NotFound, PollPolicy
from kling_async.simulator import Simulator
from kling_async.testing import wall

INTERVAL = 5.0


@pytest.fixture
async def vendor() -> AsyncIterator[Simulator]:
    """A vendor whose tasks take long, and whose callbacks the tests post themselves."""
    async with Simulator(clock=wall, task_seconds=500.0) as simulator:
        yield simulator


@pytest.fixture
async def client(vendor: Simulator) -> AsyncIterator[KlingClient]:
    async with KlingClient(
        ApiKey(vendor.api_key),
        base_url=vendor.url,
        wall=wall,
        draw=lambda: 0.0,
        webhook_secrets=[SECRET],
        polling=PollPolicy(interval=INTERVAL),
    ) as kling:
        yield kling


def looks(vendor: Simulator) -> int:
    return vendor.count("get") + vendor.count("list")


async def callbacks(kling: KlingClient, seconds: float) -> None:
    """One every two seconds, of other tasks of the account."""
    for _ in range(int(seconds / 2)):
        given = body({key: LEGACY[key] for key in ("updated_at",)}, task_id="7", task_status="processing")
        delivery = f"msg-{asyncio.get_running_loop().time()}".replace(".", "-")
        assert (await kling.callbacks.receive(given, headers(given, at=wall(), id=delivery))).ok
        await asyncio.sleep(2.0)


async def waiting_for_one(kling: KlingClient, vendor: Simulator) -> asyncio.Task[object]:
    task = await kling.video_extend.create(vendor.sources[0])
    waiting: asyncio.Task[object] = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(0.1)
    return waiting


async def test_without_callbacks_a_task_is_looked_at_once_an_interval(client: KlingClient, vendor: Simulator) -> None:
    waiting = await waiting_for_one(client, vendor)
    await asyncio.sleep(120.0)
    assert 20 <= looks(vendor) <= 24
    waiting.cancel()


async def test_while_callbacks_arrive_it_is_looked_at_once_in_six(client: KlingClient, vendor: Simulator) -> None:
    waiting = await waiting_for_one(client, vendor)
    await callbacks(client, 120.0)
    assert 3 <= looks(vendor) <= 5
    waiting.cancel()


async def test_when_they_stop_polling_takes_over_within_an_interval(client: KlingClient, vendor: Simulator) -> None:
    waiting = await waiting_for_one(client, vendor)
    await callbacks(client, 64.0)
    before = looks(vendor)
    await asyncio.sleep(INTERVAL)
    assert looks(vendor) == before + 1
    await asyncio.sleep(10 * INTERVAL)
    assert looks(vendor) >= before + 10
    waiting.cancel()


async def test_what_nobody_signed_does_not_make_polling_rarer(vendor: Simulator) -> None:
    key = ApiKey(vendor.api_key)
    async with KlingClient(key, base_url=vendor.url, wall=wall, polling=PollPolicy(interval=INTERVAL)) as kling:
        waiting = await waiting_for_one(kling, vendor)
        await kling.callbacks.receive(body(task_id="7"), {})
        before = looks(vendor)
        for _ in range(60):
            await kling.callbacks.receive(body(task_id="7"), {})
            await asyncio.sleep(2.0)
        assert looks(vendor) - before >= 20
        waiting.cancel()


async def test_an_id_never_seen_is_asked_for_at_once_even_while_callbacks_arrive(client: KlingClient) -> None:
    arriving = asyncio.create_task(callbacks(client, 20.0))
    await asyncio.sleep(10.0)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(NotFound):
        await client.video_extend.wait("no-such-task")
    assert asyncio.get_running_loop().time() - begun < 1.0
    await arriving

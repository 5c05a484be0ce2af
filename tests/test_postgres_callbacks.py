"""Callbacks that land on any host reach the worker that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from aiohttp import web
from postgres import PASSWORD, Postgres
from posts import SECRET

from kling_async import ApiKey, JournalError, KlingClient, PollPolicy, VideoExtendRequest
from kling_async.distributed import PostgresBatch, PostgresCallbackStore, Worker
from kling_async.distributed import callbacks as module
from kling_async.simulator import Simulator

pytestmark = pytest.mark.real_time


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresCallbackStore]:
    store = PostgresCallbackStore(url)
    yield store
    await store.close()


async def test_what_was_added_is_news_in_its_order(store: PostgresCallbackStore) -> None:
    assert [await store.add(name, name.encode()) for name in ("a", "b", "a")] == [True, True, False]
    place, news = await store.news("")
    assert news == [("a", b"a"), ("b", b"b")]
    await store.add("c", b"\0\xff")
    assert (await store.news(place))[1] == [("c", b"\0\xff")]


async def test_whoever_waits_hears_of_it_at_once(url: str, store: PostgresCallbackStore) -> None:
    other = PostgresCallbackStore(url)
    try:
        waiting = asyncio.create_task(other.news(""))
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        await store.add("a", b"a")
        assert (await waiting)[1] == [("a", b"a")]
        assert asyncio.get_running_loop().time() - began < 1
    finally:
        await other.close()


async def test_none_is_left_out_where_many_come_at_once(url: str, store: PostgresCallbackStore) -> None:
    async def add(number: int) -> None:
        await store.add(str(number), b"")

    seen: set[str] = set()
    adding = asyncio.gather(*(add(number) for number in range(200)))
    place = ""
    async with asyncio.timeout(20):
        while len(seen) < 200:
            place, news = await store.news(place)
            seen |= {delivery for delivery, _ in news}
    await adding


async def test_silence_is_looked_through(store: PostgresCallbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(store, "_hear", lambda _: None)
    store._database.ears.clear()
    waiting = asyncio.create_task(store.news(""))
    await asyncio.sleep(0.3)
    await store.add("a", b"a")
    assert (await waiting)[1] == [("a", b"a")]


async def test_old_ones_are_removed(url: str, store: PostgresCallbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.add("old", b"")
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE kling_async.callbacks SET added_at = now() - interval '16 minutes'")
    await connection.close()
    await store.add("new", b"")
    assert [delivery for delivery, _ in (await store.news(""))[1]] == ["new"]


async def test_it_can_be_closed_twice_and_used_again(store: PostgresCallbackStore) -> None:
    await store.add("a", b"a")
    assert repr(store).endswith("open>")
    await store.close()
    await store.close()
    assert repr(store).endswith("closed>")
    assert not await store.add("a", b"a")
    assert PASSWORD not in repr(store)


def test_it_serves_one_loop_after_the_other(postgres: Postgres) -> None:
    store = PostgresCallbackStore(asyncio.run(postgres.new()))

    async def use(name: str) -> list[str]:
        reading = asyncio.create_task(store.news(""))
        others = [asyncio.create_task(store.add(f"{name}-{number}", b"")) for number in range(3)]
        await asyncio.gather(*others)
        await reading
        waiting = asyncio.create_task(store.news("1000"))
        await asyncio.sleep(0.2)
        waiting.cancel()
        _, news = await store.news("")
        await store.close()
        return [delivery for delivery, _ in news]

    assert sorted(asyncio.run(use("a"))) == ["a-0", "a-1", "a-2"]
    assert len(asyncio.run(use("b"))) == 6


async def test_database_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(JournalError):
        await PostgresCallbackStore(f"{url}-none").add("a", b"a")


async def test_callback_that_lands_elsewhere_ends_the_wait_of_a_worker(url: str) -> None:
    """The worker looks once in ten minutes; the callback lands at another client, as if on another host."""
    simulator = Simulator(task_seconds=0.3, submitted_seconds=0.1, webhook_secret=SECRET)

    def client() -> KlingClient:
        return KlingClient(
            ApiKey(simulator.api_key),
            base_url=simulator.url,
            polling=PollPolicy(interval=600.0),
            webhook_secrets=[SECRET],
            callback_store=PostgresCallbackStore(url),
        )

    async with simulator, client() as receiver, client() as kling, PostgresBatch(url) as batch:
        app = web.Application()
        app.router.add_post("/callback", receiver.callbacks.aiohttp_handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
        worker = Worker(url, kling, limit=3)
        running = asyncio.create_task(worker.run())
        request = VideoExtendRequest(video_id="original-video-id", callback_url=address)
        async with asyncio.timeout(10):
            assert [outcome.ok async for outcome in batch.run({"a": request, "b": request})] == [True, True]
        worker.stop()
        await running
        await runner.cleanup()


async def test_restart_of_postgresql_loses_none(postgres: Postgres, store: PostgresCallbackStore) -> None:
    await store.add("a", b"a")
    place, _ = await store.news("")
    waiting = asyncio.create_task(store.news(place))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    await store.add("b", b"b")
    assert (await waiting)[1] == [("b", b"b")]

"""A callback that lands in one worker wakes another: the file between them, and two clients on it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from posts import OTHER, SECRET, body, headers

from kling_async import AnyCallbackStore, ApiKey, CallbackStore, ConfigurationError, KlingClient, PollPolicy, Task
from kling_async.simulator import Simulator
from kling_async.testing import wall

NEVER = PollPolicy(interval=100_000.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CallbackStore]:
    store = CallbackStore(tmp_path / "callbacks.sqlite3", wall=wall)
    yield store
    await store.close()


def worker(simulator: Simulator, store: AnyCallbackStore, *, polling: PollPolicy = NEVER) -> KlingClient:
    return KlingClient(
        ApiKey(simulator.api_key),
        base_url=simulator.url,
        wall=wall,
        polling=polling,
        webhook_secrets=[SECRET],
        callback_store=store,
    )


@pytest.fixture
async def workers(simulator: Simulator, tmp_path: Path) -> AsyncIterator[tuple[KlingClient, KlingClient]]:
    """Two clients that do not poll within the test's time, on one file."""
    stores = [CallbackStore(tmp_path / "callbacks.sqlite3", wall=wall) for _ in range(2)]
    async with worker(simulator, stores[0]) as a, worker(simulator, stores[1]) as b:
        yield a, b


def now() -> float:
    return asyncio.get_running_loop().time()


async def posted(kling: KlingClient, given: bytes, id: str = "msg-1") -> int:
    return (await kling.callbacks.receive(given, headers(given, at=wall(), id=id))).status


# --- the file --------------------------------------------------------------------------------------------------------


async def test_what_was_put_is_news_in_its_order(store: CallbackStore) -> None:
    for name in ("a", "b", "c"):
        assert await store.add(name, name.encode())
    assert await store.news("") == ("3", [("a", b"a"), ("b", b"b"), ("c", b"c")])
    assert await store.news("2") == ("3", [("c", b"c")])


async def test_a_delivery_is_kept_once(store: CallbackStore) -> None:
    assert [await store.add("a", b"1"), await store.add("a", b"2")] == [True, False]
    assert await store.news("") == ("1", [("a", b"1")])


async def test_news_are_waited_for(store: CallbackStore) -> None:
    await store.add("a", b"a")
    waiting = asyncio.create_task(store.news("1"))
    await asyncio.sleep(10.0)
    assert not waiting.done()
    begun = now()
    await store.add("b", b"b")
    assert await waiting == ("2", [("b", b"b")])
    assert now() - begun <= 0.26


async def test_what_is_old_is_removed_for_good(store: CallbackStore) -> None:
    await store.add("a", b"planted-" * 1000)
    await asyncio.sleep(899.0)
    await store.add("b", b"b")
    assert len((await store.news(""))[1]) == 2
    await asyncio.sleep(60.0)
    assert [delivery for delivery, _ in (await store.news(""))[1]] == ["b"]
    assert b"planted" not in b"".join(file.read_bytes() for file in store.path.parent.iterdir())


async def test_old_callbacks_are_removed_although_none_come(store: CallbackStore) -> None:
    await store.add("a", b"a")
    waiting = asyncio.create_task(store.news("1"))
    await asyncio.sleep(1000.0)
    waiting.cancel()
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("SELECT count(*) FROM callbacks").fetchone() == (0,)


async def test_places_are_never_given_twice(store: CallbackStore) -> None:
    await store.add("a", b"a")
    await asyncio.sleep(1000.0)
    await store.add("b", b"b")
    await asyncio.sleep(1000.0)
    assert await store.add("c", b"c")
    assert (await store.news(""))[0] == "3"


async def test_many_come_in_parts(store: CallbackStore) -> None:
    for number in range(520):
        await store.add(str(number), b"")
    place, first = await store.news("")
    assert (place, len(first), len((await store.news(place))[1])) == ("500", 500, 20)


async def test_file_is_readable_for_its_owner_alone(store: CallbackStore) -> None:
    await store.add("a", b"a")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_closed_it_can_be_used_again(store: CallbackStore) -> None:
    await store.add("a", b"a")
    assert repr(store) == f"<CallbackStore {store.path}, open>"
    await store.close()
    await store.close()
    assert repr(store) == f"<CallbackStore {store.path}, closed>"
    assert await store.add("a", b"a") is False


async def test_file_of_another_program_is_left_alone(store: CallbackStore) -> None:
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("CREATE TABLE theirs (x)")
    before = store.path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="another program's file"):
        await store.add("a", b"a")
    assert store.path.read_bytes() == before


async def test_file_that_is_no_database_is_left_alone(store: CallbackStore) -> None:
    store.path.write_text("not a database, and of more than a few letters, so that it is looked at")
    with pytest.raises(sqlite3.DatabaseError):
        await store.add("a", b"a")


def test_path_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="null character"):
        CallbackStore("a\0b")


@pytest.mark.parametrize("attempt", range(10))
async def test_several_may_make_it_at_once(tmp_path: Path, attempt: int) -> None:
    stores = [CallbackStore(tmp_path / "callbacks.sqlite3", wall=wall) for _ in range(8)]
    added = await asyncio.gather(*(store.add(f"{n}-{m}", b"x") for n in range(10) for m, store in enumerate(stores)))
    assert all(added)
    assert len((await stores[0].news(""))[1]) == 80
    await asyncio.gather(*(store.close() for store in stores))


async def test_forked_child_opens_the_file_anew(store: CallbackStore) -> None:
    await store.add("a", b"a")
    left = store._database
    store._process -= 1  # as a child sees it
    assert await store.add("b", b"b")
    assert store._database is not left
    assert left is not None


# --- two workers -----------------------------------------------------------------------------------------------------


async def test_callback_in_one_worker_wakes_the_other_within_a_second(
    workers: tuple[KlingClient, KlingClient], simulator: Simulator
) -> None:
    a, b = workers
    task = await b.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(b.video_extend.wait(task))
    await asyncio.sleep(5.0)
    begun = now()
    assert await posted(a, body(task_id=task.id)) == 200
    assert (await waiting).video.id == "v-1"
    assert now() - begun < 1.0
    assert b.callbacks.counts == {"overheard": 1}


async def test_callback_is_known_to_a_worker_that_starts_later(simulator: Simulator, tmp_path: Path) -> None:
    async with worker(simulator, CallbackStore(tmp_path / "c.sqlite3", wall=wall)) as a:
        task = await a.video_extend.create(simulator.sources[0])
        await posted(a, body(task_id=task.id))
    async with worker(simulator, CallbackStore(tmp_path / "c.sqlite3", wall=wall)) as b:
        await asyncio.sleep(1.0)
        assert (await b.video_extend.wait(task, timeout=1.0)).video.id == "v-1"


async def test_delivery_repeated_to_another_worker_calls_handlers_once(
    workers: tuple[KlingClient, KlingClient],
) -> None:
    calls: list[str] = []
    for kling in workers:
        kling.callbacks.on_task(lambda task: calls.append(task.id))
    answers = await asyncio.gather(*(posted(kling, body()) for kling in workers * 3))
    await asyncio.sleep(1.0)
    assert (set(answers), len(calls)) == ({200}, 1)


async def test_what_one_worker_heard_is_known_to_the_other(workers: tuple[KlingClient, KlingClient]) -> None:
    calls: list[str] = []
    for kling in workers:
        kling.callbacks.on_task(lambda task: calls.append(task.id))
    await posted(workers[0], body())
    await asyncio.sleep(1.0)
    assert await posted(workers[1], body(), id="msg-2") == 200
    await asyncio.sleep(1.0)
    assert len(calls) == 1


async def test_forged_callbacks_do_not_reach_the_file(workers: tuple[KlingClient, KlingClient], tmp_path: Path) -> None:
    told = headers(body(), at=wall(), secrets=(OTHER,))
    assert (await workers[0].callbacks.receive(body(), told)).status == 401
    await asyncio.sleep(1.0)
    with closing(sqlite3.connect(tmp_path / "callbacks.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM callbacks").fetchone() == (0,)


async def test_without_the_file_the_other_worker_finds_out_by_polling(simulator: Simulator) -> None:
    polling = PollPolicy(interval=7.0)
    a, b = (
        KlingClient(
            ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, polling=polling, webhook_secrets=[SECRET]
        )
        for _ in range(2)
    )
    async with a, b:
        task = await b.video_extend.create(simulator.sources[0])
        waiting = asyncio.create_task(b.video_extend.wait(task))
        await asyncio.sleep(60.1)
        assert await posted(a, body(task_id=task.id)) == 200
        await asyncio.sleep(1.0)
        assert not waiting.done()
        await waiting
        assert now() <= 60.0 + 1.5 * 7.0


# --- a store that fails ----------------------------------------------------------------------------------------------


class Failing:
    """A store of somebody's own, which is out of order."""

    broken = True

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes]] = []

    async def add(self, delivery: str, body: bytes) -> bool:
        if self.broken:
            raise LookupError("out of order")
        self.kept.append((delivery, body))
        return True

    async def news(self, after: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
        if self.broken:
            raise LookupError("out of order")
        while len(self.kept) <= int(after or 0):
            await asyncio.sleep(0.1)
        return str(len(self.kept)), self.kept[int(after or 0) :]

    async def close(self) -> None:
        """Nothing is open."""


async def test_store_that_fails_is_told_and_the_vendor_may_try_again(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    heard: list[Task] = []
    async with worker(simulator, store) as kling:
        kling.callbacks.on_task(lambda task: heard.append(task))  # noqa: PLW0108 - mypy knows no bound append
        task = await kling.video_extend.create(simulator.sources[0])
        waiting = asyncio.create_task(kling.video_extend.wait(task))
        await asyncio.sleep(5.0)
        assert await posted(kling, body(task_id=task.id)) == 503
        assert (await waiting).video.id == "v-1"  # whoever waits here does not suffer
        assert not heard
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 1
        assert "out of order" in told[0]
        store.broken = False
        assert await posted(kling, body(task_id=task.id)) == 200
        await asyncio.sleep(2.0)
        assert len(heard) == 1


class Silent(Failing):
    """A store that does not answer."""

    broken = False

    async def add(self, delivery: str, body: bytes) -> bool:
        await asyncio.Event().wait()
        return await super().add(delivery, body)


async def test_store_that_does_not_answer_is_not_waited_for_long(simulator: Simulator) -> None:
    async with worker(simulator, Silent()) as kling:
        assert await posted(kling, body()) == 503
        assert now() <= 5.1


async def test_callback_whose_poster_hung_up_is_new_when_it_comes_again(simulator: Simulator) -> None:
    store = Silent()
    async with worker(simulator, store) as kling:
        receiving = asyncio.create_task(posted(kling, body()))
        await asyncio.sleep(1.0)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        assert kling.callbacks._memory.note("msg-1", wall(), sent_at=wall())


async def test_success_without_its_film_wakes_the_worker_that_waits_alone(
    workers: tuple[KlingClient, KlingClient], simulator: Simulator
) -> None:
    a, b = workers
    task = await b.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(b.video_extend.wait(task))
    await asyncio.sleep(61.0)
    bare = body({"task_status": "succeed"}, task_id=task.id)
    assert await posted(a, bare) == 200
    assert (await waiting).video.id
    assert await posted(a, body({"task_status": "succeed"}, task_id="816000000000000009"), id="msg-2") == 200
    await asyncio.sleep(1.0)
    assert b.callbacks.counts == {"overheard": 2}
    assert simulator.count("get") == 4  # one by b; by a one for each, and one more for what is no extension


async def test_store_with_a_body_that_is_none_is_told(simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    store.broken = False
    store.kept = [("a", b"no JSON"), ("b", body())]
    async with worker(simulator, store) as kling:
        await asyncio.sleep(1.0)
        assert kling.callbacks.counts == {"failures of the store": 1, "overheard": 1, "not awaited": 1}
    assert "is no JSON" in caplog.text


async def test_store_is_listened_to_without_async_with_from_the_first_callback_on(
    simulator: Simulator, tmp_path: Path
) -> None:
    a = worker(simulator, CallbackStore(tmp_path / "c.sqlite3", wall=wall))
    b = worker(simulator, CallbackStore(tmp_path / "c.sqlite3", wall=wall))
    await posted(b, body(), id="first")
    await posted(a, body(task_id="2"), id="second")
    await asyncio.sleep(1.0)
    assert b.callbacks.counts["overheard"] == 1
    await a.close()
    await b.close()


def test_store_without_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs webhook_secrets"):
        KlingClient(ApiKey("key"), callback_store=CallbackStore(tmp_path / "c.sqlite3"))

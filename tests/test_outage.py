"""A wait outlives the weather: ten minutes of each kind of outage within a wait of thirty, in virtual time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from kling_async import ApiKey, KlingClient, Task, TaskStatus, TransportError, WaitTimeout
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

OUTAGE_SECONDS = 600.0
WAIT_SECONDS = 1800.0

Outage = Callable[[KlingClient, Simulator], AbstractAsyncContextManager[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def scripted(fault: Fault) -> Outage:
    """Every answer goes wrong like this."""

    @asynccontextmanager
    async def outage(_: KlingClient, simulator: Simulator) -> AsyncIterator[None]:
        simulator.script(fault)
        yield
        simulator.clear_faults()

    return outage


@asynccontextmanager
async def refused(_: KlingClient, simulator: Simulator) -> AsyncIterator[None]:
    """Nobody listens."""
    await simulator.stop()
    yield
    await simulator.start()


@asynccontextmanager
async def nameless(kling: KlingClient, simulator: Simulator) -> AsyncIterator[None]:
    """The host's name is not known; connections that were open are gone too."""
    loop = asyncio.get_running_loop()
    known = loop.getaddrinfo

    async def unknown(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    await simulator.stop()
    connector = kling._transport._pool.share("reads").session.connector
    connector.clear_dns_cache()  # type: ignore[union-attr] # it is a TCPConnector
    loop.getaddrinfo = unknown  # type: ignore[assignment, method-assign]
    await simulator.start()
    yield
    loop.getaddrinfo = known  # type: ignore[method-assign]


OUTAGES: dict[str, Outage] = {
    "refused": refused,
    "name unknown": nameless,
    "resets": scripted(Fault.reset(times=None)),
    "closes": scripted(Fault.close(times=None)),
    "resets in the body": scripted(Fault.truncated(times=None, reset=True)),
    "500": scripted(Fault.code(5000, times=None)),
    "503": scripted(Fault.code(5001, times=None)),
    "504": scripted(Fault.code(5002, times=None)),
    "HTML 502": scripted(Fault.html(502, times=None)),
    "HTML 200": scripted(Fault.html(200, times=None)),
    "silence": scripted(Fault.slow(10_000.0, times=None)),
    "trickle": scripted(Fault.trickle(1.0, times=None)),
}


@pytest.fixture
async def kling(simulator: Simulator) -> AsyncIterator[KlingClient]:
    """A client that must look up its host's name."""
    url = simulator.url.replace("127.0.0.1", "localhost")
    async with KlingClient(ApiKey(simulator.api_key), base_url=url, wall=wall, draw=lambda: 0.5) as client:
        yield client


async def created(kling: KlingClient, simulator: Simulator, count: int = 1) -> list[Task]:
    return [await kling.video_extend.create(simulator.sources[0]) for _ in range(count)]


# --- the result arrives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 8], ids=["single", "sweep"])
@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
async def test_ten_minutes_of_outage_end_with_the_result(
    kling: KlingClient, simulator: Simulator, outage: Outage, count: int
) -> None:
    tasks = await created(kling, simulator, count)
    waiting = asyncio.create_task(kling.video_extend.wait_all(tasks, timeout=WAIT_SECONDS))
    await asyncio.sleep(7.0)
    async with outage(kling, simulator):
        await asyncio.sleep(OUTAGE_SECONDS)
        assert not waiting.done()
    assert [task.status for task in await waiting] == [TaskStatus.SUCCEED] * count
    assert now() <= 7.0 + OUTAGE_SECONDS + 51.0  # a request that was under way, and the longest pause
    assert simulator.count("create") == count


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
async def test_outage_is_one(kling: KlingClient, simulator: Simulator, outage: Outage) -> None:
    # The control: who asks while it lasts gets no task.
    [task] = await created(kling, simulator)
    async with outage(kling, simulator):
        with pytest.raises(Exception, match=r"cannot connect|connection broke|no answer|not the vendor's|code: 500"):
            await kling.video_extend.get(task.id)
    assert (await kling.video_extend.get(task.id)).id == task.id


async def test_name_that_is_not_known_never_reaches_the_host(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    async with nameless(kling, simulator):
        with pytest.raises(TransportError, match="cannot connect"):
            await kling.video_extend.get(task.id)
    assert simulator.count("get") == 0


async def test_weather_that_changes_ends_with_the_result(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task, timeout=WAIT_SECONDS))
    await asyncio.sleep(7.0)
    for outage in OUTAGES.values():
        async with outage(kling, simulator):
            await asyncio.sleep(50.0)
    assert (await waiting).status is TaskStatus.SUCCEED
    assert simulator.count("create") == 1


# --- the deadline is met ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
async def test_outage_past_the_deadline_detaches_and_a_later_wait_goes_on(
    kling: KlingClient, simulator: Simulator, outage: Outage
) -> None:
    [task] = await created(kling, simulator)
    begun = now()
    async with outage(kling, simulator):
        with pytest.raises(WaitTimeout) as caught:
            await kling.video_extend.wait(task, timeout=OUTAGE_SECONDS)
        assert now() - begun == pytest.approx(OUTAGE_SECONDS, abs=0.01)
    assert (caught.value.created, caught.value.task_id) == ("yes", task.id)
    [last] = caught.value.pending
    assert (await kling.video_extend.wait(last, timeout=60.0)).status is TaskStatus.SUCCEED
    assert simulator.count("create") == 1


async def test_without_an_outage_the_same_wait_takes_a_minute(kling: KlingClient, simulator: Simulator) -> None:
    # The control: it is the outage that made the waits above long.
    [task] = await created(kling, simulator)
    await kling.video_extend.wait(task, timeout=WAIT_SECONDS)
    assert 60.0 <= now() <= 67.5

"""Scenes with very many who wait: how fast their ends are seen, how much it costs, and what stays behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from clients import Ours
from control import ids, percentile
from meter import Figures, Setting, Ticker, measured, memory_mib, peak_mib

from kling_async import WaitTimeout

_START_SECONDS = 5.0
_AGES = 1e9


async def wait(setting: Setting) -> Figures:
    """Awaits tasks one coroutine each, and tells how long after each end its coroutine went on."""
    seen: dict[str, float] = {}

    async def awaited(one: str) -> None:
        assert await setting.client.wait(one) == one
        seen[one] = time.time()

    wanted = ids(setting.calls)
    begun = setting.control.set(tasks=setting.calls, seconds=setting.seconds, interval=setting.interval)
    with measured() as meter:
        await asyncio.gather(*(awaited(one) for one in wanted))
    delays = _delays(setting, begun, [seen[one] for one in wanted])
    return {
        "CPU s": meter.cpu,
        "wall s": meter.wall,
        **_requests(setting),
        "delay, median": percentile(delays, 0.5),
        "p99": percentile(delays, 0.99),
    }


def _delays(setting: Setting, begun: float, seen: list[float]) -> list[float]:
    """How long after each end it was seen, in intervals."""
    ends = setting.control.ends()
    delays = [(at - max(end, begun)) / setting.interval for at, end in zip(seen, ends, strict=True)]
    assert min(delays) >= 0, "nobody knows of an end before it is there"
    return delays


def _requests(setting: Setting) -> Figures:
    intervals = setting.control.counts().intervals
    return {"requests/interval": sum(intervals) / len(intervals), "most": float(max(intervals))}


async def many(setting: Setting) -> Figures:
    """Awaits very many tasks by one `wait_all`."""
    extend = _ours(setting).kling.video_extend

    async def by_list(wanted: list[str]) -> list[str]:
        return [task.id for task in await extend.wait_all(wanted)]

    return await _many(setting, by_list)


async def gathered(setting: Setting) -> Figures:
    """Awaits very many tasks by a coroutine each."""
    extend = _ours(setting).kling.video_extend

    async def one_each(wanted: list[str]) -> list[str]:
        return [task.id for task in await asyncio.gather(*(extend.wait(one) for one in wanted))]

    return await _many(setting, one_each)


async def _many(setting: Setting, awaited: Callable[[list[str]], Awaitable[list[str]]]) -> Figures:
    wanted = ids(setting.calls)
    begun = setting.control.set(tasks=setting.calls, seconds=setting.seconds, interval=setting.interval)
    before, ticker = peak_mib(), Ticker()
    starting: list[float] = []
    asyncio.get_running_loop().call_later(_START_SECONDS, lambda: starting.append(ticker.lap()))
    with measured() as meter:
        seen = await awaited(wanted)
    last = time.time()
    ticker.stop()
    return {
        "CPU s": meter.cpu,
        "wall s": meter.wall,
        **_requests(setting),
        "missed": float(sum(one != other for one, other in zip(seen, wanted, strict=True))),
        "last seen after, s": last - max(begun, *setting.control.ends()),
        "peak RSS, MiB": peak_mib(),
        "growth": peak_mib() - before,
        "loop held, ms: at the start": starting[0] * 1000,
        "later": ticker.lap() * 1000,
    }


async def cancelled(setting: Setting) -> Figures:
    """Waiters in lots, half of them cancelled, half timed out; what memory is held after a tenth, a half, all."""
    extend = _ours(setting).kling.video_extend
    lot = ids(setting.at_once)
    setting.control.set(tasks=setting.at_once, seconds=_AGES)
    held: dict[int, float] = {}
    with measured() as meter:
        for done in range(setting.at_once, setting.calls + 1, setting.at_once):
            half = setting.at_once // 2
            left = [asyncio.ensure_future(extend.wait(one)) for one in lot[:half]]
            late = [asyncio.ensure_future(extend.wait(one, timeout=0.001)) for one in lot[half:]]
            await asyncio.sleep(0)
            for waiter in left:
                waiter.cancel()
            outcomes = await asyncio.gather(*left, *late, return_exceptions=True)
            assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == half
            assert sum(isinstance(outcome, WaitTimeout) for outcome in outcomes) == len(late)
            held[done] = memory_mib()
    return {
        "CPU µs/waiter": meter.cpu / setting.calls * 1e6,
        "wall s": meter.wall,
        **{f"RSS at {part:.0%}, MiB": held[_at(held, setting.calls * part)] for part in (0.1, 0.5, 1)},
    }


def _at(held: dict[int, float], wanted: float) -> int:
    return min(held, key=lambda done: abs(done - wanted))


def _ours(setting: Setting) -> Ours:
    assert isinstance(setting.client, Ours)
    return setting.client

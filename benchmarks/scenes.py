"""One client in one scene, in a process of its own: prints what it took as a line of JSON.

    python benchmarks/scenes.py ours query --url http://127.0.0.1:4711 --calls 3000 --at-once 100

CPU time is that of this process while the scene is played: neither imports nor the first calls count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import attrs
from clients import Client
from control import Control, ids, percentile

Figures = dict[str, float]

WARMING = 500  # calls before the measured ones


@attrs.frozen
class Setting:
    """What a scene is played with.

    Attributes:
        client: who plays.
        control: the server's desk.
        calls: how many calls, or listed, or awaited tasks.
        at_once: how many of the calls are under way at once.
        interval: seconds between two looks at an awaited task.
        seconds: over how many seconds the ends of awaited tasks are spread.
    """

    client: Client
    control: Control
    calls: int
    at_once: int
    interval: float
    seconds: float


@attrs.define
class Meter:
    """CPU and wall time of what was done within `measured`, in seconds."""

    cpu: float = 0.0
    wall: float = 0.0


@contextmanager
def measured() -> Iterator[Meter]:
    """Times what is done within."""
    meter = Meter()
    cpu, wall = time.process_time(), time.perf_counter()
    yield meter
    meter.cpu, meter.wall = time.process_time() - cpu, time.perf_counter() - wall


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def calls(wanted: Iterable[str], at_once: int, call: Callable[[str], Awaitable[None]]) -> None:
    """A call for each id, so many at once."""
    todo = iter(wanted)

    async def worker() -> None:
        for one in todo:
            await call(one)

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def query(setting: Setting) -> Figures:
    """Queries of tasks that have succeeded."""
    setting.control.set(tasks=WARMING + setting.calls)

    async def call(id: str) -> None:
        assert await setting.client.get(id) == id

    return await _calls(setting, "query", call)


async def create(setting: Setting) -> Figures:
    """Creates, each under an external id of its own."""
    setting.control.set()

    async def call(_: str) -> None:
        assert await setting.client.create()

    return await _calls(setting, "create", call)


async def _calls(setting: Setting, kind: str, call: Callable[[str], Awaitable[None]]) -> Figures:
    wanted = ids(WARMING + setting.calls)
    await calls(wanted[:WARMING], setting.at_once, call)
    before = setting.control.counts().kinds[kind]
    with measured() as meter:
        await calls(wanted[WARMING:], setting.at_once, call)
    kinds = setting.control.counts().kinds
    return {
        "CPU µs/call": meter.cpu / setting.calls * 1e6,
        "wall µs/call": meter.wall / setting.calls * 1e6,
        "requests/call": (sum(kinds.values()) - before) / setting.calls,
    }


async def listed(setting: Setting) -> Figures:
    """The whole list, by pages of 500."""
    setting.control.set(tasks=2000)
    assert await setting.client.walk() == 2000
    setting.control.set(tasks=setting.calls)
    before = peak_mib()
    with measured() as meter:
        count = await setting.client.walk()
    assert count == setting.calls
    return {
        "CPU µs/task": meter.cpu / setting.calls * 1e6,
        "wall µs/task": meter.wall / setting.calls * 1e6,
        "requests": float(sum(setting.control.counts().kinds.values())),
        "peak RSS growth, MiB": peak_mib() - before,
    }


async def wait(setting: Setting) -> Figures:
    """Awaits tasks one coroutine each, and tells how long after each end its coroutine went on."""
    setting.control.set(tasks=WARMING)
    await calls(ids(WARMING), 10, partial(_get, setting.client))
    seen: dict[str, float] = {}

    async def awaited(id: str) -> None:
        assert await setting.client.wait(id) == id
        seen[id] = time.time()

    wanted = ids(setting.calls)
    begun = setting.control.set(tasks=setting.calls, seconds=setting.seconds, interval=setting.interval)
    with measured() as meter:
        await asyncio.gather(*(awaited(one) for one in wanted))
    counts = setting.control.counts()
    delays = [
        (seen[one] - max(end, begun)) / setting.interval
        for one, end in zip(wanted, setting.control.ends(), strict=True)
    ]
    assert min(delays) >= 0, "nobody knows of an end before it is there"
    return {
        "CPU s": meter.cpu,
        "wall s": meter.wall,
        "requests/interval": sum(counts.intervals) / len(counts.intervals),
        "most": float(max(counts.intervals)),
        "delay, median": percentile(delays, 0.5),
        "p99": percentile(delays, 0.99),
    }


async def _get(client: Client, id: str) -> None:
    await client.get(id)


SCENES: dict[str, Callable[[Setting], Awaitable[Figures]]] = {
    "query": query,
    "create": create,
    "list": listed,
    "wait": wait,
}


async def play(client: type[Client], scene: str, options: argparse.Namespace) -> Figures:
    """The figures of one client in one scene."""
    playing = client(options.url, options.interval)
    try:
        control = Control(options.url)
        setting = Setting(playing, control, options.calls, options.at_once, options.interval or 5.0, options.seconds)
        return await SCENES[scene](setting)
    finally:
        await playing.close()


def main() -> None:
    """Reads the command line, plays, and prints."""
    from field import CLIENTS  # noqa: PLC0415 - so that imports of others are over before

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--interval", type=float, default=None)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(play(CLIENTS[options.client], options.scene, options))))


if __name__ == "__main__":
    main()

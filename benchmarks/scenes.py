"""One client in one scene, in a process of its own: prints what it took as a line of JSON.

    python benchmarks/scenes.py ours query --url http://127.0.0.1:4711 --calls 3000 --at-once 100

CPU time is that of this process while the scene is played: neither imports nor the first calls count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable

import crowd
from clients import Client
from control import Control, ids
from meter import Figures, Setting, measured, peak_mib

WARMING = 500  # calls before the measured ones


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


SCENES: dict[str, Callable[[Setting], Awaitable[Figures]]] = {
    "query": query,
    "create": create,
    "list": listed,
    "wait": crowd.wait,
    "many": crowd.many,
    "gathered": crowd.gathered,
    "cancelled": crowd.cancelled,
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

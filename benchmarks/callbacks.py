"""What a client sends for many tasks with callbacks and without, and how soon it knows of their ends.

    python benchmarks/callbacks.py --tasks 1000

Over real sockets to the simulated vendor, on a loop whose time jumps (the tests' own). Tasks take 60 to 180 s and are
made within a minute; each is awaited by a coroutine of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from random import Random

import attrs

from kling_async import ApiKey, KlingClient
from kling_async.simulator import Delivery, Simulator
from kling_async.testing import VirtualLoop, wall

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from loss import receiver
from posts import SECRET

SEED = 20_26
MADE_WITHIN = 60.0


@attrs.frozen
class Way:
    """How the client hears of ends: whether callbacks are ordered, signed, and what part of them is lost."""

    name: str
    ordered: bool = True
    signed: bool = True
    lost: float = 0.0


WAYS = (
    Way("no callbacks", ordered=False),
    Way("callbacks"),
    Way("half of them lost", lost=0.5),
    Way("all of them lost", lost=1.0),
    Way("callbacks, no secret", signed=False),
)


@attrs.frozen
class Figures:
    """What a run showed.

    Attributes:
        creates: requests sent; `queries` and `pages` likewise.
        posts: callbacks that came.
        delays: seconds from each task's end until its wait ended, in rising order.
    """

    creates: int
    queries: int
    pages: int
    posts: int
    delays: tuple[float, ...]


async def _measure(tasks: int, way: Way) -> Figures:
    random = Random(SEED)  # noqa: S311 - the same run each time
    seconds = [random.uniform(60.0, 180.0) for _ in range(tasks)]
    starts = [random.uniform(0.0, MADE_WITHIN) for _ in range(tasks)]
    delays = list[float]()
    simulator = Simulator(
        clock=wall,
        task_seconds=lambda task: seconds[task.number],
        submitted_seconds=10.0,
        webhook_secret=SECRET if way.signed else None,
        delivery=Delivery(lose=way.lost),
    )
    async with simulator:
        secrets = [SECRET] if way.signed else []
        key = ApiKey(simulator.api_key)
        client = KlingClient(key, base_url=simulator.url, wall=wall, draw=random.random, webhook_secrets=secrets)
        async with client as kling, receiver(kling) as url:

            async def carry_out(start: float) -> None:
                await asyncio.sleep(start)
                done = await kling.video_extend.run(
                    simulator.sources[0], callback_url=url if way.ordered else None, timeout=None
                )
                assert done.updated_at is not None
                delays.append(wall() - done.updated_at.timestamp())

            await asyncio.gather(*map(carry_out, starts))
            queries, pages = simulator.count("get"), simulator.count("list")
        return Figures(simulator.count("create"), queries, pages, len(simulator.posted), tuple(sorted(delays)))


def measure(tasks: int, way: Way) -> Figures:
    """The figures of one run."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_measure(tasks, way))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000, help="how many (default: %(default)s)")
    tasks = parser.parse_args().tasks
    logging.getLogger("kling_async").setLevel(logging.ERROR)
    print(f"{'':>21} {'creates':>7} {'queries':>7} {'pages':>6} {'posts':>6}  delay: half, 95 %, longest")
    for way in WAYS:
        one = measure(tasks, way)
        half, most, longest = (one.delays[min(tasks - 1, int(part * tasks))] for part in (0.5, 0.95, 1.0))
        print(
            f"{way.name:>21} {one.creates:>7} {one.queries:>7} {one.pages:>6} {one.posts:>6}  "
            f"{half:>8.2f} s {most:>6.2f} s {longest:>6.2f} s"
        )


if __name__ == "__main__":
    main()

"""Loses, repeats and shuffles callbacks, and measures what that costs whoever waits.

    python tests/loss.py --tasks 1000

Over real sockets to the simulated vendor, on a loop whose time jumps. Each task of about a minute (one in fifty: of
three) is awaited by a coroutine of its own. Of its callbacks so many are lost, each other one comes up to three times,
in any order, and now and then somebody forges one. The exit code is 0 when each task completed once and rightly, and no
wait took longer than it would have without callbacks, and one interval where all were lost: else polling, which is rare
while some arrive, may take six.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import attrs
from aiohttp import web
from posts import SECRET

from kling_async import ApiKey, KlingClient, PollPolicy, PoolLimits, Task, TaskFailed, TaskStatus
from kling_async.simulator import Delivery, Simulator
from kling_async.testing import VirtualLoop, wall

INTERVAL = 5.0
SAFETY_NET = 6  # intervals between two looks while callbacks arrive
LOSSES = (None, 0.0, 0.1, 0.5, 1.0)


@attrs.frozen
class Figures:
    """What a run showed.

    Attributes:
        delays: for each task, the seconds from its end at the vendor's until its wait ended, in rising order.
        wrong: waits that ended with what is not the vendor's own end of the task.
        completions: how often each wait ended.
        told: how often handlers heard of each end, at most.
        queries: single ones and pages that the client sent.
        posted: callbacks that reached it.
    """

    delays: tuple[float, ...]
    wrong: int
    completions: Counter[int]
    told: int
    queries: int
    posted: int

    def delay(self, part: float) -> float:
        """The delay that so large a part of the tasks did not pass."""
        return self.delays[min(len(self.delays) - 1, int(part * len(self.delays)))]

    def is_clean(self, tasks: int, without: Figures, *, intervals: int) -> bool:
        """Whether each task completed once and rightly, with no more delay than polling alone, and some intervals."""
        once = self.completions == {1: tasks} and self.told <= 1 and not self.wrong
        return once and self.delays[-1] <= without.delays[-1] + intervals * INTERVAL


@asynccontextmanager
async def receiver(kling: KlingClient) -> AsyncIterator[str]:
    """The URL of a server that takes callbacks in."""
    app = web.Application()
    app.router.add_post("/callback", kling.callbacks.aiohttp_handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    await runner.cleanup()


async def _measure(tasks: int, lose: float | None, seed: int) -> Figures:
    random = Random(seed)  # noqa: S311 - the same run each time
    delivery = Delivery(lose=lose or 0.0, copies=3, fresh_ids=True, shuffle=20.0, forge=0.1, corrupt=0.1, seed=seed)
    if lose == 0.0:
        delivery = attrs.evolve(delivery, corrupt=0.0)
    async with Simulator(
        clock=wall,
        task_seconds=lambda task: random.uniform(50.0, 70.0) if task.number % 50 else 180.0,
        submitted_seconds=10.0,
        webhook_secret=SECRET,
        delivery=delivery,
    ) as simulator:
        simulator.fail_next(tasks // 10)
        client = KlingClient(
            ApiKey(simulator.api_key),
            base_url=simulator.url,
            wall=wall,
            draw=random.random,
            webhook_secrets=[SECRET],
            polling=PollPolicy(interval=INTERVAL),
            pool=PoolLimits(creates=100),
        )
        async with client as kling, receiver(kling) as url:
            return await _wait_for_all(simulator, kling, tasks, None if lose is None else url)


async def _wait_for_all(simulator: Simulator, kling: KlingClient, tasks: int, url: str | None) -> Figures:
    told, completed, delays, wrong = Counter[str](), Counter[str](), list[float](), 0

    @kling.callbacks.on_task
    async def hear(task: Task) -> None:
        told[task.id] += task.status.ended

    async def carry_out() -> None:
        nonlocal wrong
        task = await kling.video_extend.create(simulator.sources[0], callback_url=url)
        try:
            end = await kling.video_extend.wait(task)
        except TaskFailed as failed:
            end = failed.task
        completed[task.id] += 1
        [change] = [one for one in simulator.engine.changes if one.task_id == task.id and one.status in _ENDS]
        delays.append(wall() - change.at)
        wrong += end.status.value != change.status

    await asyncio.gather(*(carry_out() for _ in range(tasks)))
    queries = simulator.count("get") + simulator.count("list")
    await asyncio.sleep(60.0)  # late ones may still come, and must not change anything
    posted = sum(one.answer is not None for one in simulator.posted)
    return Figures(
        tuple(sorted(delays)), wrong, Counter(completed.values()), max(told.values(), default=0), queries, posted
    )


_ENDS = {TaskStatus.SUCCEED.value, TaskStatus.FAILED.value}


def added(lose: float | None) -> int:
    """How many intervals a wait may take longer than with polling alone."""
    return 1 if lose in {None, 1.0} else SAFETY_NET


def measure(tasks: int, lose: float | None, seed: int = 1) -> Figures:
    """The figures of one run.

    Args:
        tasks: how many.
        lose: what part of the callbacks is lost; `None`: none are ordered.
        seed: of all chance.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_measure(tasks, lose, seed))


def main() -> int:
    """The exit code: 0 when all is clean. Prints a line for each loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: %(default)s)")
    given = parser.parse_args()
    sys.stdout.write(
        f"{'lost':>6} {'posts':>6} {'queries':>7} {'once':>6} {'wrong':>5} {'delay: half':>11} 95 % longest\n"
    )
    logging.getLogger("kling_async").setLevel(logging.ERROR)  # the forged ones are told
    without, clean = None, True
    for lose in LOSSES:
        figures = measure(given.tasks, lose, given.seed)
        without = without or figures
        clean &= figures.is_clean(given.tasks, without, intervals=added(lose))
        lost = "none" if lose is None else f"{lose:.0%}"
        delays = f"{figures.delay(0.5):>9.2f} s {figures.delay(0.95):>4.1f} {figures.delays[-1]:>5.1f} s"
        once = figures.completions[1]
        sys.stdout.write(f"{lost:>6} {figures.posted:>6} {figures.queries:>7} {once:>6} {figures.wrong:>5} {delays}\n")
    sys.stdout.write("clean\n" if clean else "NOT CLEAN\n")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())

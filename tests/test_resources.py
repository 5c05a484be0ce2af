"""Tasks from create to end, over real sockets."""

from __future__ import annotations

import asyncio

from kling_async import KlingClient, TaskStatus
from kling_async.simulator import Simulator


async def test_500_runs_gathered_share_one_poller(kling: KlingClient, simulator: Simulator) -> None:
    source = simulator.sources[0]
    tasks = await asyncio.gather(*(kling.video_extend.run(source) for _ in range(500)))
    assert {task.status for task in tasks} == {TaskStatus.SUCCEED}
    assert len({task.id for task in tasks}) == len(simulator.accepted) == 500
    # 60 s of virtual time at one look in 5 s: 12 sweeps of one page each, one more for the last to end.
    assert simulator.count("list") <= 14
    assert simulator.count("get") <= 4

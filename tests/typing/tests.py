"""What a user's tests are written like: read by strict type checkers, never run. No type in it may be unknown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import assert_type

import pytest

from kling_async import KlingClient, Task
from kling_async.simulator import Accepted, Delivery, Fault, Posted, Simulator
from kling_async.testing import WEBHOOK_SECRET, VirtualLoop, signed_callback, virtual_time, wall


@pytest.fixture
def kling_simulator() -> Simulator:
    return Simulator(slots=5, task_seconds=lambda task: 60.0 if task.source else 90.0, webhook_secret=WEBHOOK_SECRET)


@virtual_time
async def test_weather(kling_client: KlingClient, kling_simulator: Simulator) -> None:
    kling_simulator.script(Fault.code(1303, on="create", times=20), Fault.html(502, on="query"))
    kling_simulator.delivery = Delivery(lose=1)
    async with kling_client as kling:
        task = await kling.video_extend.run(kling_simulator.sources[0])
        body, headers = signed_callback(task, shape="newer")
        assert_type(body, bytes)
        assert_type(headers, dict[str, str])
        assert_type(kling.callbacks.verify(body, headers), Task)
        assert_type(kling.simulator, Simulator)


@virtual_time
async def made(prompt: str, *, mode: str = "std") -> Task:
    async with KlingClient.simulated() as kling:
        return await kling.video_extend.run("original-video-id", prompt=prompt, mode=mode)


assert_type(made("on", mode="pro"), Task)
assert_type(wall(), float)
clock: Callable[[], float] = wall

with asyncio.Runner(loop_factory=VirtualLoop) as runner:
    runner.run(asyncio.sleep(3600))

storm: list[Fault] = [
    Fault.code(1303, on="create", times=20, http_status=429, headers={"Retry-After": "1"}),
    Fault.none(times=3),
    Fault.slow(5.0, family="video-extend"),
    Fault.trickle(0.1),
    Fault.reset(after=True),
    Fault.close(times=None),
    Fault.truncated(10, complete=True),
    Fault.body(b"{}", status=500),
    Fault.html(502, on="query"),
    Fault.empty(),
    Fault.redirect("https://elsewhere.example"),
    Fault.garbage(),
    Fault.changed(lambda answer: answer | {"data": None}, on="GET /v1/videos"),
]

simulator = Simulator(clock=clock)
simulator.script(*storm)
simulator.clear_faults()
simulator.fail_task("an-id")
assert_type(simulator.count("create", family="omni-video"), int)
simulator.fail_next(2, message="no luck")
assert_type(simulator.add_source(duration=10), str)
assert_type(simulator.accepted, list[Accepted])
assert_type(simulator.posted, list[Posted])
assert_type(simulator.refused, Counter[int])
assert_type(simulator.faults, tuple[Fault, ...])
assert_type(simulator.url, str)

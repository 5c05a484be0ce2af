"""What a user writes: read by strict type checkers, never run. No type in it may be unknown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_type

from kling_async import (
    AccessKey,
    APIError,
    ApiKey,
    KlingClient,
    KlingError,
    OmniVideoRequest,
    Page,
    PollPolicy,
    PoolLimits,
    ReferenceVideo,
    ResourcePack,
    RetryPolicy,
    Task,
    TaskFailed,
    TaskStatus,
    Video,
    VideoExtendRequest,
    WaitTimeout,
    supports,
)
from kling_async.simulator import Fault, Simulator


def tell(there: int, total: int | None) -> None:
    print(there, total)  # noqa: T201 - what a user would do


async def extend(kling: KlingClient) -> None:
    task = await kling.video_extend.run("id", prompt="on", model_name="kling-v1", mode="pro", timeout=60)
    assert_type(task, Task)
    assert_type(task.status, TaskStatus)
    assert_type(task.video, Video)
    assert_type(task.video.duration, Decimal | None)
    assert_type(task.created_at, datetime | None)
    assert_type(await kling.video_extend.create(task.video), Task)
    assert_type(await kling.video_extend.create(VideoExtendRequest(video_id="id")), Task)
    assert_type(await kling.download(task, "film.mp4", progress=tell), Path)
    assert_type(await kling.download_all([task], "films", name=lambda task: f"{task.id}.mp4"), list[Path])
    assert_type(await kling.download_all([task], "films", return_exceptions=True), list[Path | KlingError])


async def wait(kling: KlingClient, tasks: list[Task]) -> None:
    assert_type(await kling.video_extend.wait(tasks[0]), Task)
    assert_type(await kling.video_extend.wait_all(tasks), list[Task])
    assert_type(await kling.video_extend.wait_all(tasks, return_exceptions=True), list[Task | KlingError])
    async for task in kling.video_extend.as_completed(tasks):
        assert_type(task, Task)
    results = await asyncio.gather(*(kling.video_extend.run(video) for video in ("a", "b")))
    assert_type(results, list[Task])


async def walk(kling: KlingClient) -> None:
    async for task in kling.video_extend.list(page_size=500):
        assert_type(task, Task)
    async for page in kling.omni_video.list().pages():
        assert_type(page, Page)
    assert_type(await kling.omni_video.list(), Page)
    packs = await kling.account.costs(datetime.now(UTC), datetime.now(UTC))
    assert_type(packs, tuple[ResourcePack, ...])


async def omni(kling: KlingClient) -> None:
    request = OmniVideoRequest(prompt="<<<video_1>>>", video_list=[ReferenceVideo(video_url="https://x.example/a.mp4")])
    assert_type(await kling.omni_video.run(request), Task)
    assert_type(OmniVideoRequest.from_dict({"prompt": "x"}), OmniVideoRequest)


async def main() -> None:
    assert_type(supports("kling-v1", "std", 5), bool)
    client = KlingClient(
        AccessKey("access", "secret"), retry=RetryPolicy(timeout=10), polling=PollPolicy(), pool=PoolLimits(reads=2)
    )
    assert_type(client, KlingClient)
    KlingClient(ApiKey("key"), base_url="https://api-beijing.klingai.com")
    simulator = Simulator(slots=5)
    simulator.script(Fault.html(502, times=2, on="query"), Fault.code(1303))
    async with KlingClient.simulated(simulator) as kling:
        try:
            await extend(kling)
        except TaskFailed as error:
            assert_type(error.task, Task)
        except WaitTimeout as error:
            assert_type(error.pending, tuple[Task | str, ...])
        except APIError as error:
            assert_type(error.code, int)

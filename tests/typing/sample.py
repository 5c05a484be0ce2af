"""What a user writes: read by strict type checkers, never run. No type in it may be unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, assert_type

from kling_async import (
    AccessKey,
    ApiKey,
    Batch,
    Chain,
    ChainPlan,
    CreateUncertain,
    DownloadPolicy,
    Forecast,
    KlingClient,
    KlingError,
    OmniVideo,
    OmniVideoRequest,
    Outcome,
    Page,
    Pager,
    PollPolicy,
    PoolLimits,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    ResourcePack,
    RetryPolicy,
    SlotPolicy,
    Task,
    TaskFailed,
    TaskStatus,
    Video,
    VideoExtend,
    VideoExtendRequest,
    WaitTimeout,
    supports,
    units_of,
)


def tell(there: int, total: int | None) -> None:
    print(there, total)  # noqa: T201 - what a user would do


def tell_of(task: Task, there: int, total: int | None) -> None:
    print(task.id, there, total)  # noqa: T201 - likewise


async def extend(kling: KlingClient) -> None:
    task = await kling.video_extend.run("id", prompt="on", model_name="kling-v1", mode="pro", timeout=60)
    assert_type(task, Task)
    assert_type(await kling.video_extend.create(task.video), Task)
    assert_type(await kling.video_extend.create(task), Task)
    request = VideoExtendRequest(video_id="id", callback_url="https://example.com/kling", external_task_id="order-1")
    assert_type(await kling.video_extend.create(request), Task)
    assert_type(VideoExtendRequest.from_dict({"video_id": "id"}), VideoExtendRequest)
    assert_type(await kling.video_extend.get("order-1", timeout=5), Task)
    assert_type(await kling.video_extend.get(task), Task)


async def grow(kling: KlingClient) -> None:
    chain = kling.video_extend.extend_to("id", seconds=60, prompts=["a", "b"], journal="run.sqlite3", key="film")
    assert_type(chain, Chain)
    assert_type(chain.plan, ChainPlan)
    async for task in chain:
        assert_type(task, Task)
    assert_type(chain.video, Video)
    assert_type(chain.units, Decimal)


async def look(kling: KlingClient, task: Task) -> None:
    assert_type(kling.video_extend, VideoExtend)
    assert_type(kling.omni_video, OmniVideo)
    assert_type(kling.base_url, str)
    assert_type(task.id, str)
    assert_type(task.status, TaskStatus)
    assert_type(task.status.ended, bool)
    assert_type(task.external_task_id, str | None)
    assert_type(task.created_at, datetime | None)
    assert_type(task.final_unit_deduction, Decimal | None)
    assert_type(task.kept_until, datetime | None)
    assert_type(task.videos, tuple[Video, ...])
    assert_type(task.video, Video)
    assert_type(task.video.url, str | None)
    assert_type(task.video.duration, Decimal | None)
    assert_type(task.parent_video, Video | None)
    assert_type(task.raw, Mapping[str, object])


async def wait(kling: KlingClient, tasks: list[Task]) -> None:
    assert_type(await kling.video_extend.wait(tasks[0]), Task)
    assert_type(await kling.video_extend.wait("an-id", timeout=None), Task)
    assert_type(await kling.video_extend.wait_all(tasks), list[Task])
    assert_type(await kling.video_extend.wait_all(tasks, return_exceptions=True), list[Task | KlingError])
    async for task in kling.video_extend.as_completed(tasks):
        assert_type(task, Task)
    async for task in kling.video_extend.events(["an-id", tasks[0]]):
        assert_type(task, Task)
    results = await asyncio.gather(*(kling.video_extend.run(video) for video in ("a", "b")))
    assert_type(results, list[Task])
    mixed = await asyncio.gather(*(kling.video_extend.run(video) for video in ("a", "b")), return_exceptions=True)
    assert_type(mixed, list[Task | BaseException])


async def walk(kling: KlingClient) -> None:
    pager = kling.video_extend.list(page_size=500, page_num=2)
    assert_type(pager, Pager)
    async for task in pager:
        assert_type(task, Task)
    async for page in kling.omni_video.list().pages():
        assert_type(page, Page)
        assert_type(page.tasks, tuple[Task, ...])
    assert_type(await kling.omni_video.list(), Page)


async def pay(kling: KlingClient) -> None:
    packs = await kling.account.costs(datetime.now(UTC), datetime.now(UTC), resource_pack_name="pack", timeout=5)
    assert_type(packs, tuple[ResourcePack, ...])
    assert_type(packs[0].remaining_quantity, Decimal | None)
    assert_type(units_of([await kling.video_extend.get("id")]), Decimal)


async def save(kling: KlingClient, tasks: list[Task]) -> None:
    assert_type(await kling.download(tasks[0], "film.mp4", progress=tell), Path)
    assert_type(await kling.download(tasks[0].video, Path("film.mp4")), Path)
    named = await kling.download_all(tasks, "films", name=lambda task: f"{task.id}.mp4", progress=tell_of)
    assert_type(named, list[Path])
    assert_type(await kling.download_all(tasks, "films", return_exceptions=True), list[Path | KlingError])


async def omni(kling: KlingClient) -> None:
    request = OmniVideoRequest(
        prompt="<<<video_1>>>",
        video_list=[ReferenceVideo(video_url="https://x.example/a.mp4")],
        image_list=[ReferenceImage(image_url="https://x.example/a.png")],
        element_list=[ReferenceElement(element_id=7)],
    )
    assert_type(request.video_list, tuple[ReferenceVideo, ...])
    assert_type(await kling.omni_video.run(request), Task)
    assert_type(await kling.omni_video.create(request, timeout=60), Task)
    assert_type(OmniVideoRequest.from_dict({"prompt": "x"}), OmniVideoRequest)
    assert_type(OmniVideoRequest.next_shot("https://x.example/a.mp4", prompt="on"), OmniVideoRequest)
    assert_type(await kling.omni_video.next_shot("https://x.example/a.mp4", duration=5), Task)


async def many(kling: KlingClient) -> None:
    jobs = {"one": VideoExtendRequest(video_id="a"), "two": VideoExtendRequest(video_id="b")}
    batch = kling.batch("run.sqlite3", out="films", timeout=None, retry_failed=True)
    assert_type(batch, Batch)
    async with batch as entered:
        assert_type(entered, Batch)
        for forecast in await entered.dry_run(jobs):
            assert_type(forecast, Forecast)
            assert_type(forecast.may_pay, bool)
            assert_type(forecast.does, Literal["create", "settle", "wait", "save", "nothing"])
        assert_type(entered.units, Decimal)
        async for outcome in entered.run(jobs):
            assert_type(outcome, Outcome)
            assert_type(outcome.ok, bool)
            assert_type(outcome.task, Task | None)
            assert_type(outcome.error, KlingError | None)
            assert_type(outcome.path, Path | None)
        async for outcome in entered.run([("three", OmniVideoRequest(prompt="x"))]):
            assert_type(outcome.key, str)


async def fail(kling: KlingClient) -> None:
    try:
        await extend(kling)
    except TaskFailed as error:
        assert_type(error.task, Task)
    except WaitTimeout as error:
        assert_type(error.pending, tuple[Task | str, ...])
    except CreateUncertain as error:
        assert_type(error.external_task_id, str | None)
    except KlingError as error:
        assert_type(error.created, Literal["no", "unknown", "yes"])
        assert_type(error.task_id, str | None)
        assert_type(error.advice, str)


async def main() -> None:
    assert_type(supports("kling-v1", "std", 5), bool)
    client = KlingClient(
        AccessKey("access", "secret"),
        retry=RetryPolicy(timeout=10),
        polling=PollPolicy(),
        pool=PoolLimits(reads=2),
        slots=SlotPolicy(limit=5),
        downloads=DownloadPolicy(attempts=3),
    )
    assert_type(client, KlingClient)
    async with KlingClient(ApiKey("key"), base_url="https://api-beijing.klingai.com") as entered:
        assert_type(entered, KlingClient)
    assert_type(await client.close(), None)

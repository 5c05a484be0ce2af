"""What type checkers refuse: each comment here is an error of theirs, and one that they do not find is an error too.

The comments are read by both of them, and by both reported where there is nothing to ignore.
"""

from __future__ import annotations

import kling_async
from kling_async import (
    ApiKey,
    KlingClient,
    OmniVideoRequest,
    RetryPolicy,
    Task,
    Video,
    VideoExtendRequest,
)
from kling_async.simulator import Delivery, Fault
from kling_async.testing import signed_callback, virtual_time


def make() -> None:
    kling_async.NoSuchName  # type: ignore[attr-defined] # noqa: B018
    KlingClient("a-key")  # type: ignore[arg-type]
    KlingClient(ApiKey("key"), "https://api.example")  # type: ignore[call-arg]
    KlingClient(ApiKey("key"), retries=3)  # type: ignore[call-arg]
    KlingClient(ApiKey("key"), retry=3)  # type: ignore[arg-type]
    KlingClient(ApiKey("key"), webhook_secrets=7)  # type: ignore[arg-type]
    RetryPolicy(30)  # type: ignore[call-arg]
    RetryPolicy(timeout="30")  # type: ignore[arg-type]


def ask() -> None:
    VideoExtendRequest(video_id=7)  # type: ignore[arg-type]
    VideoExtendRequest(video_id="id", negative_prompt="rain")  # type: ignore[call-arg]
    OmniVideoRequest(prompt="x", duration="5")  # type: ignore[arg-type]


def change(task: Task, video: Video) -> None:
    task.status = "failed"  # type: ignore[assignment,misc]
    video.url = None  # type: ignore[misc]
    task.film  # type: ignore[attr-defined] # noqa: B018


async def call(kling: KlingClient, task: Task) -> None:
    await kling.video_extend.create(7)  # type: ignore[arg-type]
    await kling.video_extend.create([task])  # type: ignore[arg-type]
    await kling.video_extend.create("id", "a prompt")  # type: ignore[call-arg]
    await kling.video_extend.create("id", cfg_scale=0.5)  # type: ignore[call-arg]
    await kling.video_extend.create(OmniVideoRequest(prompt="x"))  # type: ignore[arg-type]
    kling.video_extend.extend_to("id")  # type: ignore[call-arg]
    kling.video_extend.extend_to("id", seconds="60")  # type: ignore[arg-type]
    await kling.omni_video.next_shot(task)  # type: ignore[arg-type]
    await kling.omni_video.create(VideoExtendRequest(video_id="id"))  # type: ignore[arg-type]
    await kling.video_extend.wait(task, timeout="60")  # type: ignore[arg-type]
    await kling.video_extend.wait_all([7])  # type: ignore[list-item]
    await kling.account.costs("2026-01-01", "2026-02-01")  # type: ignore[arg-type]
    await kling.download("a-task-id", "film.mp4")  # type: ignore[arg-type]
    for _ in kling.video_extend.list():  # type: ignore[attr-defined]
        pass
    async for _ in kling.batch("run.sqlite3").run([VideoExtendRequest(video_id="id")]):  # type: ignore[list-item]
        pass
    task.video.duration + 1.5  # type: ignore[operator]


def test(task: Task) -> None:
    Fault.code("1303")  # type: ignore[arg-type]
    Fault.code(1303, where="create")  # type: ignore[call-arg]
    Delivery(shape="newest")  # type: ignore[arg-type]
    signed_callback(task.id)  # type: ignore[arg-type]
    signed_callback(task, shape="newest")  # type: ignore[arg-type]

    @virtual_time  # type: ignore[arg-type]
    def plain() -> int:
        return 1

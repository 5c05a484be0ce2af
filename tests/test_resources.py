"""Tasks from create to end, over real sockets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kling_async import (
    AccountError,
    ContentRejected,
    InvalidRequest,
    KlingClient,
    MalformedResponse,
    NotFound,
    NoVideo,
    OmniVideoRequest,
    ReferenceVideo,
    RequestError,
    Task,
    TaskFailed,
    TaskStatus,
    TransportError,
    Video,
    VideoExtendRequest,
    WaitTimeout,
)
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

SHOT = OmniVideoRequest(
    prompt="Based on <<<video_1>>>, generate the next shot",
    video_list=[ReferenceVideo(video_url="https://example.com/clip.mp4")],
)


async def test_500_runs_gathered_share_one_poller(kling: KlingClient, simulator: Simulator) -> None:
    source = simulator.sources[0]
    tasks = await asyncio.gather(*(kling.video_extend.run(source) for _ in range(500)))
    assert {task.status for task in tasks} == {TaskStatus.SUCCEED}
    assert len({task.id for task in tasks}) == len(simulator.accepted) == 500
    # 60 s of virtual time at one look in 5 s: 12 sweeps of one page each, one more for the last to end.
    assert simulator.count("list") <= 14
    assert simulator.count("get") <= 4


# --- create ----------------------------------------------------------------------------------------------------------


async def test_create_by_the_id_of_a_video(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(
        simulator.sources[0],
        prompt="The scene goes on",
        model_name="kling-v1-6",
        mode="pro",
        callback_url="https://example.com/hook",
        external_task_id="mine-1",
    )
    assert (task.status, task.external_task_id) == (TaskStatus.SUBMITTED, "mine-1")
    [accepted] = simulator.accepted
    assert accepted.fields == {
        "video_id": simulator.sources[0],
        "prompt": "The scene goes on",
        "model_name": "kling-v1-6",
        "mode": "pro",
        "callback_url": "https://example.com/hook",
        "external_task_id": "mine-1",
    }


async def test_what_is_not_given_is_not_sent(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(simulator.sources[0])
    assert set(simulator.accepted[0].fields) == {"video_id", "external_task_id"}


async def test_create_makes_an_external_id_of_its_own(kling: KlingClient, simulator: Simulator) -> None:
    tasks = [await kling.video_extend.create(simulator.sources[0]) for _ in range(2)]
    made = [task.external_task_id for task in tasks]
    assert made == [accepted.external_task_id for accepted in simulator.accepted]
    assert len({*made, None}) == 3
    assert (await kling.video_extend.get(str(made[0]))).id == tasks[0].id


async def test_external_id_is_known_also_where_the_answer_leaves_it_out(
    kling: KlingClient, simulator: Simulator
) -> None:
    def bare(answer: dict[str, Any]) -> Any:
        del answer["data"]["task_info"]
        return answer

    simulator.script(Fault.changed(bare, on="create"))
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert task.external_task_id == "mine-1"


async def test_create_from_a_video_that_was_just_made(kling: KlingClient, simulator: Simulator) -> None:
    first = await kling.video_extend.run(simulator.sources[0])
    second = await kling.video_extend.run(first.video)
    assert simulator.accepted[1].fields["video_id"] == first.video.id
    assert second.parent_video is not None
    assert second.parent_video.id == first.video.id


async def test_create_from_a_whole_request(kling: KlingClient, simulator: Simulator) -> None:
    request = VideoExtendRequest(video_id=simulator.sources[0], prompt="The scene goes on")
    await kling.video_extend.create(request)
    assert simulator.accepted[0].fields["prompt"] == "The scene goes on"
    assert request.external_task_id is None  # it is the caller's, and stays as it was


@pytest.mark.parametrize("name", ["prompt", "model_name", "mode", "callback_url", "external_task_id"])
async def test_whole_request_and_another_argument_are_refused(
    kling: KlingClient, simulator: Simulator, name: str
) -> None:
    extra: dict[str, Any] = {name: "pro"}
    with pytest.raises(RequestError, match="whole request"):
        await kling.video_extend.create(VideoExtendRequest(video_id="v-1"), **extra)
    assert simulator.count("create") == 0


@pytest.mark.parametrize("source", [None, 7, b"v-1", "", " v-1", {"video_id": "v"}])
async def test_source_of_a_wrong_kind_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, source: str
) -> None:
    for call in (kling.video_extend.create, kling.video_extend.run):
        with pytest.raises(RequestError):
            await call(source)
    assert simulator.count("create") == 0


async def test_task_stands_for_its_video(kling: KlingClient, simulator: Simulator) -> None:
    first = await kling.video_extend.run(simulator.sources[0])
    second = await kling.video_extend.create(first)
    assert simulator.accepted[1].fields["video_id"] == first.video.id
    assert second.id != first.id


async def test_task_without_a_video_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator
) -> None:
    with pytest.raises(NoVideo):
        await kling.video_extend.create(Task("t-1", TaskStatus.SUCCEED))
    assert simulator.count("create") == 0


@pytest.mark.parametrize(("days", "is_taken"), [(29.9, True), (30.1, False)])
async def test_task_of_long_ago_is_expired_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, days: float, is_taken: bool
) -> None:
    ended = datetime.fromtimestamp(wall(), UTC) - timedelta(days=days)
    old = Task("t-1", TaskStatus.SUCCEED, updated_at=ended, videos=(Video(simulator.sources[0]),))
    if is_taken:
        await kling.video_extend.create(old)
    else:
        with pytest.raises(RequestError, match=r"source: task t-1 is expired: its video was kept until 20"):
            await kling.video_extend.create(old)
    assert simulator.count("create") == is_taken


async def test_video_known_to_be_too_long_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator
) -> None:
    with pytest.raises(RequestError, match=r"176\.1 s; .* 180 s"):
        await kling.video_extend.create(Video("v-1", duration=Decimal("176.1")))
    assert simulator.count("create") == 0


@pytest.mark.parametrize("duration", [Decimal("176.0"), Decimal("5.0"), None])
async def test_video_that_may_still_grow_is_sent(
    kling: KlingClient, simulator: Simulator, duration: Decimal | None
) -> None:
    source = simulator.add_source(duration=duration or Decimal(5))
    await kling.video_extend.create(Video(source, duration=duration))
    assert len(simulator.accepted) == 1


REFUSED = {
    1101: AccountError,
    1102: AccountError,
    1201: InvalidRequest,
    1203: NotFound,
    1301: ContentRejected,
}


@pytest.mark.parametrize(("code", "kind"), REFUSED.items())
async def test_refused_create_made_nothing_and_names_its_external_id(
    kling: KlingClient, simulator: Simulator, code: int, kind: type[InvalidRequest]
) -> None:
    simulator.script(Fault.code(code, on="create"))
    with pytest.raises(kind) as caught:
        await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert (caught.value.code, caught.value.created, caught.value.external_task_id) == (code, "no", "mine-1")
    assert simulator.count("create") == 1


async def test_create_that_never_left_made_nothing(kling: KlingClient, simulator: Simulator) -> None:
    await simulator.stop()
    with pytest.raises(TransportError) as caught:
        await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert (caught.value.created, caught.value.external_task_id, caught.value.sent) == ("no", "mine-1", False)


async def test_cancelled_create_logs_the_id_to_ask_for(
    kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.script(Fault.slow(5.0, on="create"))
    creating = asyncio.create_task(kling.video_extend.create(simulator.sources[0], external_task_id="mine-1"))
    await asyncio.sleep(1.0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert "mine-1" in caplog.text
    assert (await kling.video_extend.get("mine-1")).status is TaskStatus.SUBMITTED


async def test_create_whose_record_cannot_be_read_is_settled_by_asking(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.changed(lambda answer: {**answer, "data": {}}, on="create"))
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert [(task.id, "mine-1")] == [(made.task_id, made.external_task_id) for made in simulator.accepted]


# --- get -------------------------------------------------------------------------------------------------------------


async def test_get_takes_either_id_and_a_task(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine/1 ?#%")
    for key in (task.id, "mine/1 ?#%", task):
        assert (await kling.video_extend.get(key)).id == task.id


@pytest.mark.parametrize("id", ["", " t-1", "..", "a\nb", None, 7, b"t-1"])
async def test_id_that_cannot_be_one_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, id: str
) -> None:
    with pytest.raises(RequestError, match="id"):
        await kling.video_extend.get(id)
    with pytest.raises(RequestError, match="id"):
        await kling.video_extend.wait(id)
    assert simulator.count("get") == 0


async def test_id_of_the_other_resource_is_not_found(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    with pytest.raises(NotFound):
        await kling.omni_video.get(task.id)


async def test_record_that_cannot_be_read_names_the_field_and_the_host(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.code(5000), Fault.body(b'{"code": 0, "data": {"task_id": "t-1"}}', on="get"))
    with pytest.raises(MalformedResponse, match="status") as caught:
        await kling.video_extend.get("t-1")
    assert (caught.value.host, caught.value.attempts) == (simulator.url.removeprefix("http://"), 2)


# --- run -------------------------------------------------------------------------------------------------------------


async def test_run_gives_the_film_with_few_polls(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.run(simulator.sources[0], prompt="The scene goes on", mode="pro")
    assert task.status is TaskStatus.SUCCEED
    assert task.video.duration is not None
    assert Decimal(9) <= task.video.duration <= Decimal(10)
    assert task.final_unit_deduction == Decimal("3.5")
    # 60 s at one look in 5 s.
    assert simulator.count("get") + simulator.count("list") <= 13
    assert simulator.count("create") == 1


async def test_run_raises_what_the_vendor_says_of_a_failure(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="too dark")
    with pytest.raises(TaskFailed, match="too dark"):
        await kling.video_extend.run(simulator.sources[0])
    assert len(simulator.accepted) == 1


async def test_run_that_times_out_hands_over_the_task(kling: KlingClient, simulator: Simulator) -> None:
    with pytest.raises(WaitTimeout) as caught:
        await kling.video_extend.run(simulator.sources[0], timeout=30.0)
    [pending] = caught.value.pending
    assert (await kling.video_extend.wait(pending)).status is TaskStatus.SUCCEED
    assert len(simulator.accepted) == 1


async def test_senseless_timeout_is_refused_before_a_task_is_made(kling: KlingClient, simulator: Simulator) -> None:
    with pytest.raises(RequestError, match="timeout"):
        await kling.video_extend.run(simulator.sources[0], timeout=-1.0)
    with pytest.raises(RequestError, match="timeout"):
        await kling.omni_video.run(SHOT, timeout=-1.0)
    assert simulator.count("create") == 0


# --- the other resource ----------------------------------------------------------------------------------------------


async def test_omni_video_runs_from_create_to_film(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.omni_video.run(SHOT)
    assert task.status is TaskStatus.SUCCEED
    assert simulator.accepted[0].family == "omni-video"
    assert simulator.count("create", family="video-extend") == 0


async def test_omni_video_create_then_wait(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.omni_video.create(SHOT)
    assert (await kling.omni_video.wait(task)).video.id
    assert [one.id async for one in kling.omni_video.list()] == [task.id]


@pytest.mark.parametrize("request_", ["a prompt", {"prompt": "a"}, None, VideoExtendRequest(video_id="v-1")])
async def test_omni_video_takes_its_own_request_alone(
    kling: KlingClient, simulator: Simulator, request_: OmniVideoRequest
) -> None:
    for call in (kling.omni_video.create, kling.omni_video.run):
        with pytest.raises(RequestError, match="OmniVideoRequest"):
            await call(request_)
    assert simulator.count("create") == 0


async def test_the_next_shot_is_the_specifications_example(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.omni_video.next_shot("https://example.com/clip.mp4", mode="pro")
    assert task.status is TaskStatus.SUCCEED
    fields = dict(simulator.accepted[0].fields)
    assert fields.pop("external_task_id")
    assert fields == {
        "model_name": "kling-video-o1",
        "prompt": "Based on <<<video_1>>>, generate the next shot",
        "video_list": [{"video_url": "https://example.com/clip.mp4", "refer_type": "feature"}],
        "mode": "pro",
    }


async def test_the_next_shot_takes_all_that_its_request_takes(kling: KlingClient, simulator: Simulator) -> None:
    await kling.omni_video.next_shot(
        "https://example.com/clip.mp4",
        prompt="A storm comes up",
        model_name="kling-v3-omni",
        aspect_ratio="9:16",
        duration=8,
        callback_url="https://example.com/hook",
        external_task_id="mine-1",
        timeout=100,
    )
    fields = simulator.accepted[0].fields
    assert fields["prompt"] == "Based on <<<video_1>>>, generate the next shot: A storm comes up"
    assert (fields["model_name"], fields["aspect_ratio"], fields["duration"]) == ("kling-v3-omni", "9:16", "8")
    assert (fields["callback_url"], fields["external_task_id"]) == ("https://example.com/hook", "mine-1")


async def test_both_resources_wait_at_once(kling: KlingClient, simulator: Simulator) -> None:
    extended, shot = await asyncio.gather(kling.video_extend.run(simulator.sources[0]), kling.omni_video.run(SHOT))
    assert extended.id != shot.id
    assert asyncio.get_running_loop().time() < 70.0


# --- what a caller who lets go is told -------------------------------------------------------------------------------


async def test_cancelled_run_tells_the_task_that_goes_on(
    kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(kling.video_extend.run(simulator.sources[0], external_task_id="mine-1"))
    await asyncio.sleep(20.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    (made,) = simulator.accepted
    assert [made.task_id in note and "mine-1" in note for note in caught.value.__notes__] == [True]
    assert [made.task_id in record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [True]


async def test_cancelled_wait_has_nothing_to_tell(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(20.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await waiting
    assert not hasattr(caught.value, "__notes__")


async def test_unknown_id_is_named(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    with pytest.raises(NotFound, match="nope"):
        await kling.video_extend.wait_all([task, "nope"])

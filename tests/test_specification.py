"""The specification, section by section, against the simulated vendor.

Each test is named after the table row, example, limitation or gotcha that it holds. What the specification says is
copied here, so that a test fails when the code and the page part.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from kling_async import (
    InvalidRequest,
    KlingClient,
    NoVideo,
    OmniVideoRequest,
    ReferenceVideo,
    RequestError,
    Task,
    TaskStatus,
    VideoExtendRequest,
    spec,
    supports,
)
from kling_async.rules.wire import Envelope, read_task
from kling_async.simulator import Simulator
from kling_async.testing import wall

SOURCE = "original-video-id"  # the id that the specification's example extends

EXAMPLE = """curl -X POST 'https://api-singapore.klingai.com/v1/videos/video-extend' \\
-H 'Authorization: Bearer xxx' \\
-H 'Content-Type: application/json' \\
-d '{
    "model_name": "kling-v1",
    "video_id": "original-video-id",
    "prompt": "The scene continues with more action",
    "mode": "pro"
}'
"""

ALTERNATIVE = """curl -X POST 'https://api-singapore.klingai.com/v1/videos/omni-video' \\
-H 'Authorization: Bearer xxx' \\
-H 'Content-Type: application/json' \\
-d '{
    "model_name": "kling-video-o1",
    "prompt": "Based on <<<video_1>>>, generate the next shot",
    "video_list": [{
        "video_url": "https://...",
        "refer_type": "feature"
    }],
    "mode": "pro"
}'
"""

RESPONSE: dict[str, Any] = {
    "code": 0,
    "message": "string",
    "request_id": "string",
    "data": {
        "task_id": "string",
        "task_status": "succeed",
        "task_status_msg": "string",
        "task_info": {"external_task_id": "string"},
        "final_unit_deduction": "string",
        "created_at": 1722769557708,
        "updated_at": 1722769557708,
        "task_result": {"videos": [{"id": "string", "url": "https://...", "duration": "string"}]},
    },
}

CELLS = [
    (model, mode, seconds)
    for model in ("kling-v1", "kling-v1-5", "kling-v1-6")
    for mode in ("std", "pro")
    for seconds in (5, 10)
]


async def ask(simulator: Simulator, method: str, target: str, members: object = None) -> Any:
    """The vendor's answer to a plain HTTP client, as it stands on the wire."""
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, simulator.url + target, json=members) as answer,
    ):
        return await answer.json()


def sent(simulator: Simulator) -> dict[str, object]:
    """The members of the one create that was taken."""
    [accepted] = simulator.accepted
    return dict(accepted.fields)


# Endpoints.


async def test_endpoints_create_task_post(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(SOURCE)
    assert simulator.count("create", family="video-extend") == 1
    assert [accepted.task_id for accepted in simulator.accepted] == [task.id]


async def test_endpoints_create_task_post_path(simulator: Simulator) -> None:
    answer = await ask(simulator, "POST", "/v1/videos/video-extend", {"video_id": SOURCE})
    assert answer["code"] == 0


async def test_endpoints_query_single_get(kling: KlingClient, simulator: Simulator) -> None:
    created = await kling.video_extend.create(SOURCE)
    assert (await kling.video_extend.get(created.id)).id == created.id
    assert simulator.count("get", family="video-extend") == 1


async def test_endpoints_query_single_get_path(kling: KlingClient, simulator: Simulator) -> None:
    created = await kling.video_extend.create(SOURCE)
    answer = await ask(simulator, "GET", f"/v1/videos/video-extend/{created.id}")
    assert answer["data"]["task_id"] == created.id


async def test_endpoints_query_list_get(kling: KlingClient, simulator: Simulator) -> None:
    created = [(await kling.video_extend.create(SOURCE)).id for _ in range(3)]
    page = await kling.video_extend.list(page_num=1, page_size=30)
    assert sorted(task.id for task in page.tasks) == sorted(created)
    assert simulator.count("list", family="video-extend") == 1


async def test_endpoints_query_list_get_path(kling: KlingClient, simulator: Simulator) -> None:
    created = await kling.video_extend.create(SOURCE)
    answer = await ask(simulator, "GET", "/v1/videos/video-extend?pageNum=1&pageSize=30")
    assert [record["task_id"] for record in answer["data"]] == [created.id]


async def test_endpoints_query_list_defaults(kling: KlingClient, simulator: Simulator) -> None:
    for _ in range(31):
        await kling.video_extend.create(SOURCE)
    plain = await ask(simulator, "GET", "/v1/videos/video-extend")
    assert plain["data"] == (await ask(simulator, "GET", "/v1/videos/video-extend?pageNum=1&pageSize=30"))["data"]
    assert len((await kling.video_extend.list()).tasks) == 30


# Model Support: every cell is really created.


@pytest.mark.parametrize(("model", "mode", "seconds"), CELLS)
async def test_model_support(kling: KlingClient, simulator: Simulator, model: str, mode: str, seconds: int) -> None:
    source = f"source-{model}-{seconds}s"
    assert source in simulator.sources
    task = await kling.video_extend.run(source, model_name=model, mode=mode)
    assert task.status is TaskStatus.SUCCEED
    assert (sent(simulator)["model_name"], sent(simulator)["mode"]) == (model, mode)
    assert task.video.duration is not None
    assert task.video.duration > seconds


@pytest.mark.parametrize(("model", "mode", "seconds"), CELLS)
def test_model_support_is_answered_without_a_request(model: str, mode: str, seconds: int) -> None:
    assert supports(model, mode, seconds)


def test_model_support_lists_no_more_cells() -> None:
    assert sorted(spec.MODEL_TABLE) == sorted(CELLS)


# Request Parameters: whether each is required, its type, and what stands in for it.


async def test_request_parameters_model_name(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE, model_name="kling-v1-5")
    assert sent(simulator)["model_name"] == "kling-v1-5"


async def test_request_parameters_model_name_default(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(SOURCE)
    assert "model_name" not in sent(simulator)  # so that the vendor's own default holds
    assert _order(simulator, task).model == spec.DEFAULT_MODEL == "kling-v1"


async def test_request_parameters_video_id(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE)
    assert sent(simulator)["video_id"] == SOURCE


async def test_request_parameters_video_id_required(simulator: Simulator) -> None:
    with pytest.raises(RequestError, match="video_id: is missing"):
        VideoExtendRequest.from_dict({"prompt": "a"})
    answer = await ask(simulator, "POST", "/v1/videos/video-extend", {"prompt": "a"})
    assert (answer["code"], answer["message"]) == (1201, "video_id can not be null")


async def test_request_parameters_prompt(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE, prompt="The scene continues")
    assert sent(simulator)["prompt"] == "The scene continues"


async def test_request_parameters_prompt_not_required(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE)
    assert "prompt" not in sent(simulator)


async def test_request_parameters_mode(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE, mode="pro")
    assert sent(simulator)["mode"] == "pro"


async def test_request_parameters_mode_default(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(SOURCE)
    assert "mode" not in sent(simulator)
    assert _order(simulator, task).mode == spec.DEFAULT_MODE == "std"


@pytest.mark.parametrize("mode", ["std", "pro"])
async def test_request_parameters_mode_words(kling: KlingClient, simulator: Simulator, mode: str) -> None:
    await kling.video_extend.create(SOURCE, mode=mode)
    assert sent(simulator)["mode"] == mode
    with pytest.raises(RequestError, match="mode: 'fast'"):
        await kling.video_extend.create(SOURCE, mode="fast")


async def test_request_parameters_callback_url(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE, callback_url="https://hooks.example/kling")
    assert sent(simulator)["callback_url"] == "https://hooks.example/kling"


async def test_request_parameters_callback_url_not_required(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(SOURCE)
    assert "callback_url" not in sent(simulator)


async def test_request_parameters_external_task_id(kling: KlingClient, simulator: Simulator) -> None:
    created = await kling.video_extend.create(SOURCE, external_task_id="order-1")
    assert sent(simulator)["external_task_id"] == "order-1"
    assert created.external_task_id == "order-1"
    assert (await kling.video_extend.get("order-1")).id == created.id


async def test_request_parameters_external_task_id_not_required(kling: KlingClient, simulator: Simulator) -> None:
    # The client gives each create one all the same: it is what a lost answer is looked for by.
    created = await kling.video_extend.create(SOURCE)
    assert created.external_task_id == sent(simulator)["external_task_id"]
    assert (await ask(simulator, "POST", "/v1/videos/video-extend", {"video_id": SOURCE}))["code"] == 0


def test_request_parameters_are_these() -> None:
    assert spec.VIDEO_EXTEND_FIELDS == (
        "model_name",
        "video_id",
        "prompt",
        "mode",
        "callback_url",
        "external_task_id",
    )


def _order(simulator: Simulator, task: Task) -> Any:
    return simulator.engine._ledger.tasks[task.id].order


# Limitations.


async def _refused_on_both_sides(simulator: Simulator, name: str, value: object) -> None:
    members: dict[str, object] = {"video_id": SOURCE, name: value}
    with pytest.raises(RequestError, match=f"{name}: is not supported for video extension"):
        VideoExtendRequest.from_dict(members)
    answer = await ask(simulator, "POST", "/v1/videos/video-extend", members)
    assert (answer["code"], answer["message"]) == (1201, f"{name} is not supported for video extension")
    assert simulator.accepted == []


async def test_limitations_negative_prompt(simulator: Simulator) -> None:
    await _refused_on_both_sides(simulator, "negative_prompt", "blur")


async def test_limitations_cfg_scale(simulator: Simulator) -> None:
    await _refused_on_both_sides(simulator, "cfg_scale", 0.5)


@pytest.mark.parametrize("name", ["negative_prompt", "cfg_scale"])
async def test_limitations_have_no_argument(kling: KlingClient, simulator: Simulator, name: str) -> None:
    arguments: Any = {name: "x"}
    with pytest.raises(TypeError, match=name):
        await kling.video_extend.create(SOURCE, **arguments)
    assert simulator.count("create") == 0


# The examples, run by curl itself with only host and token changed.


@pytest.fixture
async def vendor() -> AsyncIterator[Simulator]:
    """The simulator by a real clock, since curl has one."""
    async with Simulator() as simulator:
        yield simulator


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def curl(command: str, simulator: Simulator, token: str) -> Any:
    """What the command prints, as JSON; only its host and its token are changed."""
    theirs = command.replace("https://api-singapore.klingai.com", simulator.url).replace(
        "Bearer xxx", f"Bearer {token}"
    )
    assert (simulator.url in theirs, token in theirs) == (True, True)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(printed)


@needs_curl
@pytest.mark.real_time
async def test_example_curl(vendor: Simulator) -> None:
    answer = await curl(EXAMPLE, vendor, vendor.api_key)
    assert (answer["code"], answer["data"]["task_status"]) == (0, "submitted")
    assert sent(vendor) == {
        "model_name": "kling-v1",
        "video_id": "original-video-id",
        "prompt": "The scene continues with more action",
        "mode": "pro",
    }


@needs_curl
@pytest.mark.real_time
async def test_example_curl_with_a_wrong_token_is_refused(vendor: Simulator) -> None:
    # Control: the answer above is not given to everybody.
    answer = await curl(EXAMPLE, vendor, "xxx")
    assert (answer["code"], vendor.accepted) == (1002, [])


async def test_example_through_the_client(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.create(
        "original-video-id", model_name="kling-v1", prompt="The scene continues with more action", mode="pro"
    )
    members = sent(simulator)
    del members["external_task_id"]  # the client's own
    assert members == json.loads(EXAMPLE.partition("-d '")[2].rstrip("'\n"))


async def test_example_from_a_dictionary(kling: KlingClient, simulator: Simulator) -> None:
    members = json.loads(EXAMPLE.partition("-d '")[2].rstrip("'\n"))
    await kling.video_extend.create(VideoExtendRequest.from_dict(members))
    assert sent(simulator).items() >= members.items()


def test_example_host_is_the_clients_default() -> None:
    assert spec.BASE_URL == "https://api-singapore.klingai.com"
    assert spec.BASE_URL in EXAMPLE


@needs_curl
@pytest.mark.real_time
async def test_alternative_omni_video_curl(vendor: Simulator) -> None:
    answer = await curl(ALTERNATIVE, vendor, vendor.api_key)
    assert (answer["code"], answer["data"]["task_status"]) == (0, "submitted")
    [accepted] = vendor.accepted
    assert accepted.family == "omni-video"


async def test_alternative_omni_video(kling: KlingClient, simulator: Simulator) -> None:
    members = json.loads(ALTERNATIVE.partition("-d '")[2].rstrip("'\n"))
    task = await kling.omni_video.run(OmniVideoRequest.from_dict(members))
    assert task.status is TaskStatus.SUCCEED
    assert task.video.url
    assert simulator.count("create", family="omni-video") == 1
    assert sent(simulator).items() >= members.items()


async def test_alternative_omni_video_feature_reference(kling: KlingClient, simulator: Simulator) -> None:
    extended = await kling.video_extend.run("source-kling-v1-5s")
    assert extended.video.url
    request = OmniVideoRequest(
        prompt="Based on <<<video_1>>>, generate the next shot",
        video_list=(ReferenceVideo(video_url=extended.video.url),),
    )
    await kling.omni_video.create(request)
    assert simulator.accepted[-1].fields["video_list"] == [{"video_url": extended.video.url, "refer_type": "feature"}]


# Response: every member of the example, as the vendor sends it and as the client gives it.


@pytest.fixture
async def finished(kling: KlingClient, simulator: Simulator) -> tuple[Any, Task]:
    """The envelope of a succeeded task on the wire, and the task in the client's hands."""
    task = await kling.video_extend.run(SOURCE, external_task_id="order-1")
    return await ask(simulator, "GET", f"/v1/videos/video-extend/{task.id}"), task


def test_response_example_is_read() -> None:
    data = RESPONSE["data"] | {"final_unit_deduction": "3.5"}
    data["task_result"] = {"videos": [{"id": "string", "url": "https://...", "duration": "9.6"}]}
    task = read_task(Envelope(data, "string", 200))
    assert (task.id, task.status, task.video.duration) == ("string", TaskStatus.SUCCEED, Decimal("9.6"))


async def test_response_code(finished: tuple[Any, Task]) -> None:
    assert finished[0]["code"] == 0


async def test_response_message(finished: tuple[Any, Task]) -> None:
    assert isinstance(finished[0]["message"], str)


async def test_response_request_id(finished: tuple[Any, Task], kling: KlingClient) -> None:
    assert finished[0]["request_id"]
    with pytest.raises(InvalidRequest) as caught:
        await kling.video_extend.create("no-such-video")
    assert caught.value.request_id


async def test_response_task_id(finished: tuple[Any, Task]) -> None:
    assert finished[0]["data"]["task_id"] == finished[1].id


async def test_response_task_status(finished: tuple[Any, Task]) -> None:
    assert finished[0]["data"]["task_status"] == finished[1].status == "succeed"


async def test_response_task_status_msg(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="The picture is too dark")
    task = await kling.video_extend.create(SOURCE)
    [ended] = [task async for task in kling.video_extend.as_completed([task])]
    assert (ended.status, ended.status_message) == (TaskStatus.FAILED, "The picture is too dark")


async def test_response_task_info_external_task_id(finished: tuple[Any, Task]) -> None:
    assert finished[0]["data"]["task_info"]["external_task_id"] == finished[1].external_task_id == "order-1"


async def test_response_final_unit_deduction(finished: tuple[Any, Task]) -> None:
    told = finished[0]["data"]["final_unit_deduction"]
    assert isinstance(told, str)
    assert finished[1].final_unit_deduction == Decimal(told)


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
async def test_response_times(finished: tuple[Any, Task], name: str) -> None:
    told = finished[0]["data"][name]
    assert isinstance(told, int)
    assert getattr(finished[1], name) == datetime.fromtimestamp(told // 1000, UTC).replace(
        microsecond=told % 1000 * 1000
    )
    assert abs(told / 1000 - wall()) < 3600  # milliseconds, then


async def test_response_task_result_videos_id(finished: tuple[Any, Task], kling: KlingClient) -> None:
    [video] = finished[0]["data"]["task_result"]["videos"]
    assert video["id"] == finished[1].video.id
    assert (await kling.video_extend.create(finished[1].video)).id


async def test_response_task_result_videos_url(finished: tuple[Any, Task]) -> None:
    [video] = finished[0]["data"]["task_result"]["videos"]
    assert video["url"] == finished[1].video.url
    assert urlsplit(video["url"]).path.endswith(".mp4")


async def test_response_task_result_videos_duration(finished: tuple[Any, Task]) -> None:
    [video] = finished[0]["data"]["task_result"]["videos"]
    assert isinstance(video["duration"], str)
    assert finished[1].video.duration == Decimal(video["duration"])


async def test_response_members_are_those_of_the_example(finished: tuple[Any, Task]) -> None:
    envelope, example = finished[0], RESPONSE
    assert set(envelope) == set(example)
    # The reason of a failure is left out when there is none.
    assert set(example["data"]) - set(envelope["data"]) == {"task_status_msg"}
    [video], [shown] = envelope["data"]["task_result"]["videos"], example["data"]["task_result"]["videos"]
    assert set(video) == set(shown)


# Gotchas.


async def test_gotcha_1_source_video_required(kling: KlingClient, simulator: Simulator) -> None:
    with pytest.raises(InvalidRequest, match="video_id no-such-video does not exist") as caught:
        await kling.video_extend.create("no-such-video")
    assert (caught.value.code, caught.value.created) == (1201, "no")
    assert simulator.accepted == []


async def test_gotcha_1_a_task_is_no_video(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(SOURCE)
    with pytest.raises(NoVideo, match=f"task {task.id} is submitted and has no video"):
        await kling.video_extend.create(task)
    with pytest.raises(InvalidRequest, match="is the id of a task"):
        await kling.video_extend.create(task.id)
    assert len(simulator.accepted) == 1


async def test_gotcha_2_no_negative_prompt(simulator: Simulator) -> None:
    assert "negative_prompt" in spec.UNSUPPORTED_FIELDS
    await _refused_on_both_sides(simulator, "negative_prompt", "blur")


async def test_gotcha_3_no_cfg_scale(simulator: Simulator) -> None:
    assert "cfg_scale" in spec.UNSUPPORTED_FIELDS
    await _refused_on_both_sides(simulator, "cfg_scale", 0.5)


async def test_gotcha_4_omni_alternative(kling: KlingClient, simulator: Simulator) -> None:
    # More flexible: another length, another shape, which an extension does not take.
    request = OmniVideoRequest(prompt="The next shot", duration=10, aspect_ratio="9:16")
    task = await kling.omni_video.run(request)
    assert task.video.duration == 10
    with pytest.raises(RequestError, match="'duration': is no field of this request"):
        VideoExtendRequest.from_dict({"video_id": SOURCE, "duration": "10"})

"""What the log says of an exchange, it says with the vendor's request id: support asks for that first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import attrs
import pytest
from faultserver import Act, FaultServer, envelope, task_record

from kling_async import ApiKey, KlingClient, RetryPolicy, SlotPolicy, TaskStatus
from kling_async.errors import KlingError, TransportError
from kling_async.testing import wall

REQUEST_ID = "r-1"  # of every answer of the scripted server
DONE = task_record(status="succeed") | {"task_result": {"videos": [{"id": "v-1"}]}}
TROUBLE = Act(say=envelope(None, code=5000, status="500 no"))
TASK, END = Act(say=envelope(task_record())), Act(say=envelope(DONE))


async def _callback(kling: KlingClient) -> None:
    await kling.callbacks.receive(b'{"task_id": "t1", "task_status": "failed"}', {})
    await asyncio.sleep(1.0)


async def _page(kling: KlingClient) -> None:
    await kling.video_extend.list()


@attrs.frozen
class Line:
    """One line of the log: what stands in it, what leads to it, and the answers on the way there."""

    text: str
    call: Callable[[KlingClient], Awaitable[object]]
    acts: list[Act]
    slots: SlotPolicy = attrs.field(factory=SlotPolicy)


LINES = {
    "repeated": Line("requests for /v1", lambda kling: kling.video_extend.get("t-1"), [TROUBLE, TASK]),
    "accepted": Line("was accepted as", lambda kling: kling.video_extend.create("v-1"), [TASK]),
    "settled": Line("was settled as", lambda kling: kling.video_extend.create("v-1"), [TROUBLE, TASK]),
    "lost": Line("the answer to create", lambda kling: kling.video_extend.create("v-1"), [TROUBLE, TASK]),
    "packs": Line(
        "packs could not be read",
        lambda kling: kling.video_extend.create("v-1"),
        [Act(say=envelope(None, code=1103, status="403 no")), TASK],
        SlotPolicy(read_packs=True),
    ),
    "foreign slots": Line(
        "all slots of the account are taken",
        lambda kling: kling.video_extend.create("v-1"),
        [Act(say=envelope(None, code=1303, status="429 no")), TASK],
    ),
    "poll": Line("a poll of /v1", lambda kling: kling.video_extend.wait("t-1"), [TROUBLE, END]),
    "callback": Line("a query because of a callback", _callback, [TROUBLE]),
    "record": Line("a record of the list", _page, [Act(say=envelope([{"task_status": "succeed"}]))]),
    "went well": Line("GET /v1/videos/video-extend/t-1 went well", lambda kling: kling.video_extend.get("t-1"), [TASK]),
    "refused": Line(
        "GET /v1/videos/video-extend/t-1 was answered",
        lambda kling: kling.video_extend.get("t-1"),
        [TROUBLE, TASK],
    ),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
async def test_line_about_an_exchange_has_its_request_id(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="kling_async")
    retry = RetryPolicy(ask_after=(0.0,))
    async with (
        FaultServer.of(*line.acts) as server,
        KlingClient(
            ApiKey("test-key"), base_url=server.url, wall=wall, draw=lambda: 0.5, retry=retry, slots=line.slots
        ) as kling,
    ):
        await line.call(kling)
    told = [record.getMessage() for record in caplog.records if line.text in record.getMessage()]
    assert told
    assert all(f"request id: {REQUEST_ID}" in one for one in told)


async def test_line_about_a_request_that_nobody_answered_has_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="kling_async")
    async with (
        FaultServer.of(Act(say=b"NOT HTTP\r\n\r\n"), TASK) as server,
        KlingClient(ApiKey("test-key"), base_url=server.url, wall=wall, draw=lambda: 0.5) as kling,
    ):
        assert (await kling.video_extend.get("t-1")).status is TaskStatus.SUBMITTED
    (told,) = [record.getMessage() for record in caplog.records if "requests for" in record.getMessage()]
    assert "request id" not in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KlingError("no", request_id="r-1", host="h"), "no, request id: r-1"),
        (TransportError("no", sent=False, host="h"), "no"),
    ],
)
def test_error_in_brief_is_its_message_and_the_request_id(error: KlingError, told: str) -> None:
    assert error.in_brief == told

"""One create from the line to its outcome, over real sockets: ids, limits, time, cancellation and the end."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from faultserver import Act, FaultServer, envelope, task_record
from told import now, refused, uncertain

from kling_async import (
    AccountError,
    ApiKey,
    AuthenticationError,
    ClientClosed,
    ConcurrencyLimited,
    CreateUncertain,
    InvalidRequest,
    JournalError,
    KlingClient,
    OmniVideoRequest,
    PollPolicy,
    RateLimited,
    RequestError,
    RetryPolicy,
    SlotPolicy,
    Task,
    TransportError,
    VideoExtendRequest,
)
from kling_async.runtime import submit
from kling_async.simulator import Fault, Simulator
from kling_async.testing import VirtualLoop, wall

MakeClient = Callable[..., KlingClient]
POLLING, LEARNT, DEFAULT = PollPolicy(interval=5.0), SlotPolicy(), RetryPolicy()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[MakeClient]:
    """Makes clients of the simulator; they are closed at the end."""
    made: list[KlingClient] = []

    def make(url: str = "", *, slots: SlotPolicy = LEARNT, retry: RetryPolicy = DEFAULT) -> KlingClient:
        made.append(
            KlingClient(
                ApiKey(simulator.api_key),
                base_url=url or simulator.url,
                wall=wall,
                draw=lambda: 0.5,
                polling=POLLING,
                slots=slots,
                retry=retry,
            )
        )
        return made[-1]

    yield make
    for one in made:
        await one.close()


def begun(kling: KlingClient, simulator: Simulator, **more: Any) -> asyncio.Task[Task]:
    return asyncio.create_task(kling.video_extend.create(simulator.sources[0], **more))


async def cancelled(create: asyncio.Task[Task]) -> list[str]:
    """The notes of a create that is cancelled now."""
    create.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await create
    return getattr(caught.value, "__notes__", [])


def slots_of(kling: KlingClient) -> str:
    return repr(kling.video_extend._line.slots)


# --- ids -------------------------------------------------------------------------------------------------------------


async def test_own_id_is_adopted_by_another_client(client: MakeClient, simulator: Simulator) -> None:
    source = simulator.sources[0]
    first = await client().video_extend.create(source, prompt="on", external_task_id="mine-1")
    second = await client().video_extend.create(source, prompt="on", external_task_id="mine-1")
    assert second.id == first.id
    assert len(simulator.accepted) == 1


async def test_own_id_is_adopted_after_the_task_has_ended(client: MakeClient, simulator: Simulator) -> None:
    first = await client().video_extend.run(simulator.sources[0], external_task_id="mine-1")
    second = await client().video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert second.video == first.video


async def test_own_id_in_two_clients_at_once_makes_one_task(client: MakeClient, simulator: Simulator) -> None:
    creates = [client().video_extend.create(simulator.sources[0], external_task_id="mine-1") for _ in range(5)]
    tasks = await asyncio.gather(*creates)
    assert {task.id for task in tasks} == {made.task_id for made in simulator.accepted}
    assert len(simulator.accepted) == 1


async def test_own_id_again_in_one_client_is_asked_for_and_not_posted(client: MakeClient, simulator: Simulator) -> None:
    kling = client()
    first = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert (await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")).id == first.id
    assert (simulator.count("create"), simulator.count("get")) == (1, 1)


async def test_task_that_is_there_already_is_adopted_without_a_slot(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(limit=1))
    first = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    begun_at = now()
    assert (await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")).id == first.id
    assert now() == begun_at


async def test_id_of_another_videos_task_is_refused_by_that_tasks_id(client: MakeClient, simulator: Simulator) -> None:
    # Whose video it extends is what the vendor shows of a task that has ended.
    other = await client().video_extend.run(simulator.sources[1], external_task_id="mine-1")
    error = await refused(client().video_extend.create(simulator.sources[0], external_task_id="mine-1"))
    assert isinstance(error, InvalidRequest)
    assert (error.created, error.task_id, error.external_task_id) == ("no", other.id, "mine-1")
    assert error.host == simulator.url.removeprefix("http://")
    assert "another video" in error.message


async def test_id_of_another_videos_task_settles_a_lost_answer_too(client: MakeClient, simulator: Simulator) -> None:
    await client().video_extend.run(simulator.sources[1], external_task_id="mine-1")
    simulator.script(Fault.reset(on="create"))
    error = await refused(client().video_extend.create(simulator.sources[0], external_task_id="mine-1"))
    assert isinstance(error, InvalidRequest)
    assert error.created == "no"


async def test_record_without_its_source_is_adopted(client: MakeClient, simulator: Simulator) -> None:
    def bare(answer: dict[str, Any]) -> Any:
        del answer["data"]["task_info"]
        return answer

    await client().video_extend.create(simulator.sources[0], external_task_id="mine-1")
    simulator.script(Fault.changed(bare, on="get"))
    task = await client().video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert (task.id, task.external_task_id) == (simulator.accepted[0].task_id, "mine-1")


async def test_task_under_an_id_that_we_made_is_ours_whatever_its_record_says(
    client: MakeClient, simulator: Simulator
) -> None:
    def odd(answer: dict[str, Any]) -> Any:
        answer["data"]["task_info"]["parent_video"] = {"id": "the-very-first-video"}
        return answer

    simulator.script(Fault.reset(on="create", after=True), Fault.changed(odd, on="get"))
    assert (await client().video_extend.create(simulator.sources[0])).id == simulator.accepted[0].task_id


async def test_task_is_asked_for_by_either_id(client: MakeClient, simulator: Simulator) -> None:
    submitter = client().video_extend.kind.submitter
    task = await submitter.create(VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine-1"))
    assert [(await submitter.ask(key)).id for key in (task.id, "mine-1")] == [task.id, task.id]


async def test_shot_is_adopted_by_its_own_id(client: MakeClient, simulator: Simulator) -> None:
    shot = OmniVideoRequest(prompt="a cat", external_task_id="mine-1")
    tasks = [await client().omni_video.create(shot) for _ in range(2)]
    assert tasks[0].id == tasks[1].id
    assert len(simulator.accepted) == 1


async def test_id_for_another_request_is_refused_before_anything_is_sent(
    client: MakeClient, simulator: Simulator
) -> None:
    kling = client()
    await kling.video_extend.create(simulator.sources[0], prompt="a", external_task_id="mine-1")
    with pytest.raises(RequestError, match="mine-1"):
        await kling.video_extend.create(simulator.sources[0], prompt="b", external_task_id="mine-1")
    assert (simulator.count("create"), simulator.count("get")) == (1, 0)


async def test_id_for_another_request_is_refused_while_the_first_is_under_way(
    client: MakeClient, simulator: Simulator
) -> None:
    kling = client()
    source = simulator.sources[0]
    creates = [kling.video_extend.create(source, prompt=prompt, external_task_id="mine-1") for prompt in "ab"]
    task, error = await asyncio.gather(*creates, return_exceptions=True)
    assert isinstance(task, Task)
    assert isinstance(error, RequestError)
    assert len(simulator.accepted) == 1


async def test_id_of_a_refused_create_may_be_given_to_the_mended_one(client: MakeClient, simulator: Simulator) -> None:
    kling = client()
    simulator.script(Fault.code(1301, on="create"))
    await refused(kling.video_extend.create(simulator.sources[0], prompt="a", external_task_id="mine-1"))
    await kling.video_extend.create(simulator.sources[0], prompt="b", external_task_id="mine-1")
    assert [made.fields["prompt"] for made in simulator.accepted] == ["b"]


async def test_only_ids_used_lately_are_remembered(
    client: MakeClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "_REMEMBERED", 2)
    kling = client()
    for number in range(4):
        await kling.video_extend.create(simulator.sources[0], external_task_id=f"mine-{number}")
    assert list(kling.video_extend.kind.submitter._known) == ["mine-2", "mine-3"]


# --- doubt -----------------------------------------------------------------------------------------------------------


async def test_create_after_one_in_doubt_asks_first(client: MakeClient, simulator: Simulator) -> None:
    kling = client()
    simulator.script(Fault.slow(5.0, on="create"))
    await uncertain(kling.video_extend.create(simulator.sources[0], external_task_id="mine-1", timeout=1.0))
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    assert [task.id] == [made.task_id for made in simulator.accepted]
    assert simulator.count("create") == 1


async def test_refusal_after_a_create_in_doubt_does_not_say_that_there_is_no_task(
    client: MakeClient, simulator: Simulator
) -> None:
    kling = client()
    simulator.script(Fault.slow(60.0, on="create"))
    await cancelled_after(begun(kling, simulator, external_task_id="mine-1"), 1.0)
    simulator.script(Fault.code(1000, times=None))
    error = await uncertain(kling.video_extend.create(simulator.sources[0], external_task_id="mine-1"))
    assert isinstance(error.__cause__, AuthenticationError)


async def cancelled_after(create: asyncio.Task[Task], seconds: float) -> list[str]:
    await asyncio.sleep(seconds)
    return await cancelled(create)


@pytest.mark.parametrize("fault", [Fault.code(5000, on="get", times=None), Fault.code(1000, on="get", times=None)])
async def test_1201_that_cannot_be_asked_about_may_be_a_duplicate(
    client: MakeClient, simulator: Simulator, fault: Fault
) -> None:
    # An earlier process made the task. That this create was refused does not say that there is none.
    await client().video_extend.create(simulator.sources[0], external_task_id="mine-1")
    simulator.script(fault)
    error = await uncertain(client().video_extend.create(simulator.sources[0], external_task_id="mine-1"))
    assert error.external_task_id == "mine-1"


async def test_doubtful_create_that_is_found_is_not_sent(client: MakeClient, simulator: Simulator) -> None:
    made = await client().video_extend.create(simulator.sources[0], external_task_id="mine-1")
    sent: list[float] = []

    async def before_send() -> None:
        sent.append(now())

    request = VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine-1")
    task = await client().video_extend.kind.submitter.create(request, doubtful=True, before_send=before_send)
    assert task.id == made.id
    assert (sent, simulator.count("create")) == ([], 1)


async def test_doubtful_create_that_is_not_found_is_sent_after_the_whole_schedule(
    client: MakeClient, simulator: Simulator
) -> None:
    request = VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine-1")
    await client().video_extend.kind.submitter.create(request, doubtful=True)
    assert (simulator.count("get"), len(simulator.accepted)) == (5, 1)
    assert now() == pytest.approx(30.0, abs=0.1)


async def test_doubtful_create_stays_in_doubt_when_the_vendor_refuses_it_then(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.script(Fault.code(1102, on="create"))
    request = VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine-1")
    error = await uncertain(client().video_extend.kind.submitter.create(request, doubtful=True))
    assert isinstance(error.__cause__, AccountError)


async def test_bad_parameter_after_a_lost_answer_is_told_as_what_is_behind_the_doubt(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.script(Fault.reset(on="create"))
    error = await uncertain(client().video_extend.create("no-such-video", external_task_id="mine-1"))
    assert isinstance(error.__cause__, InvalidRequest)
    assert (simulator.count("create"), simulator.count("get")) == (2, 10)
    assert error.attempts == 2


# --- time ------------------------------------------------------------------------------------------------------------


async def test_no_time_at_all_sends_nothing(client: MakeClient, simulator: Simulator) -> None:
    error = await refused(client().video_extend.create(simulator.sources[0], timeout=0.0))
    assert isinstance(error, TransportError)
    assert (error.created, error.attempts) == ("no", 0)
    assert simulator.count("create") == 0


async def test_time_that_ends_in_line_made_nothing(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(limit=1))
    await kling.video_extend.create(simulator.sources[0])
    error = await refused(kling.video_extend.create(simulator.sources[0], timeout=7.0))
    assert isinstance(error, ConcurrencyLimited)
    assert (error.created, error.attempts) == ("no", 0)
    assert now() == pytest.approx(7.0, abs=0.01)


async def test_time_that_ends_in_doubt_says_so(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create"))
    await uncertain(client().video_extend.create(simulator.sources[0], timeout=7.0))
    # What is due after the end is not waited for.
    assert now() <= 7.0


async def test_time_that_ends_between_questions_is_not_passed(client: MakeClient, simulator: Simulator) -> None:
    request = VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine-1")
    error = await uncertain(client().video_extend.kind.submitter.create(request, timeout=5.0, doubtful=True))
    assert "not found" in error.message
    assert now() <= 5.0


async def test_time_that_ends_in_the_common_pause_tells_what_that_is_for(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.script(Fault.code(1302, on="create", headers={"Retry-After": "60"}))
    error = await refused(client(retry=RetryPolicy(max_retry_after=0.0)).video_extend.create("v-1", timeout=30.0))
    assert isinstance(error, RateLimited)
    assert error.created == "no"
    assert now() <= 30.0


async def test_answer_lost_after_refused_connections_has_the_whole_time_to_be_settled(
    client: MakeClient, simulator: Simulator
) -> None:
    await simulator.stop()
    simulator.script(Fault.reset(on="create"))
    create = begun(client(), simulator)
    await asyncio.sleep(20.0)
    await simulator.start()
    assert (await create).id == simulator.accepted[0].task_id
    assert now() >= 50.0  # asked for 30 s after the loss, and posted again


async def test_settling_ends_after_its_own_time(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create", after=True), Fault.code(5000, on="get", times=None))
    error = await uncertain(client(retry=RetryPolicy(settle_timeout=60.0)).video_extend.create(simulator.sources[0]))
    assert 50.0 <= now() <= 60.0
    simulator.clear_faults()
    assert (await client().video_extend.get(str(error.external_task_id))).id == simulator.accepted[0].task_id


async def test_standing_in_line_takes_nothing_of_the_time_to_settle(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(limit=1), retry=RetryPolicy(settle_timeout=40.0))
    await kling.video_extend.create(simulator.sources[0])  # holds the slot for 60 s
    simulator.script(Fault.reset(on="create"))
    await kling.video_extend.create(simulator.sources[0])
    assert len(simulator.accepted) == 2


async def test_refused_connections_end_with_the_time(client: MakeClient, simulator: Simulator) -> None:
    await simulator.stop()
    error = await refused(client().video_extend.create(simulator.sources[0], timeout=30.0))
    assert isinstance(error, TransportError)
    assert (error.created, error.sent) == ("no", False)
    assert 20.0 <= now() <= 30.0


# --- before the first byte -------------------------------------------------------------------------------------------


async def test_before_send_is_awaited_once_before_the_first_byte(client: MakeClient, simulator: Simulator) -> None:
    seen: list[int] = []

    async def before_send() -> None:
        await asyncio.sleep(1.0)
        seen.append(simulator.count("create"))

    simulator.script(Fault.reset(on="create"))
    request = VideoExtendRequest(video_id=simulator.sources[0])
    await client().video_extend.kind.submitter.create(request, before_send=before_send)
    assert (seen, simulator.count("create")) == ([0], 2)


async def test_before_send_waits_for_the_slot(client: MakeClient, simulator: Simulator) -> None:
    kling, begun_at = client(slots=SlotPolicy(limit=1)), list[float]()

    async def before_send() -> None:
        begun_at.append(now())

    await kling.video_extend.create(simulator.sources[0])
    request = VideoExtendRequest(video_id=simulator.sources[0])
    await kling.video_extend.kind.submitter.create(request, before_send=before_send)
    assert begun_at[0] >= 60.0


@pytest.mark.parametrize("error", [JournalError("disk full"), OSError("disk full")])
async def test_before_send_that_fails_sends_nothing_and_gives_the_slot_back(
    client: MakeClient, simulator: Simulator, error: Exception
) -> None:
    async def before_send() -> None:
        raise error

    kling = client(slots=SlotPolicy(limit=1))
    request = VideoExtendRequest(video_id=simulator.sources[0])
    with pytest.raises(type(error)):
        await kling.video_extend.kind.submitter.create(request, before_send=before_send)
    assert simulator.count("create") == 0
    await kling.video_extend.create(simulator.sources[0], timeout=1.0)


# --- the packs' limit ------------------------------------------------------------------------------------------------


async def test_limit_is_read_once_before_the_first_create(client: MakeClient, simulator: Simulator) -> None:
    simulator.engine.slots = 3
    kling = client(slots=SlotPolicy(read_packs=True))
    await asyncio.gather(*(kling.video_extend.create(simulator.sources[0]) for _ in range(6)))
    assert "limit 3 given" in slots_of(kling)
    assert (simulator.count("costs"), simulator.refused[1303]) == (1, 0)


async def test_creates_that_come_while_the_limit_is_read_wait_and_keep_their_order(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.engine.slots = 1
    simulator.script(Fault.slow(3.0, on="costs"))
    kling = client(slots=SlotPolicy(read_packs=True))
    creates = []
    for number in range(4):
        creates.append(begun(kling, simulator, prompt=str(number)))
        await asyncio.sleep(0.5)
    assert simulator.count("create") == 0
    await asyncio.gather(*creates)
    assert [made.fields["prompt"] for made in simulator.accepted] == ["0", "1", "2", "3"]
    assert simulator.refused[1303] == 0


async def test_packs_that_cannot_be_read_leave_the_limit_to_be_learnt(
    client: MakeClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.script(Fault.code(1103, on="costs"))
    kling = client(slots=SlotPolicy(read_packs=True))
    for _ in range(2):
        await kling.video_extend.create(simulator.sources[0])
    assert "limit unknown" in slots_of(kling)
    assert simulator.count("costs") == 1
    assert "will be learnt" in caplog.text


async def test_packs_that_name_no_limit_leave_it_to_be_learnt(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(read_packs=True))
    await kling.video_extend.create(simulator.sources[0])
    assert "limit unknown" in slots_of(kling)


async def test_reading_the_packs_takes_of_the_creates_own_time(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(15.0, on="costs"))
    kling = client(slots=SlotPolicy(read_packs=True))
    error = await refused(kling.video_extend.create(simulator.sources[0], timeout=5.0))
    assert error.created == "no"
    assert now() == pytest.approx(5.0, abs=0.01)
    assert simulator.count("create") == 0


async def test_reading_that_was_cancelled_is_done_by_the_next(client: MakeClient, simulator: Simulator) -> None:
    simulator.engine.slots = 3
    simulator.script(Fault.slow(15.0, on="costs"))
    kling = client(slots=SlotPolicy(read_packs=True))
    assert await cancelled_after(begun(kling, simulator), 1.0) == []
    await kling.video_extend.create(simulator.sources[0])
    assert "limit 3 given" in slots_of(kling)


async def test_client_closed_while_the_packs_are_read_sends_nothing(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(15.0, on="costs"))
    kling = client(slots=SlotPolicy(read_packs=True))
    creates = [begun(kling, simulator) for _ in range(3)]
    await asyncio.sleep(1.0)
    await kling.close()
    for create in creates:
        assert isinstance(await refused(create), ClientClosed)
    assert simulator.count("create") == 0
    assert "SessionPool closed" in repr(kling)


def test_reading_that_two_waited_for_in_a_loop_that_ended_is_done_in_the_next() -> None:
    # The vendor's clock serves both loops: ten seconds at each look.
    simulator = Simulator(slots=3, clock=functools.partial(next, itertools.count(1e9, 10.0)))
    kling = KlingClient.simulated(simulator, slots=SlotPolicy(read_packs=True))
    limit = ""

    async def run(*, is_first: bool) -> None:
        nonlocal limit
        async with kling:
            simulator.script(Fault.slow(5.0, on="costs", times=1 + is_first))
            creates = [begun(kling, simulator) for _ in range(2)]
            await asyncio.sleep(1.0)
            if is_first:
                for create in creates:
                    create.cancel()
            await asyncio.gather(*creates, return_exceptions=is_first)
            limit = slots_of(kling)

    for is_first in (True, False):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(run(is_first=is_first))
    assert "limit 3 given" in limit


# --- cancellation ----------------------------------------------------------------------------------------------------


async def test_cancelled_under_way_it_names_the_id_to_ask_for(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(5.0, on="create"))
    [note] = await cancelled_after(begun(client(), simulator, external_task_id="mine-1"), 1.0)
    assert note.endswith("mine-1")


async def test_cancelled_while_it_asks_it_names_the_id_to_ask_for(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create"))
    [note] = await cancelled_after(begun(client(), simulator, external_task_id="mine-1"), 5.0)
    assert note.endswith("mine-1")


async def test_cancelled_in_line_there_is_nothing_to_ask_for(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(limit=1))
    await kling.video_extend.create(simulator.sources[0])
    assert await cancelled_after(begun(kling, simulator), 5.0) == []
    assert simulator.count("create") == 1


async def test_cancelled_in_line_after_1303_there_is_nothing_to_ask_for(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.engine.slots = 0
    assert await cancelled_after(begun(client(), simulator), 5.0) == []
    assert simulator.count("create") >= 2


async def test_cancelled_in_line_after_a_lost_answer_it_names_the_id(client: MakeClient, simulator: Simulator) -> None:
    simulator.engine.slots = 0
    simulator.script(Fault.reset(on="create"))
    [note] = await cancelled_after(begun(client(), simulator, external_task_id="mine-1"), 45.0)
    assert note.endswith("mine-1")
    assert simulator.count("create") >= 2


# --- the end of the client -------------------------------------------------------------------------------------------


async def test_closed_while_it_stands_in_line_nothing_was_made(client: MakeClient, simulator: Simulator) -> None:
    kling = client(slots=SlotPolicy(limit=1))
    await kling.video_extend.create(simulator.sources[0])
    create = begun(kling, simulator, external_task_id="mine-1")
    await asyncio.sleep(5.0)
    await kling.close()
    error = await refused(create)
    assert isinstance(error, ClientClosed)
    assert (error.created, error.external_task_id) == ("no", "mine-1")


async def test_closed_while_the_request_is_under_way_it_is_in_doubt(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(10.0, on="create"))
    kling = client()
    create = begun(kling, simulator, external_task_id="mine-1")
    await asyncio.sleep(5.0)
    await kling.close()
    error = await uncertain(create)
    assert isinstance(error.__cause__, ClientClosed)
    assert (await client().video_extend.get("mine-1")).id == simulator.accepted[0].task_id


@pytest.mark.parametrize("after", [0.5, 2.0, 5.0, 15.0])
async def test_closed_between_two_questions_nothing_is_opened_again(
    client: MakeClient, simulator: Simulator, after: float
) -> None:
    simulator.script(Fault.reset(on="create"))
    kling = client()
    create = begun(kling, simulator)
    await asyncio.sleep(after)
    await kling.close()
    asked = simulator.count("get")
    await uncertain(create)
    assert simulator.count("get") == asked
    assert "SessionPool closed" in repr(kling)


async def test_closed_while_a_question_is_under_way_it_is_in_doubt(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create"), Fault.slow(10.0, on="get"))
    kling = client()
    create = begun(kling, simulator)
    await asyncio.sleep(5.0)
    await kling.close()
    await uncertain(create)
    assert "SessionPool closed" in repr(kling)


async def test_closed_before_the_first_byte_nothing_is_sent(client: MakeClient, simulator: Simulator) -> None:
    kling = client()
    request = VideoExtendRequest(video_id=simulator.sources[0])
    error = await refused(kling.video_extend.kind.submitter.create(request, before_send=kling.close))
    assert isinstance(error, ClientClosed)
    assert error.created == "no"
    assert simulator.count("create") == 0
    assert "SessionPool closed" in repr(kling)


async def test_after_close_creates_work_again(client: MakeClient, simulator: Simulator) -> None:
    kling = client()
    await kling.video_extend.create(simulator.sources[0])
    await kling.close()
    await kling.video_extend.create(simulator.sources[0])
    assert len(simulator.accepted) == 2


# --- the answers of other vendors -----------------------------------------------------------------------------------


async def test_answer_without_the_callers_id_gets_it(client: MakeClient) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()))) as server:
        task = await client(server.url).video_extend.create("v-1", external_task_id="mine-1")
        assert (task.id, task.external_task_id) == ("t-1", "mine-1")


@pytest.mark.parametrize(
    "fault", [Fault.truncated(on="create"), Fault.truncated(at=0, on="create"), Fault.trickle(1.0)]
)
async def test_closed_at_any_turn_a_create_ends_in_an_error_of_ours(simulator: Simulator, fault: Fault) -> None:
    endings = set[type]()
    for turns in range(40):
        simulator.clear_faults()
        simulator.script(fault)
        async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall) as kling:
            creating = asyncio.create_task(kling.video_extend.create(simulator.sources[0]))
            for _ in range(turns):
                await asyncio.sleep(0)
            await kling.close()
            (ending,) = await asyncio.gather(creating, return_exceptions=True)
            endings.add(type(ending))
    assert endings <= {Task, ClientClosed, CreateUncertain}
    assert CreateUncertain in endings

"""What a hook hears: each thing once, where it happens; and nothing that it does harms anybody."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import pytest
from posts import LEGACY, SECRET, body, headers

from kling_async import (
    ApiKey,
    ConfigurationError,
    KlingClient,
    NoVideo,
    PollPolicy,
    RetryPolicy,
    SlotPolicy,
    Task,
    TaskStatus,
    VideoExtendRequest,
)
from kling_async.events import (
    CallbackReceived,
    Created,
    Downloaded,
    Event,
    OnEvent,
    PollFailed,
    QueuedForSlot,
    StatusChanged,
)
from kling_async.rules.statuses import Statuses
from kling_async.simulator import Fault, Simulator
from kling_async.spec import VIDEO_EXTEND_PATH
from kling_async.testing import wall

_E = TypeVar("_E")


class Heard(list[Event]):
    """Everything that was told, in order."""

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self if isinstance(event, kind)]

    def statuses(self) -> list[tuple[str | None, str]]:
        return [(change.before, change.status) for change in self.of(StatusChanged)]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def client(
    simulator: Simulator,
    on_event: OnEvent | None,
    *,
    limit: int | None = None,
    interval: float = 5.0,
    secrets: tuple[str, ...] = (),
) -> KlingClient:
    return KlingClient(
        ApiKey(simulator.api_key),
        base_url=simulator.url,
        wall=wall,
        draw=lambda: 0.5,
        polling=PollPolicy(interval=interval),
        slots=SlotPolicy(limit=limit),
        retry=RetryPolicy(ask_after=(0.0, 1.0)),
        webhook_secrets=secrets,
        on_event=on_event,
    )


# --- creates ---------------------------------------------------------------------------------------------------------


async def test_create_is_told_with_its_ids_and_its_exchange(simulator: Simulator, heard: Heard) -> None:
    simulator.script(Fault.slow(2.0, on="create"))
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
    (created,) = heard.of(Created)
    assert created.request_id is not None
    assert created.seconds == pytest.approx(2.0, abs=0.1)
    assert created == Created(
        at=created.at,
        resource=VIDEO_EXTEND_PATH,
        task_id=task.id,
        external_task_id="mine",
        status=TaskStatus.SUBMITTED,
        how="accepted",
        request_id=created.request_id,
        posts=1,
        seconds=created.seconds,
        queued_seconds=0.0,
    )


async def test_events_bear_the_wall_clocks_time_in_utc(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        before = wall()
        await kling.video_extend.create(simulator.sources[0])
        (created,) = heard
        assert created.at.tzinfo is UTC
        assert before <= created.at.timestamp() + 0.001
        assert created.at.timestamp() <= wall() + 0.001


async def test_create_whose_answer_was_lost_is_told_as_settled(simulator: Simulator, heard: Heard) -> None:
    simulator.script(Fault.reset(on="create", after=True))
    async with client(simulator, heard.append) as kling:
        await kling.video_extend.create(simulator.sources[0])
    (created,) = heard.of(Created)
    assert (created.how, created.posts) == ("settled", 1)
    assert created.request_id is not None


async def test_task_of_another_process_is_told_as_adopted(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, None) as other:
        task = await other.video_extend.create(simulator.sources[0], external_task_id="mine")
    async with client(simulator, heard.append) as kling:
        await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
    (created,) = heard.of(Created)
    assert (created.how, created.task_id) == ("adopted", task.id)


async def test_task_that_a_batch_finds_after_a_crash_is_told_as_adopted(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        request = VideoExtendRequest(video_id=simulator.sources[0], external_task_id="mine")
        await kling.video_extend.create(request)
        await kling.video_extend.kind.submitter.create(request, doubtful=True)
    assert [(created.how, created.posts) for created in heard.of(Created)] == [("accepted", 1), ("adopted", 0)]


async def test_refused_create_is_not_told(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        with pytest.raises(Exception, match="video"):
            await kling.video_extend.create("no-such-video")
    assert heard == []


# --- the line --------------------------------------------------------------------------------------------------------


async def test_create_that_waits_for_a_slot_is_told_once(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, limit=1) as kling:
        await kling.video_extend.create(simulator.sources[0])
        await asyncio.gather(
            *(kling.video_extend.create(simulator.sources[0], external_task_id=f"mine-{n}") for n in range(2))
        )
    queued = [(event.external_task_id, event.waiting, event.foreign) for event in heard.of(QueuedForSlot)]
    assert queued == [("mine-0", 1, False), ("mine-1", 2, False)]


async def test_create_says_how_long_it_stood_in_line(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, limit=1) as kling:
        await kling.video_extend.create(simulator.sources[0])
        await kling.video_extend.create(simulator.sources[0])
    first, second = heard.of(Created)
    assert first.queued_seconds == 0.0
    assert 50.0 < second.queued_seconds <= second.seconds < 70.0


async def test_slots_that_others_hold_are_told_once(heard: Heard) -> None:
    async with (
        Simulator(clock=wall, task_seconds=60.0, slots=1) as simulator,
        client(simulator, None) as other,
        client(simulator, heard.append) as kling,
    ):
        await other.video_extend.create(simulator.sources[0])
        await kling.video_extend.create(simulator.sources[0])
        assert simulator.engine.refused[1303] > 2  # the control: it was refused again and again
    assert [(event.waiting, event.foreign) for event in heard.of(QueuedForSlot)] == [(1, True)]


async def test_create_hears_that_others_have_taken_what_it_waited_for(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, limit=1) as kling:
        await kling.video_extend.create(simulator.sources[0])
        second = asyncio.create_task(kling.video_extend.create(simulator.sources[0]))
        await asyncio.sleep(1.0)
        simulator.script(Fault.code(1303, on="create", times=3))
        await second
    assert [event.foreign for event in heard.of(QueuedForSlot)] == [False, True]
    assert heard.of(Created)[1].queued_seconds > 60.0


# --- changes ---------------------------------------------------------------------------------------------------------


async def test_each_change_is_told_once_however_many_wait(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
        waits = [kling.video_extend.wait(one) for one in (task, task, task.id, "mine")]
        await asyncio.gather(*waits, kling.video_extend.wait_all([task, "mine"]))
        await kling.video_extend.wait(task.id)
    assert heard.statuses() == [("submitted", "processing"), ("processing", "succeed")]


async def test_change_is_told_with_what_the_vendor_says(simulator: Simulator, heard: Heard) -> None:
    simulator.fail_next(message="dark")
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
        await kling.video_extend.wait_all([task], return_exceptions=True)
    change = heard.of(StatusChanged)[-1]
    assert (change.resource, change.task_id, change.external_task_id) == (VIDEO_EXTEND_PATH, task.id, "mine")
    assert (change.status, change.message) == (TaskStatus.FAILED, "dark")
    assert change.seconds == pytest.approx(60.0, abs=1.0)


async def test_first_look_at_a_bare_id_is_a_change_from_nothing(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, None) as other:
        task = await other.video_extend.create(simulator.sources[0])
    async with client(simulator, heard.append) as kling:
        await kling.video_extend.wait(task.id)
    assert heard.statuses() == [(None, "submitted"), ("submitted", "processing"), ("processing", "succeed")]


async def test_task_that_had_ended_when_it_was_given_is_no_change(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, None) as other:
        task = await other.video_extend.run(simulator.sources[0])
    async with client(simulator, heard.append) as kling:
        await kling.video_extend.wait(task)
    assert heard == []


async def test_success_without_a_film_is_told_beside_the_error(simulator: Simulator, heard: Heard) -> None:
    def bare(reply: dict[str, Any]) -> Any:
        return {**reply, "data": {**reply["data"], "task_status": "succeed", "task_result": {}}}

    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        simulator.script(Fault.changed(bare, on="query", times=None))
        with pytest.raises(NoVideo):
            await kling.video_extend.wait(task)
    assert heard.statuses() == [("submitted", "succeed")]


async def test_task_without_times_has_no_seconds(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        kling.video_extend._waiter._transport.hook.saw(  # type: ignore[union-attr]
            VIDEO_EXTEND_PATH, Task("t-1", TaskStatus.PROCESSING)
        )
    assert [change.seconds for change in heard.of(StatusChanged)] == [None]


# --- polls -----------------------------------------------------------------------------------------------------------


async def test_failed_polls_are_counted_until_one_goes_well(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        simulator.script(Fault.code(5000, on="get", times=2))
        await kling.video_extend.wait(task)
        simulator.script(Fault.html(502, on="get", times=1))
        second = await kling.video_extend.create(simulator.sources[0])
        await kling.video_extend.wait(second)
    failed = heard.of(PollFailed)
    assert [(event.asked, event.failures) for event in failed] == [(task.id, 1), (task.id, 2), (second.id, 1)]
    assert [event.error.request_id is not None for event in failed] == [True, True, False]
    assert {event.resource for event in failed} == {VIDEO_EXTEND_PATH}


async def test_failed_page_of_the_list_asks_for_no_task(simulator: Simulator, heard: Heard) -> None:
    simulator.script(Fault.html(502, on="list", times=1))
    async with client(simulator, heard.append) as kling:
        tasks = [await kling.video_extend.create(simulator.sources[0]) for _ in range(5)]
        await kling.video_extend.wait_all(tasks)
    assert [(event.asked, event.failures) for event in heard.of(PollFailed)] == [(None, 1)]


# --- callbacks -------------------------------------------------------------------------------------------------------


def said(task: Task, status: str) -> bytes:
    record = LEGACY if status == "succeed" else {key: LEGACY[key] for key in ("created_at", "updated_at")}
    return body(record, task_id=task.id, task_status=status, task_info={"external_task_id": task.external_task_id})


async def posted(kling: KlingClient, given: bytes, *, id: str = "msg-1", secret: str = SECRET) -> None:
    await kling.callbacks.receive(given, headers(given, at=wall(), id=id, secrets=(secret,)))


async def test_callback_is_told_and_so_is_what_it_changes(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, interval=100_000.0, secrets=(SECRET,)) as kling:
        task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
        waiting = asyncio.create_task(kling.video_extend.wait(task))
        await asyncio.sleep(0.1)
        await posted(kling, said(task, "succeed"))
        await posted(kling, said(task, "succeed"))
        await waiting
    assert heard.statuses() == [("submitted", "succeed")]
    (first, second) = heard.of(CallbackReceived)
    assert (first.outcome, second.outcome) == ("accepted", "repeated")
    assert (first.task_id, first.external_task_id, first.status) == (task.id, "mine", TaskStatus.SUCCEED)


async def test_end_that_a_callback_told_before_anybody_waited_is_told_with_the_wait(
    simulator: Simulator, heard: Heard
) -> None:
    async with client(simulator, heard.append, interval=100_000.0, secrets=(SECRET,)) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        await posted(kling, said(task, "succeed"))
        assert heard.statuses() == []
        await kling.video_extend.wait(task)
    assert heard.statuses() == [("submitted", "succeed")]


async def test_callback_that_tells_another_end_is_told_as_a_conflict(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, secrets=(SECRET,)) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        await posted(kling, said(task, "succeed"))
        await posted(kling, said(task, "failed"), id="msg-2")
    assert [event.outcome for event in heard.of(CallbackReceived)] == ["accepted", "conflict"]


async def test_forged_callback_is_told_without_what_it_says(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append, secrets=(SECRET,)) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        await posted(kling, said(task, "succeed"), secret="whsec_" + "A" * 32)
        await kling.callbacks.receive(b"{}", {"Content-Type": "text/html"})
    forged, odd = heard.of(CallbackReceived)
    assert (forged.outcome, forged.task_id, forged.status) == ("refused", None, None)
    assert forged.why
    assert (odd.outcome, odd.why) == ("refused", "only application/json")


async def test_callback_that_nobody_signed_is_told_as_a_hint(simulator: Simulator, heard: Heard) -> None:
    async with client(simulator, heard.append) as kling:
        await kling.callbacks.receive(said(Task("t-1", TaskStatus.SUBMITTED), "succeed"), {})
    (hint,) = heard.of(CallbackReceived)
    assert (hint.outcome, hint.task_id) == ("hint", None)


class _FullStore:
    """A store without room."""

    async def add(self, id: str, body: bytes) -> bool:  # noqa: ARG002 - the protocol's
        raise OSError("no room")

    async def news(self, place: str) -> tuple[str, list[tuple[str, bytes]]]:  # noqa: ARG002 - likewise
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        pass


async def test_callback_that_could_not_be_stored_is_told_as_that(simulator: Simulator, heard: Heard) -> None:
    kling = KlingClient(
        ApiKey("key"),
        base_url=simulator.url,
        wall=wall,
        webhook_secrets=[SECRET],
        callback_store=_FullStore(),
        on_event=heard.append,
    )
    async with kling:
        await posted(kling, said(Task("t-1", TaskStatus.SUBMITTED), "succeed"))
    assert [event.outcome for event in heard.of(CallbackReceived)] == ["not stored"]


# --- films -----------------------------------------------------------------------------------------------------------


async def test_film_on_disk_is_told(simulator: Simulator, heard: Heard, tmp_path: Path) -> None:
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.run(simulator.sources[0], external_task_id="mine")
        await kling.download(task, tmp_path / "a.mp4")
        await kling.download(task.video, tmp_path / "b.mp4")
    first, second = heard.of(Downloaded)
    assert (first.task_id, first.external_task_id, first.video_id) == (task.id, "mine", task.video.id)
    assert (first.path, first.size) == (tmp_path / "a.mp4", (tmp_path / "a.mp4").stat().st_size)
    assert first.requests == 1
    assert first.seconds >= 0.0
    assert (second.task_id, second.external_task_id, second.video_id) == (None, None, task.video.id)


async def test_failed_download_is_not_told(simulator: Simulator, heard: Heard, tmp_path: Path) -> None:
    async with client(simulator, heard.append) as kling:
        task = await kling.video_extend.run(simulator.sources[0])
        heard.clear()
        with pytest.raises(OSError, match="stop"):
            await kling.download(task, tmp_path / "a.mp4", progress=_stop)
    assert heard == []


def _stop(there: int, total: int | None) -> None:
    raise OSError("stop")


# --- a hook that fails -----------------------------------------------------------------------------------------------


async def _everything(kling: KlingClient, simulator: Simulator, folder: Path) -> None:
    simulator.script(Fault.html(502, on="get", times=1))
    first = asyncio.create_task(kling.video_extend.run(simulator.sources[0]))
    second = asyncio.create_task(kling.video_extend.run(simulator.sources[0]))
    await kling.download(await first, folder / "film.mp4")
    await posted(kling, said(await second, "succeed"))


@pytest.mark.parametrize("error", [ValueError("mine"), asyncio.CancelledError()], ids=repr)
async def test_hook_that_raises_breaks_nothing_and_is_logged_once_a_minute(
    simulator: Simulator, heard: Heard, caplog: pytest.LogCaptureFixture, tmp_path: Path, error: BaseException
) -> None:
    caplog.set_level(logging.WARNING, logger="kling_async")

    def fail(event: Event) -> None:
        heard.append(event)
        raise error

    async with client(simulator, fail, limit=1, secrets=(SECRET,)) as kling:
        await _everything(kling, simulator, tmp_path)
    # The control: everything happened, and was told.
    assert {type(event) for event in heard} == set(KINDS)
    told = [record for record in caplog.records if "on_event failed" in record.getMessage()]
    assert [record.getMessage() for record in told[:2]] == [
        "on_event failed (1 times, this is the last)",
        "on_event failed (4 times, this is the last)",  # once a minute
    ]
    assert told[0].exc_info is not None
    assert told[0].exc_info[1] is error


async def test_hook_that_is_none_is_never_asked_for(simulator: Simulator, tmp_path: Path) -> None:
    async with client(simulator, None, limit=1, secrets=(SECRET,)) as kling:
        await _everything(kling, simulator, tmp_path)
        assert kling._transport.hook is None


async def _awaited(event: Event) -> None: ...


class _Awaited:
    async def __call__(self, event: Event) -> None: ...


class _Called:
    def __call__(self, event: Event) -> None: ...


def test_hook_may_be_an_object_that_can_be_called() -> None:
    KlingClient(ApiKey("key"), on_event=_Called())


@pytest.mark.parametrize(
    "wrong", [_awaited, _Awaited(), "print", 1], ids=["a coroutine function", "an object of one", "a text", "a number"]
)
def test_hook_that_cannot_be_called_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"on_event: .* must be a plain function"):
        KlingClient(ApiKey("key"), on_event=cast("OnEvent", wrong))


async def test_simulated_client_has_a_hook_too(heard: Heard) -> None:
    async with KlingClient.simulated(Simulator(task_seconds=0.1), on_event=heard.append) as kling:
        await kling.video_extend.run("original-video-id")
    assert isinstance(heard[0], Created)


# --- events as values ------------------------------------------------------------------------------------------------

KINDS = (QueuedForSlot, Created, StatusChanged, PollFailed, CallbackReceived, Downloaded)


def test_union_has_every_kind() -> None:
    assert set(KINDS) == set(Event.__args__)


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_frozen_and_say_what_each_fact_is(kind: type[attrs.AttrsInstance]) -> None:
    event = CallbackReceived(at=datetime.now(UTC), outcome="hint")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.why = "other"  # type: ignore[misc]
    named = {field.name for field in attrs.fields(kind)} - {"at", "resource"}
    told = f"{kind.__doc__}"
    assert [name for name in named if f"{name}:" not in told and f"`{name}`" not in told] == []


# --- what is known ---------------------------------------------------------------------------------------------------


def test_status_is_news_once_and_never_an_older_one() -> None:
    known = Statuses()
    looks = [TaskStatus.PROCESSING, TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEED, TaskStatus.FAILED]
    assert [known.note(Task("t-1", status)) for status in looks] == [True, False, False, True, False]
    assert (known.of("t-1"), known.of("t-2")) == (TaskStatus.SUCCEED, None)


def test_oldest_statuses_are_forgotten() -> None:
    known = Statuses(tasks=2)
    for name in ("a", "b", "c"):
        known.note(Task(name, TaskStatus.SUBMITTED))
    assert (len(known), known.of("a"), known.of("c")) == (2, None, TaskStatus.SUBMITTED)

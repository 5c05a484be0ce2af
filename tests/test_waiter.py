"""Everybody who waits and the one poller behind them, over real sockets and in virtual time."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from faultserver import Act, FaultServer, envelope, task_record

import kling_async
from kling_async import (
    ApiKey,
    AuthenticationError,
    ClientClosed,
    KlingClient,
    KlingError,
    NotFound,
    PollPolicy,
    RequestError,
    Task,
    TaskFailed,
    TaskStatus,
    WaitTimeout,
)
from kling_async.runtime.waiter import Waiter
from kling_async.simulator import Fault, Simulator
from kling_async.spec import VIDEO_EXTEND_PATH
from kling_async.testing import VirtualLoop, wall


def now() -> float:
    return asyncio.get_running_loop().time()


def pollers() -> int:
    """How many pollers run in this loop."""
    return sum(task.get_name().startswith("kling_async poller") for task in asyncio.all_tasks())


def at_work() -> set[asyncio.Task[object]]:
    """The client's own tasks in this loop; the simulator has its in the same one."""
    client = str(Path(kling_async.__file__).parent / "runtime")
    return {task for task in asyncio.all_tasks() if _code_of(task).startswith(client)}


def _code_of(task: asyncio.Task[object]) -> str:
    coroutine = task.get_coro()
    return coroutine.cr_code.co_filename if inspect.iscoroutine(coroutine) else ""


async def settled() -> None:
    """A moment later: whatever was put away has gone."""
    await asyncio.sleep(0.1)


async def created(kling: KlingClient, simulator: Simulator, count: int = 1) -> list[Task]:
    """So many tasks, a second of virtual time between them."""
    tasks = []
    for _ in range(count):
        tasks.append(await kling.video_extend.create(simulator.sources[0]))
        await asyncio.sleep(1.0)
    return tasks


def client(simulator: Simulator, **polling: float) -> KlingClient:
    policy = PollPolicy(**polling)  # type: ignore[arg-type]
    return KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, draw=lambda: 0.5, polling=policy)


# --- one task --------------------------------------------------------------------------------------------------------


async def test_wait_gives_the_succeeded_task(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    ended = await kling.video_extend.wait(task)
    assert ended.status is TaskStatus.SUCCEED
    assert ended.video.id


async def test_wait_takes_either_id(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    by_vendors, by_mine = await asyncio.gather(kling.video_extend.wait(task.id), kling.video_extend.wait("mine-1"))
    assert by_vendors.id == by_mine.id == task.id


async def test_end_is_seen_within_an_interval_and_a_half(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    await kling.video_extend.wait(task)
    assert 60.0 <= now() <= 67.5


async def test_failed_task_raises_with_the_vendors_reason(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="the scene was too dark")
    [task] = await created(kling, simulator)
    with pytest.raises(TaskFailed, match="too dark") as caught:
        await kling.video_extend.wait(task)
    assert caught.value.task.status is TaskStatus.FAILED
    assert (caught.value.created, caught.value.task_id) == ("yes", task.id)


async def test_failure_without_a_reason_says_so(kling: KlingClient) -> None:
    failed = Task("t-1", TaskStatus.FAILED)
    with pytest.raises(TaskFailed, match="no reason"):
        await kling.video_extend.wait(failed)


async def test_ended_task_needs_no_request_and_no_poller(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    ended = await kling.video_extend.wait(task)
    before = simulator.count("get"), simulator.count("list")
    assert await kling.video_extend.wait(ended) is ended
    assert (simulator.count("get"), simulator.count("list")) == before
    await settled()
    assert pollers() == 0


async def test_many_wait_for_one_task_by_one_query_at_a_time(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    ended = await asyncio.gather(*(kling.video_extend.wait(task) for _ in range(100)))
    assert {one.id for one in ended} == {task.id}
    assert simulator.count("get") <= 13


async def test_each_waiter_has_a_deadline_of_its_own(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    patient = asyncio.create_task(kling.video_extend.wait(task))
    begun = now()
    with pytest.raises(WaitTimeout):
        await kling.video_extend.wait(task, timeout=10.0)
    assert now() - begun == pytest.approx(10.0, abs=0.01)
    assert (await patient).status is TaskStatus.SUCCEED


async def test_cancelling_one_waiter_leaves_the_other(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    first, second = (asyncio.create_task(kling.video_extend.wait(task)) for _ in range(2))
    await asyncio.sleep(7.0)
    first.cancel()
    assert (await second).id == task.id
    assert first.cancelled()


async def test_timeout_carries_the_task_as_last_seen_and_a_later_wait_goes_on(
    kling: KlingClient, simulator: Simulator
) -> None:
    [task] = await created(kling, simulator)
    with pytest.raises(WaitTimeout) as caught:
        await kling.video_extend.wait(task, timeout=30.0)
    [last] = caught.value.pending
    assert isinstance(last, Task)
    assert last.status is TaskStatus.PROCESSING
    assert (caught.value.created, caught.value.task_id) == ("yes", task.id)
    assert (await kling.video_extend.wait(last)).status is TaskStatus.SUCCEED
    assert len(simulator.accepted) == 1


async def test_wait_without_bound_waits_for_ever(kling: KlingClient) -> None:
    async with Simulator(clock=wall, task_seconds=5_000.0) as slow, client(slow, interval=100.0) as ours:
        task = await ours.video_extend.create(slow.sources[0])
        await ours.video_extend.wait(task, timeout=None)
        assert now() >= 5_000.0


async def test_nought_seconds_look_at_nothing(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    with pytest.raises(WaitTimeout, match="after 0 s"):
        await kling.video_extend.wait(task, timeout=0)
    await settled()
    assert pollers() == 0


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "5", True])
async def test_senseless_timeout_is_refused(kling: KlingClient, timeout: float) -> None:
    with pytest.raises(RequestError, match="timeout"):
        await kling.video_extend.wait("t-1", timeout=timeout)


# --- many tasks ------------------------------------------------------------------------------------------------------


async def test_wait_all_keeps_the_order_given(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 3)
    ended = await kling.video_extend.wait_all([tasks[2], tasks[0].id, tasks[1]])
    assert [one.id for one in ended] == [tasks[2].id, tasks[0].id, tasks[1].id]


async def test_wait_all_takes_duplicates(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    ended = await kling.video_extend.wait_all([task, task.id, task])
    assert [one.id for one in ended] == [task.id] * 3


async def test_wait_all_of_nothing_is_an_empty_list(kling: KlingClient) -> None:
    assert await kling.video_extend.wait_all([]) == []
    assert await kling.video_extend.wait_all([], return_exceptions=True) == []
    assert [task async for task in kling.video_extend.as_completed([])] == []
    assert pollers() == 0


async def test_wait_all_raises_the_first_failure_at_once(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 2)
    simulator.fail_task(tasks[0].id)
    late = await kling.video_extend.create(simulator.sources[0])
    with pytest.raises(TaskFailed) as caught:
        await kling.video_extend.wait_all([late, *tasks[::-1]])
    assert caught.value.task.id == tasks[0].id
    assert now() < 67.5
    assert (await kling.video_extend.wait(late)).status is TaskStatus.SUCCEED


async def test_wait_all_puts_each_error_in_its_place(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    tasks = await created(kling, simulator, 2)
    failed, unknown, well = await kling.video_extend.wait_all(
        [tasks[0], "no-such-task", tasks[1]], return_exceptions=True
    )
    assert isinstance(failed, TaskFailed)
    assert isinstance(unknown, NotFound)
    assert isinstance(well, Task)


async def test_wait_all_puts_a_timeout_in_the_place_of_each_that_is_late(
    kling: KlingClient, simulator: Simulator
) -> None:
    first, *_ = await created(kling, simulator, 30)
    late = await kling.video_extend.create(simulator.sources[0])
    ended, timed_out = await kling.video_extend.wait_all([first, late], timeout=40.0, return_exceptions=True)
    assert isinstance(ended, Task)
    assert isinstance(timed_out, WaitTimeout)
    assert [getattr(one, "id", one) for one in timed_out.pending] == [late.id]


async def test_wait_all_times_out_with_all_that_had_not_ended(kling: KlingClient, simulator: Simulator) -> None:
    first, *_ = await created(kling, simulator, 30)
    late = await kling.video_extend.create(simulator.sources[0])
    with pytest.raises(WaitTimeout, match="2 tasks") as caught:
        await kling.video_extend.wait_all([late, first, late.id], timeout=40.0)
    assert len(caught.value.pending) == 2
    assert all(isinstance(one, Task) and one.id == late.id for one in caught.value.pending)


@pytest.mark.parametrize("tasks", ["t-1", Task("t-1", TaskStatus.SUBMITTED)])
async def test_single_task_given_as_many_is_refused(kling: KlingClient, tasks: Sequence[str]) -> None:
    with pytest.raises(RequestError, match="single task"):
        await kling.video_extend.wait_all(tasks)


async def test_as_completed_gives_the_order_of_ending_failed_ones_included(
    kling: KlingClient, simulator: Simulator
) -> None:
    tasks = [task for task in await created(kling, simulator, 30) if task.id][::15]
    simulator.fail_task(tasks[1].id)
    seen = [task async for task in kling.video_extend.as_completed([tasks[1].id, tasks[0]])]
    assert [(task.id, task.status) for task in seen] == [
        (tasks[0].id, TaskStatus.SUCCEED),
        (tasks[1].id, TaskStatus.FAILED),
    ]


async def test_as_completed_times_out_with_those_pending(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 30)
    seen: list[str] = []

    async def iterate() -> None:
        async for task in kling.video_extend.as_completed([tasks[29], tasks[0]], timeout=40.0):
            seen.append(task.id)

    with pytest.raises(WaitTimeout) as caught:
        await iterate()
    assert seen == [tasks[0].id]
    assert [getattr(one, "id", one) for one in caught.value.pending] == [tasks[29].id]


async def test_as_completed_gives_what_ended_while_the_caller_was_busy(
    kling: KlingClient, simulator: Simulator
) -> None:
    # The time is over by then, but these had ended within it.
    tasks = await created(kling, simulator, 3)
    seen = []
    async for task in kling.video_extend.as_completed(tasks, timeout=80.0):
        seen.append(task.id)
        await asyncio.sleep(100.0)
    assert sorted(seen) == [task.id for task in tasks]


async def test_as_completed_raises_for_an_unknown_id(kling: KlingClient) -> None:
    with pytest.raises(NotFound):
        _ = [task async for task in kling.video_extend.as_completed(["no-such-task"])]


async def test_breaking_off_as_completed_leaves_nothing_behind(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 30)
    async for _ in kling.video_extend.as_completed(tasks):
        break
    await settled()
    assert pollers() == 0
    assert "0 waiting, idle" in repr(kling.video_extend)


# --- the poller ------------------------------------------------------------------------------------------------------


async def test_poller_starts_with_the_first_and_stops_with_the_last(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 2)
    waits = [asyncio.create_task(kling.video_extend.wait(task)) for task in tasks]
    await asyncio.sleep(3.0)
    assert pollers() == 1
    assert "2 waiting, polling" in repr(kling.video_extend)
    waits[0].cancel()
    await settled()
    assert pollers() == 1
    waits[1].cancel()
    await settled()
    assert not at_work()


async def test_one_poller_for_500_and_one_for_each_resource(kling: KlingClient, simulator: Simulator) -> None:
    waits = [asyncio.create_task(kling.video_extend.wait(f"t-{number}")) for number in range(500)]
    other = asyncio.create_task(kling.omni_video.wait("t-1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pollers() == 2
    for wait in (*waits, other):
        wait.cancel()
    await asyncio.gather(*waits, other, return_exceptions=True)


async def test_tasks_that_the_list_does_not_show_are_asked_for_singly(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 8)
    hidden = {task.id for task in tasks[:4]}
    simulator.script(Fault.changed(lambda answer: _without(answer, hidden), on="list", times=None))
    ended = await kling.video_extend.wait_all(tasks)
    assert [task.status for task in ended] == [TaskStatus.SUCCEED] * 8


def _without(answer: dict[str, Any], ids: set[str]) -> Any:
    return {**answer, "data": [record for record in answer["data"] if record["task_id"] not in ids]}


async def test_single_queries_stay_within_their_number(simulator: Simulator) -> None:
    async with FaultServer.of(Act(wait=1.0, say=envelope(task_record()), then="keep")) as server:
        policy = PollPolicy(singles=50, concurrency=3)
        async with KlingClient(ApiKey("k"), base_url=server.url, wall=wall, polling=policy) as kling:
            with pytest.raises(WaitTimeout):
                await kling.video_extend.wait_all([f"t-{number}" for number in range(20)], timeout=9.5)
        assert server.connections == 3


class Broken(RuntimeError):
    """A bug of ours."""


def _broken_once(kling: KlingClient) -> None:
    """The token's clock is a part that callers pass in: let it fail once."""
    good, left = kling._transport.wall, [Broken("a bug")]

    def clock() -> float:
        if left:
            raise left.pop()
        return good()

    kling._transport.wall = clock


@pytest.mark.parametrize("count", [1, 20], ids=["single queries", "a sweep"])
async def test_bug_in_the_poller_reaches_every_waiter_and_the_next_wait_starts_afresh(
    kling: KlingClient, simulator: Simulator, count: int
) -> None:
    tasks = await created(kling, simulator, count)
    waits = [asyncio.create_task(kling.video_extend.wait(task)) for task in tasks]
    await asyncio.sleep(1.0)
    _broken_once(kling)
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Broken] * count
    assert [task.status for task in await kling.video_extend.wait_all(tasks)] == [TaskStatus.SUCCEED] * count


async def test_bug_is_raised_even_where_errors_are_put_in_their_places(
    kling: KlingClient, simulator: Simulator
) -> None:
    tasks = await created(kling, simulator, 2)
    _broken_once(kling)
    with pytest.raises(Broken):
        await kling.video_extend.wait_all(tasks, return_exceptions=True)


async def test_wait_begun_in_the_moment_of_a_bug_gets_a_poller_that_works(
    kling: KlingClient, simulator: Simulator
) -> None:
    tasks = await created(kling, simulator, 20)
    good, again = kling._transport.wall, list[asyncio.Task[Task]]()

    def clock() -> float:
        if again:
            return good()
        # Its first step comes before the poller has noticed anything.
        again.append(asyncio.create_task(kling.video_extend.wait(tasks[1])))
        raise Broken("a bug")

    waits = [asyncio.create_task(kling.video_extend.wait(task)) for task in tasks]
    await asyncio.sleep(1.0)
    kling._transport.wall = clock
    assert {type(one) for one in await asyncio.gather(*waits, return_exceptions=True)} == {Broken}
    await settled()
    assert pollers() == 1
    assert (await again[0]).status is TaskStatus.SUCCEED


async def test_errors_that_nobody_looks_at_do_not_complain(
    kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fail_next(3)
    tasks = await created(kling, simulator, 3)
    async for _ in kling.video_extend.as_completed(tasks):
        await asyncio.sleep(30.0)  # the others fail meanwhile
        break
    await settled()
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


class BrokenPolicy(PollPolicy):
    """A policy that cannot be read once it is armed; it disarms itself."""

    armed = False

    def __getattribute__(self, name: str) -> object:
        if name == "singles" and BrokenPolicy.armed:
            BrokenPolicy.armed = False
            raise Broken("a bug")
        return super().__getattribute__(name)


async def test_bug_in_the_plan_reaches_every_waiter_and_the_next_wait_starts_afresh(simulator: Simulator) -> None:
    async with KlingClient(
        ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, polling=BrokenPolicy()
    ) as kling:
        tasks = await created(kling, simulator, 3)
        waits = [asyncio.create_task(kling.video_extend.wait(task)) for task in tasks]
        await asyncio.sleep(1.0)
        BrokenPolicy.armed = True
        waits.append(asyncio.create_task(kling.video_extend.wait(tasks[0].external_task_id or "")))  # due at once
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Broken] * 4
        assert [task.status for task in await kling.video_extend.wait_all(tasks)] == [TaskStatus.SUCCEED] * 3


# --- weather ---------------------------------------------------------------------------------------------------------

WEATHER = {
    "resets": Fault.reset(times=None, on="query"),
    "closes": Fault.close(times=None, on="query"),
    "5000": Fault.code(5000, times=None, on="query"),
    "5001": Fault.code(5001, times=None, on="query"),
    "5002": Fault.code(5002, times=None, on="query"),
    "1302": Fault.code(1302, times=None, on="query"),
    "HTML 502": Fault.html(502, times=None, on="query"),
    "HTML 404": Fault.html(404, times=None, on="query"),
    "empty": Fault.empty(times=None, on="query"),
    "truncated": Fault.truncated(times=None, on="query"),
    "silence": Fault.slow(1000.0, times=None, on="query"),
    "garbage": Fault.garbage(times=None, on="query"),
    "redirect": Fault.redirect("https://elsewhere.example/", times=None, on="query"),
}


@pytest.mark.parametrize("count", [1, 8], ids=["single", "sweep"])
@pytest.mark.parametrize("fault", WEATHER.values(), ids=WEATHER.keys())
async def test_ten_minutes_of_weather_do_not_end_a_wait(
    kling: KlingClient, simulator: Simulator, fault: Fault, count: int
) -> None:
    tasks = await created(kling, simulator, count)
    waiting = asyncio.create_task(kling.video_extend.wait_all(tasks))
    await asyncio.sleep(7.0)
    simulator.script(fault)
    await asyncio.sleep(600.0)
    assert not waiting.done()
    simulator.clear_faults()
    assert [task.status for task in await waiting] == [TaskStatus.SUCCEED] * count
    assert now() < 720.0
    assert len(simulator.accepted) == count


async def test_wait_outlives_a_vendor_that_is_away(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(7.0)
    await simulator.stop()
    await asyncio.sleep(300.0)
    await simulator.start()
    assert (await waiting).status is TaskStatus.SUCCEED


async def test_outage_slows_polling_down(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    simulator.script(Fault.code(5001, times=None, on="query"))
    with pytest.raises(WaitTimeout):
        await kling.video_extend.wait(task, timeout=600.0)
    assert simulator.count("get") <= 24


FINAL = {
    "wrong key": (Fault.code(1002, times=None, on="query"), AuthenticationError),
    "no money": (Fault.code(1101, times=None, on="query"), KlingError),
    "not allowed": (Fault.code(1304, times=None, on="query"), KlingError),
}


@pytest.mark.parametrize("count", [1, 8], ids=["single", "sweep"])
@pytest.mark.parametrize(("fault", "kind"), FINAL.values(), ids=FINAL.keys())
async def test_refusal_for_good_ends_the_wait_and_says_that_the_task_exists(
    kling: KlingClient, simulator: Simulator, fault: Fault, kind: type[KlingError], count: int
) -> None:
    tasks = await created(kling, simulator, count)
    simulator.script(fault)
    outcomes = await kling.video_extend.wait_all(tasks, return_exceptions=True)
    for task, error in zip(tasks, outcomes, strict=True):
        assert isinstance(error, kind)
        assert (error.created, error.task_id) == ("yes", task.id)


async def test_refusal_for_good_of_an_id_never_seen_leaves_open_whether_it_exists(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.code(1002, on="query"))
    with pytest.raises(AuthenticationError) as caught:
        await kling.video_extend.wait("t-1")
    assert caught.value.created == "unknown"


@pytest.mark.parametrize("count", [1, 8], ids=["single", "sweep"])
async def test_unknown_ids_are_not_found_at_once(kling: KlingClient, simulator: Simulator, count: int) -> None:
    ids = [f"no-such-task-{number}" for number in range(count)]
    outcomes = await kling.video_extend.wait_all(ids, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotFound] * count
    assert now() < 1.0


async def test_task_that_cannot_be_read_does_not_harm_the_others(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 8)
    broken = tasks[3].id

    def spoil(answer: dict[str, Any]) -> Any:
        records = answer["data"]
        for record in records if isinstance(records, list) else [records]:
            if record["task_id"] == broken:
                del record["task_status"]
        return answer

    simulator.script(Fault.changed(spoil, times=None, on="query"))
    outcomes = await kling.video_extend.wait_all(tasks, timeout=120.0, return_exceptions=True)
    assert [type(one) for one in outcomes] == [*[Task] * 3, WaitTimeout, *[Task] * 4]


# --- seen elsewhere --------------------------------------------------------------------------------------------------


async def test_end_seen_by_a_query_of_somebody_else_ends_the_wait(simulator: Simulator) -> None:
    async with client(simulator, interval=1000.0) as kling:
        [task] = await created(kling, simulator)
        waiting = asyncio.create_task(kling.video_extend.wait(task))
        await asyncio.sleep(100.0)
        await kling.video_extend.get(task.id)
        assert (await waiting).status is TaskStatus.SUCCEED
        assert now() < 110.0
        assert (simulator.count("get"), simulator.count("list")) == (1, 0)


async def test_end_seen_by_walking_the_list_ends_the_wait(simulator: Simulator) -> None:
    async with client(simulator, interval=1000.0) as kling:
        [task] = await created(kling, simulator)
        waiting = asyncio.create_task(kling.video_extend.wait(task))
        await asyncio.sleep(100.0)
        await kling.video_extend.list()
        assert (await waiting).status is TaskStatus.SUCCEED
        assert now() < 110.0
        assert (simulator.count("get"), simulator.count("list")) == (0, 1)


# --- closing and cancelling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", range(1, 12))
async def test_closing_tells_whoever_waits_at_any_moment(kling: KlingClient, simulator: Simulator, turns: int) -> None:
    tasks = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait_all([*tasks, "by-id"], return_exceptions=True))
    for _ in range(turns):
        await asyncio.sleep(0)
    await kling.close()
    seen, never_seen = await asyncio.wait_for(waiting, 1.0)
    assert isinstance(seen, ClientClosed)
    assert (seen.created, seen.task_id) == ("yes", tasks[0].id)
    assert isinstance(never_seen, ClientClosed | NotFound)
    assert not at_work()


async def test_closing_ends_as_completed(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 2)

    async def iterate() -> None:
        async for _ in kling.video_extend.as_completed(tasks):
            pass

    iterating = asyncio.create_task(iterate())
    await asyncio.sleep(7.0)
    await kling.close()
    with pytest.raises(ClientClosed):
        await iterating


async def test_wait_after_close_works_again(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    await kling.close()
    assert (await kling.video_extend.wait(task)).status is TaskStatus.SUCCEED


async def test_close_leaves_no_task_behind(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(1000.0, times=None, on="query"))
    tasks = await created(kling, simulator, 8)
    waits = [asyncio.create_task(kling.video_extend.wait(task)) for task in tasks]
    await asyncio.sleep(8.0)
    assert at_work()
    await kling.close()
    assert not at_work()
    assert {type(one) for one in await asyncio.gather(*waits, return_exceptions=True)} == {ClientClosed}


async def test_close_awaits_a_poller_that_still_puts_its_fetches_away(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.slow(1000.0, times=None, on="query"))
    with pytest.raises(WaitTimeout):
        await kling.video_extend.wait("t-1", timeout=5.0)
    await kling.close()
    assert not at_work()


async def test_poller_cancelled_by_somebody_else_tells_whoever_waits(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(3.0)
    [poller] = [one for one in asyncio.all_tasks() if one.get_name().startswith("kling_async poller")]
    poller.cancel()
    with pytest.raises(ClientClosed):
        await waiting


async def test_poller_cancelled_before_its_first_step_is_replaced(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    first = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(0)
    [poller] = [one for one in asyncio.all_tasks() if one.get_name().startswith("kling_async poller")]
    poller.cancel()
    first.cancel()
    await settled()
    assert (await kling.video_extend.wait(task)).status is TaskStatus.SUCCEED


Wait = Callable[[KlingClient, Sequence[Task]], Awaitable[object]]


async def _iterated(kling: KlingClient, tasks: Sequence[Task]) -> None:
    async for _ in kling.video_extend.as_completed(tasks):
        pass


WAYS: dict[str, Wait] = {
    "wait": lambda kling, tasks: kling.video_extend.wait(tasks[0]),
    "wait_all": lambda kling, tasks: kling.video_extend.wait_all(tasks),
    "wait_each": lambda kling, tasks: kling.video_extend.wait_all(tasks, return_exceptions=True),
    "as_completed": _iterated,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_cancelled_at_any_turn_of_the_loop_nothing_is_left(
    kling: KlingClient, simulator: Simulator, way: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    tasks = await created(kling, simulator, 8)
    for turns in range(60):
        waiting = asyncio.ensure_future(way(kling, tasks))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
    await settled()
    assert not at_work()
    assert "0 waiting, idle, <Watch 0 awaited" in repr(kling.video_extend)
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("after", [0.5 * step for step in range(30)])
async def test_cancelled_at_any_time_nothing_is_left(kling: KlingClient, simulator: Simulator, after: float) -> None:
    simulator.script(Fault.none(on="query"), Fault.slow(3.0, times=None, on="query"))
    running = asyncio.create_task(kling.video_extend.run(simulator.sources[0]))
    await asyncio.sleep(after)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await settled()
    assert not at_work()
    assert "0 waiting, idle" in repr(kling.video_extend)


def test_two_runs_with_the_same_client() -> None:
    async def main() -> None:
        async with Simulator(clock=wall, task_seconds=60.0) as simulator:
            kling._transport.base_url = simulator.url
            async with kling:
                task = await kling.video_extend.run(simulator.sources[0])
                assert task.status is TaskStatus.SUCCEED

    kling = KlingClient(ApiKey(Simulator.api_key), base_url="http://set.later", wall=wall)
    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())


def test_run_that_is_broken_off_does_not_harm_the_next() -> None:
    async def begin() -> None:
        async with Simulator(clock=wall, task_seconds=60.0) as simulator:
            kling._transport.base_url = simulator.url
            waiting.append(asyncio.create_task(kling.video_extend.run(simulator.sources[0])))
            await asyncio.sleep(10.0)
            # Neither awaited nor cancelled: the runner does that.

    async def end() -> None:
        async with Simulator(clock=wall, task_seconds=60.0) as simulator:
            kling._transport.base_url = simulator.url
            async with kling:
                await kling.video_extend.run(simulator.sources[0])

    waiting: list[asyncio.Task[Task]] = []
    kling = KlingClient(ApiKey(Simulator.api_key), base_url="http://set.later", wall=wall)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(begin())
    assert waiting[0].cancelled()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.warns(ResourceWarning, match="not closed"):
        runner.run(end())


async def test_ends_are_seen_when_nobody_listens(kling: KlingClient) -> None:
    waiter = Waiter(kling._transport, VIDEO_EXTEND_PATH, PollPolicy())
    waiter.absorb([Task("t-1", TaskStatus.FAILED)])
    assert "0 waiting, idle" in repr(waiter)


async def test_ends_are_told_to_who_listens(kling: KlingClient) -> None:
    class Listener:
        def __init__(self) -> None:
            self.heard: list[str] = []

        holds_any = True

        def holds(self, id: str) -> bool:
            return id == "t-1"

        def ended(self, task: Task) -> None:
            self.heard.append(task.id)

    waiter, listener = Waiter(kling._transport, VIDEO_EXTEND_PATH, PollPolicy()), Listener()
    waiter.tell(listener)
    waiter.absorb([Task("t-1", TaskStatus.FAILED), Task("t-2", TaskStatus.PROCESSING)])
    assert listener.heard == ["t-1"]

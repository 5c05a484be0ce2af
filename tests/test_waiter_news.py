"""Changes of status as they come, and what callbacks tell, over real sockets and in virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import attrs
import pytest

from kling_async import (
    ApiKey,
    KlingClient,
    NotFound,
    NoVideo,
    PollPolicy,
    Task,
    TaskFailed,
    TaskStatus,
    Video,
    WaitTimeout,
)
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

SUBMITTED, PROCESSING, SUCCEED, FAILED = (
    TaskStatus.SUBMITTED,
    TaskStatus.PROCESSING,
    TaskStatus.SUCCEED,
    TaskStatus.FAILED,
)
INTERVAL = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


def asked(simulator: Simulator) -> int:
    """How many requests have looked at tasks."""
    return simulator.count("get") + simulator.count("list")


def ended(task: Task, status: TaskStatus = SUCCEED, *, videos: int = 1) -> Task:
    """As a callback would tell of its end."""
    return attrs.evolve(task, status=status, videos=(Video("v-1"),) * videos)


async def at_rest(kling: KlingClient) -> None:
    """Nobody waits any more, and nothing is left of the poller."""
    await asyncio.sleep(0.1)
    gc.collect()
    assert "0 waiting, idle, <Watch 0 awaited" in repr(kling.video_extend)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("kling_async poller")]


async def created(kling: KlingClient, simulator: Simulator, count: int = 1) -> list[Task]:
    return [await kling.video_extend.create(simulator.sources[0]) for _ in range(count)]


# --- changes of status -----------------------------------------------------------------------------------------------


async def heard(events: AsyncIterator[Task], *, slowly: float = 0.0) -> list[tuple[str, TaskStatus]]:
    seen = []
    async for task in events:
        seen.append((task.id, task.status))
        await asyncio.sleep(slowly)
    return seen


async def test_every_change_comes_once_and_in_order(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 3)
    seen = await heard(kling.video_extend.events([task.id for task in tasks]))
    for task in tasks:
        assert [status for id_, status in seen if id_ == task.id] == [SUBMITTED, PROCESSING, SUCCEED]
    assert len(seen) == 9
    await at_rest(kling)


async def test_a_change_is_told_when_it_is_seen(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    times = [now() async for _ in kling.video_extend.events([task])]
    assert [10.0 <= times[0] <= 15.5, 60.0 <= times[1] <= 65.5] == [True, True]


async def test_of_a_task_its_own_status_is_no_news(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    assert await heard(kling.video_extend.events([task])) == [(task.id, PROCESSING), (task.id, SUCCEED)]


async def test_of_what_was_ended_when_it_was_given_the_end_comes_at_once(
    kling: KlingClient, simulator: Simulator
) -> None:
    [task] = await created(kling, simulator)
    done = ended(task)
    assert await heard(kling.video_extend.events([done, done])) == [(task.id, SUCCEED)]
    assert asked(simulator) == 0


async def test_one_that_failed_is_told_as_it_is_and_the_others_go_on(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    tasks = await created(kling, simulator, 2)
    seen = await heard(kling.video_extend.events(tasks))
    assert sorted(seen) == sorted(
        [(tasks[0].id, PROCESSING), (tasks[0].id, FAILED), (tasks[1].id, PROCESSING), (tasks[1].id, SUCCEED)]
    )


async def test_every_reader_hears_every_change(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    readers = [asyncio.create_task(heard(kling.video_extend.events([task]))) for _ in range(3)]
    await asyncio.sleep(20.0)
    late = asyncio.create_task(heard(kling.video_extend.events([task])))  # it was given as it no longer is
    assert await asyncio.gather(*readers, late) == [[(task.id, PROCESSING), (task.id, SUCCEED)]] * 4


async def test_a_slow_reader_hears_all_the_same(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    seen = await heard(kling.video_extend.events([task.id]), slowly=100.0)
    assert seen == [(task.id, SUBMITTED), (task.id, PROCESSING), (task.id, SUCCEED)]


async def test_of_a_task_that_goes_to_and_fro_one_change_of_each_status_waits_for_a_slow_reader(
    kling: KlingClient, simulator: Simulator
) -> None:
    [task] = await created(kling, simulator)
    turn = iter(range(10_000))

    def to_and_fro(answer: dict[str, Any]) -> dict[str, Any]:
        record = answer["data"]
        if record["task_status"] == "processing" and next(turn) % 2:
            record["task_status"] = "pondering"
        return answer

    simulator.script(Fault.changed(to_and_fro, times=None, on="get"))
    first, *waited = await heard(kling.video_extend.events([task]), slowly=200.0)
    assert first == (task.id, PROCESSING)
    assert sorted(status for _, status in waited) == [PROCESSING, SUCCEED, TaskStatus.UNKNOWN]
    assert waited[-1] == (task.id, SUCCEED)


async def test_time_that_is_over_carries_those_pending(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    tasks = await created(kling, simulator, 2)
    with pytest.raises(WaitTimeout) as caught:
        await heard(kling.video_extend.events([ended(tasks[0]), tasks[1]], timeout=30.0))
    assert [(task.id, task.status) for task in caught.value.pending if isinstance(task, Task)] == [
        (tasks[1].id, PROCESSING)
    ]
    assert now() == pytest.approx(30.0, abs=0.01)
    await at_rest(kling)


async def test_unknown_id_ends_it(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    with pytest.raises(NotFound):
        await heard(kling.video_extend.events([task, "no-such-task"]))
    await at_rest(kling)


async def test_success_without_a_video_ends_it(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)

    def filmless(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"].pop("task_result", None)
        return answer

    simulator.script(Fault.changed(filmless, times=None, on="get"))
    seen = []
    with pytest.raises(NoVideo) as caught:
        async for one in kling.video_extend.events([task]):
            seen.append(one.status)
    assert (seen, caught.value.task_id) == ([PROCESSING], task.id)
    await at_rest(kling)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_cancelled_at_any_turn_it_leaves_nothing(kling: KlingClient, simulator: Simulator, turns: int) -> None:
    tasks = await created(kling, simulator, 3)
    reading = asyncio.create_task(heard(kling.video_extend.events([task.id for task in tasks])))
    for _ in range(turns):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert reading.cancelled()
    await at_rest(kling)


async def test_broken_off_it_leaves_nothing(kling: KlingClient, simulator: Simulator) -> None:
    tasks = await created(kling, simulator, 3)
    async for _ in kling.video_extend.events(tasks):
        break
    await at_rest(kling)


# --- callbacks -------------------------------------------------------------------------------------------------------


async def test_an_end_that_is_heard_of_settles_at_once(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    waits = [asyncio.create_task(kling.video_extend.wait(task)) for _ in range(2)]
    await asyncio.sleep(1.0)
    kling.video_extend._waiter.hear(ended(task))
    assert await asyncio.gather(*waits) == [ended(task)] * 2
    assert now() == pytest.approx(1.0, abs=0.01)
    assert asked(simulator) == 0


@pytest.mark.parametrize("by", ["id", "external_task_id", "task"])
async def test_an_end_that_overtakes_its_wait_is_kept_for_it(kling: KlingClient, simulator: Simulator, by: str) -> None:
    [task] = await created(kling, simulator)
    kling.video_extend._waiter.hear(ended(task))
    await asyncio.sleep(599.0)
    given = task if by == "task" else getattr(task, by)
    assert await kling.video_extend.wait(given) == ended(task)
    assert asked(simulator) == 0


async def test_a_failure_is_kept_likewise(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    kling.video_extend._waiter.hear(ended(task, FAILED, videos=0))
    with pytest.raises(TaskFailed):
        await kling.video_extend.wait(task)
    assert asked(simulator) == 0


async def test_for_ten_minutes(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    kling.video_extend._waiter.hear(ended(task))
    await asyncio.sleep(601.0)
    await kling.video_extend.wait(task.id)
    assert asked(simulator) == 1


@pytest.mark.parametrize(("status", "videos"), [(SUBMITTED, 0), (PROCESSING, 0), (SUCCEED, 0)])
async def test_what_is_no_end_with_its_video_is_not_kept(
    kling: KlingClient, simulator: Simulator, status: TaskStatus, videos: int
) -> None:
    [task] = await created(kling, simulator)
    kling.video_extend._waiter.hear(ended(task, status, videos=videos))
    assert (await kling.video_extend.wait(task.id)).video.id != "v-1"
    assert asked(simulator) >= 1


async def test_what_somebody_waited_for_is_not_kept(kling: KlingClient, simulator: Simulator) -> None:
    [task] = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task.external_task_id or ""))
    await asyncio.sleep(1.0)
    kling.video_extend._waiter.hear(ended(task))
    await waiting
    assert len(kling.video_extend._waiter._parked) == 0


async def test_success_heard_of_without_its_video_is_looked_at_once_more(
    kling: KlingClient, simulator: Simulator
) -> None:
    [task] = await created(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(62.0)
    kling.video_extend._waiter.hear(ended(task, videos=0))
    assert (await waiting).video.id != "v-1"


async def polled(kling: KlingClient, simulator: Simulator, seconds: int, *, callbacks: bool) -> int:
    """How many requests were made in these seconds, with a callback of somebody else's task each second or without."""
    before = asked(simulator)
    for _ in range(seconds):
        if callbacks:
            kling.video_extend._waiter.hear(Task("another", PROCESSING))
        await asyncio.sleep(1.0)
    return asked(simulator) - before


@pytest.mark.parametrize("count", [1, 2, 20])
async def test_while_callbacks_come_polls_are_rare_and_soon_after_as_frequent_as_before(count: int) -> None:
    async with (
        Simulator(clock=wall, task_seconds=500.0) as simulator,
        KlingClient(
            ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, polling=PollPolicy(interval=INTERVAL)
        ) as kling,
    ):
        tasks = await created(kling, simulator, count)
        waiting = asyncio.create_task(kling.video_extend.wait_all(tasks))
        before = await polled(kling, simulator, 100, callbacks=False)
        meanwhile = await polled(kling, simulator, 150, callbacks=True)
        after = await polled(kling, simulator, 100, callbacks=False)
        await waiting
    assert 16 <= before <= 21
    assert 3 <= meanwhile <= 7
    assert 16 <= after <= 21


# --- how it waits ----------------------------------------------------------------------------------------------------


async def test_a_wait_for_very_many_lets_others_have_their_turn(kling: KlingClient) -> None:
    async def turns_while(count: int) -> int:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        with pytest.raises(WaitTimeout):
            await kling.video_extend.wait_all([Task(f"t-{n}", PROCESSING) for n in range(count)], timeout=0)
        ticking.cancel()
        return turns

    assert await turns_while(5_000) >= 5
    assert await turns_while(999) == 0


async def _read(kling: KlingClient, tasks: Sequence[Task]) -> None:
    await heard(kling.video_extend.events(tasks, timeout=10.0))


async def _each(kling: KlingClient, tasks: Sequence[Task]) -> None:
    await heard(kling.video_extend.as_completed(tasks, timeout=10.0))


WAYS: dict[str, Callable[[KlingClient, Sequence[Task]], Awaitable[object]]] = {
    "wait": lambda kling, tasks: kling.video_extend.wait(tasks[0], timeout=10.0),
    "wait_all": lambda kling, tasks: kling.video_extend.wait_all(tasks, timeout=10.0),
    "wait_each": lambda kling, tasks: kling.video_extend.wait_all(tasks, timeout=10.0, return_exceptions=True),
    "as_completed": _each,
    "events": _read,
}


@pytest.mark.parametrize("first", ["deadline", "cancellation"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_cancellation_in_the_turn_of_the_deadline_is_not_lost(
    kling: KlingClient, simulator: Simulator, way: Callable[..., Awaitable[object]], first: str
) -> None:
    tasks = await created(kling, simulator, 2)
    deadline = now() + 10.0
    waiting = asyncio.ensure_future(way(kling, tasks))
    moment = deadline + (1e-12 if first == "deadline" else -1e-12)  # both in one turn, in this order
    asyncio.get_running_loop().call_at(moment, waiting.cancel)
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await at_rest(kling)


async def test_who_waits_for_the_same_task_gets_an_error_of_their_own(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    [task] = await created(kling, simulator)
    for id_, kind in ((task.id, TaskFailed), ("no-such-task", NotFound)):
        waits = [kling.video_extend.wait(id_) for _ in range(2)]
        one, other = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(one, kind)
        assert isinstance(other, kind)
        assert one is not other
        assert one.__traceback__ is not other.__traceback__


async def test_what_one_poller_learnt_the_next_one_knows(kling: KlingClient, simulator: Simulator) -> None:
    async def looks_while_young() -> int:
        [task] = await created(kling, simulator)
        before = asked(simulator)
        with pytest.raises(WaitTimeout):
            await kling.video_extend.wait(task, timeout=29.0)
        await at_rest(kling)
        return asked(simulator) - before

    assert await looks_while_young() == 5
    await kling.video_extend.wait_all(await created(kling, simulator, 10))
    await at_rest(kling)
    assert await looks_while_young() == 2

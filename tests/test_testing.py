"""What users' tests are made of: time that jumps, faults in one line each, callbacks as the vendor signs them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Literal

import pytest
from aiohttp import web
from posts import OTHER

from kling_async import (
    ConfigurationError,
    KlingClient,
    RequestError,
    Task,
    TaskFailed,
    TaskStatus,
    WaitTimeout,
    WebhookError,
)
from kling_async.simulator import Delivery, Fault, Simulator
from kling_async.testing import WEBHOOK_SECRET, VirtualLoop, signed_callback, virtual_time, wall

SOURCE = "original-video-id"


def vendor() -> Simulator:
    return Simulator(task_seconds=30.0, webhook_secret=WEBHOOK_SECRET)


# --- ten lines -------------------------------------------------------------------------------------------------------


@virtual_time
async def weather() -> tuple[Simulator, list[Task]]:
    """Success, a storm of 1303, a lost callback and an outage."""
    simulator = vendor()
    async with KlingClient.simulated(simulator) as kling:
        tasks = [await kling.video_extend.run(SOURCE)]
        simulator.script(Fault.code(1303, on="create", times=20))
        tasks.append(await kling.video_extend.run(SOURCE))
        simulator.delivery = Delivery(lose=1)
        tasks.append(await kling.video_extend.run(SOURCE, callback_url="http://localhost:1/kling"))
        simulator.script(Fault.reset(on="query", times=30))
        tasks.append(await kling.video_extend.run(SOURCE))
    return simulator, tasks


@pytest.mark.real_time
def test_the_worst_weather_is_lived_through_in_no_time() -> None:
    began = time.process_time()
    simulator, tasks = weather()
    took = time.process_time() - began
    assert [task.status for task in tasks] == [TaskStatus.SUCCEED] * 4
    assert len(simulator.accepted) == 4
    assert simulator.faults == ()  # all of it struck
    assert took < 2.0  # a quarter of that where nobody measures coverage
    assert simulator.posted == []


@virtual_time
async def waits_too_short_a_time() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        await kling.video_extend.wait(await kling.video_extend.create(SOURCE), timeout=29)


def test_a_wait_ends_by_virtual_time_too() -> None:
    with pytest.raises(WaitTimeout):
        waits_too_short_a_time()


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_day_takes_no_time_and_gives_what_the_coroutine_gives() -> None:
    @virtual_time
    async def day(answer: str, *, hours: int) -> str:
        await asyncio.sleep(hours * 3600)
        return answer

    began = time.perf_counter()
    assert day("passed", hours=24) == "passed"
    assert time.perf_counter() - began < 5.0


def test_what_it_raises_comes_out() -> None:
    @virtual_time
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fails()


def test_to_pytest_it_is_a_plain_function_with_the_same_fixtures() -> None:
    @virtual_time
    async def test(kling_client: KlingClient) -> None:
        """What it claims."""

    assert test.__name__ == "test"
    assert test.__doc__ == "What it claims."
    assert not asyncio.iscoroutinefunction(test)


async def test_wall_clock_goes_with_the_loop() -> None:
    before = wall()
    await asyncio.sleep(86_400)
    assert wall() - before == pytest.approx(86_400, abs=0.001)


def test_wall_clock_without_a_loop_is_the_machines() -> None:
    assert abs(wall() - time.time()) < 5.0


@pytest.mark.real_time
async def test_wall_clock_of_a_real_loop_is_the_machines() -> None:
    assert abs(wall() - time.time()) < 5.0


async def test_a_new_loop_begins_at_the_machines_time() -> None:
    assert abs(wall() - time.time()) < 60.0


async def test_time_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(0.01):
        await asyncio.to_thread(time.sleep, 0.1)
    assert loop.time() < 0.01


async def test_a_thread_may_wait_for_the_loop() -> None:
    loop = asyncio.get_running_loop()

    def work() -> str:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.5, "from the loop"), loop).result()

    assert await asyncio.to_thread(work) == "from the loop"


def test_threads_are_waited_for_at_the_end() -> None:
    done = threading.Event()

    def work() -> None:
        time.sleep(0.05)
        done.set()

    @virtual_time
    async def leaves_it() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)

    leaves_it()
    assert done.is_set()


async def test_other_servers_of_the_process_are_heard_before_time_jumps() -> None:
    async def late(request: web.Request) -> web.Response:
        await asyncio.sleep(50)
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/", late)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with asyncio.timeout(50.001):
            reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"late")
            writer.close()
    finally:
        await runner.cleanup()


async def test_simulator_and_client_live_on_virtual_time_unasked() -> None:
    async with KlingClient.simulated(Simulator(task_seconds=300.0)) as kling:
        task = await kling.video_extend.run(SOURCE)
    assert task.created_at is not None
    assert task.updated_at is not None
    assert (task.updated_at - task.created_at).total_seconds() == pytest.approx(300, abs=0.01)


@pytest.mark.real_time
async def test_simulator_lives_on_the_machines_time_on_a_real_loop() -> None:
    simulator = Simulator(task_seconds=0.05, submitted_seconds=0.01)
    async with KlingClient.simulated(simulator) as kling:
        await kling.video_extend.run(SOURCE)
    assert abs(simulator.engine.now - time.time()) < 5.0


# --- callbacks -------------------------------------------------------------------------------------------------------


async def finished(kling: KlingClient) -> Task:
    return await kling.video_extend.run(SOURCE, external_task_id="order-1")


@pytest.mark.parametrize("shape", ["legacy", "newer"])
async def test_callback_is_the_vendors_to_whoever_checks_it(shape: Literal["legacy", "newer"]) -> None:
    async with KlingClient.simulated(vendor()) as kling:
        task = await finished(kling)
        told = kling.callbacks.verify(*signed_callback(task, shape=shape))
    assert (told.id, told.status, told.external_task_id) == (task.id, TaskStatus.SUCCEED, "order-1")
    assert told.video == task.video


async def test_callback_with_another_secret_is_a_forgery() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        task = await finished(kling)
        with pytest.raises(WebhookError, match="no signature"):
            kling.callbacks.verify(*signed_callback(task, secret=OTHER))


async def test_callback_ends_a_wait_of_the_application_that_it_is_posted_to() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        waiting = asyncio.create_task(finished(kling))
        await asyncio.sleep(1.0)
        [made] = (await kling.video_extend.list()).tasks
        kling.simulator.fail_task(made.id)
        failed = await kling.video_extend.get(made.id)
        answer = await kling.callbacks.receive(*signed_callback(failed))
        assert answer.status == 200
        with pytest.raises(TaskFailed):
            await waiting


async def test_each_callback_has_an_id_of_its_own_and_a_repeated_one_the_same() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        task = await finished(kling)
        pair = signed_callback(task)
        for sent in (pair, pair, signed_callback(task)):
            await kling.callbacks.receive(*sent)
        assert kling.callbacks.counts["repeated"] == 1


NO_RECORD = "task: Task is not allowed; it must be one that a call has answered with"


def test_callback_about_a_task_made_by_hand_has_no_record_to_send() -> None:
    with pytest.raises(RequestError, match=NO_RECORD):
        signed_callback(Task(id="1", status=TaskStatus.SUCCEED))


async def test_callback_about_a_task_told_in_the_newer_shape_has_no_record_to_send() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        told = kling.callbacks.verify(*signed_callback(await finished(kling), shape="newer"))
    with pytest.raises(RequestError, match=NO_RECORD):
        signed_callback(told)


async def test_callback_needs_a_secret_that_is_one() -> None:
    async with KlingClient.simulated(vendor()) as kling:
        task = await finished(kling)
    with pytest.raises(ConfigurationError, match="whsec_"):
        signed_callback(task, secret="short")


def test_the_loop_is_the_one_that_the_factory_of_other_runners_makes() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert isinstance(runner.get_loop(), VirtualLoop)

"""One stream of results: what the vendor posts ends a wait at once, and nothing that others post does any harm."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest
from posts import LEGACY, NEWER, OTHER, SECRET, body, headers

from kling_async import ApiKey, ConfigurationError, KlingClient, PollPolicy, Task, TaskFailed, TaskStatus, WebhookError
from kling_async.simulator import Fault, Simulator
from kling_async.testing import VirtualLoop, wall

NEVER = PollPolicy(interval=100_000.0)
HEADERS_ONLY = {"Content-Type": "application/json"}


def client(simulator: Simulator, secrets: tuple[str, ...] = (SECRET,), polling: PollPolicy = NEVER) -> KlingClient:
    return KlingClient(
        ApiKey(simulator.api_key),
        base_url=simulator.url,
        wall=wall,
        draw=lambda: 0.5,
        polling=polling,
        webhook_secrets=secrets,
    )


@pytest.fixture
async def signed(simulator: Simulator) -> AsyncIterator[KlingClient]:
    """A client with a secret, which does not poll within the test's time."""
    async with client(simulator) as kling:
        yield kling


@pytest.fixture
async def unsigned(simulator: Simulator) -> AsyncIterator[KlingClient]:
    """A client without a secret, which does not poll within the test's time, and asks for a task once in 5 s."""
    async with client(simulator, secrets=()) as kling:
        kling.callbacks._spacing = 5.0
        yield kling


def now() -> float:
    return asyncio.get_running_loop().time()


def said(task: Task, status: str, *, external: bool = True) -> bytes:
    """The body of a callback for the task."""
    info = {"external_task_id": task.external_task_id} if external else {}
    record = LEGACY if status == "succeed" else {key: LEGACY[key] for key in ("created_at", "updated_at")}
    return body(record, task_id=task.id, task_status=status, task_info=info)


async def posted(kling: KlingClient, given: bytes, *, id: str = "msg-1", secret: str = SECRET) -> int:
    return (await kling.callbacks.receive(given, headers(given, at=wall(), id=id, secrets=(secret,)))).status


async def hinted(kling: KlingClient, given: bytes) -> int:
    return (await kling.callbacks.receive(given, HEADERS_ONLY)).status


async def some_time() -> None:
    """Long enough for what was begun, too short for anything to be polled."""
    await asyncio.sleep(0.5)


# --- a verified callback ---------------------------------------------------------------------------------------------


async def test_callback_ends_the_wait_at_once(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(signed.video_extend.wait(task))
    await some_time()
    assert await posted(signed, said(task, "succeed")) == 200
    assert (await waiting).video.id == "v-1"
    assert now() < 1.0
    assert simulator.count("get") == simulator.count("list") == 0


async def test_callback_of_the_newer_shape_ends_the_wait_too(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(signed.video_extend.wait(task))
    await some_time()
    assert await posted(signed, body(NEWER, id=task.id, external_id="")) == 200
    assert (await waiting).video.id == "v-1"


async def test_callback_of_a_failure_fails_the_wait(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(signed.video_extend.wait(task))
    await some_time()
    await posted(signed, body(LEGACY, task_id=task.id, task_status="failed", task_status_msg="dark", task_result={}))
    with pytest.raises(TaskFailed, match="dark"):
        await waiting


async def test_callback_serves_who_waits_by_the_callers_own_id(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    waiting = asyncio.create_task(signed.video_extend.wait("mine-1"))
    await some_time()
    await posted(signed, said(task, "succeed"))
    assert (await waiting).id == task.id


async def test_callback_that_overtakes_the_creates_answer_is_kept_for_it(
    signed: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.slow(3.0, on="create"))
    running = asyncio.create_task(signed.video_extend.run(simulator.sources[0], external_task_id="mine-1"))
    while not simulator.accepted:
        await asyncio.sleep(0.01)
    early = Task(simulator.accepted[0].task_id, TaskStatus.SUBMITTED, external_task_id="mine-1")
    await posted(signed, said(early, "succeed"))
    assert (await running).video.id == "v-1"
    assert now() < 4.0


async def test_callback_before_anybody_waits_is_kept(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    await posted(signed, said(task, "succeed"))
    assert (await signed.video_extend.wait(task, timeout=1.0)).video.id == "v-1"


async def test_callback_for_omni_video_finds_its_waiter(signed: KlingClient, simulator: Simulator) -> None:
    waiting = asyncio.create_task(signed.omni_video.wait(Task("816000000000000001", TaskStatus.SUBMITTED)))
    await some_time()
    await posted(signed, body())
    assert (await waiting).video.id == "v-1"


async def test_state_never_falls(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    for number, status in enumerate(("succeed", "processing", "submitted")):
        assert await posted(signed, said(task, status), id=f"msg-{number}") == 200
    assert (await signed.video_extend.wait(task, timeout=1.0)).status is TaskStatus.SUCCEED


async def test_console_test_callback_and_foreign_tasks_are_counted_and_harmless(
    signed: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    assert await posted(signed, b'{"id":"1","status":"submitted","outputs":[]}') == 200
    assert await posted(signed, body(), id="msg-2") == 200
    assert signed.callbacks.counts == {"accepted": 2, "not awaited": 2}
    assert not caplog.records
    assert simulator.count("get") == 0


async def test_two_ends_of_one_task_are_settled_by_asking(
    signed: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[TaskStatus] = []
    signed.callbacks.on_task(lambda task: ends.append(task.status))
    task = await signed.video_extend.create(simulator.sources[0])
    await asyncio.sleep(61.0)
    await posted(signed, said(task, "succeed"))
    assert await posted(signed, said(task, "failed"), id="msg-2") == 200
    await some_time()
    assert simulator.count("get") == 1
    assert "two different ends" in caplog.text
    assert (await signed.video_extend.wait(task)).status is TaskStatus.SUCCEED
    assert ends == [TaskStatus.SUCCEED]


async def test_a_conflict_asks_for_the_other_kind_of_tasks_too(signed: KlingClient, simulator: Simulator) -> None:
    await posted(signed, body())
    await posted(signed, body(task_status="failed"), id="msg-2")
    await some_time()
    assert (simulator.count("get", family="video-extend"), simulator.count("get", family="omni-video")) == (1, 1)


async def test_success_without_its_film_is_asked_for_at_once(signed: KlingClient, simulator: Simulator) -> None:
    calls: list[Task] = []
    signed.callbacks.on_task(lambda task: calls.append(task))  # noqa: PLW0108 - mypy knows no bound append
    task = await signed.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(signed.video_extend.wait(task))
    await asyncio.sleep(61.0)
    assert await posted(signed, body(NEWER, id=task.id, outputs=[])) == 200
    assert (await waiting).video.id
    assert now() < 62.0
    await some_time()
    assert simulator.count("get") == 1
    assert [len(task.videos) for task in calls] == [1]  # handlers hear of it once, with the film


async def test_success_without_its_film_of_a_task_that_nobody_awaits_reaches_handlers(
    signed: KlingClient, simulator: Simulator
) -> None:
    calls: list[Task] = []
    signed.callbacks.on_task(lambda task: calls.append(task))  # noqa: PLW0108 - as above
    task = await signed.video_extend.create(simulator.sources[0])
    await asyncio.sleep(61.0)
    signed.callbacks._spacing = 5.0
    for number in range(2):
        assert await posted(signed, body(NEWER, id=task.id, outputs=[]), id=f"msg-{number}") == 200
        await asyncio.sleep(6.0)
    assert simulator.count("get") == 2
    assert [len(task.videos) for task in calls] == [1]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "x"},
        {"webhook-id": "other"},
        {"webhook-id": ""},
    ],
    ids=str,
)
async def test_forged_callback_changes_nothing_and_asks_nothing(
    signed: KlingClient, simulator: Simulator, change: dict[str, str]
) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(signed.video_extend.wait(task))
    await some_time()
    given = said(task, "succeed")
    answer = await signed.callbacks.receive(given, headers(given, at=wall()) | change)
    assert (answer.status, answer.body) == (401, b"refused\n")
    await some_time()
    assert not waiting.done()
    waiting.cancel()
    assert simulator.count("get") == 0
    assert signed.callbacks.counts == {"refused": 1}


async def test_wrong_secret_is_401(signed: KlingClient) -> None:
    assert await posted(signed, body(), secret=OTHER) == 401


async def test_a_forged_id_does_not_shut_out_the_true_delivery(signed: KlingClient, simulator: Simulator) -> None:
    task = await signed.video_extend.create(simulator.sources[0])
    assert await posted(signed, said(task, "failed"), secret=OTHER) == 401
    assert await posted(signed, said(task, "succeed")) == 200
    assert (await signed.video_extend.wait(task, timeout=1.0)).status is TaskStatus.SUCCEED


async def test_refusals_are_told_once_a_minute(signed: KlingClient, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        await posted(signed, body(), secret=OTHER)
        await asyncio.sleep(1.0)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[1].startswith("callbacks refused: 60,")
    assert "Answer 401" in told[1]


async def test_large_body_is_413(signed: KlingClient) -> None:
    assert await posted(signed, b" " * 300_000) == 413


async def test_unknown_type_is_415(signed: KlingClient) -> None:
    told = headers(body(), at=wall()) | {"Content-Type": "text/html"}
    assert (await signed.callbacks.receive(body(), told)).status == 415


class Failing(dict[str, str]):
    """Headers that cannot be read."""

    def items(self) -> NoReturn:
        raise OSError


@pytest.mark.parametrize("given", [b"", b"\xff", b"{", None, "text", 7])
@pytest.mark.parametrize("told", [None, [], {"content-type": 7}, {}, Failing()], ids=str)
async def test_bad_input_of_any_kind_is_answered(signed: KlingClient, given: bytes, told: dict[str, str]) -> None:
    assert (await signed.callbacks.receive(given, told)).status == 401


async def test_unsigned_callback_is_refused_where_a_secret_is_set_and_polling_goes_on(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(simulator, polling=PollPolicy()) as kling:
        task = await kling.video_extend.create(simulator.sources[0])
        waiting = asyncio.create_task(kling.video_extend.wait(task))
        await some_time()
        assert await hinted(kling, said(task, "succeed")) == 401
        assert "is not signed" in caplog.text
        assert (await waiting).status is TaskStatus.SUCCEED
        assert now() >= 60.0


# --- repetitions and replays -----------------------------------------------------------------------------------------


async def test_repeated_delivery_is_200_and_changes_nothing(signed: KlingClient) -> None:
    calls: list[str] = []
    signed.callbacks.on_task(lambda task: calls.append(task.id))
    assert [await posted(signed, body()) for _ in range(3)] == [200, 200, 200]
    await some_time()
    assert (len(calls), signed.callbacks.counts["repeated"]) == (1, 2)


async def test_same_state_under_a_new_id_is_200_and_calls_nobody_again(signed: KlingClient) -> None:
    calls: list[str] = []
    signed.callbacks.on_task(lambda task: calls.append(task.id))
    assert [await posted(signed, body(), id=f"msg-{n}") for n in range(3)] == [200, 200, 200]
    await some_time()
    assert len(calls) == 1


async def test_replay_within_the_window_is_200_and_out_of_it_401(signed: KlingClient) -> None:
    given = body()
    told = headers(given, at=wall())
    answers = []
    for _ in range(3):
        answers.append((await signed.callbacks.receive(given, told)).status)
        await asyncio.sleep(200.0)
    assert answers == [200, 200, 401]


# --- without a secret ------------------------------------------------------------------------------------------------


async def test_hint_for_an_awaited_task_causes_one_query_and_that_decides(
    unsigned: KlingClient, simulator: Simulator
) -> None:
    task = await unsigned.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(unsigned.video_extend.wait(task))
    await asyncio.sleep(61.0)
    assert await hinted(unsigned, said(task, "failed")) == 200  # what it claims does not matter
    assert (await waiting).status is TaskStatus.SUCCEED
    assert now() < 62.0
    assert simulator.count("get") == 1


async def test_hint_before_the_end_changes_nothing(unsigned: KlingClient, simulator: Simulator) -> None:
    task = await unsigned.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(unsigned.video_extend.wait(task))
    await some_time()
    assert await hinted(unsigned, said(task, "succeed")) == 200
    await some_time()
    assert not waiting.done()
    waiting.cancel()


async def test_hint_that_came_too_soon_is_followed_by_one_more_look(
    unsigned: KlingClient, simulator: Simulator
) -> None:
    task = await unsigned.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(unsigned.video_extend.wait(task))
    await asyncio.sleep(58.0)
    await hinted(unsigned, said(task, "processing"))
    await asyncio.sleep(2.5)
    await hinted(unsigned, said(task, "succeed"))
    await waiting
    assert 62.5 <= now() <= 63.5
    assert simulator.count("get") == 2


@pytest.mark.parametrize("awaited", [True, False])
async def test_flood_of_forged_posts_causes_no_flood_of_queries(
    unsigned: KlingClient, simulator: Simulator, awaited: bool
) -> None:
    task = await unsigned.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(unsigned.video_extend.wait(task))
    await some_time()
    for number in range(2000):
        named = task.id if awaited else str(number)
        assert await hinted(unsigned, body(LEGACY, task_id=named, task_info={})) == 200
        await asyncio.sleep(0.01)
    await some_time()
    waiting.cancel()
    assert 1 <= simulator.count("get") <= (20 / 5 + 2 if awaited else 2 * (10 + 20 + 1))


async def test_hint_is_asked_for_by_the_id_that_is_awaited(unsigned: KlingClient, simulator: Simulator) -> None:
    await unsigned.video_extend.create(simulator.sources[0], external_task_id="mine-1")
    waiting = asyncio.create_task(unsigned.video_extend.wait("mine-1"))
    await asyncio.sleep(61.0)
    waiting.cancel()
    waiting = asyncio.create_task(unsigned.video_extend.wait("mine-1"))
    await hinted(unsigned, body(LEGACY, task_id="7", task_info={"external_task_id": "mine-1"}))
    assert (await waiting).status is TaskStatus.SUCCEED


async def test_hint_for_a_task_that_nobody_awaits_reaches_handlers_once_it_is_confirmed(
    unsigned: KlingClient, simulator: Simulator
) -> None:
    calls: list[TaskStatus] = []
    unsigned.callbacks.on_task(lambda task: calls.append(task.status))
    task = await unsigned.video_extend.create(simulator.sources[0])
    await hinted(unsigned, said(task, "succeed"))
    await hinted(unsigned, said(task, "succeed"))
    await asyncio.sleep(61.0)
    await hinted(unsigned, said(task, "failed"))
    await some_time()
    assert calls == [TaskStatus.SUBMITTED, TaskStatus.SUCCEED]


async def test_hint_for_what_is_not_there_is_harmless(unsigned: KlingClient, simulator: Simulator) -> None:
    assert await hinted(unsigned, body(LEGACY, task_id="816000000000000009")) == 200
    await some_time()
    assert (simulator.count("get"), simulator.count("unknown")) == (2, 0)


@pytest.mark.parametrize("id", ["../costs", " ", "a/b", "a\nb", "é", "x" * 65])
async def test_hint_with_an_id_that_the_vendor_never_gave_is_not_asked_for(
    unsigned: KlingClient, simulator: Simulator, id: str
) -> None:
    assert await hinted(unsigned, body(LEGACY, task_id=id)) == 200
    await some_time()
    assert (simulator.count("get"), simulator.count("unknown")) == (0, 0)


async def test_query_that_fails_is_harmless(unsigned: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(5000, on="query"))
    assert await hinted(unsigned, body()) == 200
    await some_time()
    assert simulator.count("get") == 1


@pytest.mark.parametrize("given", [b"", b"\xff", b"{", b"[]", b"{}", b"[" * 100_000, None, "{}"])
async def test_malformed_hint_is_401(unsigned: KlingClient, simulator: Simulator, given: bytes) -> None:
    assert await hinted(unsigned, given) == 401
    assert simulator.count("get") == 0


async def test_closing_ends_queries_under_way(simulator: Simulator) -> None:
    simulator.script(Fault.slow(1000.0, on="query"))
    async with client(simulator, secrets=()) as kling:
        await hinted(kling, body())
        await some_time()
    assert now() < 2.0


def test_nothing_is_verified_without_a_secret() -> None:
    kling = KlingClient(ApiKey("key"))
    with pytest.raises(WebhookError, match="no webhook secret is set"):
        kling.callbacks.verify(body(), headers(body()))


# --- handlers --------------------------------------------------------------------------------------------------------


async def test_handler_hears_of_each_change_in_order(signed: KlingClient, simulator: Simulator) -> None:
    heard: list[TaskStatus] = []

    @signed.callbacks.on_task
    async def handle(task: Task) -> None:
        await asyncio.sleep(1.0 if task.status is TaskStatus.SUBMITTED else 0.0)
        heard.append(task.status)

    task = await signed.video_extend.create(simulator.sources[0])
    for number, status in enumerate(("submitted", "processing", "succeed")):
        await posted(signed, said(task, status), id=f"msg-{number}")
    await asyncio.sleep(2.0)
    assert heard == [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEED]


async def test_vendor_is_answered_before_handlers_begin(signed: KlingClient) -> None:
    answered = asyncio.Event()
    order: list[bool] = []

    @signed.callbacks.on_task
    async def handle(_: Task) -> None:
        order.append(answered.is_set())

    assert await posted(signed, body()) == 200
    answered.set()
    await some_time()
    assert order == [True]


async def test_slow_handler_does_not_hold_up_the_answer_nor_other_tasks(signed: KlingClient) -> None:
    heard: list[str] = []

    @signed.callbacks.on_task
    async def handle(task: Task) -> None:
        await asyncio.sleep(9.0 if task.id == "1" else 0.0)
        heard.append(task.id)

    for number in range(3):
        assert await posted(signed, body(task_id=str(number)), id=f"msg-{number}") == 200
    assert now() < 1.0
    await some_time()
    assert heard == ["0", "2"]


async def test_handler_that_raises_harms_nobody(signed: KlingClient, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    @signed.callbacks.on_task
    def fail(_: Task) -> None:
        raise LookupError("a bug of the user's")

    @signed.callbacks.on_task
    async def handle(task: Task) -> None:
        heard.append(task.id)

    assert await posted(signed, body()) == 200
    await some_time()
    assert heard == ["816000000000000001"]
    assert "a bug of the user's" in caplog.text


async def test_plain_function_that_blocks_does_not_block_the_loop(signed: KlingClient) -> None:
    go_on, threads = threading.Event(), list[bool]()

    @signed.callbacks.on_task
    def handle(_: Task) -> None:
        threads.append(threading.current_thread() is threading.main_thread())
        go_on.wait()

    assert await posted(signed, body()) == 200
    await asyncio.sleep(0)
    go_on.set()
    await some_time()
    assert threads == [False]


async def test_callable_that_gives_a_coroutine_is_awaited(signed: KlingClient) -> None:
    heard: list[str] = []

    async def later(task: Task) -> None:
        heard.append(task.id)

    signed.callbacks.on_task(lambda task: later(task))  # noqa: PLW0108 - it does not look like a coroutine function
    await posted(signed, body())
    await some_time()
    assert len(heard) == 1


async def test_closing_lets_handlers_come_to_their_end(simulator: Simulator) -> None:
    heard: list[str] = []
    async with client(simulator) as kling:

        @kling.callbacks.on_task
        async def handle(task: Task) -> None:
            await asyncio.sleep(3.0)
            heard.append(task.id)

        await posted(kling, body())
    assert len(heard) == 1
    assert 3.0 <= now() < 4.0


async def test_closing_does_not_wait_for_ever_for_a_handler(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(simulator) as kling:

        @kling.callbacks.on_task
        async def handle(_: Task) -> None:
            await asyncio.Event().wait()

        await posted(kling, body(LEGACY, task_status="processing"))
        await posted(kling, body(), id="msg-2")
    assert 10.0 <= now() < 11.0
    assert "calls of handlers had not ended after 10 s: 2" in caplog.text


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_verify_gives_the_task_and_does_nothing_else(signed: KlingClient) -> None:
    given = body()
    told = headers(given, at=wall())
    assert [signed.callbacks.verify(given, told).id for _ in range(2)] == ["816000000000000001"] * 2
    assert not signed.callbacks.counts


async def test_repr_shows_what_came(signed: KlingClient) -> None:
    await posted(signed, body())
    await posted(signed, body(), id="msg-2", secret=OTHER)
    assert repr(signed.callbacks) == "<Callbacks signed, 1 accepted, 1 not awaited, 1 refused>"
    assert SECRET not in repr(signed.callbacks._verifier)


def test_repr_says_that_nothing_is_signed() -> None:
    assert repr(KlingClient(ApiKey("key")).callbacks) == "<Callbacks unsigned>"


async def test_secret_is_in_no_log(signed: KlingClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await posted(signed, body())
    await posted(signed, body(), secret=OTHER, id="msg-2")
    assert SECRET.removeprefix("whsec_") not in caplog.text
    assert "sig=1" not in caplog.text


def test_secret_that_is_none_is_refused_when_the_client_is_made() -> None:
    with pytest.raises(ConfigurationError, match="webhook_secrets"):
        KlingClient(ApiKey("key"), webhook_secrets=[""])


async def test_simulated_client_knows_the_secret_of_its_simulator() -> None:
    async with KlingClient.simulated(Simulator(webhook_secret=SECRET)) as kling:
        given = body()
        assert (await kling.callbacks.receive(given, headers(given, at=kling._transport.wall()))).ok


def test_callbacks_serve_a_second_loop() -> None:
    async def main(status: str) -> None:
        given = body(LEGACY, task_status=status)
        assert (await kling.callbacks.receive(given, headers(given, at=1e9, id=status))).ok
        await asyncio.sleep(0.01)
        await kling._pool.close()  # not the client, which would wait for its handlers

    kling = KlingClient(ApiKey("key"), webhook_secrets=[SECRET], wall=lambda: 1e9)
    heard: list[TaskStatus] = []

    @kling.callbacks.on_task
    async def handle(task: Task) -> None:
        heard.append(task.status)
        if task.status is TaskStatus.PROCESSING:
            await asyncio.Event().wait()  # the loop ends first

    for status in ("processing", "succeed"):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main(status))
    assert heard == [TaskStatus.PROCESSING, TaskStatus.SUCCEED]
    assert repr(kling.callbacks._handlers) == "<Handlers 1, 0 calls under way>"


async def test_close_without_any_callback_does_nothing(signed: KlingClient) -> None:
    await signed.callbacks.close()
    await signed.callbacks.close()

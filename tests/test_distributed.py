"""Batches over many hosts: each job once, over reruns, refusals, handovers and outages, with one limit for all."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres import PASSWORD, Postgres

from kling_async import (
    AccountError,
    ApiKey,
    ConfigurationError,
    InvalidRequest,
    JournalError,
    KlingClient,
    NoVideo,
    OmniVideoRequest,
    Outcome,
    PollPolicy,
    ReferenceVideo,
    RequestError,
    RetryPolicy,
    TaskFailed,
    TaskStatus,
    VideoExtendRequest,
    units_of,
)
from kling_async.distributed import PostgresBatch, Worker
from kling_async.distributed import batch as batch_module
from kling_async.distributed.batch import _news
from kling_async.distributed.database import Database
from kling_async.distributed.engine import NOBODY, _Driver
from kling_async.distributed.journal import WorkerJournal
from kling_async.simulator import Fault, Simulator

pytestmark = pytest.mark.real_time

SOURCE = "original-video-id"


def jobs(*keys: str, **fields: str) -> dict[str, VideoExtendRequest]:
    return {key: VideoExtendRequest(video_id=SOURCE, prompt=key, **fields) for key in keys}


ABC = jobs("a", "b", "c")
MANY = jobs(*map(str, range(12)))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(task_seconds=0.2, submitted_seconds=0.05) as simulator:
        yield simulator


def a_client(simulator: Simulator) -> KlingClient:
    return KlingClient(
        ApiKey(simulator.api_key),
        base_url=simulator.url,
        retry=RetryPolicy(timeout=2.0, ask_after=(0.0, 0.05, 0.1)),
        polling=PollPolicy(interval=0.05),
    )


@pytest.fixture
async def kling(simulator: Simulator) -> AsyncIterator[KlingClient]:
    async with a_client(simulator) as client:
        yield client


@asynccontextmanager
async def working(
    url: str,
    kling: KlingClient,
    *,
    limit: int | None = 5,
    out: Path | None = None,
    save: Callable[[Outcome], Awaitable[None]] | None = None,
    takeover: float = 30.0,
    on_step: Callable[[str, str], None] | None = None,
) -> AsyncIterator[Worker]:
    worker = Worker(url, kling, limit=limit, out=out, save=save, takeover=takeover, on_step=on_step)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running


async def outcomes(
    url: str, wanted: dict[str, Any] | Iterable[tuple[str, Any]], *, retry_failed: bool = False
) -> dict[str, Outcome]:
    async with asyncio.timeout(20), PostgresBatch(url, retry_failed=retry_failed) as batch:
        return {outcome.key: outcome async for outcome in batch.run(wanted)}


async def rows(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await look():
            await asyncio.sleep(0.02)


async def accepted(url: str, times: int) -> None:
    """Returns when so many jobs have a task."""

    async def look() -> bool:
        try:
            return len(await rows(url, "SELECT FROM kling_async.jobs WHERE state = 'accepted'")) >= times
        except asyncpg.UndefinedTableError:  # nobody has come yet
            return False

    await until(look)


# Jobs and their outcomes.


async def test_every_job_comes_out_with_its_task(url: str, kling: KlingClient, simulator: Simulator) -> None:
    async with working(url, kling):
        found = await outcomes(url, ABC)
    assert found.keys() == ABC.keys()
    assert all(outcome.ok and outcome.task is not None and outcome.task.video for outcome in found.values())
    assert len(simulator.accepted) == 3


async def test_a_script_moves_by_one_line(url: str, kling: KlingClient, tmp_path: Path) -> None:
    async with kling.batch(tmp_path / "journal", out=tmp_path) as batch:
        here = {outcome.key: outcome async for outcome in batch.run(ABC)}
    async with working(url, kling, out=tmp_path), PostgresBatch(url) as many:
        there = {outcome.key: outcome async for outcome in many.run(ABC)}
    assert {key: (outcome.ok, outcome.path) for key, outcome in here.items()} == {
        key: (outcome.ok, outcome.path) for key, outcome in there.items()
    }


async def test_jobs_may_be_pairs_from_anywhere(url: str, kling: KlingClient) -> None:
    async with working(url, kling):
        assert (await outcomes(url, iter(ABC.items()))).keys() == ABC.keys()


async def test_no_jobs_are_no_outcomes(url: str) -> None:
    assert await outcomes(url, {}) == {}


async def test_omni_jobs_run_beside_extensions(url: str, kling: KlingClient, simulator: Simulator) -> None:
    video = ReferenceVideo(video_url="https://example.com/video.mp4?signature=secret", keep_original_sound="yes")
    omni = OmniVideoRequest(prompt="go on from <<<video_1>>>", video_list=(video,), duration=5, watermark=True)
    async with working(url, kling):
        found = await outcomes(url, {**jobs("a"), "b": omni})
    assert all(outcome.ok for outcome in found.values())
    sent = next(create.fields for create in simulator.accepted if "video_list" in create.fields)
    assert "signature=secret" in str(sent)


async def test_outcomes_are_read_by_anybody(url: str, kling: KlingClient) -> None:
    async with working(url, kling):
        first = await outcomes(url, ABC)
    async with PostgresBatch(url) as other:
        assert {outcome.key: outcome async for outcome in other.outcomes(ABC)} == first


async def test_outcomes_come_in_order_where_that_is_wanted(url: str, simulator: Simulator, kling: KlingClient) -> None:
    async with PostgresBatch(url) as batch, asyncio.timeout(20):
        running = batch.run(MANY)
        waiting = asyncio.ensure_future(anext(running))
        await until(lambda: is_planned(batch))
        async with working(url, kling, limit=3):
            assert [outcome.key async for outcome in batch.outcomes(reversed(MANY), in_order=True)] == [*reversed(MANY)]
        assert (await waiting).ok


async def is_planned(batch: PostgresBatch) -> bool:
    return (await batch.states(MANY)).total() == len(MANY)


async def test_what_a_run_would_do_and_what_it_cost_are_told(
    url: str, kling: KlingClient, simulator: Simulator
) -> None:
    simulator.fail_next(message="no luck")
    async with PostgresBatch(url) as batch, PostgresBatch(url, retry_failed=True) as anew:
        assert [forecast.does for forecast in await batch.dry_run(ABC)] == ["create", "create", "create"]
        run = batch.run(ABC)
        first = asyncio.ensure_future(anext(run))
        await until(lambda: planned(batch, ABC))
        assert [forecast.does for forecast in await batch.dry_run(ABC)] == ["create", "create", "create"]
        async with working(url, kling, limit=1):
            await first
            async for _ in run:
                pass
        assert batch.units == units_of(
            outcome.task for outcome in [o async for o in anew.outcomes(ABC)] if outcome.task
        )
        assert [forecast.does for forecast in await batch.dry_run(ABC)] == ["nothing", "nothing", "nothing"]
        assert [forecast.does for forecast in await anew.dry_run(ABC)] == ["create", "nothing", "nothing"]
        with pytest.raises(JournalError, match="job 'a' stands for another request"):
            await batch.dry_run({"a": ABC["b"]})
    assert len(simulator.accepted) == 3


async def test_where_jobs_stand_is_told(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url) as batch:
        async with working(url, kling):
            async for _ in batch.run(ABC):
                pass
        assert await batch.states([*ABC, "unknown"]) == {"over": 3}


async def test_key_of_no_job_is_told(url: str) -> None:
    async with PostgresBatch(url) as batch:
        with pytest.raises(JournalError, match="there is no job 'unknown'"):
            await anext(batch.outcomes(["unknown"]))


async def test_rerun_of_what_is_done_needs_no_worker(url: str, kling: KlingClient, simulator: Simulator) -> None:
    async with working(url, kling):
        first = await outcomes(url, ABC)
    assert await outcomes(url, ABC) == first
    assert len(simulator.accepted) == 3


async def test_two_who_want_the_same_jobs_both_hear(url: str, kling: KlingClient, simulator: Simulator) -> None:
    async with working(url, kling):
        one, other = await asyncio.gather(outcomes(url, MANY), outcomes(url, dict(reversed(MANY.items()))))
    assert one == other
    assert len(simulator.accepted) == len(MANY)


async def test_same_key_for_another_request_is_refused(url: str) -> None:
    async with PostgresBatch(url) as batch:
        run = batch.run(ABC)
        waiting = asyncio.ensure_future(anext(run))
        await until(lambda: planned(batch, ABC))
        with pytest.raises(JournalError, match="job 'b' stands for another request in postgresql://"):
            await anext(batch.run({**jobs("new"), "b": VideoExtendRequest(video_id=SOURCE, prompt="other")}))
        assert not await batch.states(["new"])
        waiting.cancel()


async def planned(batch: PostgresBatch, wanted: Iterable[str]) -> bool:
    wanted = list(wanted)
    return (await batch.states(wanted)).total() == len(wanted)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"a\0b": ABC["a"]}, "holds a null character"),
        ({"": ABC["a"]}, "a text that names the job"),
        ([("a", ABC["a"]), ("a", ABC["a"])], "comes twice"),
        ({"a": "no request"}, "str is not allowed"),
    ],
)
async def test_bad_job_is_refused_before_anything_is_done(url: str, bad: Any, message: str) -> None:
    async with PostgresBatch(url) as batch:
        with pytest.raises(RequestError, match=message):
            batch.run(bad)


async def test_batch_that_was_not_entered_says_so(url: str) -> None:
    with pytest.raises(JournalError, match="is not open"):
        await anext(PostgresBatch(url).run(ABC))


async def test_odd_text_survives(url: str, kling: KlingClient) -> None:
    key = "clé/../😀" * 300
    async with working(url, kling):
        assert (await outcomes(url, {key: VideoExtendRequest(video_id=SOURCE, prompt="a\0b 😀")}))[key].ok


async def test_queue_that_somebody_emptied_is_filled_by_a_rerun(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url) as batch:
        waiting = asyncio.ensure_future(anext(batch.run(ABC)))
        await until(lambda: planned(batch, ABC))
        waiting.cancel()
    await rows(url, "DELETE FROM kling_async.pgqueuer")
    async with working(url, kling):
        assert len(await outcomes(url, ABC)) == 3


async def test_silence_makes_a_reader_look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_LOOK_SECONDS", 0.05)
    heard = asyncio.Queue[str]()
    heard.put_nowait("of another run")
    assert await _news(heard, {"a": None, "b": None}) == ["a", "b"]


async def test_much_that_is_heard_at_once_is_one_look() -> None:
    heard = asyncio.Queue[str]()
    for job in ("a", "of another run", "b"):
        heard.put_nowait(job)
    assert sorted(await _news(heard, dict.fromkeys("abc"))) == ["a", "b"]


async def test_what_may_have_been_missed_makes_a_reader_look_at_all() -> None:
    heard = asyncio.Queue[str]()
    heard.put_nowait("")
    assert await _news(heard, dict.fromkeys("abc")) == ["a", "b", "c"]


# What goes wrong with a job.


async def test_failed_job_is_told_and_not_made_again(url: str, kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="no luck")
    async with working(url, kling):
        for _ in range(2):
            error = (await outcomes(url, jobs("a")))["a"].error
            assert isinstance(error, TaskFailed)
            assert error.task.status is TaskStatus.FAILED
            assert "no luck" in str(error)
    assert len(simulator.accepted) == 1


async def test_retry_failed_makes_it_anew_under_a_new_id(url: str, kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="no luck")
    async with working(url, kling):
        assert not (await outcomes(url, jobs("a")))["a"].ok
        assert (await outcomes(url, jobs("a"), retry_failed=True))["a"].ok
    first, second = (str(create.fields["external_task_id"]) for create in simulator.accepted)
    assert second == f"{first}-2"


async def test_what_fails_in_this_run_is_not_retried_by_it(url: str, kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next(message="no luck")
    async with working(url, kling):
        assert not (await outcomes(url, jobs("a"), retry_failed=True))["a"].ok
    assert len(simulator.accepted) == 1


async def test_success_without_a_video_stays_an_error_until_there_is_one(
    url: str, kling: KlingClient, simulator: Simulator
) -> None:
    def bare(envelope: Any) -> Any:
        for task in envelope["data"] if isinstance(envelope["data"], list) else [envelope["data"]]:
            task.pop("task_result", None)
        return envelope

    simulator.script(Fault.changed(bare, on="query", times=None))
    async with working(url, kling):
        assert isinstance((await outcomes(url, jobs("a")))["a"].error, NoVideo)
        simulator.clear_faults()
        assert (await outcomes(url, jobs("a")))["a"].ok
    assert len(simulator.accepted) == 1


async def test_refused_job_says_so_and_is_tried_again(url: str, kling: KlingClient, simulator: Simulator) -> None:
    bad = {"a": VideoExtendRequest(video_id="nobody's", prompt="a")}
    async with working(url, kling):
        for times in (1, 2):
            outcome = (await outcomes(url, bad))["a"]
            assert isinstance(outcome.error, InvalidRequest)
            assert (outcome.error.created, outcome.error.http_status, outcome.task) == ("no", 400, None)
            assert simulator.engine.refused.total() == times


async def test_empty_account_stops_the_creates_of_a_run(url: str, kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1102, on="create", times=1))
    async with working(url, kling):
        found = await outcomes(url, MANY)
        assert {type(outcome.error) for outcome in found.values()} == {AccountError}
        assert all(outcome.error is not None and outcome.error.created == "no" for outcome in found.values())
        assert all(outcome.ok for outcome in (await outcomes(url, MANY)).values())


async def test_damaged_task_in_the_journal_is_told(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url) as batch, asyncio.timeout(20):
        waiting = asyncio.ensure_future(anext(batch.run(jobs("a"))))
        await until(lambda: planned(batch, "a"))
        await rows(url, "UPDATE kling_async.jobs SET state = 'accepted', task = '{'")
        async with working(url, kling):
            with pytest.raises(JournalError, match="job 'a' is accepted, but its task in the journal is damaged"):
                await waiting


# The limit.


async def test_the_limit_holds_for_all_workers(url: str, kling: KlingClient, simulator: Simulator) -> None:
    async with PostgresBatch(url) as batch:
        await batch.set_limit(3)
    async with working(url, kling, limit=3), working(url, kling, limit=None), working(url, kling, limit=3):
        assert all(outcome.ok for outcome in (await outcomes(url, MANY)).values())
    assert simulator.engine.peak_in_flight == 3


async def test_without_seats_the_limit_would_not_hold(
    url: str, kling: KlingClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unlimited(_: Worker) -> int:
        return 0

    monkeypatch.setattr(Worker, "_slots", unlimited)
    async with working(url, kling, limit=3), working(url, kling, limit=3):
        await outcomes(url, MANY)
    assert simulator.engine.peak_in_flight > 3


async def test_the_first_worker_must_say_the_limit(url: str, kling: KlingClient) -> None:
    with pytest.raises(ConfigurationError, match="limit: is missing"):
        await Worker(url, kling).run()


async def test_another_limit_is_refused(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url) as batch:
        await batch.set_limit(5)
    with pytest.raises(ConfigurationError, match=r"limit: 6 was given, but the workers at .* share 5 slots"):
        await Worker(url, kling, limit=6).run()


@pytest.mark.parametrize("limit", [0, 2.5, "5"])
async def test_limit_that_is_none_is_refused(url: str, kling: KlingClient, limit: Any) -> None:
    with pytest.raises(RequestError, match="limit: "):
        Worker(url, kling, limit=limit)
    async with PostgresBatch(url) as batch:
        with pytest.raises(RequestError, match="limit: "):
            await batch.set_limit(limit)


async def test_limit_is_changed_for_workers_that_run(
    url: str, kling: KlingClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_async.distributed.worker._LIMIT_SECONDS", 0.0)
    async with working(url, kling, limit=1), PostgresBatch(url) as batch:
        await outcomes(url, ABC)
        assert simulator.engine.peak_in_flight == 1
        await batch.set_limit(4)
        await outcomes(url, MANY)
    assert simulator.engine.peak_in_flight == 4


async def test_refusal_by_the_vendor_waits_for_its_turn(url: str, simulator: Simulator, kling: KlingClient) -> None:
    simulator.engine.slots = 2  # others on the account have the rest
    async with working(url, kling, limit=5):
        assert all(outcome.ok for outcome in (await outcomes(url, MANY)).values())
    assert len(simulator.accepted) == len(MANY)


async def test_seat_that_another_was_quicker_at_is_told_as_postgresql_does(url: str) -> None:
    async with Database(url) as database:
        driver = _Driver(database)
        assert not driver.shutdown.is_set()
        assert not driver.tm.tasks
        await driver.execute("CREATE TABLE seats (seat int UNIQUE)")
        await driver.execute("INSERT INTO seats VALUES ($1)", 1)
        with pytest.raises(asyncpg.UniqueViolationError):  # PgQueuer goes by it
            await driver.fetch("INSERT INTO seats VALUES ($1)", 1)
        with pytest.raises(JournalError):
            await driver.fetch("SELECT * FROM nothing")


async def test_saving_holds_no_seat(url: str, kling: KlingClient, simulator: Simulator) -> None:
    all_made = asyncio.Event()

    async def save(_: Outcome) -> None:
        if len(simulator.accepted) == 3:
            all_made.set()
        await all_made.wait()

    async with working(url, kling, limit=1, save=save):
        assert len(await outcomes(url, ABC)) == 3
    assert simulator.engine.peak_in_flight == 1


# Films.


async def test_films_are_saved_by_their_keys(url: str, kling: KlingClient, tmp_path: Path) -> None:
    async with working(url, kling, out=tmp_path):
        found = await outcomes(url, ABC)
    assert {key: outcome.path for key, outcome in found.items()} == {key: tmp_path / f"{key}.mp4" for key in ABC}
    assert all(outcome.path is not None and outcome.path.is_file() for outcome in found.values())


async def test_folder_that_is_not_there_is_refused(url: str, kling: KlingClient, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="out: there is no folder"):
        await Worker(url, kling, limit=5, out=tmp_path / "none").run()


async def test_outcomes_may_be_saved_elsewhere(url: str, kling: KlingClient) -> None:
    saved: dict[str, Outcome] = {}

    async def save(outcome: Outcome) -> None:
        saved[outcome.key] = outcome

    async with working(url, kling, save=save):
        found = await outcomes(url, ABC)
    assert saved.keys() == found.keys()
    assert all(outcome.task is not None and outcome.task.video.url for outcome in saved.values())


async def test_save_that_raises_is_told_and_comes_again(
    url: str, kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    times = 0

    async def save(_: Outcome) -> None:
        nonlocal times
        times += 1
        if times == 1:
            raise OSError("the bucket is full")

    async with working(url, kling, save=save, takeover=0.5):
        assert (await outcomes(url, jobs("a")))["a"].ok
    assert times == 2
    assert len(simulator.accepted) == 1
    assert "will come again in 0.5 s" in caplog.text
    assert "the bucket is full" in caplog.text


# Workers come and go.


async def test_stopped_worker_hands_over_what_is_in_flight(url: str, simulator: Simulator, kling: KlingClient) -> None:
    simulator.engine._task_seconds = 1.0
    done = asyncio.ensure_future(outcomes(url, MANY))
    async with working(url, kling, limit=3) as first:
        await accepted(url, 3)
        assert repr(first).endswith("3 jobs under way>")
    # Nobody waits for the 30 s without a sign of life; and until then the seats were not free for others.
    began = asyncio.get_running_loop().time()
    async with a_client(simulator) as other, working(url, other, limit=3):
        assert all(outcome.ok for outcome in (await done).values())
    assert asyncio.get_running_loop().time() - began < 10
    assert len(simulator.accepted) == len(MANY)
    assert simulator.engine.peak_in_flight == 3


async def test_cancelled_worker_hands_over_too(url: str, simulator: Simulator, kling: KlingClient) -> None:
    simulator.engine._task_seconds = 1.0
    done = asyncio.ensure_future(outcomes(url, ABC))
    running = asyncio.create_task(Worker(url, kling, limit=3).run())
    await accepted(url, 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {row["queue_manager_id"] for row in await rows(url, "SELECT * FROM kling_async.pgqueuer")} == {NOBODY}
    async with working(url, kling, limit=3):
        assert all(outcome.ok for outcome in (await done).values())
    assert len(simulator.accepted) == 3


async def test_handed_over_before_it_was_sent_it_is_asked_for_first(
    url: str, simulator: Simulator, kling: KlingClient
) -> None:
    simulator.script(Fault.slow(60, on="create"))
    done = asyncio.ensure_future(outcomes(url, jobs("a")))
    async with working(url, kling):
        await until(lambda: made(simulator, 1))
    async with working(url, kling):
        assert (await done)["a"].ok
    assert len(simulator.accepted) == 1


async def made(simulator: Simulator, times: int) -> bool:
    return len(simulator.accepted) >= times


async def test_dead_workers_jobs_are_taken_over(url: str, simulator: Simulator, kling: KlingClient) -> None:
    simulator.engine._task_seconds = 1.0
    done = asyncio.ensure_future(outcomes(url, ABC))
    async with working(url, kling):
        await accepted(url, 3)
    stranger = "UPDATE kling_async.pgqueuer SET queue_manager_id = gen_random_uuid(), heartbeat = now()"
    await rows(url, stranger)  # as if it had died, and not said goodbye
    async with working(url, kling, takeover=0.5):
        assert all(outcome.ok for outcome in (await done).values())
    assert len(simulator.accepted) == 3


async def test_worker_that_was_cut_off_changes_nothing_any_more(
    url: str, simulator: Simulator, kling: KlingClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kling_async")
    simulator.engine._task_seconds = 0.5
    done = asyncio.ensure_future(outcomes(url, jobs("a")))
    async with working(url, kling):
        await accepted(url, 1)
        await rows(url, "UPDATE kling_async.pgqueuer SET queue_manager_id = $1", NOBODY)  # another's by now
        await until(lambda: told(caplog, "job 'a' was taken over by another worker"))
        assert not done.done()
        await rows(url, "UPDATE kling_async.pgqueuer SET heartbeat = 'epoch'")
        await rows(url, "SELECT pg_notify('kling_async_queue', 'table_changed_event')")
        assert (await done)["a"].ok
    assert len(simulator.accepted) == 1


async def told(caplog: pytest.LogCaptureFixture, message: str) -> bool:
    return message in caplog.text


@pytest.mark.parametrize("step", ["leased", "intent", "accepted", "ended", "saved"])
async def test_taken_over_at_any_step_it_is_made_once(
    url: str, simulator: Simulator, kling: KlingClient, tmp_path: Path, step: str
) -> None:
    taken = False

    def on_step(_: str, reached: str) -> None:
        nonlocal taken
        if reached == step and not taken:
            taken = True
            take_over(url)

    done = asyncio.ensure_future(outcomes(url, jobs("a")))
    async with working(url, kling, out=tmp_path, on_step=on_step, takeover=0.5):
        assert (await done)["a"].ok
    assert taken
    assert len(simulator.accepted) == 1


def take_over(url: str) -> None:
    """All rows are another worker's when this returns."""
    statement = "UPDATE kling_async.pgqueuer SET queue_manager_id = $1"
    other = threading.Thread(target=lambda: asyncio.run(rows(url, statement, NOBODY)))
    other.start()
    other.join()


async def test_taken_over_before_it_is_made_anew_it_is_made_once(
    url: str, simulator: Simulator, kling: KlingClient
) -> None:
    simulator.fail_next(message="no luck")
    leased = 0

    def on_step(_: str, reached: str) -> None:
        nonlocal leased
        leased += reached == "leased"
        if reached == "leased" and leased == 1:
            take_over(url)

    async with working(url, kling):
        assert not (await outcomes(url, jobs("a")))["a"].ok
    async with working(url, kling, on_step=on_step, takeover=0.5):
        assert (await outcomes(url, jobs("a"), retry_failed=True))["a"].ok
    assert leased == 2
    assert len(simulator.accepted) == 2


async def test_row_that_was_taken_over_before_it_was_looked_at_is_left(
    url: str, simulator: Simulator, kling: KlingClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kling_async")
    worker = Worker(url, kling, limit=5)
    running = asyncio.create_task(worker.run())
    await until(lambda: has_journal(worker))
    await worker._work(4711)
    assert "the job of row 4711 was taken over" in caplog.text
    worker.stop()
    await running
    await worker._work(4711)  # picked in the moment of its end
    assert caplog.text.count("4711") == 1


async def has_journal(worker: Worker) -> bool:
    return hasattr(worker, "_agreed")


async def test_a_rerun_is_not_forgotten_with_the_run_before(url: str) -> None:
    async with Database(url) as database:
        journal = WorkerJournal(database, "journal", NOBODY)
        journal._rows["a"] = 2
        journal.forget("a", 1)
        assert journal._rows == {"a": 2}


async def test_refusal_of_the_database_ends_a_worker(url: str, kling: KlingClient) -> None:
    worker = Worker(url, kling, limit=5)
    running = asyncio.create_task(worker.run())
    await until(lambda: has_journal(worker))
    await rows(url, "ALTER TABLE kling_async.about DROP COLUMN slots")
    with pytest.raises(JournalError, match=r"column .*slots.* does not exist"):
        async with asyncio.timeout(20):
            await running


async def test_client_that_closes_ends_the_worker(
    url: str, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.engine._task_seconds = 5.0
    done = asyncio.ensure_future(outcomes(url, ABC))
    async with a_client(simulator) as kling:
        running = asyncio.create_task(Worker(url, kling, limit=5).run())
        await accepted(url, 3)
    await running
    assert "a worker ends" in caplog.text
    assert not done.done()
    done.cancel()


async def test_worker_remembers_but_some_runs(url: str, kling: KlingClient) -> None:
    worker = Worker(url, kling, limit=5)
    runs = {number: worker._run_of(str(number)) for number in range(150)}
    assert worker._run_of("149") is runs[149]
    assert worker._run_of("0") is not runs[0]


# PostgreSQL comes and goes.


async def test_stop_of_postgresql_is_waited_out(
    postgres: Postgres, url: str, simulator: Simulator, kling: KlingClient, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.ensure_future(outcomes(url, MANY))
    async with working(url, kling, limit=3, takeover=1.0), working(url, kling, limit=3, takeover=1.0):
        await accepted(url, 1)
        await asyncio.to_thread(postgres.stop)
        await asyncio.sleep(0.7)
        await asyncio.to_thread(postgres.start)
        assert all(outcome.ok for outcome in (await done).values())
    assert len(simulator.accepted) == len(MANY)
    assert simulator.engine.peak_in_flight <= 3
    assert "does not answer" in caplog.text


async def test_stop_while_postgresql_is_out_does_not_wait_for_it(
    postgres: Postgres, url: str, simulator: Simulator, kling: KlingClient, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.engine._task_seconds = 1.0
    done = asyncio.ensure_future(outcomes(url, ABC))
    worker = Worker(url, kling, limit=3)
    running = asyncio.create_task(worker.run())
    await accepted(url, 3)
    await asyncio.to_thread(postgres.stop)
    try:
        worker.stop()
        async with asyncio.timeout(5):
            await running
    finally:
        await asyncio.to_thread(postgres.start)
    assert "could not be handed over, others wait for 30 s" in caplog.text
    async with working(url, kling, limit=3, takeover=0.5):
        assert all(outcome.ok for outcome in (await done).values())
    assert len(simulator.accepted) == 3


# What stands in the database.


async def test_signed_addresses_are_gone_when_a_job_is_over(url: str, kling: KlingClient) -> None:
    wanted = jobs("a", callback_url="https://example.com/callback?token=secret")
    async with PostgresBatch(url) as batch:
        waiting = asyncio.ensure_future(anext(batch.run(wanted)))
        await until(lambda: planned(batch, "a"))
        assert "token=secret" in str(await rows(url, "SELECT * FROM kling_async.jobs"))  # a worker must know it
        async with working(url, kling):
            assert (await waiting).ok
    kept = str(await rows(url, "SELECT * FROM kling_async.jobs"))
    assert "token" not in kept
    assert "signature" not in kept


async def test_newer_version_is_refused(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url):
        pass
    await rows(url, "ALTER TABLE kling_async.about DROP COLUMN engine")
    await rows(url, "UPDATE kling_async.about SET version = 2")
    with pytest.raises(JournalError, match="has version 2, this package reads version 1"):
        async with PostgresBatch(url):
            pass
    with pytest.raises(JournalError, match="has version 2, this package reads version 1"):
        await Worker(url, kling, limit=5).run()


async def test_older_engine_is_brought_up(url: str, kling: KlingClient) -> None:
    async with PostgresBatch(url):
        pass
    await rows(url, "DROP INDEX kling_async.pgqueuer_picked_slot_idx")
    await rows(url, "UPDATE kling_async.about SET engine = '1.4.0'")
    async with working(url, kling):
        assert len(await outcomes(url, ABC)) == 3


async def test_many_who_come_first_set_it_up_once(url: str) -> None:
    async def come() -> None:
        async with PostgresBatch(url):
            pass

    await asyncio.gather(*(come() for _ in range(5)))
    assert len(await rows(url, "SELECT * FROM kling_async.about")) == 1


async def test_who_may_not_set_it_up_is_told(url: str) -> None:
    await rows(url, "CREATE ROLE stranger LOGIN PASSWORD 'strange'")
    stranger = url.replace(f"kling:{PASSWORD}", "stranger:strange")
    try:
        with pytest.raises(JournalError, match="permission denied"):
            async with PostgresBatch(stranger):
                pass
    finally:
        await rows(url, "DROP ROLE stranger")


def test_batch_and_worker_serve_one_loop_after_the_other(postgres: Postgres) -> None:
    url = asyncio.run(postgres.new())
    batch = PostgresBatch(url)
    workers: list[Worker] = []

    async def use(key: str) -> bool:
        async with Simulator(task_seconds=0.1, submitted_seconds=0.05) as simulator, a_client(simulator) as kling:
            worker = workers.pop() if workers else Worker(url, kling, limit=3)
            worker._kling = kling
            running = asyncio.create_task(worker.run())
            async with batch:
                ok = [outcome.ok async for outcome in batch.run(jobs(key))]
            worker.stop()
            await running
            workers.append(worker)
            return ok == [True]

    assert asyncio.run(use("a"))
    assert asyncio.run(use("b"))


async def test_no_password_is_shown(url: str, kling: KlingClient) -> None:
    batch, worker = PostgresBatch(url), Worker(url, kling)
    for text in (repr(batch), repr(worker), batch.shown, worker.shown):
        assert PASSWORD not in text
        assert "kling@127.0.0.1" in text

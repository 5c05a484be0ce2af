"""What a batch will send, told before anything is sent."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from kling_async import Batch, JournalError, KlingClient, RequestError, VideoExtendRequest
from kling_async.rules.forecast import Doing
from kling_async.simulator import Fault, Simulator

SOURCE = "original-video-id"
JOBS = {key: VideoExtendRequest(video_id=SOURCE, prompt=key) for key in "abc"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite3"


async def told(batch: Batch) -> dict[str, Doing]:
    return {forecast.key: forecast.does for forecast in await batch.dry_run(JOBS)}


async def carried_out(batch: Batch) -> None:
    async with batch:
        async for _ in batch.run(JOBS):
            pass


async def test_without_a_journal_every_job_is_a_create_and_no_journal_is_made(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    forecasts = await kling.batch(path).dry_run(JOBS)
    assert [(forecast.key, forecast.request, forecast.does) for forecast in forecasts] == [
        (key, request, "create") for key, request in JOBS.items()
    ]
    assert all(forecast.may_pay for forecast in forecasts)
    assert list(path.parent.iterdir()) == []
    assert simulator.engine.requests.total() == 0


async def test_a_folder_that_is_not_there_is_refused_as_by_a_run(kling: KlingClient, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no folder"):
        await kling.batch(tmp_path / "nowhere" / "run.sqlite3").dry_run(JOBS)


async def test_no_jobs_have_no_forecast(kling: KlingClient, path: Path) -> None:
    assert await kling.batch(path).dry_run({}) == []


async def test_what_is_done_is_not_done_again(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    await carried_out(kling.batch(path))
    before = simulator.engine.requests.total()
    assert await told(kling.batch(path)) == dict.fromkeys("abc", "nothing")
    assert simulator.engine.requests.total() == before


async def test_it_says_what_a_run_then_does(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    """Each state in turn, and the creates that the vendor sees of it."""
    simulator.script(Fault.slow(100, on="create"))
    for seconds, states in ((20, {"settle": 1, "create": 2}), (20, {"wait": 3}), (100, {"nothing": 3})):
        async with kling.batch(path) as batch:
            try:
                async with asyncio.timeout(seconds):
                    async for _ in batch.run(dict.fromkeys("a", JOBS["a"]) if "settle" in states else JOBS):
                        pass
            except TimeoutError:
                pass
        assert Counter((await told(kling.batch(path))).values()) == states
    assert len(simulator.accepted) == 3


async def test_inside_of_an_open_batch_it_says_the_same(kling: KlingClient, path: Path) -> None:
    async with kling.batch(path) as batch:
        assert await told(batch) == dict.fromkeys("abc", "create")
        async for _ in batch.run(JOBS):
            pass
        assert await told(batch) == dict.fromkeys("abc", "nothing")


async def test_a_film_that_is_not_there_is_saved(kling: KlingClient, path: Path, tmp_path: Path) -> None:
    await carried_out(kling.batch(path, out=tmp_path))
    assert await told(kling.batch(path, out=tmp_path)) == dict.fromkeys("abc", "nothing")
    (tmp_path / "b.mp4").unlink()
    assert await told(kling.batch(path, out=tmp_path)) == {"a": "nothing", "b": "save", "c": "nothing"}


@pytest.mark.parametrize(("anew", "does"), [(False, "nothing"), (True, "create")])
async def test_a_failed_job_is_paid_anew_only_where_that_is_asked_for(
    kling: KlingClient, simulator: Simulator, path: Path, anew: bool, does: Doing
) -> None:
    simulator.fail_next(3, message="no luck")
    await carried_out(kling.batch(path))
    forecasts = await kling.batch(path, retry_failed=anew).dry_run(JOBS)
    assert {forecast.does for forecast in forecasts} == {does}
    assert [forecast.task.status_message for forecast in forecasts if forecast.task] == ["no luck"] * 3


async def test_a_success_without_a_film_is_looked_at_again(kling: KlingClient, path: Path) -> None:
    await carried_out(kling.batch(path))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE jobs SET state = 'failed' WHERE key = 'a'")  # as a task without videos is noted
        database.commit()
    assert (await told(kling.batch(path)))["a"] == "wait"
    assert (await told(kling.batch(path, retry_failed=True)))["a"] == "create"


async def test_the_journal_is_left_as_it_is(kling: KlingClient, path: Path) -> None:
    await carried_out(kling.batch(path))
    before = path.read_bytes()
    await kling.batch(path).dry_run(JOBS)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_a_key_of_another_request_is_refused(kling: KlingClient, path: Path) -> None:
    await carried_out(kling.batch(path))
    with pytest.raises(JournalError, match="job 'a' stands for another request"):
        await kling.batch(path).dry_run({"a": JOBS["b"]})


async def test_a_damaged_journal_is_refused(kling: KlingClient, path: Path) -> None:
    path.write_bytes(b"no database")
    with pytest.raises(JournalError):
        await kling.batch(path).dry_run(JOBS)
    assert path.read_bytes() == b"no database"


async def test_bad_jobs_are_refused_as_by_a_run(kling: KlingClient, path: Path) -> None:
    with pytest.raises(RequestError, match="comes twice"):
        await kling.batch(path).dry_run([("a", JOBS["a"]), ("a", JOBS["a"])])


# --- what it has cost ------------------------------------------------------------------------------------------------


async def test_units_are_those_of_the_outcomes_given(kling: KlingClient, path: Path) -> None:
    async with kling.batch(path) as batch:
        assert batch.units == 0
        seen = 0
        async for _ in batch.run(JOBS):
            seen += 1
            assert batch.units == 2 * seen
        async for _ in batch.run(JOBS):
            assert batch.units == 6


async def test_units_of_earlier_runs_are_in_it(kling: KlingClient, path: Path) -> None:
    await carried_out(kling.batch(path))
    again = kling.batch(path)
    await carried_out(again)
    assert again.units == Decimal(6)


async def test_a_failed_task_costs_what_the_vendor_says(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.fail_next()
    batch = kling.batch(path)
    await carried_out(batch)
    assert batch.units == 4

"""What a batch over many hosts costs: beside the batch of one process, and in PostgreSQL by the number of slots.

    python benchmarks/distributed.py --jobs 500 --limit 20

First the same jobs by `kling.batch` in one process, by one worker and by four: wall time, CPU of the workers and of
PostgreSQL, what PostgreSQL committed. Then, with so many slots taken and 10,000 jobs waiting: one look for work that
finds no seat, one that finds ten, and the signs of life of all that is under way.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import attrs

from kling_async import ApiKey, KlingClient, PollPolicy, SlotPolicy, VideoExtendRequest
from kling_async.distributed.database import Database
from kling_async.distributed.engine import Seats
from kling_async.distributed.schema import install
from kling_async.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hosts import Options, run_on
from postgres import Postgres

_WAITING = 10_000
_TIMES = 20


def children() -> float:
    """Seconds of CPU of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- side by side ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Cost:
    """What the jobs took, in seconds; and what PostgreSQL committed."""

    wall: float
    workers: float
    postgres: float = 0.0
    commits: int = 0

    def line(self, name: str, jobs: int) -> str:
        """A row of the table."""
        return (
            f"{name:<22}{self.wall:8.1f} s wall{self.workers:8.1f} s CPU{self.postgres:8.1f} s PostgreSQL"
            f"{self.commits / jobs:8.1f} commits a job"
        )


def alone(options: Options) -> Cost:
    """By a batch in one process, which is a child as the workers are."""
    ready = multiprocessing.Queue()  # type: multiprocessing.Queue[str]
    vendor = multiprocessing.Process(target=_serve, args=(options, ready))
    vendor.start()
    url = ready.get()
    before, began = children(), time.monotonic()
    child = multiprocessing.Process(target=_carry_out, args=(options, url))
    child.start()
    child.join()
    wall, cpu = time.monotonic() - began, children() - before
    vendor.terminate()
    vendor.join()
    assert child.exitcode == 0
    return Cost(wall, cpu)


def _serve(options: Options, ready: multiprocessing.Queue[str]) -> None:
    async def serve() -> None:
        async with Simulator(task_seconds=options.task_seconds, submitted_seconds=0.1) as simulator:
            ready.put(simulator.url)
            await asyncio.Event().wait()

    asyncio.run(serve())


def _carry_out(options: Options, url: str) -> None:
    async def carry_out() -> None:
        client = KlingClient(
            ApiKey(Simulator.api_key),
            base_url=url,
            slots=SlotPolicy(limit=options.limit),
            polling=PollPolicy(interval=options.interval),
        )
        jobs = {
            f"film-{n}": VideoExtendRequest(video_id="original-video-id", prompt=str(n)) for n in range(options.jobs)
        }
        with tempfile.TemporaryDirectory() as folder:
            async with client as kling, kling.batch(f"{folder}/journal", out=folder) as batch:
                assert all([outcome.ok async for outcome in batch.run(jobs)])

    asyncio.run(carry_out())


def together(options: Options) -> Cost:
    """By workers and PostgreSQL, each in processes of their own."""
    with Postgres(durable=True) as postgres:
        before = children()
        figures = run_on(postgres, options)
        workers = children() - before
        assert figures.clean, str(figures)
        commits = asyncio.run(_commits(postgres.url()))
        postgres.stop()
        all_together = children() - before
        postgres.start()
    return Cost(figures.seconds, workers, all_together - workers, commits)


async def _commits(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(
            await connection.fetchval("SELECT sum(xact_commit) FROM pg_stat_database WHERE datname LIKE 'kling%'")
        )
    finally:
        await connection.close()


# --- by the number of slots ------------------------------------------------------------------------------------------


async def by_slots(postgres: Postgres, slots: int) -> str:
    """A row of the table: milliseconds of PostgreSQL's answers, medians."""
    url = await postgres.new()
    async with Database(url) as database:
        await install(database)
        ids = await _fill(database, slots)
        limit = slots

        async def limited() -> int:
            return limit

        seats = Seats(database, limited)

        async def look() -> int:
            return len(await seats.dequeue(10, {}, seats.owner, None, timedelta(seconds=3600)))  # type: ignore[arg-type]

        full = await _median(look, found=0)
        limit = slots + _TIMES * 10
        found = await _median(look, found=10)
        beats = await _median(lambda: _beat(database, ids), found=0)
    return (
        f"{slots:>8} slots{full:10.1f} ms in vain{found:10.1f} ms for ten seats{beats:10.1f} ms for all signs of life"
    )


async def _fill(database: Database, slots: int) -> list[int]:
    await database.fetch(
        "INSERT INTO kling_async.pgqueuer (priority, status, entrypoint, dedupe_key)"
        " SELECT 0, 'queued', 'making', n::text FROM generate_series(1, $1) AS n",
        _WAITING,
    )
    rows = await database.fetch(
        "INSERT INTO kling_async.pgqueuer (priority, status, entrypoint, queue_manager_id, slot)"
        " SELECT 0, 'picked', 'making', $2, n - 1 FROM generate_series(1, $1) AS n RETURNING id",
        slots, uuid4(),
    )  # fmt: skip
    await database.fetch("ANALYZE kling_async.pgqueuer")
    return [row["id"] for row in rows]


async def _beat(database: Database, ids: list[int]) -> int:
    await database.fetch("UPDATE kling_async.pgqueuer SET heartbeat = now() WHERE id = ANY($1::bigint[])", ids)
    return 0


async def _median(work: Callable[[], Awaitable[int]], *, found: int) -> float:
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        assert await work() == found
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--task-seconds", type=float, default=2.0)
    given = Options(**vars(parser.parse_args()))
    ideal = given.jobs * given.task_seconds / given.limit
    print(f"{given.jobs} jobs of {given.task_seconds:g} s, {given.limit} at once: {ideal:.0f} s at best")
    print(alone(given).line("in one process", given.jobs))
    for workers in (1, 4):
        print(together(attrs.evolve(given, workers=workers)).line(f"{workers} workers", given.jobs))
    with Postgres(durable=True) as postgres:
        for slots in (100, 1_000, 10_000):
            print(asyncio.run(by_slots(postgres, slots)))


if __name__ == "__main__":
    main()

"""What the command line does with PostgreSQL: a batch that enqueues and watches, and a worker that ends cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kling_async.client import KlingClient
from kling_async.distributed.batch import PostgresBatch
from kling_async.distributed.callbacks import PostgresCallbackStore
from kling_async.distributed.worker import Worker
from kling_async.rules.forecast import Forecast
from kling_async.runtime.carry import Outcome, Request

_LOOK_SECONDS = 1.0


async def watch_batch(
    url: str,
    jobs: Sequence[tuple[str, Request]],
    *,
    retry_failed: bool,
    tell: Callable[[str], None],
    over: Callable[[Outcome], None],
    moved: Callable[[Counter[str]], None],
) -> int:
    """How many of the jobs are done, once all have their outcome.

    Args:
        url: of the database.
        jobs: requests by key.
        retry_failed: whether failed tasks are made (and paid) anew.
        tell: called with a line that says what is connected to.
        over: called with each outcome as it comes.
        moved: called now and then with how many jobs stand where, as `PostgresBatch.states` gives it.
    """
    done = 0
    async with PostgresBatch(url, retry_failed=retry_failed) as batch:
        tell(f"{len(jobs)} jobs in {batch.shown}")
        async with _looking(batch, [key for key, _ in jobs], moved):
            async for outcome in batch.run(jobs):
                done += outcome.ok
                over(outcome)
    return done


async def foreseen(url: str, jobs: Sequence[tuple[str, Request]], *, retry_failed: bool) -> list[Forecast]:
    """What workers would do for each job now."""
    async with PostgresBatch(url, retry_failed=retry_failed) as batch:
        return await batch.dry_run(jobs)


@asynccontextmanager
async def _looking(
    batch: PostgresBatch, keys: Sequence[str], moved: Callable[[Counter[str]], None]
) -> AsyncIterator[None]:
    looking = asyncio.create_task(_look(batch, keys, moved), name="kling_async progress")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def _look(batch: PostgresBatch, keys: Sequence[str], moved: Callable[[Counter[str]], None]) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        moved(await batch.states(keys))


def client_for(url: str, *, base_url: str | None = None, environment: Mapping[str, str] = os.environ) -> KlingClient:
    """A worker's client: where `KLING_WEBHOOK_SECRET` is set, it hears of callbacks that land on any host."""
    secret = environment.get("KLING_WEBHOOK_SECRET")
    if not secret:
        return KlingClient(base_url=base_url)
    return KlingClient(base_url=base_url, webhook_secrets=[secret], callback_store=PostgresCallbackStore(url))


async def run_worker(
    url: str,
    client: KlingClient,
    *,
    limit: int | None,
    change_limit: bool,
    out: Path | None,
    tell: Callable[[str], None],
) -> int:
    """The exit code, after SIGTERM (0) or SIGINT (130) has ended the worker, and others have its jobs.

    Args:
        url: of the database.
        client: as `client_for` makes it; closed in the end.
        limit: tasks in flight at most, for all workers together; `None` takes what the others go by.
        change_limit: whether all workers shall go by `limit` from now on.
        out: a folder for the films; `None` saves none.
        tell: called with lines that say what is connected to, and when it ends.
    """
    if change_limit and limit is not None:
        async with PostgresBatch(url) as batch:
            await batch.set_limit(limit)
    async with client as kling:
        worker = Worker(url, kling, limit=limit, out=out)
        tell(f"worker for {kling.base_url}, jobs in {worker.shown}")
        ended_by = _end_by_signals(worker)
        await worker.run()
    tell("the worker has ended; other workers go on with what it had under way")
    return 130 if ended_by == [signal.SIGINT] else 0


def _end_by_signals(worker: Worker) -> list[signal.Signals]:
    """The first signal ends the worker cleanly, a second one at once."""
    ended_by: list[signal.Signals] = []
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        ended_by.append(number)
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(other)
        worker.stop()

    with suppress(NotImplementedError):  # on Windows
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
    return ended_by

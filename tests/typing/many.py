"""What a type checker knows of batches over many hosts."""

from collections import Counter
from decimal import Decimal
from typing import assert_type

from kling_async import Forecast, KlingClient, Outcome, VideoExtendRequest
from kling_async.distributed import PostgresBatch, PostgresCallbackStore, Worker

URL = "postgresql://kling@host/films"


async def enqueue() -> None:
    jobs = {"film-1": VideoExtendRequest(video_id="original-video-id")}
    async with PostgresBatch(URL, retry_failed=True) as batch:
        async for outcome in batch.run(jobs):
            assert_type(outcome, Outcome)
        async for outcome in batch.outcomes(jobs, in_order=True):
            assert_type(outcome, Outcome)
        assert_type(await batch.states(jobs), Counter[str])
        assert_type(await batch.dry_run(jobs), list[Forecast])
        assert_type(batch.units, Decimal)
        await batch.set_limit(20)
        assert_type(batch.shown, str)


async def save(outcome: Outcome) -> None:
    assert_type(outcome.ok, bool)


async def work() -> None:
    store = PostgresCallbackStore(URL)
    async with KlingClient(webhook_secrets=["whsec_secret"], callback_store=store) as kling:
        worker = Worker(URL, kling, limit=20, out="films", save=save, takeover=30.0)
        assert_type(worker.shown, str)
        worker.stop()
        await worker.run()
    await store.close()

"""PgQueuer as we use it: a seat for each task in flight, heartbeats, and jobs of dead workers picked anew.

A row of its queue stands for a job until the job is over. While it is picked, its `queue_manager_id` says whose it is,
and every note in the journal is made under that condition: there is one lease, not two that could differ. PgQueuer
picks rows; only the journal removes them, in the transaction that writes the outcome.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Self
from uuid import UUID

import asyncpg
from pgqueuer._version import version
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    Durability,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.models import Job, TracebackRecord
from pgqueuer.domain.types import JOB_STATUS, Channel, JobId, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.driver import Driver, NotifyCallback
from pgqueuer.ports.repository import EntrypointExecutionParameter

from kling_async.distributed.database import Database, Refused

ENGINE_VERSION = version
CHANNEL = "kling_async_queue"
MAKING = "making"
"""What a row is while it has, or may need, one of the account's slots: as many are picked as there are slots."""
SAVING = "saving"
"""What a row is once its task has ended: its seat is free, and the film may take its time."""

_BATCH = 10
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 0.1

# Every name is given: PgQueuer reads those that are not from the environment.
_SETTINGS = DBSettings(
    prefix="",
    db_schema="kling_async",
    channel=Channel(CHANNEL),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.balanced,  # the queue survives a power cut, its log need not
    widen_id=True,
)
NOBODY = UUID(int=0)
"""The owner of rows that were handed over: like anybody's who died, they are picked again, and keep their seats."""
CHANGED = json.dumps(
    {
        "type": "table_changed_event",
        "channel": CHANNEL,
        "operation": "update",
        "sent_at": "1970-01-01T00:00:00Z",
        "table": "pgqueuer",
    }
)
"""What wakes the workers, as PgQueuer's own trigger says it where a row comes or goes."""


def install_engine() -> str:
    """The statements that set PgQueuer up within our schema."""
    return QueryBuilderEnvironment(_SETTINGS).build_install_query(create_schema=False)


async def upgrade_engine(connection: asyncpg.Connection) -> None:
    """Brings PgQueuer's tables to the version that is installed here."""
    await _queries(AsyncpgDriver(connection)).upgrade()


async def enqueue(connection: asyncpg.Connection, ids: list[str], entrypoints: list[str]) -> None:
    """Puts jobs into the queue, in order; those that are in it stay where they are."""
    await _queries(AsyncpgDriver(connection)).enqueue(
        entrypoints, [None] * len(ids), [0] * len(ids), dedupe_key=list(ids), on_conflict="skip"
    )


def _queries(driver: Driver) -> Queries:
    return Queries(
        driver, QueryBuilderEnvironment(_SETTINGS), QueryQueueBuilder(_SETTINGS), QuerySchedulerBuilder(_SETTINGS)
    )


class _Driver(Driver):
    """PgQueuer's way to a database whose outages are waited out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shutdown = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        try:
            return [dict(row) for row in await self._database.fetch(query, *args)]
        except Refused as refused:
            if isinstance(refused.cause, asyncpg.UniqueViolationError):  # a seat that another worker was quicker at
                raise refused.cause from None
            raise

    async def execute(self, query: str, *args: object) -> str:
        await self.fetch(query, *args)
        return ""

    async def notify(self, channel: str, payload: str) -> None:
        await self._database.fetch("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:  # noqa: ARG002 - there is but one
        self._database.ears.append(_Ear(callback))

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return TaskManager()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class _Ear:
    """Passes on what is heard; that the queue has changed, which each end of each task says, at most so often."""

    def __init__(self, callback: NotifyCallback) -> None:
        self._callback = callback
        self._later: asyncio.TimerHandle | None = None
        self._told_at = 0.0

    def __call__(self, payload: str) -> None:
        if payload and "table_changed_event" not in payload:
            self._callback(payload)
            return
        loop = asyncio.get_running_loop()
        if self._later is None:
            self._later = loop.call_at(max(loop.time(), self._told_at + _TELL_SECONDS), self._tell)

    def _tell(self) -> None:
        self._later = None
        self._told_at = asyncio.get_running_loop().time()
        self._callback(CHANGED)


class Seats(Queries):
    """PgQueuer's queries, but rows are touched by their owner alone, and removed by the journal alone."""

    def __init__(self, database: Database, limit: Callable[[], Awaitable[int]]) -> None:
        own = _queries(_Driver(database))
        super().__init__(own.driver, own.qbe, own.qbq, own.qbs)
        self._database = database
        self._limit = limit
        self.owner = NOBODY

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],  # noqa: ARG002 - the limit may change
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        """Rows to work on, as many as the account has slots at this time."""
        seats = {
            QueueEntrypoint(MAKING): EntrypointExecutionParameter(concurrency_limit=await self._limit()),
            QueueEntrypoint(SAVING): EntrypointExecutionParameter(concurrency_limit=0),
        }
        return await super().dequeue(batch_size, seats, queue_manager_id, global_concurrency_limit, heartbeat_timeout)

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Signs of life, for those rows that are this worker's still."""
        await self._database.fetch(
            "UPDATE kling_async.pgqueuer SET heartbeat = now() WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2",
            list(set(job_ids)), self.owner,
        )  # fmt: skip

    async def log_jobs(self, job_status: list[tuple[Job, JOB_STATUS, TracebackRecord | None]]) -> None:
        """Removes nothing: a row that the journal has not removed is another worker's, or is to be picked again."""


class Picker:
    """What picks rows and works on them, until it is stopped.

    Args:
        database: must listen to `CHANNEL`.
        work: carries out the job of the row with this id.
        limit: how many tasks the account may have in flight.

    Attributes:
        owner: whose the rows are that it picks.
    """

    def __init__(
        self, database: Database, work: Callable[[int], Awaitable[None]], *, limit: Callable[[], Awaitable[int]]
    ) -> None:
        seats = Seats(database, limit)
        self._manager = QueueManager(seats, Channel(CHANNEL))
        self.owner: UUID = self._manager.queue_manager_id
        seats.owner = self.owner
        # Seats that become free are told of; this is for what nobody tells, beside a backlog that waits for seats.
        self._manager.min_dequeue_poll_interval = timedelta(seconds=_LOOK_SECONDS)

        async def worked(job: Job) -> None:
            await work(job.id)

        for entrypoint in (MAKING, SAVING):
            self._manager.entrypoint(entrypoint)(worked)

    async def run(self, *, takeover: float) -> None:
        """Picks rows, also of workers silent for `takeover` seconds, until it is stopped and all work has ended."""
        await self._manager.run(
            batch_size=_BATCH,
            heartbeat_timeout=timedelta(seconds=takeover),
            dequeue_timeout=timedelta(seconds=max(takeover / 4, _LOOK_SECONDS)),
            log_aggregation_interval=timedelta(0),
        )

    def stop(self) -> None:
        """No row is picked any more."""
        self._manager.shutdown.set()

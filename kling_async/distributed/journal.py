"""What a batch of many machines knows: one table in PostgreSQL, written through before anything is sent.

Each note is made under the condition that the job's row in the queue is this worker's still: a worker that was cut off,
and whose jobs others have taken over meanwhile, learns that with its next note, and changes nothing any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import asyncpg
import attrs

from kling_async.checks import whole
from kling_async.distributed.database import Database
from kling_async.distributed.engine import CHANGED, CHANNEL, MAKING, NOBODY, SAVING, enqueue
from kling_async.distributed.records import path_of, plain, read_request, read_told, told, whole_request
from kling_async.errors import ConfigurationError, JournalError
from kling_async.rules.forecast import Forecast, doing
from kling_async.rules.wire import journalled_task
from kling_async.runtime.carry import Outcome, Request, noted, task_of
from kling_async.runtime.journal import Entry, LeaseLost, external_id

OUTCOMES = "kling_async_outcomes"
CALLBACKS = "kling_async_callbacks"

_ENDED = ("succeeded", "failed")
_AT_ONCE = 100
_ENTRY = "key, path, request, attempt, external_id, state, task, file"


@attrs.frozen
class Order:
    """A job as a worker gets it.

    Attributes:
        run: which `run` of a batch wants it.
        anew: the failed attempt to be made anew, 0 for none.
    """

    entry: Entry
    request: Request
    run: str
    anew: int


def job_id(key: str) -> str:
    """What stands for a key, whatever its length."""
    return sha256(key.encode()).hexdigest()[:32]


class Planner:
    """The journal for those who want jobs done."""

    def __init__(self, database: Database, id: str) -> None:
        self._database = database
        self._id = id

    async def plan(self, jobs: Sequence[tuple[str, Request]], *, run: str, retry_failed: bool) -> None:
        """Puts into the queue what is not done and not in it yet, in order.

        Raises:
            JournalError: a key that stands for another request; then none is planned.
        """

        async def planned(connection: asyncpg.Connection) -> None:
            for start in range(0, len(jobs), _AT_ONCE):
                await self._plan(connection, jobs[start : start + _AT_ONCE], run, retry_failed=retry_failed)

        await self._database.transact(planned)

    async def _plan(
        self, connection: asyncpg.Connection, jobs: Sequence[tuple[str, Request]], run: str, *, retry_failed: bool
    ) -> None:
        wanted = {job_id(key): (key, path_of(request), plain(noted(request)), request) for key, request in jobs}
        await connection.executemany(
            "INSERT INTO kling_async.jobs (id, key, path, request, external_id) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (id) DO NOTHING",
            # In one order for all, so that two who plan the same jobs do not wait for each other.
            [(job, *wanted[job][:3], external_id(self._id, wanted[job][0], 1)) for job in sorted(wanted)],
        )
        rows = await connection.fetch(
            "SELECT id, path, request, run, attempt, state, over, error IS NULL AS well FROM kling_async.jobs"
            " WHERE id = ANY($1) ORDER BY id FOR UPDATE",
            list(wanted),
        )
        found = {row["id"]: row for row in rows}
        for job, (key, *asked, _) in wanted.items():
            self._check_same(key, asked, found[job])
        anew = {
            job: row["attempt"] if retry_failed and row["state"] == "failed" else 0
            for job, row in found.items()
            # Where the answer to this very plan was lost, what has ended since is not begun again.
            if row["run"] is None or (row["over"] and not row["well"] and row["run"] != run)
        }
        await connection.executemany(
            "UPDATE kling_async.jobs SET over = false, error = NULL, whole = $2, run = $3, anew = $4 WHERE id = $1",
            [(job, plain(whole_request(wanted[job][3])), run, attempt) for job, attempt in anew.items()],
        )
        # What is under way already is in the queue; should somebody have emptied that, it comes back.
        queued = [job for job in wanted if job in anew or not found[job]["over"]]
        ended = {job for job in queued if found[job]["state"] in _ENDED and not anew.get(job)}
        await enqueue(connection, queued, [SAVING if job in ended else MAKING for job in queued])

    def _check_same(self, key: str, asked: list[str], row: asyncpg.Record) -> None:
        if [row["path"], row["request"]] != asked:
            where = self._database.shown
            raise JournalError(f"job {key!r} stands for another request in {where}; give this one another key")

    async def foreseen(self, jobs: Sequence[tuple[str, Request]], *, retry_failed: bool) -> list[Forecast]:
        """What becomes of each job when it is planned now, in their order.

        Raises:
            JournalError: a key that stands for another request.
        """
        rows = await self._database.fetch(
            "SELECT id, path, request, external_id, state, task, over AND error IS NULL AS done FROM kling_async.jobs"
            " WHERE id = ANY($1)",
            [job_id(key) for key, _ in jobs],
        )
        found = {row["id"]: row for row in rows}
        return [self._foreseen(*job, found.get(job_id(job[0])), retry_failed=retry_failed) for job in jobs]

    def _foreseen(self, key: str, request: Request, row: asyncpg.Record | None, *, retry_failed: bool) -> Forecast:
        if row is None:
            return Forecast(key, request, "create")
        self._check_same(key, [path_of(request), plain(noted(request))], row)
        task = None
        if row["task"] is not None:
            task = task_of(key, row["state"], row["task"], row["external_id"])
        return Forecast(key, request, doing(row["state"], task, saved=row["done"], retry_failed=retry_failed), task)

    async def unknown(self, keys: Sequence[str]) -> list[str]:
        """Those keys that no job has."""
        ids = {job_id(key): key for key in keys}
        rows = await self._database.fetch("SELECT id FROM kling_async.jobs WHERE id = ANY($1)", list(ids))
        known = {row["id"] for row in rows}
        return [key for job, key in ids.items() if job not in known]

    async def outcomes(self, ids: Sequence[str]) -> list[tuple[str, Outcome]]:
        """Those of the jobs that are over, each with its outcome."""
        rows = await self._database.fetch(
            "SELECT id, key, external_id, state, task, error, path_saved FROM kling_async.jobs"
            " WHERE id = ANY($1) AND over",
            list(ids),
        )
        return [(row["id"], _outcome(row)) for row in rows]

    async def states(self, keys: Sequence[str]) -> Counter[str]:
        """How many of the jobs stand where: `planned`, `intent`, `accepted`, `saving` or `over`."""
        rows = await self._database.fetch(
            "SELECT CASE WHEN over THEN 'over' WHEN state = ANY($2) THEN 'saving' ELSE state END AS stands, count(*)"
            " FROM kling_async.jobs WHERE id = ANY($1) GROUP BY stands",
            [job_id(key) for key in keys], list(_ENDED),
        )  # fmt: skip
        return Counter({row["stands"]: row["count"] for row in rows})

    async def set_limit(self, limit: int) -> None:
        """Writes the account's limit, for all workers."""
        await self._database.fetch("UPDATE kling_async.about SET slots = $1", whole("limit", limit, least=1))


def _outcome(row: asyncpg.Record) -> Outcome:
    task = None
    if row["task"] is not None:
        task = task_of(row["key"], row["state"], row["task"], row["external_id"])
    error = None if row["error"] is None else read_told(row["error"], task)
    return Outcome(row["key"], task, error, None if row["path_saved"] is None else Path(row["path_saved"]))


class WorkerJournal:
    """The journal for a worker: `AnyJournal`, for the rows that it has picked."""

    def __init__(self, database: Database, id: str, owner: UUID) -> None:
        self._database = database
        self._id = id
        self._owner = owner
        self._rows: dict[str, int] = {}

    async def agree(self, limit: int | None) -> int:
        """The account's limit, which is the first worker's.

        Raises:
            ConfigurationError: none was ever given, or all others go by another one.
        """
        rows = await self._database.fetch(
            "UPDATE kling_async.about SET slots = coalesce(slots, $1) RETURNING slots", limit
        )
        agreed = rows[0]["slots"]
        if agreed is None:
            raise ConfigurationError("limit: is missing; the first worker must say how many tasks may be in flight")
        if limit not in {None, agreed}:
            raise ConfigurationError(
                f"limit: {limit} was given, but the workers at {self._database.shown} share {agreed} slots;"
                " leave it out, or change it for all of them with set_limit()"
            )
        return int(agreed)

    async def limit(self) -> int:
        """The account's limit as it is now."""
        rows = await self._database.fetch("SELECT slots FROM kling_async.about")
        return int(rows[0]["slots"])

    async def lease(self, row: int) -> Order:
        """The job of a row that was picked.

        Raises:
            LeaseLost: another worker has it by now.
        """
        rows = await self._database.fetch(
            f"SELECT {_ENTRY}, whole, run, anew FROM kling_async.jobs AS job"  # noqa: S608 - names of our own
            " JOIN (SELECT dedupe_key FROM kling_async.pgqueuer WHERE id = $1 AND queue_manager_id = $2) AS held"
            " ON job.id = held.dedupe_key",
            row, self._owner,
        )  # fmt: skip
        if not rows:
            raise LeaseLost(f"the job of row {row} was taken over by another worker")
        *entry, whole, run, anew = rows[0]
        self._rows[entry[0]] = row
        return Order(Entry(*entry), read_request(entry[1], whole), run, anew)

    async def note(self, key: str, state: str, *, task: str | None = None, file: str | None = None) -> None:
        """Writes how far the job is; `None` leaves what stands there. Once its task has ended, its seat is free.

        Raises:
            LeaseLost: another worker has it by now.
        """
        has_ended = state in _ENDED and task is not None
        rows = await self._database.fetch(
            _FREED if has_ended else _HELD,
            self._rows[key], self._owner, job_id(key), state, None if task is None else plain(task), file,
        )  # fmt: skip
        if not rows:
            raise LeaseLost(f"job {key!r} was taken over by another worker")

    async def next_attempt(self, key: str) -> Entry:
        """The failed job as a new attempt, under a new external id: it will be paid for anew."""
        job = job_id(key)
        [before] = await self._database.fetch("SELECT attempt FROM kling_async.jobs WHERE id = $1", job)
        attempt = before["attempt"] + 1
        rows = await self._database.fetch(
            _ANEW, self._rows[key], self._owner, job, attempt, external_id(self._id, key, attempt),
        )  # fmt: skip
        if not rows:
            raise LeaseLost(f"job {key!r} was taken over by another worker")
        return Entry(*rows[0])

    async def settle(self, outcome: Outcome) -> None:
        """Writes the outcome and takes the job out of the queue; whoever waits for it hears of it.

        Raises:
            LeaseLost: another worker has it by now.
        """
        task = None if outcome.task is None else plain(journalled_task(outcome.task))
        rows = await self._database.fetch(
            _SETTLE,
            self._rows[outcome.key], self._owner, job_id(outcome.key), task,
            None if outcome.error is None else told(outcome.error),
            None if outcome.path is None else str(outcome.path.absolute()), OUTCOMES,
        )  # fmt: skip
        if not rows:
            raise LeaseLost(f"job {outcome.key!r} was taken over by another worker")

    def forget(self, key: str, row: int) -> None:
        """Lets go of a job that is over, or another worker's."""
        if self._rows.get(key) == row:  # and not of what a rerun has put there meanwhile
            del self._rows[key]

    async def hand_over(self) -> None:
        """Gives this worker's rows to whoever is quickest; their seats stay taken, for their tasks are in flight."""
        await self._database.fetch(
            "WITH given AS (UPDATE kling_async.pgqueuer SET queue_manager_id = $2, heartbeat = 'epoch'"
            " WHERE queue_manager_id = $1 RETURNING 1) SELECT pg_notify($3, $4) FROM given LIMIT 1",
            self._owner, NOBODY, CHANNEL, CHANGED,
        )  # fmt: skip


# $1 and $2: the row, and whose it must be; $3: the job.
_IF_HELD = "WITH held AS (SELECT FROM kling_async.pgqueuer WHERE id = $1 AND queue_manager_id = $2 FOR NO KEY UPDATE)"
_WRITE = (
    " UPDATE kling_async.jobs AS job SET state = $4, task = coalesce($5, task), file = coalesce($6, file)"
    " FROM held WHERE job.id = $3 RETURNING 1"
)
_HELD = _IF_HELD + _WRITE
_ANEW = (
    f"{_IF_HELD} UPDATE kling_async.jobs AS job SET attempt = $4, external_id = $5, state = 'planned',"  # noqa: S608
    f" task = NULL, file = NULL FROM held WHERE job.id = $3 RETURNING {_ENTRY}"
)
_FREED = (
    f"WITH held AS (UPDATE kling_async.pgqueuer SET entrypoint = '{SAVING}', slot = NULL"  # noqa: S608 - names of our own
    " WHERE id = $1 AND queue_manager_id = $2 RETURNING"
    f" pg_notify('{CHANNEL}', '{CHANGED}'))" + _WRITE
)
_SETTLE = (
    "WITH held AS (DELETE FROM kling_async.pgqueuer WHERE id = $1 AND queue_manager_id = $2 RETURNING id),"
    " logged AS (DELETE FROM kling_async.pgqueuer_log WHERE job_id = $1)"
    " UPDATE kling_async.jobs AS job SET over = true, whole = NULL, task = coalesce($4, task), error = $5,"
    " path_saved = coalesce($6, path_saved) FROM held WHERE job.id = $3 RETURNING pg_notify($7, $3)"
)

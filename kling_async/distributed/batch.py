"""A batch for workers on any number of hosts: jobs go into PostgreSQL, outcomes come out of it."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from types import TracebackType
from typing import Self

from kling_async.distributed.database import Database
from kling_async.distributed.journal import OUTCOMES, Planner, job_id
from kling_async.distributed.schema import install
from kling_async.errors import JournalError, RequestError
from kling_async.models import Task, units_of
from kling_async.rules.forecast import Forecast
from kling_async.runtime.carry import Outcome, Request, check_jobs

_LOOK_SECONDS = 5.0


class PostgresBatch:
    """A batch whose journal is PostgreSQL: `async with PostgresBatch("postgresql://...") as batch`.

    The jobs are carried out by workers (`Worker`, `kling-async worker`), of which at least one must run. What this
    process does not wait for goes on all the same; a rerun, here or elsewhere, hears what has become of it.

    Args:
        url: of the database, as libpq reads it, `postgresql://user:password@host/database`. Its schema `kling_async`
            is set up at the first use.
        retry_failed: whether jobs whose task failed before are made (and paid) anew, under a new external id.

    Raises:
        ConfigurationError: it is no URL of a PostgreSQL database.
    """

    def __init__(self, url: str, *, retry_failed: bool = False) -> None:
        self._database = Database(url, channel=OUTCOMES)
        self._database.ears.append(self._hear)
        self._retry_failed = retry_failed
        self._readers: set[asyncio.Queue[str]] = set()
        self._tasks: dict[str, Task] = {}
        self._planner: Planner | None = None
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<PostgresBatch {self._database.shown}>"

    @property
    def shown(self) -> str:
        """The database's URL without its password."""
        return self._database.shown

    async def __aenter__(self) -> Self:
        """Connects, and sets the database up where it is new.

        Raises:
            JournalError: there is no such database, it has another version, or may not be set up.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._database)
            self._planner = Planner(self._database, await install(self._database))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._planner = None
        await self._stack.aclose()

    def run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> AsyncIterator[Outcome]:
        """The outcome of each job, as they come. What is done already, or under way, is not done again.

        Args:
            jobs: requests by key, as for a batch on one machine.

        Raises:
            RequestError: a key that is none, or comes twice; a request that is none.
            JournalError: a key stands for another request; or the database refuses. Outages are waited out.
        """
        return self._run(_checked(jobs))

    async def dry_run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[Forecast]:
        """What workers would do for each job now, in the order given. Nothing is planned.

        Args:
            jobs: as for `run`.

        Raises:
            RequestError, JournalError: as `run`.
        """
        return await self._open.foreseen(_checked(jobs), retry_failed=self._retry_failed)

    @property
    def units(self) -> Decimal:
        """What the jobs cost whose outcomes were given so far, exact, as far as the vendor told; earlier runs included.

        An attempt that failed and was made anew is not in it.
        """
        return units_of(self._tasks.values())

    async def _run(self, jobs: list[tuple[str, Request]]) -> AsyncGenerator[Outcome]:
        await self._open.plan(jobs, run=uuid.uuid4().hex, retry_failed=self._retry_failed)
        async for outcome in self._settled([key for key, _ in jobs]):
            yield outcome

    async def outcomes(self, keys: Iterable[str], *, in_order: bool = False) -> AsyncGenerator[Outcome]:
        """The outcome of each of these jobs, whoever has planned them; each is waited for.

        Args:
            keys: of jobs that have been planned.
            in_order: false: as they come; true: in the order of the keys.

        Raises:
            JournalError: no job has such a key; or the database refuses.
        """
        wanted = list(dict.fromkeys(keys))
        if unknown := await self._open.unknown(wanted):
            raise JournalError(f"there is no job {unknown[0]!r} in {self.shown}")
        ahead: dict[str, Outcome] = {}
        place = 0
        async for outcome in self._settled(wanted):
            if not in_order:
                yield outcome
                continue
            ahead[outcome.key] = outcome
            while place < len(wanted) and wanted[place] in ahead:
                yield ahead.pop(wanted[place])
                place += 1

    async def states(self, keys: Iterable[str]) -> Counter[str]:
        """How many of these jobs stand where: `planned`, `intent`, `accepted`, `saving`, or `over`."""
        return await self._open.states(list(keys))

    async def set_limit(self, limit: int) -> None:
        """Changes how many tasks the account may have in flight; all workers go by it within some seconds.

        Raises:
            RequestError: `limit` is not allowed.
        """
        await self._open.set_limit(limit)

    @property
    def _open(self) -> Planner:
        if self._planner is None:
            raise JournalError(f"{self.shown} is not open; use the batch by `async with`")
        return self._planner

    # --- outcomes ------------------------------------------------------------------------------------------------

    async def _settled(self, keys: list[str]) -> AsyncGenerator[Outcome]:
        pending = dict.fromkeys(map(job_id, keys))
        heard = asyncio.Queue[str]()
        self._readers.add(heard)  # before the first look, so that nothing falls between
        try:
            look_at = list(pending)
            while pending:
                for job, outcome in await self._open.outcomes(look_at):
                    del pending[job]
                    if outcome.task is not None:
                        self._tasks[outcome.key] = outcome.task
                    yield outcome
                look_at = await _news(heard, pending) if pending else []
        finally:
            self._readers.discard(heard)

    def _hear(self, id: str) -> None:
        for reader in self._readers:
            reader.put_nowait(id)


def _checked(jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[tuple[str, Request]]:
    given = list(jobs.items() if isinstance(jobs, Mapping) else jobs)
    check_jobs(given)
    for key, _ in given:
        if "\0" in key:
            raise RequestError(f"key: {key!r} holds a null character, which PostgreSQL cannot keep")
    return given


async def _news(heard: asyncio.Queue[str], pending: Mapping[str, None]) -> list[str]:
    """Which jobs to look at: those heard of; all where nothing was heard for long, or may have been missed."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            ids = {await heard.get()}
            while not ids & pending.keys() and "" not in ids:
                ids.add(await heard.get())
    except TimeoutError:
        return list(pending)
    while not heard.empty():
        ids.add(heard.get_nowait())
    return list(pending) if "" in ids else list(ids & pending.keys())

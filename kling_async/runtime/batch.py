"""Many jobs, each with a key of the user's, carried through once each: over crashes, reruns and second processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from kling_async.errors import ClientClosed, JournalError, KlingError
from kling_async.models import Task, units_of
from kling_async.rules.forecast import Forecast
from kling_async.runtime.carry import Carrier, Job, Kind, Outcome, Request, Run, Step, check_jobs
from kling_async.runtime.download import Downloader
from kling_async.runtime.journal import LEASE_SECONDS, Entry, Journal, LeaseLost

_log = logging.getLogger("kling_async")

_FOREIGN_LOOK_SECONDS = 1.0


class _Done(asyncio.Queue[Outcome | Exception]):
    """Outcomes as they come, or what must stop the whole batch."""


class Batch:
    """A batch on one journal file: `async with kling.batch("run.sqlite3") as batch`."""

    def __init__(
        self,
        journal: Journal,
        kinds: Mapping[str, Kind],
        *,
        downloader: Downloader | None = None,
        out: Path | None = None,
        timeout: float | None,
        retry_failed: bool,
        on_step: Callable[[str, Step], None] | None = None,
    ) -> None:
        self._journal = journal
        self._carrier = Carrier(journal, kinds, downloader, out=out, timeout=timeout, on_step=on_step)
        self._retry_failed = retry_failed
        self._keeper: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._tasks: dict[str, Task] = {}

    def __repr__(self) -> str:
        return f"<Batch {self._journal!r}, {len(self._jobs)} jobs under way>"

    async def __aenter__(self) -> Self:
        """Opens the journal.

        Raises:
            JournalError: it is no journal, damaged, of a newer version, or cannot be written.
            RequestError: the folder for the films does not exist.
        """
        self._carrier.look()
        await self._journal.open()
        self._keeper = asyncio.create_task(self._keep(), name="kling_async keeper of leases")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._jobs = self._jobs | ({self._keeper} if self._keeper else set()), set()
        try:
            await _put_away(tasks)
        finally:
            await self._journal.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._journal.renew()
            except JournalError as error:  # who has something to note will say so; a disk may have room again
                _log.warning("the leases of a batch could not be renewed: %s", error.message)

    def run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> AsyncIterator[Outcome]:
        """The outcome of each job, as they come. What the journal has done already is not done again.

        Args:
            jobs: requests by key. A key is any text that names the job for good; the same key always stands for the
                same request. Requests bear no `external_task_id`: it derives from the key.

        Raises:
            RequestError: a key that is none, or comes twice; a request that is none.
            JournalError: the journal cannot be written: nothing more is sent. Or a key stands for another request.
        """
        return self._run(_checked(jobs))

    async def dry_run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[Forecast]:
        """What `run` would do for each job now, in the order given. Nothing is sent, and no journal is made.

        It needs no `async with`. What another process carries at this moment is told as if it were left to us.

        Args:
            jobs: as for `run`.

        Raises:
            RequestError, JournalError: as `run`.
        """
        given = _checked(jobs)
        entries = await self._journal.known(self._carrier.noted(*job) for job in given)
        return [
            self._carrier.foreseen(*job, entry, retry_failed=self._retry_failed)
            for job, entry in zip(given, entries, strict=True)
        ]

    @property
    def units(self) -> Decimal:
        """What the jobs cost whose outcomes were given so far, exact, as far as the vendor told; earlier runs included.

        An attempt that failed and was made anew is not in it.
        """
        return units_of(self._tasks.values())

    async def _run(self, requests: list[tuple[str, Request]]) -> AsyncGenerator[Outcome]:
        entries = await self._journal.plan(self._carrier.noted(*job) for job in requests)
        run, done = Run(), _Done()
        jobs = [
            Job(key, request, run, entry.attempt if self._retry_failed and entry.state == "failed" else 0)
            for (key, request), entry in zip(requests, entries, strict=True)
        ]
        ours = {asyncio.create_task(self._carry(job, done)) for job in jobs}
        self._jobs |= ours
        try:
            for _ in jobs:
                outcome = await done.get()
                if isinstance(outcome, Exception):
                    raise outcome
                if outcome.task is not None:
                    self._tasks[outcome.key] = outcome.task
                yield outcome
        finally:
            await _put_away(ours)
            self._jobs -= ours

    # --- one job -------------------------------------------------------------------------------------------------

    async def _carry(self, job: Job, done: _Done) -> None:
        """Puts exactly one thing into the queue: the job's outcome, or what must stop the whole batch."""
        try:
            outcome: Outcome | Exception = await self._outcome(job)
        except asyncio.CancelledError:
            # Whoever still iterates after the batch was left must not wait for ever.
            done.put_nowait(ClientClosed("the batch was left; a rerun goes on", created="unknown"))
            raise
        except JournalError as error:
            outcome = error
        except KlingError as error:
            outcome = Outcome(job.key, job.task, error)
        except Exception as error:  # a fault of ours, or of the user's hook: told, not hidden in a task
            outcome = error
        done.put_nowait(outcome)

    async def _outcome(self, job: Job) -> Outcome:
        while True:
            try:
                return await self._carried(job)
            except LeaseLost as lost:
                # This process slept for longer than its lease: who took the job carries it through, and we look on.
                _log.info("%s", lost.message)
            except JournalError as error:
                if job.task is not None:
                    error.created, error.task_id, error.external_task_id = "yes", job.task.id, job.task.external_task_id
                raise

    async def _carried(self, job: Job) -> Outcome:
        try:
            return await self._carrier.carry(await self._leased(job.key), job)
        finally:  # also of a lease that was under way when a cancellation came
            await self._journal.free(job.key)

    async def _leased(self, key: str) -> Entry:
        """The job, for us alone; while another living process has it, that one carries it through."""
        while (entry := await self._journal.lease(key)) is None:
            await asyncio.sleep(_FOREIGN_LOOK_SECONDS)
        return entry


def _checked(jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[tuple[str, Request]]:
    given = list(jobs.items() if isinstance(jobs, Mapping) else jobs)
    check_jobs(given)
    return given


async def _put_away(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

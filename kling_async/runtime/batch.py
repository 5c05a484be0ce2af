"""Many jobs, each with a key of the user's, carried through once each: over crashes, reruns and second processes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import attrs

from kling_async.checks import refusal, seconds
from kling_async.errors import APIError, ClientClosed, JournalError, KlingError, RequestError
from kling_async.models import Task, TaskFailed, TaskStatus, WaitTimeout, units_of
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.forecast import Forecast, doing
from kling_async.rules.names import file_name
from kling_async.rules.wire import journalled_request, journalled_task, read_journalled_task
from kling_async.runtime.download import Downloader
from kling_async.runtime.journal import LEASE_SECONDS, Entry, Journal, LeaseLost
from kling_async.runtime.submit import Submitter
from kling_async.runtime.waiter import Waiter

_log = logging.getLogger("kling_async")

Request = VideoExtendRequest | OmniVideoRequest
Step = Literal["leased", "intent", "accepted", "ended", "saved"]

_FOREIGN_LOOK_SECONDS = 1.0


@attrs.frozen
class Outcome:
    """What became of one job.

    Attributes:
        key: the user's.
        task: the task as last seen, `None` where none was made (or none is known of).
        error: why there is no succeeded task, or no file; `None` when all went well. Its `created` says whether the
            job may have been paid; a rerun goes on from wherever it stands.
        path: where the film was saved, `None` when it was not.
    """

    key: str
    task: Task | None = None
    error: KlingError | None = None
    path: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether there is nothing left to do for this job."""
        return self.error is None


@attrs.frozen
class Kind:
    """What a batch needs of a resource."""

    submitter: Submitter
    waiter: Waiter


@attrs.define(eq=False)
class _Run:
    """What the jobs of one `run` share.

    Attributes:
        done: outcomes, or what must stop the whole batch.
        refused: the vendor's refusal for the account's sake: from then on no create is sent.
    """

    done: asyncio.Queue[Outcome | Exception] = attrs.field(factory=asyncio.Queue)
    refused: APIError | None = None


@attrs.define(eq=False)
class _Job:
    """One job of a run.

    Attributes:
        anew: the failed attempt to be made (and paid) anew, 0 for none. Fixed when the run began: an attempt that
            fails meanwhile, here or in another process, is not repeated by the same run.
        task: the task as last seen.
        unnoted: why the journal could not take the intent.
    """

    key: str
    request: Request
    run: _Run
    anew: int
    task: Task | None = None
    unnoted: JournalError | None = None


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
        self._kinds = kinds
        self._downloader = downloader
        self._out = out
        self._timeout = None if timeout is None else seconds("timeout", timeout, zero=True)
        self._retry_failed = retry_failed
        self._on_step = on_step
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
        if self._out is not None and not self._out.is_dir():
            raise RequestError(f"out: there is no folder {self._out}")
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
        return self._run(self._checked(jobs))

    async def dry_run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[Forecast]:
        """What `run` would do for each job now, in the order given. Nothing is sent, and no journal is made.

        It needs no `async with`. What another process carries at this moment is told as if it were left to us.

        Args:
            jobs: as for `run`.

        Raises:
            RequestError, JournalError: as `run`.
        """
        given = self._checked(jobs)
        entries = await self._journal.known(self._noted_all(given))
        return [self._forecast(*job, entry) for job, entry in zip(given, entries, strict=True)]

    def _forecast(self, key: str, request: Request, entry: Entry | None) -> Forecast:
        if entry is None:
            return Forecast(key, request, "create")
        task = None if entry.task is None else _task_of(entry)
        does = doing(entry.state, task, saved=self._is_saved(entry), retry_failed=self._retry_failed)
        return Forecast(key, request, does, task)

    def _checked(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> list[tuple[str, Request]]:
        given = list(jobs.items() if isinstance(jobs, Mapping) else jobs)
        _check(given, self._kinds)
        return given

    def _noted_all(self, jobs: list[tuple[str, Request]]) -> list[tuple[str, str, str]]:
        return [(key, self._kind(request).submitter.path, _noted(request)) for key, request in jobs]

    @property
    def units(self) -> Decimal:
        """What the jobs cost whose outcomes were given so far, exact, as far as the vendor told; earlier runs included.

        An attempt that failed and was made anew is not in it.
        """
        return units_of(self._tasks.values())

    async def _run(self, requests: list[tuple[str, Request]]) -> AsyncGenerator[Outcome]:
        entries = await self._journal.plan(self._noted_all(requests))
        run = _Run()
        jobs = [
            _Job(key, request, run, entry.attempt if self._retry_failed and entry.state == "failed" else 0)
            for (key, request), entry in zip(requests, entries, strict=True)
        ]
        ours = {asyncio.create_task(self._carry(job)) for job in jobs}
        self._jobs |= ours
        try:
            for _ in jobs:
                outcome = await run.done.get()
                if isinstance(outcome, Exception):
                    raise outcome
                if outcome.task is not None:
                    self._tasks[outcome.key] = outcome.task
                yield outcome
        finally:
            await _put_away(ours)
            self._jobs -= ours

    def _kind(self, request: Request) -> Kind:
        return self._kinds[type(request).__name__]

    # --- one job -------------------------------------------------------------------------------------------------

    async def _carry(self, job: _Job) -> None:
        """Puts exactly one thing into the queue: the job's outcome, or what must stop the whole batch."""
        try:
            outcome: Outcome | Exception = await self._outcome(job)
        except asyncio.CancelledError:
            # Whoever still iterates after the batch was left must not wait for ever.
            job.run.done.put_nowait(ClientClosed("the batch was left; a rerun goes on", created="unknown"))
            raise
        except JournalError as error:
            outcome = error
        except KlingError as error:
            outcome = Outcome(job.key, job.task, error)
        except Exception as error:  # a fault of ours, or of the user's hook: told, not hidden in a task
            outcome = error
        job.run.done.put_nowait(outcome)

    async def _outcome(self, job: _Job) -> Outcome:
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

    async def _carried(self, job: _Job) -> Outcome:
        try:
            entry = await self._leased(job.key)
            if entry.state == "failed" and entry.attempt == job.anew:
                entry = await self._journal.next_attempt(job.key)
            task = await self._ended(entry, job)
            return await self._saved(entry, job, task)
        finally:  # also of a lease that was under way when a cancellation came
            await self._journal.free(job.key)

    async def _leased(self, key: str) -> Entry:
        """The job, for us alone; while another living process has it, that one carries it through."""
        while (entry := await self._journal.lease(key)) is None:
            await asyncio.sleep(_FOREIGN_LOOK_SECONDS)
        self._reached(key, "leased")
        return entry

    async def _ended(self, entry: Entry, job: _Job) -> Task:
        """The ended task: the journal's, or the one that is awaited, or one that is made now."""
        if entry.state in {"planned", "intent"}:
            job.task = await self._accepted(entry, job)
        else:
            job.task = _task_of(entry)
        if entry.state == "accepted":  # made by an earlier run, and in a slot of the account still
            self._kind(job.request).submitter.line.accepted(None, job.task)
        if entry.state == "succeeded":
            return job.task
        if entry.state == "failed":
            return await self._looked_at_again(entry.key, job.task, job)
        try:
            job.task = await self._kind(job.request).waiter.wait(job.task, timeout=self._timeout)
        except KlingError as error:
            job.task = _last_seen(error) or job.task
            if job.task.status.ended:
                await self._note(entry.key, "failed", job.task)
                self._reached(entry.key, "ended")
            raise
        await self._note(entry.key, "succeeded", job.task)
        self._reached(entry.key, "ended")
        return job.task

    async def _looked_at_again(self, key: str, task: Task, job: _Job) -> Task:
        """Nothing revives a failed task; one that had succeeded without a video may have it by now."""
        if task.status is TaskStatus.FAILED:
            raise TaskFailed(f"task {task.id} failed: {task.status_message or 'the vendor gave no reason'}", task=task)
        job.task = task = await self._kind(job.request).submitter.ask(task.id)
        _ = task.video  # raises where there is none
        await self._note(key, "succeeded", task)
        return task

    async def _accepted(self, entry: Entry, job: _Job) -> Task:
        async def intend() -> None:
            if job.run.refused is not None:
                raise job.run.refused.to_others()
            try:
                await self._journal.note(entry.key, "intent")
            except JournalError as error:
                job.unnoted = error
                raise
            self._reached(entry.key, "intent")

        named = attrs.evolve(job.request, external_task_id=entry.external_id)
        doubtful = entry.state == "intent"
        try:
            task = await self._kind(job.request).submitter.create(named, before_send=intend, doubtful=doubtful)
        except KlingError as error:
            await self._not_accepted(entry.key, job, error)
            raise
        job.task = task  # known from here on, also where the journal cannot note it
        await self._note(entry.key, "accepted", task)
        self._reached(entry.key, "accepted")
        return task

    async def _not_accepted(self, key: str, job: _Job, error: KlingError) -> None:
        """Nothing was made, or nobody knows: what that means for this job and for the others."""
        if job.unnoted is not None:  # told as it is, also where the create made "uncertain" of it
            unnoted, job.unnoted = job.unnoted, None
            unnoted.created = error.created
            raise unnoted
        if isinstance(error, APIError) and error.refuses_all and job.run.refused is None:
            job.run.refused = error
        if error.created == "no":
            await self._journal.note(key, "planned")

    async def _saved(self, entry: Entry, job: _Job, task: Task) -> Outcome:
        if self._out is None or self._downloader is None:
            return Outcome(entry.key, task)
        target = self._out / file_name(entry.key)
        if self._is_saved(entry):
            return Outcome(entry.key, task, path=target)
        try:
            ask = partial(self._kind(job.request).submitter.ask, task.id)
            if entry.task is not None:  # the journal keeps no signed URLs: ask for a fresh one
                task = await ask()
            await self._downloader.fetch(task, target, again=ask)
        except KlingError as error:
            error.created, error.task_id, error.external_task_id = "yes", task.id, task.external_task_id
            return Outcome(entry.key, task, error)
        await self._journal.note(entry.key, "succeeded", file=target.name)
        self._reached(entry.key, "saved")
        return Outcome(entry.key, task, path=target)

    def _is_saved(self, entry: Entry) -> bool:
        """Whether the job's film is where it should be, or should be nowhere."""
        name = file_name(entry.key)
        return self._out is None or (entry.file == name and (self._out / name).exists())

    async def _note(self, key: str, state: str, task: Task) -> None:
        await self._journal.note(key, state, task=journalled_task(task))

    def _reached(self, key: str, step: Step) -> None:
        if self._on_step is not None:
            self._on_step(key, step)


def _task_of(entry: Entry) -> Task:
    try:
        task = read_journalled_task(entry.task or "")
    except Exception as error:
        raise JournalError(f"job {entry.key!r} is {entry.state}, but its task in the journal is damaged") from error
    return attrs.evolve(task, external_task_id=entry.external_id)


def _noted(request: Request) -> str:
    """The request for the journal. Who reads the file must not get what a signed URL gives: a digest tells as well."""
    return re.sub(
        r'(?<=://)([^\s"?]*\?)([^\s"]*)',
        lambda url: url[1] + sha256(url[2].encode()).hexdigest(),
        journalled_request(request),
    )


def _last_seen(error: KlingError) -> Task | None:
    """The task that an error carries."""
    task = error.pending[0] if isinstance(error, WaitTimeout) else getattr(error, "task", None)
    return task if isinstance(task, Task) else None


def _check(jobs: list[tuple[str, Request]], kinds: Mapping[str, Kind]) -> None:
    seen: set[str] = set()
    for key, request in jobs:
        _check_key(key)
        if key in seen:
            raise RequestError(f"key: {key!r} comes twice; each job needs its own")
        seen.add(key)
        if type(request).__name__ not in kinds:
            raise RequestError(f"job {key!r}: {type(request).__name__} is not allowed; it must be a request")
        if request.external_task_id is not None:
            raise RequestError(f"job {key!r}: external_task_id must be left out; a batch derives it from the key")


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise refusal("key", key, "a text that names the job")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise RequestError(f"key: {key!r} holds half of a surrogate pair, which is no character") from None


async def _put_away(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

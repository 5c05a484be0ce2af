"""Many jobs, each with a key of the user's, carried through once each: over crashes, reruns and second processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import attrs

from kling_async.checks import refusal
from kling_async.errors import JournalError, KlingError, RequestError
from kling_async.models import Task
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.names import file_name
from kling_async.rules.wire import journalled_request, journalled_task, read_journalled_task
from kling_async.runtime.download import Downloader
from kling_async.runtime.journal import LEASE_SECONDS, Entry, Journal
from kling_async.runtime.submit import Submitter
from kling_async.runtime.waiter import Waiter

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


class Batch:
    """A batch on one journal file: `async with kling.batch("run.sqlite3") as batch`."""

    def __init__(
        self,
        journal: Journal,
        kinds: Mapping[str, Kind],
        downloader: Downloader,
        *,
        out: Path | None,
        timeout: float | None,
        retry_failed: bool,
        on_step: Callable[[str, Step], None] | None,
    ) -> None:
        self._journal = journal
        self._kinds = kinds
        self._downloader = downloader
        self._out = out
        self._timeout = timeout
        self._retry_failed = retry_failed
        self._on_step = on_step
        self._keeper: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()

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
        try:
            await self._journal.open()
        except BaseException:
            await self._journal.close()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="kling_async keeper of leases")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await _put_away({*self._jobs, *([self._keeper] if self._keeper else [])})
        finally:
            await self._journal.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self._journal.renew()

    def run(self, jobs: Mapping[str, Request] | Iterable[tuple[str, Request]]) -> AsyncIterator[Outcome]:
        """The outcome of each job, as they come. What the journal has done already is not done again.

        Args:
            jobs: requests by key. A key is any text that names the job for good; the same key always stands for the
                same request. Requests bear no `external_task_id`: it derives from the key.

        Raises:
            RequestError: a key that is none, or comes twice; a request that is none.
            JournalError: the journal cannot be written: nothing more is sent. Or a key stands for another request.
        """
        given = list(jobs.items() if isinstance(jobs, Mapping) else jobs)
        _check(given, self._kinds)
        return self._run(given)

    async def _run(self, jobs: list[tuple[str, Request]]) -> AsyncGenerator[Outcome]:
        await self._journal.plan(
            (key, self._kind(request).submitter.path, journalled_request(request)) for key, request in jobs
        )
        done: asyncio.Queue[Outcome | Exception] = asyncio.Queue()
        ours = {asyncio.create_task(self._carry(key, request, done)) for key, request in jobs}
        self._jobs |= ours
        try:
            for _ in jobs:
                outcome = await done.get()
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
        finally:
            await _put_away(ours)
            self._jobs -= ours

    def _kind(self, request: Request) -> Kind:
        return self._kinds[type(request).__name__]

    # --- one job -------------------------------------------------------------------------------------------------

    async def _carry(self, key: str, request: Request, done: asyncio.Queue[Outcome | Exception]) -> None:
        """Puts exactly one thing into the queue: the job's outcome, or what must stop the whole batch."""
        try:
            done.put_nowait(await self._outcome(key, request))
        except JournalError as error:
            done.put_nowait(error)
        except KlingError as error:
            done.put_nowait(Outcome(key, getattr(error, "task", None), error))
        except Exception as error:  # a fault of ours, or of the user's hook: told, not hidden in a task
            done.put_nowait(error)

    async def _outcome(self, key: str, request: Request) -> Outcome:
        entry = await self._leased(key)
        try:
            if entry.state == "failed" and self._retry_failed:
                entry = await self._journal.next_attempt(key)
            task = await self._ended(entry, request)
            return await self._saved(entry, request, task)
        finally:
            await self._journal.free(key)

    async def _leased(self, key: str) -> Entry:
        """The job, for us alone; while another living process has it, that one carries it through."""
        while (entry := await self._journal.lease(key)) is None:
            await asyncio.sleep(_FOREIGN_LOOK_SECONDS)
        self._reached(key, "leased")
        return entry

    async def _ended(self, entry: Entry, request: Request) -> Task:
        """The ended task: the journal's, or the one that is awaited, or one that is made now."""
        waiter = self._kind(request).waiter
        if entry.state in {"succeeded", "failed"}:
            return (await waiter.wait_all([_task_of(entry)], timeout=None))[0]
        task = _task_of(entry) if entry.state == "accepted" else await self._accepted(entry, request)
        try:
            task = (await waiter.wait_all([task], timeout=self._timeout))[0]
        except KlingError as error:
            ended: Task | None = getattr(error, "task", None)
            if ended is not None and ended.status.ended:
                await self._note(entry.key, "failed", ended)
                self._reached(entry.key, "ended")
            raise
        await self._note(entry.key, "succeeded", task)
        self._reached(entry.key, "ended")
        return task

    async def _accepted(self, entry: Entry, request: Request) -> Task:
        async def intend() -> None:
            await self._journal.note(entry.key, "intent")
            self._reached(entry.key, "intent")

        named = attrs.evolve(request, external_task_id=entry.external_id)
        doubtful = entry.state == "intent"
        try:
            task = await self._kind(request).submitter.create(named, before_send=intend, doubtful=doubtful)
        except KlingError as error:
            if error.created == "no" and not isinstance(error, JournalError):
                await self._journal.note(entry.key, "planned")
            raise
        await self._note(entry.key, "accepted", task)
        self._reached(entry.key, "accepted")
        return task

    async def _saved(self, entry: Entry, request: Request, task: Task) -> Outcome:
        if self._out is None:
            return Outcome(entry.key, task)
        target = self._out / file_name(entry.key)
        if entry.file == target.name and target.exists():
            return Outcome(entry.key, task, path=target)
        try:
            if entry.task is not None:  # the journal keeps no signed URLs: ask for a fresh one
                task = await self._kind(request).submitter.ask(task.id)
            await self._downloader.fetch(task, target)
        except KlingError as error:
            error.created, error.task_id, error.external_task_id = "yes", task.id, task.external_task_id
            return Outcome(entry.key, task, error)
        await self._journal.note(entry.key, "succeeded", file=target.name)
        self._reached(entry.key, "saved")
        return Outcome(entry.key, task, path=target)

    async def _note(self, key: str, state: str, task: Task) -> None:
        await self._journal.note(key, state, task=journalled_task(task))

    def _reached(self, key: str, step: Step) -> None:
        if self._on_step is not None:
            self._on_step(key, step)


def _task_of(entry: Entry) -> Task:
    if entry.task is None:
        raise JournalError(f"job {entry.key!r} is {entry.state}, but its task is not in the journal")
    return attrs.evolve(read_journalled_task(entry.task), external_task_id=entry.external_id)


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


async def _put_away(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, KlingError):
            await task

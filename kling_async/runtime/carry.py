"""The course of one job: what its journal says goes on, from the create to the saved film, each step noted first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import attrs

from kling_async.checks import refusal, seconds
from kling_async.errors import APIError, JournalError, KlingError, RequestError
from kling_async.models import Task, TaskFailed, TaskStatus, WaitTimeout
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.addresses import is_here
from kling_async.rules.forecast import Forecast, doing
from kling_async.rules.names import file_name
from kling_async.rules.wire import journalled_request, journalled_task, read_journalled_task
from kling_async.runtime.download import Downloader
from kling_async.runtime.journal import Entry
from kling_async.runtime.submit import Submitter
from kling_async.runtime.waiter import Waiter

Request = VideoExtendRequest | OmniVideoRequest
Step = Literal["leased", "intent", "accepted", "ended", "saved"]


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
class Run:
    """What the jobs of one `run` share.

    Attributes:
        refused: the vendor's refusal for the account's sake: from then on no create is sent.
    """

    refused: APIError | None = None


@attrs.define(eq=False)
class Job:
    """One job of a run.

    Attributes:
        anew: the failed attempt to be made (and paid) anew, 0 for none. Fixed when the run began: an attempt that
            fails meanwhile, here or in another process, is not repeated by the same run.
        task: the task as last seen.
        unnoted: why the journal could not take the intent.
    """

    key: str
    request: Request
    run: Run
    anew: int
    task: Task | None = None
    unnoted: JournalError | None = None


class AnyJournal(Protocol):
    """What carrying a job needs of a journal. What a method returned from must survive a power cut.

    Both raise `LeaseLost` where the job is no longer this process's, and `JournalError` where nothing was written.
    """

    async def note(self, key: str, state: str, *, task: str | None = None, file: str | None = None) -> None:
        """Writes how far the job is; `None` leaves what stands there."""
        ...

    async def next_attempt(self, key: str) -> Entry:
        """The failed job as a new attempt, under a new external id."""
        ...


class Carrier:
    """Carries jobs that a journal has given to this process."""

    def __init__(
        self,
        journal: AnyJournal,
        kinds: Mapping[str, Kind],
        downloader: Downloader | None,
        *,
        out: Path | None,
        timeout: float | None,
        on_step: Callable[[str, Step], None] | None,
    ) -> None:
        self._journal = journal
        self.kinds = kinds
        self._downloader = downloader
        self._out = out
        self._timeout = None if timeout is None else seconds("timeout", timeout, zero=True)
        self._on_step = on_step

    def look(self) -> None:
        """Looks whether films can be saved, before anything is sent.

        Raises:
            RequestError: the folder for the films does not exist.
        """
        if self._out is not None and not self._out.is_dir():
            raise RequestError(f"out: there is no folder {self._out}")

    async def carry(self, entry: Entry, job: Job) -> Outcome:
        """The job's outcome, from wherever its entry stands. The entry must be this process's, by a lease.

        Raises:
            LeaseLost: another process has taken the job over.
            KlingError: there is no succeeded task; the journal knows why.
        """
        self._reached(entry.key, "leased")
        if entry.state == "failed" and entry.attempt == job.anew:
            entry = await self._journal.next_attempt(job.key)
        task = await self._ended(entry, job)
        return await self._saved(entry, job, task)

    def kind(self, request: Request) -> Kind:
        """What makes and awaits such a task."""
        return self.kinds[type(request).__name__]

    def noted(self, key: str, request: Request) -> tuple[str, str, str]:
        """The job as a journal takes it: key, path and request.

        What a simulator made is neither at the vendor's nor at another one's: its address is a part of the path.
        """
        submitter = self.kind(request).submitter
        url = submitter.transport.base_url
        return key, f"{url if is_here(url) else ''}{submitter.path}", noted(request)

    def foreseen(self, key: str, request: Request, entry: Entry | None, *, retry_failed: bool) -> Forecast:
        """What carrying the job would do now; without an entry, no journal knows it."""
        if entry is None:
            return Forecast(key, request, "create")
        task = None if entry.task is None else task_of(entry.key, entry.state, entry.task, entry.external_id)
        return Forecast(
            key, request, doing(entry.state, task, saved=self._is_saved(entry), retry_failed=retry_failed), task
        )

    async def _ended(self, entry: Entry, job: Job) -> Task:
        """The ended task: the journal's, or the one that is awaited, or one that is made now."""
        if entry.state in {"planned", "intent"}:
            job.task = await self._accepted(entry, job)
        else:
            job.task = task_of(entry.key, entry.state, entry.task, entry.external_id)
        if entry.state == "accepted":  # made by an earlier run, and in a slot of the account still
            self.kind(job.request).submitter.line.accepted(None, job.task)
        if entry.state == "succeeded":
            return job.task
        if entry.state == "failed":
            return await self._looked_at_again(entry.key, job.task, job)
        try:
            job.task = await self.kind(job.request).waiter.wait(job.task, timeout=self._timeout)
        except KlingError as error:
            job.task = _last_seen(error) or job.task
            if job.task.status.ended:
                await self._note(entry.key, "failed", job.task)
                self._reached(entry.key, "ended")
            raise
        await self._note(entry.key, "succeeded", job.task)
        self._reached(entry.key, "ended")
        return job.task

    async def _looked_at_again(self, key: str, task: Task, job: Job) -> Task:
        """Nothing revives a failed task; one that had succeeded without a video may have it by now."""
        if task.status is TaskStatus.FAILED:
            raise TaskFailed(f"task {task.id} failed: {task.status_message or 'the vendor gave no reason'}", task=task)
        job.task = task = await self.kind(job.request).submitter.ask(task.id)
        _ = task.video  # raises where there is none
        await self._note(key, "succeeded", task)
        return task

    async def _accepted(self, entry: Entry, job: Job) -> Task:
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
            task = await self.kind(job.request).submitter.create(named, before_send=intend, doubtful=doubtful)
        except KlingError as error:
            await self._not_accepted(entry.key, job, error)
            raise
        job.task = task  # known from here on, also where the journal cannot note it
        await self._note(entry.key, "accepted", task)
        self._reached(entry.key, "accepted")
        return task

    async def _not_accepted(self, key: str, job: Job, error: KlingError) -> None:
        """Nothing was made, or nobody knows: what that means for this job and for the others."""
        if job.unnoted is not None:  # told as it is, also where the create made "uncertain" of it
            unnoted, job.unnoted = job.unnoted, None
            unnoted.created = error.created
            raise unnoted
        if isinstance(error, APIError) and error.refuses_all and job.run.refused is None:
            job.run.refused = error
        if error.created == "no":
            await self._journal.note(key, "planned")

    async def _saved(self, entry: Entry, job: Job, task: Task) -> Outcome:
        if self._out is None or self._downloader is None:
            return Outcome(entry.key, task)
        target = self._out / file_name(entry.key)
        if self._is_saved(entry):
            return Outcome(entry.key, task, path=target)
        try:
            ask = partial(self.kind(job.request).submitter.ask, task.id)
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


def task_of(key: str, state: str, text: str | None, external_id: str) -> Task:
    """The task as the journal has it.

    Raises:
        JournalError: it is damaged.
    """
    try:
        task = read_journalled_task(text or "")
    except Exception as error:
        raise JournalError(f"job {key!r} is {state}, but its task in the journal is damaged") from error
    return attrs.evolve(task, external_task_id=external_id)


def noted(request: Request) -> str:
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


def check_jobs(jobs: list[tuple[str, Request]]) -> None:
    """Refuses jobs that cannot be carried through, before any of them is planned.

    Raises:
        RequestError: a key that is none, or comes twice; a request that is none, or bears an id of its own.
    """
    seen: set[str] = set()
    given: list[object] = list(jobs)
    for job in given:
        if not isinstance(job, tuple) or len(job) != 2:
            raise refusal("jobs", job, "a mapping of requests by key, or a list of (key, request)")
        key, request = job
        _check_key(key)
        if key in seen:
            raise RequestError(f"key: {key!r} comes twice; each job needs its own")
        seen.add(key)
        if not isinstance(request, VideoExtendRequest | OmniVideoRequest):
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

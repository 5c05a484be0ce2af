"""What a batch knows, on disk: one SQLite file, written through before anything is sent.

All access runs on one thread of its own, each step in a transaction, with full synchronisation: what a method returned
from survives a power cut. The file is never repaired or begun afresh on its own.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from kling_async.errors import JournalError, RequestError
from kling_async.runtime.owners import is_dead, new_owner

_T = TypeVar("_T")

_APPLICATION = 0x6B6C6E67  # "klng", so that another program's file is not taken for ours
_VERSION = 1
_PAGE_BYTES = 4096
_BUSY_SECONDS = 10.0
LEASE_SECONDS = 30.0
# Full synchronisation, also where (on a Mac) it takes one more word to get through to the disk.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON")

_SCHEMA = """
CREATE TABLE journal (id TEXT NOT NULL);
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    request TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    external_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'intent', 'accepted', 'succeeded', 'failed')),
    task TEXT,
    file TEXT,
    owner TEXT,
    leased_until REAL NOT NULL DEFAULT 0
);
"""


class LeaseLost(JournalError):
    """Another process has taken the job over, and carries it through."""


@attrs.frozen
class Entry:
    """One job as the journal has it.

    Attributes:
        state: `planned` (nothing sent), `intent` (a create may have been sent), `accepted` (there is a task),
            `succeeded` or `failed` (the task has ended).
        task: the last record of the task as JSON, `None` before there is one.
        file: where its film was saved, `None` before it was.
    """

    key: str
    path: str
    request: str
    attempt: int
    external_id: str
    state: str
    task: str | None
    file: str | None


_ENTRY = ", ".join(field.name for field in attrs.fields(Entry))


def external_id(journal: str, key: str, attempt: int) -> str:
    """The same for the same key in the same journal, whoever asks and whenever."""
    digest = sha256(f"{journal}\0{key}".encode()).hexdigest()[:32]
    return f"kling-async-{digest}" + (f"-{attempt}" if attempt > 1 else "")


class Journal:
    """One journal file, open.

    Attributes:
        owner: this process and this opening of the file, for leases.
    """

    def __init__(self, path: str | os.PathLike[str], wall: Callable[[], float]) -> None:
        if "\0" in os.fspath(path):
            raise RequestError("journal: holds a null character, which no file's name can")
        self.path = Path(path).absolute()  # no name means memory or a URI to SQLite then, and no chdir matters
        self.owner = new_owner()
        self._wall = wall
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._id = ""

    def __repr__(self) -> str:
        return f"<Journal {self.path}, {'open' if self._database else 'closed'}>"

    # --- opening and closing -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Opens the file, or makes it.

        Raises:
            JournalError: it is no journal, damaged, of a newer version, or cannot be written; or is open already.
        """
        if self._thread is not None:
            raise JournalError(f"{self.path} is open already")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kling_async journal")
        try:
            await self._on_thread(self._open)
        except BaseException:
            await self.close()
            raise

    def _check_folder(self) -> None:
        if not self.path.parent.is_dir():
            raise JournalError(f"there is no folder {self.path.parent} for {self.path.name}")

    def _open(self) -> None:
        self._check_folder()
        if not self.path.exists():
            self._make()
        cut = self._is_cut()
        self._database = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        self._check(self._database, cut=cut)
        for pragma in _PRAGMAS:
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("BEGIN IMMEDIATE")  # may it be written?
        self._database.execute("COMMIT")

    def _make(self) -> None:
        """The file appears with all that makes it a journal, so that an empty one can only be what damage has left."""
        new = self.path.with_name(f".{uuid.uuid4().hex}.new")
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as database:
                database.execute("PRAGMA fullfsync = ON")
                database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                database.executescript(f"BEGIN; {_SCHEMA}")
                database.execute("INSERT INTO journal VALUES (?)", (uuid.uuid4().hex,))
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
                database.execute("COMMIT")
                database.execute("PRAGMA journal_mode = WAL")
            _appear(new, self.path)
        finally:
            for leftover in self.path.parent.glob(f"{new.name}*"):  # SQLite has files beside it when a disk is full
                leftover.unlink()

    def _is_cut(self) -> bool:
        """Whether a page is not whole. SQLite would fill it with noughts; beside a log it may, for the log has it."""
        file = self.path.resolve()  # the log stands beside the file, not beside a link to it
        return not file.with_name(f"{file.name}-wal").exists() and file.stat().st_size % _PAGE_BYTES != 0

    def _check(self, database: sqlite3.Connection, *, cut: bool) -> None:
        """Refuses what is no whole journal of ours, before anything in it is touched."""
        application, version = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise JournalError(f"{self.path} is empty, or a database of another program; name another file")
        if version != _VERSION:
            raise JournalError(f"{self.path} has version {version}, this package reads version {_VERSION}")
        if cut or (found := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise JournalError(f"{self.path} is damaged ({'it was cut' if cut else found})")
        ids = database.execute("SELECT id FROM journal").fetchall()
        if len(ids) != 1:
            raise JournalError(f"{self.path} is damaged (it has {len(ids)} ids)")
        self._id = ids[0][0]

    async def close(self) -> None:
        """Gives up this owner's leases and closes the file. A second call does nothing."""
        if self._thread is None:
            return
        try:
            await self._on_thread(self._let_go)
        finally:
            # Should a second call have come meanwhile, there is no thread any more.
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.shutdown(wait=False)

    def _let_go(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with closing(database), suppress(sqlite3.Error):  # a lease that cannot be given up ends by itself
                database.execute("UPDATE jobs SET owner = NULL, leased_until = 0 WHERE owner = ?", (self.owner,))

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        """The work's result. A cancelled caller leaves at once; the work is carried through all the same."""
        if self._thread is None:
            raise JournalError(f"{self.path} is closed; use the batch by `async with`")
        under_way = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(under_way)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self.path}: {error}") from error

    def _run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        if self._database is None:
            raise JournalError(f"{self.path} is closed")
        return self._database.execute(statement, values).fetchall()

    # --- jobs ----------------------------------------------------------------------------------------------------

    async def plan(self, jobs: Iterable[tuple[str, str, str]]) -> list[Entry]:
        """The entries of (key, path, request) in their order: new ones planned, known ones as they stand.

        Raises:
            JournalError: a key that stands for another request; then none is planned.
        """
        wanted = list(jobs)
        return await self._on_thread(lambda: self._plan(wanted))

    def _plan(self, jobs: Sequence[tuple[str, str, str]]) -> list[Entry]:
        self._run("BEGIN IMMEDIATE")
        try:
            entries = [self._planned(*job) for job in jobs]
        except BaseException:
            with suppress(sqlite3.OperationalError):  # where the disk is full, SQLite has done so already
                self._run("ROLLBACK")
            raise
        self._run("COMMIT")
        return entries

    def _planned(self, key: str, path: str, request: str) -> Entry:
        self._run(
            "INSERT INTO jobs (key, path, request, external_id) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            key, path, request, external_id(self._id, key, 1),
        )  # fmt: skip
        return self._same(self._entry(key), path, request)

    def _same(self, entry: Entry, path: str, request: str) -> Entry:
        (begun_at, kind), (here, same_kind) = urlsplit(entry.path)[1:3], urlsplit(path)[1:3]
        if kind == same_kind and begun_at != here:
            told = begun_at or "the vendor's"
            raise JournalError(f"job {entry.key!r} was begun at {told}; name another file for another place")
        if (entry.path, entry.request) != (path, request):
            raise JournalError(
                f"job {entry.key!r} stands for another request in {self.path}; give this one another key"
            )
        return entry

    async def known(self, jobs: Iterable[tuple[str, str, str]]) -> list[Entry | None]:
        """The entries of (key, path, request) in their order, `None` for what the file does not know. Writes nothing.

        Open or not: a closed journal is opened for as long, and one that there is no file of is not made.

        Raises:
            JournalError: as `open` and `plan`.
        """
        wanted = list(jobs)
        if self._thread is not None:
            return await self._on_thread(lambda: [self._known(*job) for job in wanted])
        if not self.path.exists():
            self._check_folder()
            return [None] * len(wanted)
        await self.open()
        try:
            return await self._on_thread(lambda: [self._known(*job) for job in wanted])
        finally:
            await self.close()

    def _known(self, key: str, path: str, request: str) -> Entry | None:
        is_known = self._run("SELECT 1 FROM jobs WHERE key = ?", key)
        return self._same(self._entry(key), path, request) if is_known else None

    def _entry(self, key: str) -> Entry:
        rows = self._run(f"SELECT {_ENTRY} FROM jobs WHERE key = ?", key)  # noqa: S608 - names of our own
        build: Callable[..., Entry] = Entry
        return build(*rows[0])

    async def entry(self, key: str) -> Entry:
        """The job as it stands now."""
        return await self._on_thread(lambda: self._entry(key))

    async def lease(self, key: str) -> Entry | None:
        """The job as it stands, now this owner's for a while; `None` while a living owner has it."""
        now = self._wall()
        return await self._on_thread(lambda: self._lease(key, now))

    def _lease(self, key: str, now: float) -> Entry | None:
        rows = self._run("SELECT owner FROM jobs WHERE key = ? AND leased_until > ?", key, now)
        holder = str(rows[0][0]) if rows else self.owner
        if holder != self.owner and not is_dead(holder):
            return None
        taken = self._run(
            "UPDATE jobs SET owner = ?, leased_until = ?"
            " WHERE key = ? AND (owner IS ? OR owner = ? OR leased_until <= ?) RETURNING key",
            self.owner, now + LEASE_SECONDS, key, holder if rows else None, self.owner, now,
        )  # fmt: skip
        return self._entry(key) if taken else None

    async def renew(self) -> None:
        """Keeps this owner's leases."""
        until = self._wall() + LEASE_SECONDS
        await self._on_thread(lambda: self._run("UPDATE jobs SET leased_until = ? WHERE owner = ?", until, self.owner))

    async def free(self, key: str) -> None:
        """Gives up the lease of a job that is done with for now."""
        await self._on_thread(
            lambda: self._run(
                "UPDATE jobs SET owner = NULL, leased_until = 0 WHERE key = ? AND owner = ?", key, self.owner
            )
        )

    async def note(self, key: str, state: str, *, task: str | None = None, file: str | None = None) -> None:
        """Writes how far the job is; `None` leaves what stands there.

        Raises:
            LeaseLost: the job is no longer this owner's.
            JournalError: it could not be written.
        """
        until = self._wall() + LEASE_SECONDS
        await self._on_thread(lambda: self._note(key, state, task, file, until))

    def _note(self, key: str, state: str, task: str | None, file: str | None, until: float) -> None:
        written = self._run(
            "UPDATE jobs SET state = ?, task = coalesce(?, task), file = coalesce(?, file), leased_until = ?"
            " WHERE key = ? AND owner = ? RETURNING key",
            state, task, file, until, key, self.owner,
        )  # fmt: skip
        if not written:
            raise LeaseLost(f"job {key!r} was taken over by another process")

    async def next_attempt(self, key: str) -> Entry:
        """The failed job as a new attempt, under a new external id: it will be paid for anew."""
        return await self._on_thread(lambda: self._next_attempt(key))

    def _next_attempt(self, key: str) -> Entry:
        attempt = self._entry(key).attempt + 1
        self._run(
            "UPDATE jobs SET attempt = ?, external_id = ?, state = 'planned', task = NULL, file = NULL"
            " WHERE key = ? AND owner = ? AND state = 'failed'",
            attempt, external_id(self._id, key, attempt), key, self.owner,
        )  # fmt: skip
        return self._entry(key)


def _appear(new: Path, path: Path) -> None:
    """Gives a whole file its name, for good, unless another process was quicker."""
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        new.rename(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

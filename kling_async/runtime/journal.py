"""What a batch knows, on disk: one SQLite file, written through before anything is sent.

All access runs on one thread of its own, each step in a transaction, with full synchronisation: what a method returned
from survives a power cut. The file is never repaired or begun afresh on its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import attrs

from kling_async.errors import JournalError

_T = TypeVar("_T")

_APPLICATION = 0x6B6C6E67  # "klng", so that another program's file is not taken for ours
_VERSION = 1
_BUSY_SECONDS = 10.0
LEASE_SECONDS = 30.0

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


class Journal:
    """One journal file, open.

    Attributes:
        owner: this process and this opening of the file, for leases.
    """

    def __init__(self, path: str | os.PathLike[str], wall: Callable[[], float]) -> None:
        self.path = Path(path)
        self.owner = f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._wall = wall
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kling_async journal")
        self._database: sqlite3.Connection | None = None
        self._id = ""

    def __repr__(self) -> str:
        return f"<Journal {self.path}, {'open' if self._database else 'closed'}>"

    # --- opening and closing -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Opens the file, or makes it.

        Raises:
            JournalError: it is no journal, damaged, of a newer version, or cannot be written.
        """
        await self._on_thread(self._open)

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("BEGIN IMMEDIATE")
            self._check(self._database)
            self._database.execute("COMMIT")
        except BaseException:
            self._close()
            raise

    def _check(self, database: sqlite3.Connection) -> None:
        """The schema is made in a new file, and looked at in an old one."""
        application, version = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables and not application:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute("INSERT INTO journal VALUES (?)", (uuid.uuid4().hex,))
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise JournalError(f"{self.path} is a database of another program; name another file")
        elif version != _VERSION:
            raise JournalError(f"{self.path} has version {version}, this package reads version {_VERSION}")
        elif (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise JournalError(f"{self.path} is damaged ({found}); nothing was sent")
        self._id = database.execute("SELECT id FROM journal").fetchone()[0]

    async def close(self) -> None:
        """Gives up this owner's leases and closes the file. A second call does nothing."""
        if self._database is not None:
            await self._on_thread(self._let_go)
        self._thread.shutdown(wait=False)

    def _let_go(self) -> None:
        try:
            self._run("UPDATE jobs SET owner = NULL, leased_until = 0 WHERE owner = ?", self.owner)
        finally:
            self._close()

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        """The work's result. A cancelled caller leaves, the work is carried through all the same."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}; nothing was sent for what it should have noted") from error

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
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")
        return entries

    def _planned(self, key: str, path: str, request: str) -> Entry:
        self._run(
            "INSERT INTO jobs (key, path, request, external_id) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            key, path, request, self._external_id(key, 1),
        )  # fmt: skip
        entry = self._entry(key)
        if (entry.path, entry.request) != (path, request):
            raise JournalError(f"job {key!r} stands for another request in {self.path}; give this one another key")
        return entry

    def _external_id(self, key: str, attempt: int) -> str:
        """The same for the same key in the same journal, whoever asks and whenever."""
        digest = sha256(f"{self._id}\0{key}".encode()).hexdigest()[:32]
        return f"kling-async-{digest}" + (f"-{attempt}" if attempt > 1 else "")

    def _entry(self, key: str) -> Entry:
        rows = self._run(f"SELECT {_ENTRY} FROM jobs WHERE key = ?", key)  # noqa: S608 - names of our own
        build: Callable[..., Entry] = Entry
        return build(*rows[0])

    async def entry(self, key: str) -> Entry:
        """The job as it stands now."""
        return await self._on_thread(lambda: self._entry(key))

    async def lease(self, key: str) -> Entry | None:
        """The job as it stands, now this owner's for a while; `None` while a living owner has it."""
        return await self._on_thread(lambda: self._lease(key))

    def _lease(self, key: str) -> Entry | None:
        now = self._wall()
        rows = self._run("SELECT owner FROM jobs WHERE key = ? AND leased_until > ?", key, now)
        holder = str(rows[0][0]) if rows else self.owner
        if holder != self.owner and not _is_dead(holder):
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
            JournalError: it could not be written, or the job is no longer this owner's.
        """
        await self._on_thread(lambda: self._note(key, state, task, file))

    def _note(self, key: str, state: str, task: str | None, file: str | None) -> None:
        written = self._run(
            "UPDATE jobs SET state = ?, task = coalesce(?, task), file = coalesce(?, file), leased_until = ?"
            " WHERE key = ? AND owner = ? RETURNING key",
            state, task, file, self._wall() + LEASE_SECONDS, key, self.owner,
        )  # fmt: skip
        if not written:
            raise JournalError(f"job {key!r} was taken over by another process")

    async def next_attempt(self, key: str) -> Entry:
        """The failed job as a new attempt, under a new external id: it will be paid for anew."""
        return await self._on_thread(lambda: self._next_attempt(key))

    def _next_attempt(self, key: str) -> Entry:
        attempt = self._entry(key).attempt + 1
        self._run(
            "UPDATE jobs SET attempt = ?, external_id = ?, state = 'planned', task = NULL, file = NULL"
            " WHERE key = ? AND owner = ? AND state = 'failed'",
            attempt, self._external_id(key, attempt), key, self.owner,
        )  # fmt: skip
        return self._entry(key)


def _machine() -> str:
    """Where process numbers mean the same: a host, or a container on it."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link into the kernel, not a file to follow
    except OSError:
        space = 0
    return f"{socket.gethostname()}/{space}"


def _is_dead(owner: str) -> bool:
    """Whether a lease's owner is known to have died: a process of this machine that is no more.

    A number that another process bears by now only means that the lease is waited out.
    """
    machine, number, _ = owner.split(":")
    if os.name != "posix" or machine != _machine():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

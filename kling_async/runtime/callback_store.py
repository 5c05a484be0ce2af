"""Callbacks for all workers of one machine: whoever receives one puts it into a file, and all others read it there."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from kling_async.errors import ConfigurationError

_T = TypeVar("_T")

_APPLICATION = 0x6B6C6E63  # "klnc", so that another program's file is not taken for ours
_LOOK_SECONDS = 0.25
_BUSY_SECONDS = 5.0
_KEEP_SECONDS = 900.0
_TIDY_SECONDS = 60.0
_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE callbacks (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    added_at REAL NOT NULL
);
CREATE INDEX by_age ON callbacks (added_at);
"""
_left_behind: list[sqlite3.Connection] = []  # by a fork; to close one would be to touch what is the parent's


class AnyCallbackStore(Protocol):
    """What passes callbacks on between workers. Any exception of a store is logged, and polling takes its place."""

    async def add(self, delivery: str, body: bytes) -> bool:
        """Keeps a callback that was verified, for some minutes; false if the delivery's id is there already."""
        ...

    async def news(self, after: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
        """A place, and the (delivery, body) of those between `after` and it, in order; returns when there are some.

        Places are the store's own. `""` stands before all: then it gives what is still kept. None may be left out.
        """
        ...

    async def close(self) -> None:
        """Lets go of what is open; it may be used again."""
        ...


class CallbackStore:
    """A SQLite file that all workers of one machine share: a callback that lands in one wakes the others.

    It holds callbacks as they came, the signed URLs of films included, for a quarter of an hour. It is readable for its
    owner alone; keep it on a local disk.

    Args:
        path: the file; made where there is none.
        wall: Unix seconds.

    Raises:
        ConfigurationError: the path holds a null character.
    """

    def __init__(self, path: str | os.PathLike[str], *, wall: Callable[[], float] = time.time) -> None:
        if "\0" in os.fspath(path):
            raise ConfigurationError("callback_store: holds a null character, which no file's name can")
        self.path = Path(path).absolute()
        self._wall = wall
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._process = 0
        self._tidied_at = 0.0

    def __repr__(self) -> str:
        return f"<CallbackStore {self.path}, {'open' if self._database else 'closed'}>"

    async def add(self, delivery: str, body: bytes) -> bool:
        """Keeps a callback; false if the delivery's id is there already.

        Raises:
            sqlite3.Error, OSError: the file cannot be written.
        """
        now = self._wall()
        return await self._on_thread(lambda: self._add(delivery, body, now))

    def _add(self, delivery: str, body: bytes, now: float) -> bool:
        added = self._opened().execute(
            "INSERT INTO callbacks (delivery, body, added_at) VALUES (?, ?, ?) ON CONFLICT (delivery) DO NOTHING",
            (delivery, body, now),
        )
        return added.rowcount > 0

    async def news(self, after: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
        """What came after a place, when something has: it looks four times a second.

        Raises:
            sqlite3.Error, OSError: the file cannot be read.
        """
        place = int(after or 0)
        while not (rows := await self._on_thread(partial(self._after, place, self._wall()))):
            await asyncio.sleep(_LOOK_SECONDS)
        return str(rows[-1][0]), [(delivery, body) for _, delivery, body in rows]

    def _after(self, place: int, now: float) -> list[tuple[int, str, bytes]]:
        self._remove_old(now)
        return self._opened().execute(
            "SELECT place, delivery, body FROM callbacks WHERE place > ? ORDER BY place LIMIT ?", (place, _AT_ONCE)
        ).fetchall()  # fmt: skip

    def _remove_old(self, now: float) -> None:
        if abs(now - self._tidied_at) < _TIDY_SECONDS:
            return
        self._tidied_at = now
        if self._opened().execute("DELETE FROM callbacks WHERE added_at < ?", (now - _KEEP_SECONDS,)).rowcount:
            # Else what was removed would still stand in the log beside the file.
            self._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def close(self) -> None:
        """Closes the file. A second call does nothing; the store can be used again."""
        thread = self._thread
        if thread is not None:
            await self._on_thread(self._close)
            self._thread = None
            thread.shutdown(wait=False)

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        """The work's result, on the one thread that may use the file. A cancelled one is carried out all the same."""
        if self._thread is None or self._process != os.getpid():
            # A forked child has neither the thread nor a right to the parent's connection: both are left alone.
            if self._database is not None:
                _left_behind.append(self._database)
            self._process, self._database = os.getpid(), None
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kling_async callbacks")
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = self._open()
        return self._database

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._make()
        database = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        try:
            self._check(database)
            # What is deleted is overwritten: it held signed URLs. A power cut may cost callbacks; polling knows them.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA secure_delete = ON")
        except BaseException:
            database.close()
            raise
        return database

    def _check(self, database: sqlite3.Connection) -> None:
        if database.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
            raise sqlite3.DatabaseError(f"{self.path} is another program's file")

    def _make(self) -> None:
        """The file appears whole: several workers may begin at once, and none can set it up while another uses it."""
        new = self.path.with_name(f".{uuid.uuid4().hex}.new")
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # its companions will permit no more
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.executescript(_SCHEMA)
            with suppress(FileExistsError):  # another worker was quicker
                self.path.hardlink_to(new)
        finally:
            new.unlink()

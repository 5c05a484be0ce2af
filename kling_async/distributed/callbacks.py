"""Callbacks for workers on all hosts: whoever receives one puts it into PostgreSQL, and all others hear it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from kling_async.distributed.database import Database
from kling_async.distributed.journal import CALLBACKS
from kling_async.distributed.schema import install

_LOOK_SECONDS = 5.0
_KEEP_SECONDS = 900.0
_TIDY_SECONDS = 60.0
_AT_ONCE = 500


class PostgresCallbackStore:
    """A PostgreSQL database that passes callbacks on: one that lands on any host wakes the worker that waits.

    Give it to each client: `KlingClient(webhook_secrets=..., callback_store=PostgresCallbackStore("postgresql://..."))`.
    It holds callbacks as they came, the signed URLs of films included, for a quarter of an hour.

    Args:
        url: of the database, as libpq reads it.

    Raises:
        ConfigurationError: it is no URL of a PostgreSQL database.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, channel=CALLBACKS)
        self._database.ears.append(self._hear)
        self._opening = asyncio.Lock()
        self._opened = False
        self._heard = asyncio.Event()
        self._tidied_at = 0.0

    def __repr__(self) -> str:
        return f"<PostgresCallbackStore {self._database.shown}, {'open' if self._opened else 'closed'}>"

    def _hear(self, _: str) -> None:
        self._heard.set()

    async def add(self, delivery: str, body: bytes) -> bool:
        """Keeps a callback; false if the delivery's id is there already.

        Raises:
            JournalError: the database refuses, or cannot be reached for the first time.
        """
        await self._open()
        rows = await self._database.fetch("SELECT kling_async.add_callback($1, $2) AS added", delivery, body)
        return bool(rows[0]["added"])

    async def news(self, after: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
        """What came after a place, when something has.

        Raises:
            JournalError: the database refuses, or cannot be reached for the first time.
        """
        await self._open()
        while True:
            self._heard.clear()
            await self._remove_old()
            rows = await self._database.fetch(
                "SELECT place, delivery, body FROM kling_async.callbacks WHERE place > $1 ORDER BY place LIMIT $2",
                int(after or 0), _AT_ONCE,
            )  # fmt: skip
            if rows:
                return str(rows[-1]["place"]), [(row["delivery"], row["body"]) for row in rows]
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._heard.wait()

    async def _remove_old(self) -> None:
        now = time.monotonic()
        if self._tidied_at and now - self._tidied_at < _TIDY_SECONDS:
            return
        self._tidied_at = now
        await self._database.fetch(
            "DELETE FROM kling_async.callbacks WHERE added_at < clock_timestamp() - make_interval(secs => $1)",
            _KEEP_SECONDS,
        )

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self._database.__aenter__()
                self._opened = True
                await install(self._database)

    async def close(self) -> None:
        """Closes the connections. A second call does nothing; the store can be used again."""
        if self._opened:
            self._opened = False
            await self._database.__aexit__(None, None, None)
        # What somebody waited for belongs to the loop of then.
        self._opening, self._heard = asyncio.Lock(), asyncio.Event()

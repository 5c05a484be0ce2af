"""A worker: carries out the jobs of a PostgreSQL journal, one of any number on any number of hosts."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from kling_async.checks import seconds, whole
from kling_async.client import KlingClient
from kling_async.distributed.database import Database
from kling_async.distributed.engine import CHANNEL, Picker
from kling_async.distributed.journal import WorkerJournal
from kling_async.distributed.schema import install
from kling_async.errors import ClientClosed, JournalError, KlingError
from kling_async.runtime.carry import Carrier, Job, Outcome, Run, Step
from kling_async.runtime.journal import Entry, LeaseLost

_log = logging.getLogger("kling_async")

_LIMIT_SECONDS = 2.0
_RUNS = 100
_LEAVE_SECONDS = 10.0


class Worker:
    """Carries out jobs until it is stopped: `await Worker("postgresql://...", kling, limit=20, out="films").run()`.

    Args:
        url: of the database, as libpq reads it.
        kling: the client to work with, which stays open while the worker runs. With a `PostgresCallbackStore` in it,
            callbacks that land on any host end the wait here.
        limit: how many tasks the account may have in flight, for all workers together: the first worker's number
            stands in the database, the others leave it out (`None`), or say the same.
        out: a folder for the films, one a job, named by its key; `None` saves none.
        save: awaited with each outcome before anybody is told of it, such as to put the film elsewhere. What it raises
            is told in the log, and the job comes again after `takeover` seconds; so it does after a kill.
        takeover: seconds without a sign of life after which other workers take this one's jobs over, default 30; the
            same for all workers.
        on_step: called with a job's key and the step it has reached, as by a batch on one machine.

    Raises:
        ConfigurationError: the URL is none of a PostgreSQL database.
        RequestError: `limit` or `takeover` is not allowed.
    """

    def __init__(
        self,
        url: str,
        kling: KlingClient,
        *,
        limit: int | None = None,
        out: str | os.PathLike[str] | None = None,
        save: Callable[[Outcome], Awaitable[None]] | None = None,
        takeover: float = 30.0,
        on_step: Callable[[str, Step], None] | None = None,
    ) -> None:
        self._database = Database(url, channel=CHANNEL)
        self._kling = kling
        self._limit = None if limit is None else whole("limit", limit, least=1)
        self._out = None if out is None else Path(out)
        self._save = save
        self._takeover = seconds("takeover", takeover)
        self._on_step = on_step
        self._stop = asyncio.Event()
        self._carrying: set[asyncio.Task[object]] = set()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._journal: WorkerJournal
        self._carrier: Carrier
        self._agreed: tuple[int, float]

    def __repr__(self) -> str:
        return f"<Worker {self._database.shown}, {len(self._carrying)} jobs under way>"

    @property
    def shown(self) -> str:
        """The database's URL without its password."""
        return self._database.shown

    def stop(self) -> None:
        """Ends `run`: jobs under way are handed over to other workers, which go on with their tasks at once."""
        self._stop.set()

    async def run(self) -> None:
        """Works until it is stopped or cancelled. Outages of the database and of the vendor are waited out.

        Raises:
            JournalError: there is no such database, it has another version, or may not be set up.
            ConfigurationError: `limit` is not the one that the other workers share, or no worker has said one yet.
            RequestError: the folder for the films does not exist.
        """
        self._stop = asyncio.Event()
        async with self._database as database:
            database.ears.clear()  # of an earlier run
            journal = await install(database)
            picker = Picker(database, self._work, limit=self._slots)
            self._journal = WorkerJournal(database, journal, picker.owner)
            self._carrier = self._kling.carrier(self._journal, out=self._out, timeout=None, on_step=self._on_step)
            self._carrier.look()
            self._agreed = await self._journal.agree(self._limit), asyncio.get_running_loop().time()
            picking = asyncio.create_task(picker.run(takeover=self._takeover), name="kling_async worker")
            stopping = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({picking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if picking.done():
                    picking.result()
            finally:
                stopping.cancel()
                await self._leave(picker, picking)

    async def _leave(self, picker: Picker, picking: asyncio.Task[None]) -> None:
        """Hands over what is under way; what cannot be handed over is taken over when no sign of life comes."""
        self._stop.set()
        picker.stop()
        self._database.hurry()
        for carrying in self._carrying:
            carrying.cancel()
        await asyncio.wait({picking}, timeout=_LEAVE_SECONDS)
        picking.cancel()
        await asyncio.wait({picking})
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._journal.hand_over()
        except (JournalError, TimeoutError) as error:
            _log.warning("jobs under way could not be handed over, others wait for %g s: %s", self._takeover, error)

    async def _slots(self) -> int:
        """How many tasks the account may have in flight, as others may have changed it some seconds ago."""
        limit, read_at = self._agreed
        now = asyncio.get_running_loop().time()
        if now - read_at > _LIMIT_SECONDS:
            limit = await self._journal.limit()
            self._agreed = limit, now
        return limit

    # --- one job -------------------------------------------------------------------------------------------------

    async def _work(self, row: int) -> None:
        """Carries out the job of a row; what cannot be told of as an outcome comes again, here or elsewhere."""
        task = asyncio.current_task()
        if self._stop.is_set() or task is None:
            return
        self._carrying.add(task)
        try:
            await self._carry(row)
        except LeaseLost as lost:
            _log.info("%s", lost.message)
        except ClientClosed as error:
            _log.error("a worker ends: %s", error.message)
            self.stop()
        except Exception:  # a fault of ours, or of the user's hook
            _log.exception("the job of row %d will come again in %g s", row, self._takeover)
        finally:
            self._carrying.discard(task)

    async def _carry(self, row: int) -> None:
        order = await self._journal.lease(row)
        key = order.entry.key
        try:
            outcome = await self._outcome(order.entry, Job(key, order.request, self._run_of(order.run), order.anew))
            if self._save is not None:
                await self._save(outcome)
            await self._journal.settle(outcome)
        finally:
            self._journal.forget(key, row)

    async def _outcome(self, entry: Entry, job: Job) -> Outcome:
        try:
            return await self._carrier.carry(entry, job)
        except (LeaseLost, ClientClosed):
            raise
        except KlingError as error:
            return Outcome(job.key, job.task, error)

    def _run_of(self, id: str) -> Run:
        """What the jobs of one `run` share: where the account was refused, no more of them are sent from here."""
        run = self._runs.setdefault(id, Run())
        self._runs.move_to_end(id)
        if len(self._runs) > _RUNS:
            self._runs.popitem(last=False)
        return run

"""Kills a batch at random moments and at every named point, reruns it until it is done, and counts what that cost.

    python tests/kill.py --jobs 500 --kills 200 --seed 1

The simulated vendor lives in this process, each batch in a child. Every kill is SIGKILL. The exit code is 0 when no job
was created twice, none was lost, every journal passed after every kill, and reruns of finished batches sent nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import attrs

from kling_async import ApiKey, KlingClient, PollPolicy, RetryPolicy, VideoExtendRequest
from kling_async.runtime.journal import Entry, Journal
from kling_async.simulator import Simulator
from kling_async.simulator.checks import Order
from kling_async.simulator.engine import Engine
from kling_async.simulator.ledger import Task, Video

STEPS = ("leased", "intent", "created", "accepted", "ended", "saved")
"""Where a batch is killed by name. `created` is ours: the vendor has made the task, and its answer is on the way."""

_OWN_STEPS = tuple(step for step in STEPS if step != "created")


@attrs.frozen
class Options:
    """How to kill.

    Attributes:
        jobs: in each batch.
        kills: at random moments, over as many batches as that takes.
        seed: of the random moments.
        places: at which of its times each named step is killed.
        steps: which steps.
        together: all of that in one batch.
        run_seconds: how long a run takes, random moments lie in its first quarter; `None` measures it.
        forgetful: a vendor that takes an external id twice: the journal and the question must do without its help.
        without: what is switched off, to see that this is noticed: `ids` or `intent`.
    """

    jobs: int = 500
    kills: int = 200
    seed: int = 1
    places: tuple[int, ...] = ()
    steps: tuple[str, ...] = STEPS
    together: bool = False
    run_seconds: float | None = None
    forgetful: bool = False
    without: str = ""


@attrs.define
class Figures:
    """What was seen."""

    batches: int = 0
    runs: int = 0
    random_kills: int = 0
    named_kills: Counter[str] = attrs.field(factory=Counter)
    creates: int = 0
    duplicates: int = 0
    lost: int = 0
    unsaved: int = 0
    damaged: int = 0
    missed: int = 0
    creates_of_reruns: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was paid twice and nothing lost."""
        return not (
            self.duplicates or self.lost or self.unsaved or self.damaged or self.missed or self.creates_of_reruns
        )

    def __str__(self) -> str:
        named = ", ".join(f"{step} {self.named_kills[step]}" for step in STEPS)
        return "\n".join(
            (
                f"{self.batches} batches, {self.runs} runs, {self.seconds:.0f} s",
                f"kills at random moments: {self.random_kills}",
                f"kills at named steps:    {self.named_kills.total()} ({named})",
                f"named steps missed:      {self.missed}",
                f"creates accepted:        {self.creates}",
                f"duplicate creates:       {self.duplicates}",
                f"jobs lost:               {self.lost}",
                f"films not saved:         {self.unsaved}",
                f"journals damaged:        {self.damaged}",
                f"creates of reruns:       {self.creates_of_reruns}",
            )
        )


# --- the child: one run of one batch ---------------------------------------------------------------------------------


async def carry_out(url: str, folder: Path, jobs: int, *, die: str, without: str) -> int:
    """The exit code of one run; `die` is a step and the number of its times after which the run kills itself."""
    step, _, times = die.partition(":")
    left = Counter({step: int(times or 0)})

    def on_step(_: str, reached: str) -> None:
        left[reached] -= 1
        if reached == step and left[reached] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _switch_off(without)
    client = KlingClient(
        ApiKey(Simulator.api_key),
        base_url=url,
        retry=RetryPolicy(ask_after=(0.0, 0.05, 0.2)),
        polling=PollPolicy(interval=0.1),
    )
    keys = [_key(number, folder) for number in range(jobs)]
    requests = {key: VideoExtendRequest(video_id="original-video-id", prompt=key) for key in keys}
    sys.stdout.write("go\n")
    sys.stdout.flush()
    async with client as kling, kling.batch(folder / "run.sqlite3", out=folder, on_step=on_step) as batch:
        outcomes = [outcome async for outcome in batch.run(requests)]
    for outcome in outcomes:
        if not outcome.ok:
            sys.stderr.write(f"{outcome.key}: {outcome.error}\n")
    return 0 if sum(outcome.ok for outcome in outcomes) == jobs else 1


def _key(number: int, folder: Path) -> str:
    return f"{folder.name}-{number}"


def _switch_off(without: str) -> None:
    """Breaks what keeps a batch from paying twice."""
    entry, note = Journal._entry, Journal.note

    def forgetful_entry(self: Journal, key: str) -> Entry:
        return attrs.evolve(entry(self, key), external_id=uuid.uuid4().hex)

    async def no_intent(
        self: Journal, key: str, state: str, *, task: str | None = None, file: str | None = None
    ) -> None:
        if state != "intent":
            await note(self, key, state, task=task, file=file)

    if without == "ids":
        Journal._entry = forgetful_entry  # type: ignore[method-assign]
    if without == "intent":
        Journal.note = no_intent  # type: ignore[method-assign]


# --- the parent: the vendor, the killer and the accountant -----------------------------------------------------------


class Vendor(Engine):
    """The simulated vendor, which can be asked to kill its customer once it has made a number of tasks."""

    def __init__(self, *, forgetful: bool) -> None:
        super().__init__(clock=time.time, task_seconds=0.2, submitted_seconds=0.05)
        self.victim: tuple[int, int] | None = None
        self._forgetful = forgetful

    def _check_external_id(self, order: Order) -> None:
        if not self._forgetful:
            super()._check_external_id(order)

    def _open(self, order: Order, source: Video | None, now: float) -> Task:
        task = super()._open(order, source, now)
        if self.victim is not None:
            process, times = self.victim
            self.victim = (process, times - 1)
            if times == 1:
                os.kill(process, signal.SIGKILL)
                self.victim = None
        return task


class Harness:
    """Runs batches, kills them, and counts."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
        self._vendor = Vendor(forgetful=options.forgetful)
        self._run_seconds = options.run_seconds or 0.0
        self.figures = Figures()

    async def run(self) -> Figures:
        """The figures of all kills, named ones first."""
        began = time.monotonic()
        async with Simulator(self._vendor) as simulator:
            self._url = simulator.url
            if self._options.run_seconds is None:
                await self._measure()
            await self._named_kills()
            while self.figures.random_kills < self._options.kills:
                await self._random_kills()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    async def _measure(self) -> None:
        """One batch that nobody kills: how long is a run?"""
        batch = self._new_batch()
        began = time.monotonic()
        await self._to_the_end(batch)
        self._run_seconds = time.monotonic() - began
        await self._count_up(batch)

    async def _named_kills(self) -> None:
        """A batch for each step and place, or, to be quicker, all in one."""
        plan = [(step, times) for times in self._options.places for step in self._options.steps]
        for points in [plan] if self._options.together else [[point] for point in plan]:
            batch = self._new_batch()
            for step, times in points:
                if await self._killed_at(batch, step, times):
                    self.figures.named_kills[step] += 1
                else:
                    self.figures.missed += 1
            await self._to_the_end(batch)
            await self._count_up(batch)

    async def _random_kills(self) -> None:
        """One batch, killed again and again until it gets through."""
        batch = self._new_batch()
        while self.figures.random_kills < self._options.kills:
            after = self._chance.uniform(0.0, 0.25 * self._run_seconds)
            if not await self._killed_after(batch, after):
                break
            self.figures.random_kills += 1
        await self._to_the_end(batch)
        await self._count_up(batch)

    def _new_batch(self) -> Path:
        self.figures.batches += 1
        batch = self._folder / f"batch-{self.figures.batches}"
        batch.mkdir()
        return batch

    # --- one run -------------------------------------------------------------------------------------------------

    async def _start(self, batch: Path, die: str = "") -> asyncio.subprocess.Process:
        """A child that is about to open its journal."""
        self.figures.runs += 1
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--child", self._url, str(batch), "--jobs", str(self._options.jobs),
            "--die", die, "--without", self._options.without, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        if await child.stdout.readline() != b"go\n":
            raise RuntimeError(f"a run of {batch} did not begin")  # no figure of a harness that does not work
        return child

    async def _to_the_end(self, batch: Path) -> None:
        child = await self._start(batch)
        if await child.wait():
            self.figures.lost += 1

    async def _killed_at(self, batch: Path, step: str, times: int) -> bool:
        child = await self._start(batch, f"{step}:{times}" if step in _OWN_STEPS else "")
        if step == "created":
            self._vendor.victim = (child.pid, times)
        killed = await child.wait() == -signal.SIGKILL
        self._vendor.victim = None
        self._look_at(batch)
        return killed

    async def _killed_after(self, batch: Path, seconds: float) -> bool:
        child = await self._start(batch)
        try:
            await asyncio.wait_for(child.wait(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):  # it may have ended in this very moment
                child.kill()
        killed = await child.wait() == -signal.SIGKILL
        self._look_at(batch)
        return killed

    # --- the books -----------------------------------------------------------------------------------------------

    def _look_at(self, batch: Path) -> None:
        """The journal as the kill left it, seen without our own code; no file yet is as good as a whole one."""
        journal = batch / "run.sqlite3"
        if not journal.exists():
            return
        with closing(sqlite3.connect(journal)) as database:
            found = database.execute("PRAGMA integrity_check").fetchone()[0]
            jobs = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
        if found != "ok" or jobs not in {0, self._options.jobs}:
            self.figures.damaged += 1

    async def _count_up(self, batch: Path) -> None:
        """What the vendor made for this batch, what is there of it, and what one more run sends."""
        wanted = {_key(n, batch) for n in range(self._options.jobs)}
        made = Counter(str(create.fields["prompt"]) for create in self._vendor.accepted)
        mine = {key: times for key, times in made.items() if key in wanted}
        self.figures.creates += sum(mine.values())
        self.figures.duplicates += sum(times - 1 for times in mine.values())
        self.figures.lost += len(wanted - mine.keys())
        self.figures.unsaved += sum(not (batch / f"{key}.mp4").is_file() for key in wanted)
        before = len(self._vendor.accepted) + self._vendor.count("create")
        await self._to_the_end(batch)
        self.figures.creates_of_reruns += len(self._vendor.accepted) + self._vendor.count("create") - before


async def kill(options: Options) -> Figures:
    """The figures of a whole run of the harness."""
    with tempfile.TemporaryDirectory() as folder:
        return await Harness(options, Path(folder)).run()


def main() -> int:
    """The exit code: 0 when the figures are clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500, help="jobs in a batch (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=200, help="kills at random moments (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: %(default)s)")
    parser.add_argument("--forgetful", action="store_true", help="a vendor that takes an external id twice")
    parser.add_argument(
        "--without", default="", choices=["", "ids", "intent"], help="a guard to switch off (a control)"
    )
    parser.add_argument("--child", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--die", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        url, folder = given.child
        return asyncio.run(carry_out(url, Path(folder), given.jobs, die=given.die, without=given.without))
    places = (1, max(1, given.jobs // 2), given.jobs)
    figures = asyncio.run(
        kill(Options(given.jobs, given.kills, given.seed, places, forgetful=given.forgetful, without=given.without))
    )
    sys.stdout.write(f"{figures}\n{'clean' if figures.clean else 'NOT CLEAN'}\n")
    return 0 if figures.clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""Workers in processes of their own, or on hosts of their own, in bad weather; counts what that cost.

    python tests/hosts.py --jobs 500 --limit 20
    python tests/hosts.py --jobs 500 --limit 20 --hosts 2
    python tests/hosts.py --jobs 500 --limit 20 --hosts 2 --kills 50 --stops 3 --cuts 1

The simulated vendor lives in this process, PostgreSQL and each worker in processes of their own; hosts are network
namespaces (which needs root and iproute2). Kills are SIGKILL, stops are of PostgreSQL, a cut parts one host from all
others. The vendor has no limit of its own: how many tasks are in flight at once is up to the workers alone. The exit
code is 0 when every job was made once, has its outcome and its film, and the limit was kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from postgres import Postgres

from kling_async import ApiKey, KlingClient, PollPolicy, RetryPolicy, VideoExtendRequest
from kling_async.distributed import PostgresBatch, Worker, engine, journal
from kling_async.distributed.journal import Order as Picked
from kling_async.simulator import Simulator
from kling_async.simulator.checks import Order
from kling_async.simulator.engine import Engine
from kling_async.simulator.ledger import Task, Video

_HOME = "10.77.0.1"
_RESTART_SECONDS = 0.5


@attrs.frozen
class Options:
    """What to run.

    Attributes:
        limit: tasks in flight at once, for all workers together.
        hosts: network namespaces, 0 for plain processes.
        kills: of a worker, by SIGKILL, at random moments.
        terms: likewise, by SIGTERM: jobs are handed over.
        blackouts: of all workers, by SIGKILL, in the moment when the vendor has made a task and not answered yet.
        stops: of PostgreSQL, for `stop_seconds` each.
        cuts: of one host from all others, for `cut_seconds` each.
        interval: seconds between two looks at a task.
        takeover: seconds without a sign of life after which a worker's jobs are taken over.
        without: what is switched off, to see that this is noticed: `ids` or `seats`.
    """

    jobs: int = 500
    limit: int = 20
    workers: int = 4
    hosts: int = 0
    task_seconds: float = 8.0
    kills: int = 0
    terms: int = 0
    blackouts: int = 0
    stops: int = 0
    stop_seconds: float = 20.0
    cuts: int = 0
    cut_seconds: float = 60.0
    interval: float = 0.25
    takeover: float = 6.0
    seed: int = 1
    without: str = ""


@attrs.define
class Figures:
    """What was seen.

    Attributes:
        utilisation: seconds of tasks, divided by the slots' seconds from the first create to the last end.
        polls: queries and pages of the list that the vendor answered.
        deaths: workers that ended by themselves, since PostgreSQL was out as they began, and were started again.
    """

    limit: int
    done: int = 0
    creates: int = 0
    duplicates: int = 0
    lost: int = 0
    unsaved: int = 0
    peak: int = 0
    kills: int = 0
    terms: int = 0
    blackouts: int = 0
    stops: int = 0
    cuts: int = 0
    deaths: int = 0
    polls: int = 0
    seconds: float = 0.0
    utilisation: float = 0.0
    failures: list[str] = attrs.field(factory=list)

    @property
    def clean(self) -> bool:
        """Whether each job was made once and is done, and the limit was kept."""
        return not (self.duplicates or self.lost or self.unsaved or self.failures) and self.peak <= self.limit

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.kills} kills, {self.terms} handovers, {self.blackouts} blackouts",
                f"{self.stops} stops of PostgreSQL, {self.cuts} cuts of a host",
                f"starts in vain:          {self.deaths}",
                f"jobs done:               {self.done} in {self.seconds:.0f} s",
                f"creates accepted:        {self.creates}",
                f"duplicate creates:       {self.duplicates}",
                f"jobs lost:               {self.lost}",
                f"films not saved:         {self.unsaved}",
                f"in flight at most:       {self.peak} (limit {self.limit})",
                f"polls of the vendor:     {self.polls / self.seconds:.1f} a second",
                f"slots used:              {100 * self.utilisation:.1f} % of the ideal",
                *self.failures[:5],
            )
        )


# --- the child: one worker -------------------------------------------------------------------------------------------


async def work(url: str, vendor: str, out: Path, options: Options) -> None:
    """Works until it is told to stop."""
    _switch_off(options.without)
    client = KlingClient(
        ApiKey(Simulator.api_key),
        base_url=vendor,
        retry=RetryPolicy(ask_after=(0.0, 0.1, 0.5)),
        polling=PollPolicy(interval=options.interval),
    )
    async with client as kling:
        worker = Worker(url, kling, limit=options.limit, out=out, takeover=options.takeover)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()


def _switch_off(without: str) -> None:
    """Breaks what keeps jobs from being paid twice, or the limit."""
    lease = journal.WorkerJournal.lease
    dequeue = engine.Seats.dequeue

    async def forgetful(self: journal.WorkerJournal, row: int) -> Picked:
        order = await lease(self, row)
        return attrs.evolve(order, entry=attrs.evolve(order.entry, external_id=uuid.uuid4().hex))

    async def boundless(self: engine.Seats, **given: object) -> object:
        async def unlimited() -> int:
            return 0

        self._limit = unlimited
        return await dequeue(self, **given)  # type: ignore[arg-type]

    if without == "ids":
        journal.WorkerJournal.lease = forgetful  # type: ignore[method-assign]
    if without == "seats":
        engine.Seats.dequeue = boundless  # type: ignore[assignment]


# --- hosts -----------------------------------------------------------------------------------------------------------


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S603, S607 - a tool of the system


@contextmanager
def network(hosts: int) -> Iterator[list[str]]:
    """Names of network namespaces from which this host is reached at one address; none for plain processes."""
    names = [f"kling{number}" for number in range(hosts)]
    try:
        if names:
            _ip("address", "add", f"{_HOME}/32", "dev", "lo")
        for number, name in enumerate(names):
            near, far = f"10.77.{number + 1}.1", f"10.77.{number + 1}.2"
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
            _ip("address", "add", f"{near}/30", "dev", f"{name}a")
            _ip("link", "set", f"{name}a", "up")
            _ip("-n", name, "address", "add", f"{far}/30", "dev", f"{name}b")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", f"{name}b", "up")
            _ip("-n", name, "route", "add", f"{_HOME}/32", "via", near)
        yield names
    finally:
        for name in names:
            _away("link", "delete", f"{name}a")
            _away("netns", "delete", name)
        if names:
            _away("address", "delete", f"{_HOME}/32", "dev", "lo")


def _away(*arguments: str) -> None:
    with suppress(subprocess.CalledProcessError):  # it was not even there
        _ip(*arguments)


async def _cut(name: str, seconds: float) -> None:
    """Pulls the host's cable, and plugs it in again: what is sent meanwhile is lost without a word."""
    far = f"10.77.{int(name.removeprefix('kling')) + 1}.2/32"
    _ip("route", "add", "blackhole", far)  # else it would leave this machine by another way
    try:
        _ip("link", "set", f"{name}a", "down")
        await asyncio.sleep(seconds)
        _ip("link", "set", f"{name}a", "up")
    finally:
        _ip("route", "delete", "blackhole", far)


# --- the parent: the vendor, the weather and the accountant ----------------------------------------------------------


class Vendor(Engine):
    """The simulated vendor, which can black out its customers in the moment when it has made a task."""

    def __init__(self, options: Options, black_out: Callable[[], None]) -> None:
        super().__init__(clock=time.time, task_seconds=options.task_seconds, submitted_seconds=0.1)
        every = options.jobs // (options.blackouts + 1)
        self._fatal = {every * (number + 1) for number in range(options.blackouts)}
        self._black_out = black_out

    def _open(self, order: Order, source: Video | None, now: float) -> Task:
        task = super()._open(order, source, now)
        if task.number in self._fatal:
            self._black_out()
        return task


class Harness:
    """Runs workers, lets them suffer, and counts."""

    def __init__(self, options: Options, folder: Path, hosts: Sequence[str], postgres: Postgres) -> None:
        self._options = options
        self._folder = folder
        self._hosts = hosts
        self._postgres = postgres
        self._chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._ending = asyncio.Event()
        self.figures = Figures(options.limit)

    async def run(self) -> Figures:
        """The figures of all jobs."""
        options, began = self._options, time.monotonic()
        address = _HOME if self._hosts else "127.0.0.1"
        self._url = await self._postgres.new()
        simulator = Simulator(Vendor(options, self._black_out), host=address)
        async with simulator, PostgresBatch(self._url) as batch:
            self._vendor = simulator.url
            workers = [asyncio.create_task(self._supervise(number)) for number in range(options.workers)]
            while len(self._workers) < options.workers:
                await asyncio.sleep(0.1)
            keys = [f"film-{number}" for number in range(options.jobs)]
            jobs = {key: VideoExtendRequest(video_id="original-video-id", prompt=key) for key in keys}
            weather = [asyncio.create_task(blow) for blow in (self._kill(), self._stop(), self._part())]
            async for outcome in batch.run(jobs):
                self.figures.done += outcome.ok
                if not outcome.ok:
                    self.figures.failures.append(f"{outcome.key}: {outcome.error}")
            for blow in weather:
                blow.cancel()
            await asyncio.gather(*weather, return_exceptions=True)
            self.figures.seconds = time.monotonic() - began
            self._ending.set()
            for process in self._workers.values():
                with suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.gather(*workers)
            self._count(simulator, keys)
        return self.figures

    async def _supervise(self, number: int) -> None:
        """Starts a worker, and starts it again when it has ended, as systemd would."""
        while not self._ending.is_set():
            self._workers[number] = await self._start(number)
            code = await self._workers[number].wait()
            if code not in {0, -signal.SIGKILL}:
                self.figures.deaths += 1  # it came while PostgreSQL was out, or its host cut off
            await asyncio.sleep(0.0 if self._ending.is_set() else _RESTART_SECONDS)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        options = self._options
        host = self._hosts[number % len(self._hosts)] if self._hosts else ""
        prefix = ["ip", "netns", "exec", host] if host else []
        return await asyncio.create_subprocess_exec(
            *prefix, sys.executable, __file__, "--child", self._url, self._vendor, str(self._folder),
            "--limit", str(options.limit), "--takeover", str(options.takeover), "--without", options.without,
            "--interval", str(options.interval),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    async def _kill(self) -> None:
        signals = [signal.SIGKILL] * self._options.kills + [signal.SIGTERM] * self._options.terms
        self._chance.shuffle(signals)
        for number in signals:
            await asyncio.sleep(self._chance.uniform(0.0, 2 * self._pause))
            while (victim := self._chance.choice(list(self._workers.values()))).returncode is not None:
                await asyncio.sleep(0.05)
            victim.send_signal(number)
            self.figures.kills += number is signal.SIGKILL
            self.figures.terms += number is signal.SIGTERM

    def _black_out(self) -> None:
        self.figures.blackouts += 1
        for process in self._workers.values():
            if process.returncode is None:
                process.kill()

    @property
    def _pause(self) -> float:
        """The mean time between two kills, so that all of them come while the jobs run."""
        ideal = self._options.jobs * self._options.task_seconds / self._options.limit
        return 0.9 * ideal / max(1, self._options.kills + self._options.terms)

    async def _stop(self) -> None:
        for _ in range(self._options.stops):
            await asyncio.sleep(self._chance.uniform(5.0, 15.0))
            await asyncio.to_thread(self._postgres.stop)
            await asyncio.sleep(self._options.stop_seconds)
            await asyncio.to_thread(self._postgres.start)
            self.figures.stops += 1

    async def _part(self) -> None:
        for _ in range(self._options.cuts):
            await asyncio.sleep(self._chance.uniform(10.0, 20.0))
            await _cut(self._chance.choice(self._hosts), self._options.cut_seconds)
            self.figures.cuts += 1

    def _count(self, simulator: Simulator, keys: Sequence[str]) -> None:
        figures, engine = self.figures, simulator.engine
        made = Counter(str(create.fields["prompt"]) for create in simulator.accepted)
        tasks = list(engine._ledger.tasks.values())
        figures.creates = sum(made.values())
        figures.duplicates = sum(times - 1 for times in made.values())
        figures.lost = len(set(keys) - made.keys())
        figures.unsaved = sum(not (self._folder / f"{key}.mp4").is_file() for key in keys)
        figures.peak = engine.peak_in_flight
        figures.polls = simulator.count("query") + simulator.count("list")
        began = min(task.created_at for task in tasks)
        ended = max(task.created_at + self._options.task_seconds for task in tasks)
        ideal = figures.creates * self._options.task_seconds / self._options.limit
        figures.utilisation = ideal / (ended - began)


def run(options: Options) -> Figures:
    """The figures of a whole run, on a server of its own."""
    with network(options.hosts) as hosts, Postgres(_HOME if hosts else "127.0.0.1", durable=True) as postgres:
        return run_on(postgres, options, hosts)


def run_on(postgres: Postgres, options: Options, hosts: Sequence[str] = ()) -> Figures:
    """The figures of a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(Harness(options, Path(folder), hosts, postgres).run())


def main() -> int:
    """The exit code: 0 when the figures are clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in attrs.fields(Options):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    child = given.pop("child")
    options = Options(**given)
    if child:
        url, vendor, out = child
        asyncio.run(work(url, vendor, Path(out), options))
        return 0
    figures = run(options)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stdout.write(f"{figures}\n")
    sys.stdout.write(f"CPU of workers and PostgreSQL: {children.ru_utime + children.ru_stime:.1f} s\n")
    sys.stdout.write("clean\n" if figures.clean else "NOT CLEAN\n")
    return 0 if figures.clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""How well creates use an account's slots: refusals, utilisation, order, and two clients on one account.

    python benchmarks/slots.py

500 jobs at a limit of 5, over real sockets to the simulated vendor, on a loop whose time jumps (`VirtualLoop`). The
limit is given to the client, or learnt from the vendor's 1303; tasks take 60 or 180 s, all the same or within ±50 %.
Then two clients with 250 jobs each share one account, and know nothing of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random

import attrs

from kling_async import ApiKey, KlingClient, SlotPolicy
from kling_async.simulator import Simulator
from kling_async.testing import VirtualLoop, wall

SLOTS = 5
JOBS = 500
SEED = 20_26


@attrs.frozen
class Client:
    """What one of the clients got.

    Attributes:
        accepted_at: when the vendor took each of its creates, in seconds from the start, in that order.
        order_violations: how many of its creates were taken after one that was given to the client later.
    """

    accepted_at: tuple[float, ...]
    order_violations: int


@attrs.frozen
class Figures:
    """What a run showed.

    Attributes:
        creates: requests sent, the refused ones too.
        refused: those that were answered 1303.
        utilisation: seconds of tasks, divided by the slots' seconds from the start until the last result was in hand.
        peak: tasks in flight at once, at most.
        clients: what each got.
    """

    creates: int
    refused: int
    utilisation: float
    peak: int
    clients: tuple[Client, ...]

    @property
    def refused_share(self) -> float:
        """1303 answers among all creates."""
        return self.refused / self.creates

    @property
    def order_violations(self) -> int:
        """How many creates were overtaken by a later one of the same client."""
        return sum(client.order_violations for client in self.clients)

    @property
    def shares(self) -> tuple[float, ...]:
        """What part of the tasks each client got for as long as all of them wanted some."""
        until = min(client.accepted_at[-1] for client in self.clients)
        counts = [sum(at <= until for at in client.accepted_at) for client in self.clients]
        return tuple(count / sum(counts) for count in counts)

    @property
    def starvation(self) -> float:
        """The longest time in which a client that wanted some got none while another got some."""
        return max((gap for one in self.clients for gap in _gaps(one, self.clients)), default=0.0)


def _gaps(one: Client, clients: Iterable[Client]) -> Iterable[float]:
    others = [at for client in clients if client is not one for at in client.accepted_at]
    for begin, end in pairwise((0.0, *one.accepted_at)):
        if any(begin < at < end for at in others):
            yield end - begin


async def _measure(*, limit: int | None, seconds: float, spread: float, jobs: Sequence[int], seed: int) -> Figures:
    loop = asyncio.get_running_loop()
    lengths: list[float] = []
    random = Random(seed)  # noqa: S311 - the same run each time

    def length(_: object) -> float:
        lengths.append(seconds * random.uniform(1 - spread, 1 + spread))
        return lengths[-1]

    async with Simulator(clock=wall, slots=SLOTS, task_seconds=length, submitted_seconds=5.0) as simulator:
        begun, begun_wall = loop.time(), wall()
        await asyncio.gather(
            *(_run(simulator, name, count, limit, Random(seed + name)) for name, count in enumerate(jobs))  # noqa: S311
        )
        took = loop.time() - begun
        return Figures(
            creates=simulator.count("create"),
            refused=simulator.refused[1303],
            utilisation=sum(lengths) / (SLOTS * took),
            peak=simulator.engine.peak_in_flight,
            clients=tuple(_client(simulator, name, begun_wall) for name in range(len(jobs))),
        )


async def _run(simulator: Simulator, name: int, jobs: int, limit: int | None, random: Random) -> None:
    slots = SlotPolicy(limit=limit)
    key = ApiKey(simulator.api_key)
    async with KlingClient(key, base_url=simulator.url, wall=wall, draw=random.random, slots=slots) as kling:
        await asyncio.gather(
            *(
                kling.video_extend.run(simulator.sources[0], external_task_id=f"{name}-{job}", timeout=None)
                for job in range(jobs)
            )
        )


def _client(simulator: Simulator, name: int, begun: float) -> Client:
    taken = [
        (int(job), create.at - begun)
        for create in simulator.accepted
        for owner, _, job in [(create.external_task_id or "").partition("-")]
        if owner == str(name)
    ]
    return Client(tuple(at for _, at in taken), sum(a > b for (a, _), (b, _) in pairwise(taken)))


def measure(
    *, limit: int | None, seconds: float, spread: float = 0.0, jobs: Sequence[int] = (JOBS,), seed: int = SEED
) -> Figures:
    """The figures of one run.

    Args:
        limit: given to each client; `None`: learnt.
        seconds: how long a task takes.
        spread: by what part of it a task may take less or more; default 0.
        jobs: how many jobs each client has; default one client with 500.
        seed: of all chance in the run.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_measure(limit=limit, seconds=seconds, spread=spread, jobs=jobs, seed=seed))


def main() -> None:
    """Prints the table."""
    print(f"{'clients':>7} {'limit':>6} {'tasks':>12} {'1303':>6} {'used':>6} {'peak':>4} {'disorder':>8}  shares, gap")
    for jobs in ((JOBS,), (JOBS // 2, JOBS // 2)):
        for limit in (SLOTS, None):
            for seconds in (60.0, 180.0):
                for spread in (0.0, 0.5):
                    _print(measure(limit=limit, seconds=seconds, spread=spread, jobs=jobs), limit, seconds, spread)


def _print(figures: Figures, limit: int | None, seconds: float, spread: float) -> None:
    known = "learnt" if limit is None else "given"
    tasks = f"{seconds:.0f} s ±{spread:.0%}"
    shared = len(figures.clients) > 1
    rest = f"  {' / '.join(f'{share:.0%}' for share in figures.shares)}, {figures.starvation:.0f} s" if shared else ""
    print(
        f"{len(figures.clients):>7} {known:>6} {tasks:>12} {figures.refused_share:>6.1%} {figures.utilisation:>6.1%} "
        f"{figures.peak:>4} {figures.order_violations:>8}{rest}"
    )


if __name__ == "__main__":
    main()

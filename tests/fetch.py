"""Downloads large films over bad lines, kills downloads at random moments, and counts what that cost.

    python tests/fetch.py --gib 2 --resets-every-mib 10 --kills 50 --seed 1

The file host lives in this process, each download in a child. Every kill is SIGKILL. The exit code is 0 when every
film was right, no part of one ever stood under a film's name, each run went on where the last had been killed, memory
grew by at most 16 MiB, and at most 1 % was fetched twice over resets.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import attrs
from fileserver import FileServer, is_film

from kling_async import ApiKey, KlingClient, RetryPolicy, Video
from kling_async.rules.fetching import Course
from kling_async.runtime.parts import Part, _File

MIB = 1024 * 1024
MOST_GROWTH = 16 * MIB
MOST_TWICE = 0.01
_KILL_COSTS = 3 * MIB  # what waits in memory, what the last note did not speak for, and what the system was to deliver

GUARDS = ("", "streaming", "resume", "note", "name")


@attrs.define
class Line:
    """What one large film over one line showed."""

    size: int
    seconds: float = 0.0
    growth: int = 0
    requests: int = 0
    sent: int = 0
    right: bool = False

    @property
    def twice(self) -> float:
        """The share of the film that was fetched twice."""
        return (self.sent - self.size) / self.size

    @property
    def clean(self) -> bool:
        """Whether the film is right, and cost no more than it may."""
        return self.right and self.growth <= MOST_GROWTH and self.twice <= MOST_TWICE

    def __str__(self) -> str:
        return (
            f"{self.size / MIB:,.0f} MiB in {self.seconds:.1f} s, {self.requests} requests: memory grew by "
            f"{self.growth / MIB:.1f} MiB, {self.twice:.3%} fetched twice, {'right' if self.right else 'WRONG'}"
        )


@attrs.define
class Kills:
    """What was seen of downloads that were killed.

    Attributes:
        early: kills before a run had asked for anything.
        empty: runs that found nothing to go on from yet.
        resumed: runs that went on where the one before was killed.
        anew: runs that did not, although there was something.
        partial: times that a part stood under a film's name.
        wrong: films that are not right, or did not come.
        twice: bytes.
    """

    kills: int = 0
    early: int = 0
    empty: int = 0
    resumed: int = 0
    anew: int = 0
    films: int = 0
    partial: int = 0
    wrong: int = 0
    left: int = 0
    twice: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, and nothing half was shown."""
        return not (self.anew or self.partial or self.wrong or self.left)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills over {self.films} films: {self.resumed} runs went on, {self.anew} did not, "
            f"{self.empty} had nothing yet, {self.early} were killed before they asked; "
            f"{self.twice / MIB:.1f} MiB fetched twice; partial under the name {self.partial}, wrong {self.wrong}, "
            f"left over {self.left}"
        )


# --- the child: one download -----------------------------------------------------------------------------------------


async def carry_out(url: str, path: Path, without: str) -> None:
    """Downloads, and prints by how many bytes memory has grown and how many requests it took."""
    switch_off(without)
    async with KlingClient(ApiKey("key"), base_url=url, retry=RetryPolicy(first_wait=0.01)) as client:
        await client.download(Video("warm", url=f"{url}/warm"), path.with_name("warm"))
        sys.stdout.write("go\n")
        sys.stdout.flush()
        before = memory("VmRSS")
        await client.download(Video("film", url=f"{url}/film?sign=secret"), path)
        sys.stdout.write(f"{memory('VmHWM') - before}\n")


def memory(kind: str) -> int:
    """Bytes that this process has in memory now (`VmRSS`), or had at most (`VmHWM`)."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024


def switch_off(without: str) -> None:
    """Breaks what a download promises."""
    held: list[bytes] = []
    add = Part.add

    def add_and_hold(self: Part, chunk: bytes) -> None:
        held.append(chunk)
        add(self, chunk)

    if without == "streaming":
        Part.add = add_and_hold  # type: ignore[method-assign]
    if without == "resume":
        Course.can_resume = False  # type: ignore[method-assign, assignment]
    if without == "note":
        _File._remember = lambda self: None  # type: ignore[method-assign] # noqa: ARG005
    if without == "name":
        _File.part_path = property(lambda self: self.target)  # type: ignore[method-assign, assignment]


# --- the parent: the host, the killer and the accountant -------------------------------------------------------------


async def _start(server: FileServer, path: Path, without: str) -> asyncio.subprocess.Process:
    """A child that is about to fetch the film, behind a small one that warms it up."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--child", server.url, str(path), "--without", without,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    server.first.append(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + bytes(65536))
    assert child.stdout is not None
    if await child.stdout.readline() != b"go\n":
        raise RuntimeError(f"a download of {path} did not begin")  # no figure of a harness that does not work
    server.asked.pop(0)
    return child


async def large(size: int, *, breaks: int | None, without: str = "") -> Line:
    """One film of this size, its connection reset every so many bytes."""
    line = Line(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        async with FileServer(size, breaks=breaks) as server:
            child = await _start(server, path, without)
            assert child.stdout is not None
            began = time.monotonic()
            told = (await child.stdout.read()).split()
            await child.wait()
            line.seconds = time.monotonic() - began
            line.growth, line.requests, line.sent = int(told[0] if told else 0), len(server.asked), server.sent
        line.right = await asyncio.to_thread(lambda: path.exists() and is_film(path, size))
    return line


async def killed(kills: int, *, seed: int, size: int, seconds: float, without: str = "") -> Kills:
    """Films that take so many seconds each, with their downloads killed at random moments, so many times in all."""
    figures, chance = Kills(), random.Random(seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as folder:
        while figures.kills < kills:
            figures.films += 1
            path = Path(folder) / str(figures.films) / "film.mp4"
            path.parent.mkdir()
            async with FileServer(size, pause=seconds * 256 * 1024 / size) as server:
                await _killed_through(figures, kills, chance, seconds, server, path, without)
            figures.left += len([*path.parent.iterdir()]) - len({"film.mp4", "warm"})
    return figures


async def _killed_through(
    figures: Kills, kills: int, chance: random.Random, seconds: float, server: FileServer, path: Path, without: str
) -> None:
    """One film, killed again and again until it is through."""
    last: int | None = None  # bytes on disk after the kill before; `None`: nothing was killed yet
    is_killed = True
    while is_killed:
        server.asked.clear()
        child = await _start(server, path, without)
        patience = chance.uniform(0.0, 0.6 * seconds) if figures.kills < kills else 60.0
        try:
            await asyncio.wait_for(child.wait(), patience)
        except TimeoutError:
            child.kill()
        is_killed = await child.wait() == -signal.SIGKILL
        figures.kills += is_killed
        await asyncio.sleep(0.05)  # for the host to notice
        _count(figures, server, last)
        part = path.with_name("film.mp4.part")
        figures.partial += is_killed and path.exists() and not is_film(path, server.size)
        last = part.stat().st_size if part.exists() else 0
        if is_killed and path.exists() and not part.exists():
            break  # killed just behind the last step
    figures.wrong += not (path.exists() and is_film(path, server.size))


def _count(figures: Kills, server: FileServer, last: int | None) -> None:
    """How this run began, which the one before left so many bytes."""
    if not server.asked:
        figures.early += 1
    if last is None or not server.asked:
        return
    start = server.asked[0].start
    figures.twice += max(0, last - start)
    if start == 0 and last <= _KILL_COSTS:
        figures.empty += 1
    elif last - start <= _KILL_COSTS:
        figures.resumed += 1
    else:
        figures.anew += 1


def main() -> int:
    """The exit code: 0 when the figures are clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2, help="size of the large film (default: %(default)s)")
    parser.add_argument("--resets-every-mib", type=float, default=10, help="a bad line (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="at random moments (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: %(default)s)")
    parser.add_argument("--without", default="", choices=GUARDS, help="a guard to switch off (a control)")
    parser.add_argument("--child", nargs=2, metavar=("URL", "PATH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        url, path = given.child
        asyncio.run(carry_out(url, Path(path), given.without))
        return 0
    return asyncio.run(_campaign(given))


async def _campaign(given: argparse.Namespace) -> int:
    size, breaks = int(given.gib * 1024 * MIB), int(given.resets_every_mib * MIB)
    figures: list[Line | Kills] = [
        await large(size, breaks=None, without=given.without),
        await large(size, breaks=breaks, without=given.without),
        await killed(given.kills, seed=given.seed, size=64 * MIB, seconds=2.0, without=given.without),
    ]
    clean = all(figure.clean for figure in figures)
    sys.stdout.write("\n".join([*map(str, figures), "clean" if clean else "NOT CLEAN", ""]))
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())

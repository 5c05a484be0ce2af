"""All clients side by side: medians of the client's CPU time, and their ratio to raw aiohttp with the same result.

    python benchmarks/side_by_side.py
    python benchmarks/side_by_side.py --rounds 5 --only query,create --clients raw,ours

Each client plays each scene in a fresh process against a server in another, and the rounds are interleaved: A B C,
A B C, ... A ratio is the median of the rounds' ratios. Clients that are not installed are left out, with the command
that installs them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import cast

import attrs
from clients import JSON_LIBRARY, Client
from control import installed, server
from field import CLIENTS, missing


@attrs.frozen
class Case:
    """One table: a scene and what it is played with."""

    title: str
    scene: str
    options: tuple[str, ...]
    floor: str = "raw"
    rounds: int | None = None  # in place of those asked for


def cases(waiters: int) -> tuple[Case, ...]:
    """All tables, in the order in which they are printed."""
    calls = tuple(
        Case(f"{scene}: 3,000 calls, {at_once} at a time", scene, ("--calls=3000", f"--at-once={at_once}"))
        for scene in ("query", "create")
        for at_once in (1, 100)
    )
    listed = Case("list: 100,000 tasks in pages of 500", "list", ("--calls=100000",))
    waits = tuple(
        Case(
            f"wait: {count:,} tasks that end within 10 s, interval 1 s",
            "wait",
            (f"--calls={count}", "--interval=1", "--seconds=10"),
            floor="naive",
        )
        for count in (100, 1000, 10_000)
    )
    return (*calls, listed, *waits, *_crowds(waiters))


def _crowds(waiters: int) -> tuple[Case, ...]:
    """What is asked of ours alone, and once."""
    within = ("--calls=100000", "--interval=5", "--seconds=30")
    return (
        Case("many: 100,000 tasks that end within 30 s, interval 5 s, by wait_all", "many", within, rounds=1),
        Case("gathered: the same by 100,000 coroutines", "gathered", within, rounds=1),
        Case(
            f"cancelled: {waiters:,} waiters in lots of 10,000, half cancelled, half timed out",
            "cancelled",
            (f"--calls={waiters}", "--at-once=10000"),
            rounds=1,
        ),
    )


@attrs.frozen
class Played:
    """What a client took in each round, by the name of the figure."""

    rounds: list[dict[str, float]] = attrs.field(factory=list)

    def median(self, figure: str) -> float:
        """Of all rounds."""
        return median(one[figure] for one in self.rounds)

    def spread(self, figure: str) -> str:
        """The least and the most."""
        values = [one[figure] for one in self.rounds]
        return f"{_number(min(values))} to {_number(max(values))}"

    def ratio(self, floor: Played, figure: str) -> float:
        """To another, round by round: what slowed the machine for a while slowed both."""
        return median(one[figure] / other[figure] for one, other in zip(self.rounds, floor.rounds, strict=True))


def play(client: str, case: Case, url: str) -> dict[str, float] | None:
    """The figures of one round; `None`, with the reason on the terminal, where there are none."""
    command = [sys.executable, str(Path(__file__).with_name("scenes.py")), client, case.scene, "--url", url]
    try:
        done = subprocess.run([*command, *case.options], capture_output=True, text=True, timeout=900, check=True)  # noqa: S603
        return cast("dict[str, float]", json.loads(done.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        print(f"{client} failed in {case.title}:\n{error.stderr}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"{client} took more than 900 s in {case.title}", file=sys.stderr)
    return None


def compare(case: Case, clients: Sequence[str], rounds: int) -> dict[str, Played]:
    """Each client's rounds, interleaved. Who fails once is left out from then on."""
    played = {client: Played() for client in clients}
    with server() as url:
        for number in range(1, rounds + 1):
            for client in list(played):
                print(f"{case.title}, round {number} of {rounds}: {client}", file=sys.stderr)
                figures = play(client, case, url)
                if figures is None:
                    del played[client]
                else:
                    played[client].rounds.append(figures)
    return played


def table(played: dict[str, Played], floor_name: str) -> str:
    """The medians as a Markdown table; the first figure is what is compared."""
    names = list(next(iter(played.values())).rounds[0])
    first, rest = names[0], names[1:]
    compared = [] if len(played) == 1 else ["least to most", f"to {floor_name}"]
    lines = [["client", first, *compared, *rest]]
    for client, figures in played.items():
        ratio = f"{figures.ratio(played[floor_name], first):.2f}" if floor_name in played else "-"
        others = (_number(figures.median(name)) for name in rest)
        spread = [figures.spread(first), ratio] if compared else []
        lines.append([client, _number(figures.median(first)), *spread, *others])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def heading() -> str:
    """What was measured with."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("kling_async", "aiohttp"))
    orjson = "importable" if installed("orjson") else "not installed"
    return (
        f"Python {platform.python_version()}, {packages}; orjson is {orjson}; "
        f"raw and ours read JSON with {JSON_LIBRARY}"
    )


def chosen(names: str | None) -> dict[str, type[Client]]:
    """The clients that were asked for and are installed; of the others it is told how to install them."""
    wanted = list(CLIENTS) if names is None else names.split(",")
    for name in wanted:
        if absent := missing(CLIENTS[name]):
            print(f"{name} is left out: pip install {' '.join(absent)}", file=sys.stderr)
    return {name: CLIENTS[name] for name in wanted if not missing(CLIENTS[name])}


def main() -> None:
    """Plays what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each client plays each scene, default 5")
    parser.add_argument("--only", help="scenes, such as query,create; default all")
    parser.add_argument("--clients", help="clients, with commas between; default all that are installed")
    parser.add_argument("--waiters", type=int, default=1_000_000, help="how many are cancelled, default 1,000,000")
    options = parser.parse_args()
    only = None if options.only is None else set(options.only.split(","))
    clients = chosen(options.clients)
    print(heading())
    for case in cases(options.waiters):
        playing = [name for name, client in clients.items() if case.scene in client.SCENES]
        if playing and (only is None or case.scene in only):
            played = compare(case, playing, case.rounds or options.rounds)
            print(f"\n### {case.title}\n\n{table(played, case.floor) if played else 'nobody came through'}", flush=True)


if __name__ == "__main__":
    main()

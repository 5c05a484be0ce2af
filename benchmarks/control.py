"""The server of the benchmarks as its clients' processes steer it, and figures on which all agree."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.request import Request, urlopen

import attrs
from server import FIRST_ID


@attrs.frozen
class Counts:
    """What the server saw since the scene was set.

    Attributes:
        kinds: requests by kind: `query`, `list`, `create`.
        intervals: requests in each interval, from the first to the last that had some.
    """

    kinds: dict[str, int]
    intervals: tuple[int, ...]


@attrs.frozen
class Control:
    """The desk behind the server at `url`."""

    url: str

    def set(self, *, tasks: int = 0, seconds: float = 0.0, interval: float = 1.0, seed: int = 1) -> float:
        """Makes tasks whose ends are spread over so many seconds from now on; the Unix time of that now."""
        return cast("float", self._ask("scene", tasks=tasks, seconds=seconds, interval=interval, seed=seed))

    def counts(self) -> Counts:
        """What was asked since then."""
        told = cast("dict[str, object]", self._ask("counts"))
        return Counts(cast("dict[str, int]", told["kinds"]), tuple(cast("list[int]", told["intervals"])))

    def ends(self) -> list[float]:
        """The Unix time of each task's end."""
        return cast("list[float]", self._ask("ends"))

    def _ask(self, what: str, **members: float) -> object:
        asked = Request(f"{self.url}/bench/{what}", json.dumps(members).encode())  # noqa: S310 - loopback
        with urlopen(asked, timeout=120) as answer:  # noqa: S310
            return cast("dict[str, object]", json.load(answer))["data"]


@contextmanager
def server() -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        yield process.stdout.readline().strip()  # on leaving, its input is closed: then it ends


def ids(count: int) -> list[str]:
    """The ids of so many tasks, oldest first."""
    return [str(FIRST_ID + n) for n in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def installed(module: str) -> bool:
    """Whether a module can be imported here."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False

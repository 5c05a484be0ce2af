"""What is measured of a process: CPU and wall time, memory, and how long its loop stood still."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from clients import Client
from control import Control

Figures = dict[str, float]

_TICK_SECONDS = 0.005


@attrs.frozen
class Setting:
    """What a scene is played with.

    Attributes:
        client: who plays.
        control: the server's desk.
        calls: how many calls, or listed, or awaited tasks.
        at_once: how many of them are under way at once.
        interval: seconds between two looks at an awaited task.
        seconds: over how many seconds the ends of awaited tasks are spread.
    """

    client: Client
    control: Control
    calls: int
    at_once: int
    interval: float
    seconds: float


@attrs.define
class Meter:
    """CPU and wall time of what was done within `measured`, in seconds."""

    cpu: float = 0.0
    wall: float = 0.0


@contextmanager
def measured() -> Iterator[Meter]:
    """Times what is done within."""
    meter = Meter()
    cpu, wall = time.process_time(), time.perf_counter()
    yield meter
    meter.cpu, meter.wall = time.process_time() - cpu, time.perf_counter() - wall


@attrs.define
class Ticker:
    """A timer that ought to fire every 5 ms; what it is late by, something held the loop for.

    Attributes:
        longest: in seconds, since the last `lap`.
    """

    longest: float = 0.0
    _last: float = attrs.field(init=False)
    _timer: asyncio.TimerHandle = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = time.perf_counter()
        self._arm()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._note()
        self._arm()

    def _note(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last - _TICK_SECONDS)
        self._last = now

    def lap(self) -> float:
        """The longest so far, in seconds; begins anew."""
        self._note()
        longest, self.longest = self.longest, 0.0
        return longest

    def stop(self) -> None:
        """Fires no more."""
        self._timer.cancel()


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_mib() -> float:
    """The memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1024**2

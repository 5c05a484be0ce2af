"""An event loop whose time jumps: no test waits for a clock.

Time stands still while anything can run; when all that is left is to wait for a timer, it jumps there. Sockets are
real: before each jump the loop listens for a moment, and it never jumps while a thread works.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_START = time.time()
_MOMENT = 0.0001  # what loopback may take to deliver what was sent in this very process


class _Selector(selectors.DefaultSelector):
    """Listens to the sockets, and jumps where it would have slept."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.loop.threads:
            return super().select(None if self.loop.threads and timeout else timeout)
        if not (events := super().select(0)):
            time.sleep(_MOMENT)  # select itself would round this up to a whole millisecond
            events = super().select(0)
        if not events:
            self.loop.jump(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own."""

    def __init__(self) -> None:
        self._now = 0.0
        self.threads = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def wall(self) -> float:
        """Unix seconds that go with this loop's time."""
        return _START + self._now

    def jump(self, seconds: float) -> None:
        """Moves the clock on."""
        self._now += seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        future: asyncio.Future[_T] = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - see below
        """Waits for the threads in real time: the bound that `asyncio.run` sets would be jumped over at once."""
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self.threads -= 1


def wall() -> float:
    """Unix seconds of the running virtual loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.wall()

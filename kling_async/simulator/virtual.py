"""An event loop whose time jumps: who waits for a timer on it waits for nothing."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_MOMENT: Final = 0.0001  # what loopback may take to deliver what was sent in this very process
_PATIENCE: Final = 1.0  # a thread that is silent for longer may be waiting for a timer of this very loop


class _Selector(selectors.DefaultSelector):
    """Listens to the sockets, and jumps where it would have slept."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.loop.threads:
            events = super().select(max(timeout, _PATIENCE))
        elif not (events := super().select(0)):
            time.sleep(_MOMENT)  # select itself would round this up to a whole millisecond
            events = super().select(0)
        if not events:
            self.loop.jump(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can.

    Sockets are real: before each jump the loop listens for a moment, which is enough for whatever this process sends
    to itself. While a thread works that was started by `run_in_executor` or `asyncio.to_thread`, time passes no faster
    than it really does. What else answers from outside of the loop (another process, a thread of another kind) is not
    seen to work: to a timeout, its answer takes for ever.

    Attributes:
        threads: how many of those threads work now.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._start = time.time()
        self.threads = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds since the loop was made, by its own clock."""
        return self._now

    def wall(self) -> float:
        """Unix seconds that go with this loop's time; it begins at the machine's."""
        return self._start + self._now

    def jump(self, seconds: float) -> None:
        """Move the clock on."""
        self._now += seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """The result of the function, from a thread; time waits for it."""
        future: asyncio.Future[_T] = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - see below
        """Wait for the threads in real time: the bound that `asyncio.run` sets would be jumped over at once."""
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1

    def _thread_done(self, _: asyncio.Future[_T]) -> None:
        self.threads -= 1


def wall() -> float:
    """Unix seconds: of the running loop if it is a `VirtualLoop`, else of the machine."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time()
    return loop.wall() if isinstance(loop, VirtualLoop) else time.time()

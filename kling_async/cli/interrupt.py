"""Ctrl-C: the first one detaches in good order, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TypeVar

from kling_async.cli.exits import INTERRUPTED

_T = TypeVar("_T")

_SHOW_CURSOR = b"\x1b[?25h"


def end_at_once(code: int) -> None:
    """Leaves without putting anything away: what a journal or a download needs is on disk already."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR + b"\n")  # who draws progress hides it
    os._exit(code)


def carried(work: Coroutine[object, object, _T], *, end: Callable[[int], None] = end_at_once) -> _T:
    """What the work gives, in an event loop of its own.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the work has ended in good order.
    """
    presses = _Presses(end)
    # Where Ctrl-C is ignored, or is somebody else's, it stays so.
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, presses)
    try:
        return asyncio.run(presses.watched(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Presses:
    """Counts how often Ctrl-C came."""

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end
        self._count = 0
        self._cancel: Callable[[], object] = lambda: None

    async def watched(self, work: Coroutine[object, object, _T]) -> _T:
        """The work, which the first press cancels."""
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._count:  # it came before the loop ran
            task.cancel()
        return await task

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A press."""
        del number, frame
        self._count += 1
        if self._count == 1:
            self._cancel()
        else:
            self._end(INTERRUPTED)

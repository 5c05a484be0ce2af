"""How long requests wait for each other: everybody after 1302, and those of which the vendor takes but few a second."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

_FIRST_SECONDS = 1.0
_MAX_SECONDS = 60.0


class Pace:
    """The client's common pause. Pure: `now` is passed in."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._until = -inf
        self._pause = _FIRST_SECONDS

    def limited(self, now: float, retry_after: float | None) -> None:
        """1302 arrived. Of many that come together, the first sets the pause; what the vendor asks counts anyway."""
        asked = now + min(retry_after or 0.0, _MAX_SECONDS)
        if now < self._until:
            self._until = max(self._until, asked)
            return
        self._until = max(now + self._pause, asked)
        self._pause = min(2 * self._pause, _MAX_SECONDS)

    def wait(self, now: float) -> float:
        """Seconds until this request may be sent: the rest of the pause, and as much again at random.

        The spread lets the requests that queued up come back one after the other.
        """
        rest = self._until - now
        return 0.0 if rest <= 0 else rest * (1.0 + self._draw())

    def fine(self, now: float) -> None:
        """An answer arrived that was not 1302: once the pause has passed, the next one is short again."""
        if now >= self._until:
            self._pause = _FIRST_SECONDS


class Spacing:
    """A gap in seconds between one request of a sort and the next. Pure: `now` is passed in.

    It runs from the end of the one before: what travels for longer than another must not close the gap at the vendor's.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._free_at = -inf

    def wait(self, now: float) -> float:
        """Seconds until the next may be sent."""
        return max(0.0, self._free_at - now)

    def over(self, now: float) -> None:
        """One is over, answered or not."""
        self._free_at = now + self._gap

"""When to ask again: (error, attempt) in, seconds to wait or `None` out."""

from __future__ import annotations

from collections.abc import Callable

import backoff

from kling_async.errors import APIError, KlingError, MalformedResponse, TransportError
from kling_async.policies import RetryPolicy


def worth_retrying(error: KlingError) -> bool:
    """Whether the same read may succeed later. Decided by the vendor's code, never by the HTTP status."""
    return isinstance(error, APIError | MalformedResponse | TransportError) and error.worth_retrying


class RetrySchedule:
    """The pauses of one read: they double, are drawn at random below that, and respect `Retry-After`.

    `draw` gives numbers from 0 to 1; full jitter keeps many clients from coming back together.
    """

    def __init__(self, policy: RetryPolicy, draw: Callable[[], float]) -> None:
        self._policy = policy
        self._draw = draw
        # Nought times a power is nought for ever, until the power is too large for a float.
        last = policy.max_wait if policy.first_wait else 0.0
        self._longest = backoff.expo(base=2, factor=policy.first_wait, max_value=last)
        next(self._longest)  # backoff's generators give their first value to the second call

    def after(self, error: KlingError) -> float | None:
        """Seconds to wait before the next attempt, `None` to give up."""
        return self.pause(getattr(error, "retry_after", None)) if worth_retrying(error) else None

    def pause(self, asked: float | None = None) -> float:
        """Seconds to wait before the next attempt; `asked` by the server in its answer, `None` when it did not."""
        pause = next(self._longest) * self._draw()
        if asked is None:
            return pause
        return max(pause, min(asked, self._policy.max_retry_after))

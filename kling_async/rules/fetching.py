"""The course of one download: what to ask for next, and what an answer means for what is on disk already."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import attrs

from kling_async.policies import DownloadPolicy, RetryPolicy
from kling_async.rules.retry import RetrySchedule
from kling_async.rules.wire import server_time
from kling_async.rules.wire.answers import retry_after

_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {403, 404, 410}  # signed URLs end in one of these
_PASSING = {408, 425, 429}

_ENOUGH_BYTES = 1024 * 1024  # a connection that brought so much was worth having: the next one needs no pause
# A host that stamps a file and an answer within this time may have changed the file in between unnoticed (RFC 9110,
# 8.8.2.2, asks for a second; clocks of two machines behind one name differ by more).
_SETTLED_SECONDS = 60.0

_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
_SPAN = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_SIZE = re.compile(r"[0-9]{1,18}")


@attrs.frozen
class Kept:
    """What is on disk of a film.

    Attributes:
        size: its first bytes, so many.
        validator: what proves that the host's film is still the same one; `None`: nothing does.
        total: the film's length, `None` as long as it is not known.
    """

    size: int = 0
    validator: str | None = None
    total: int | None = None


@attrs.frozen
class Take:
    """Read the body: it goes on at byte `start` of what is on disk (0: it replaces that)."""

    start: int


@attrs.frozen
class Follow:
    """Ask there instead."""

    location: str = attrs.field(repr=False)  # may be signed


@attrs.frozen
class Refresh:
    """Ask the vendor for a fresh URL, for a reason. Comes once."""

    why: str


@attrs.frozen
class Again:
    """Ask again, for a reason, after so many seconds."""

    why: str
    pause: float


@attrs.frozen
class GiveUp:
    """It failed, for a reason. `keep`: what is on disk may serve a later call."""

    why: str
    keep: bool = True


@attrs.frozen
class Whole:
    """All is there."""


Ending = Refresh | Again | GiveUp | Whole
"""What came of a try."""
Verdict = Take | Follow | Ending
"""What the head of an answer may mean."""


class Course:
    """What one call of `download` has seen so far.

    Attributes:
        kept: what is on disk.
        requests: how many were sent.
    """

    def __init__(
        self,
        policy: DownloadPolicy,
        retry: RetryPolicy,
        draw: Callable[[], float],
    ) -> None:
        self.kept = Kept()
        self.requests = 0
        self._policy = policy
        self._retry = retry
        self._draw = draw
        self._refreshed = False
        self._pauses = RetrySchedule(retry, draw)
        self._farthest = 0  # of what any connection brought: to get there again is no progress
        self._failures = 0
        self._hops = 0
        self._asked_from = 0
        self._begun_at = 0

    @property
    def can_resume(self) -> bool:
        """Whether a later call could go on from what is on disk."""
        return self.kept.size > 0 and self.kept.validator is not None

    def found(self, kept: Kept) -> None:
        """Takes note of what an earlier call has left."""
        self.kept = kept
        self._farthest = kept.size

    # --- asking --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new try, from the first URL."""
        self._hops = 0
        self._asked_from = self.kept.size if self.can_resume else 0
        self._begun_at = self.kept.size

    def headers(self) -> dict[str, str]:
        """What the next request asks with.

        A compressed body would make the lengths say nothing about what arrives.
        """
        self.requests += 1
        plain = {"Accept-Encoding": "identity"}
        if not self._asked_from or self.kept.validator is None:
            return plain
        return {**plain, "Range": f"bytes={self._asked_from}-", "If-Range": self.kept.validator}

    # --- hearing -------------------------------------------------------------------------------------------------

    def heard(self, status: int, headers: Mapping[str, str]) -> Verdict:
        """What the head of an answer means."""
        if status in {200, 206}:
            return self._offered(status, headers)
        if status in _REDIRECTS:
            return self._redirected(headers.get("Location"))
        why = f"the file's host answered {status}"
        if status in _GONE:
            return self._gone(why)
        if status in _PASSING or status >= 500:
            return self.failed(why, asked=retry_after(headers))
        if status == 416 and self._asked_from:
            return self._anew(f"{why} to a range within the film")
        return GiveUp(why, keep=False)

    def _offered(self, status: int, headers: Mapping[str, str]) -> Verdict:
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            return GiveUp("the file's host sent it compressed, unasked", keep=False)
        verdict = self._whole_offered(headers) if status == 200 else self._rest_offered(headers)
        if self.kept.total is not None and self.kept.total > self._policy.max_bytes:
            return self._too_large(self.kept.total)
        return verdict

    def _whole_offered(self, headers: Mapping[str, str]) -> Verdict:
        """The film from its first byte: nothing was on disk, or it was not of this film."""
        length = _SIZE.fullmatch(headers.get("Content-Length", "").strip())
        self.kept = Kept(0, _validator(headers), int(length[0]) if length else None)
        return Take(0)

    def _rest_offered(self, headers: Mapping[str, str]) -> Verdict:
        span = _SPAN.fullmatch(headers.get("Content-Range", "").strip())
        if not self._asked_from or self.kept.validator is None:
            return GiveUp("the file's host answered 206 to a request for the whole", keep=False)
        first, last, total = (int(number) for number in span.groups()) if span else (0, 0, 0)
        if first != self._asked_from or not first <= last < total or self.kept.total not in {None, total}:
            return self._anew("the file's host sent another range than was asked for")
        tag = headers.get("ETag", "").strip()
        if self.kept.validator.startswith('"') and tag not in {"", self.kept.validator}:
            return self._anew("the film at the file's host has changed")
        self.kept = Kept(first, self.kept.validator, total)
        return Take(first)

    def _redirected(self, location: str | None) -> Verdict:
        if not location:
            return GiveUp("the file's host redirects to nowhere", keep=False)
        if self._hops >= self._policy.redirects:
            return GiveUp(f"the file's host redirects more than {self._policy.redirects} times")
        self._hops += 1
        return Follow(location)

    def _gone(self, why: str) -> Refresh | GiveUp:
        if self._refreshed:
            return GiveUp(f"{why} to a fresh URL too", keep=False)
        self._refreshed = True
        return Refresh(why)

    def _anew(self, why: str) -> Again | GiveUp | Whole:
        self.kept = Kept()
        return self.failed(why)

    def arrived(self, size: int) -> GiveUp | None:
        """Takes note of so many more bytes on disk; a reason to stop, if there is one."""
        self.kept = attrs.evolve(self.kept, size=self.kept.size + size)
        if self.kept.size > self._farthest:
            self._farthest = self.kept.size
            self._failures = 0
        if self.kept.total is not None and self.kept.size > self.kept.total:
            return GiveUp("the file's host sent more bytes than it had said", keep=False)
        return self._too_large(self.kept.size) if self.kept.size > self._policy.max_bytes else None

    def _too_large(self, size: int) -> GiveUp:
        return GiveUp(f"{size:,} bytes are more than max_bytes, {self._policy.max_bytes:,}", keep=False)

    def ended(self) -> Again | GiveUp | Whole:
        """What it means that a body came to its end."""
        if self.kept.size == 0:
            return GiveUp("the file's host sent an empty file", keep=False)
        if self.kept.total in {None, self.kept.size}:
            return Whole()
        return self.failed("the file's host ended too soon")

    def failed(self, why: str, *, asked: float | None = None) -> Again | GiveUp | Whole:
        """What it means that this try failed in a way that may pass.

        Args:
            why: the reason.
            asked: how many seconds the host asks to wait, `None` when it does not.
        """
        if 0 < self.kept.size == self.kept.total:
            return Whole()
        if self.kept.size == self._farthest > self._begun_at:
            self._pauses = RetrySchedule(self._retry, self._draw)
            if asked is None and self._farthest - self._begun_at >= _ENOUGH_BYTES:
                return Again(why, 0.0)
        else:
            self._failures += 1
        if self._failures >= self._policy.attempts:
            return GiveUp(f"{why}, {self._failures} times in a row")
        return Again(why, self._pauses.pause(asked))


def _validator(headers: Mapping[str, str]) -> str | None:
    """What `If-Range` may hold: a strong ETag, or a date that is as good (RFC 9110, 13.1.5)."""
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    tag = headers.get("ETag")
    if tag is not None:
        return tag.strip() if _STRONG_TAG.fullmatch(tag.strip()) else None
    changed = headers.get("Last-Modified", "").strip()
    then, now = server_time({"Date": changed}), server_time(headers)
    return changed if then is not None and now is not None and now - then >= _SETTLED_SECONDS else None

"""The account's slots: who may create now, and what the vendor's 1303 taught us. Pure: `now` is passed in.

A slot is held from the create until the *task* ends, failures included; all keys of an account share the slots, and
1303 is the only word the vendor gives about them (document-api, "Concurrency"). So the limit is given, or learnt:

- while nothing is known, creates start one at a time and grow with every success;
- 1303 sets the limit to what is in flight; a freed slot lets the next of the line go;
- now and then one create tries whether there is a slot more, first soon, then ever more rarely while it is refused;
- with nothing of ours in flight, others hold the slots: then that try comes after 1 s, and up to 60 s.
"""

from __future__ import annotations

import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import inf

from kling_async import spec
from kling_async.models import ResourcePack
from kling_async.policies import SlotPolicy

_WINDOW_MAX = 100
_FOREIGN_FIRST_SECONDS = 1.0  # source: document-api, "Concurrency": at least 1 s, exponential
_FOREIGN_MAX_SECONDS = 60.0
_LENT_MAX_SECONDS = 600.0
_HEARSAY_SECONDS = 15.0  # within which the end of a task is heard of, where no stamp tells when it was
_HELD_MAX = 10_000  # of tasks that nobody waits for, the oldest are let go: they have ended long ago


def limit_of(packs: Iterable[ResourcePack]) -> int | None:
    """How many tasks the account's packs allow at once, by their names; `None` when none says.

    A name such as `Trial-Video-100Units-5Con-1Months` means 5 (observed). Of several packs in use, the largest counts.
    """
    online = (pack.name for pack in packs if pack.status == spec.PACK_ONLINE)
    found = (re.search(r"(?:^|-)([1-9]\d{0,5})Con(?:-|$)", name) for name in online)
    return max((int(match[1]) for match in found if match), default=None)


class Slots:
    """A line of creates, first in, first out. Tickets are rising numbers that the caller makes, one a create."""

    def __init__(self, policy: SlotPolicy, draw: Callable[[], float]) -> None:
        self._policy = policy
        self._draw = draw
        self._line: OrderedDict[int, None] = OrderedDict()
        self._sending: set[int] = set()
        self._held: dict[int, None] = {}
        self._given: float = inf if policy.limit is None else policy.limit
        self._learnt: float = inf
        self._window = 1
        self._probe: int | None = None
        self._probe_at = -inf
        self._probe_wait = policy.probe_after
        self._wait_before = policy.probe_after
        self._raised_at = -inf  # when a try last found a slot more, by our clock
        self._raised_made_at: float | None = None  # and by the vendor's
        self._foreign_wait = _FOREIGN_FIRST_SECONDS

    def __repr__(self) -> str:
        limit = min(self._given, self._learnt)
        known = "unknown" if limit == inf else f"{limit:g} {'learnt' if self._learnt < self._given else 'given'}"
        return f"<Slots {len(self._held)} held, {len(self._sending)} sending, {len(self._line)} in line, limit {known}>"

    @property
    def waiting(self) -> int:
        """How many creates stand in line."""
        return len(self._line)

    @property
    def held(self) -> tuple[int, ...]:
        """The tickets whose tasks have not ended, as far as we know."""
        return tuple(self._held)

    @property
    def foreign(self) -> bool:
        """Whether the slots are taken though nothing of ours is in flight."""
        return self._learnt == 0 and self._in_flight == 0 and bool(self._line)

    @property
    def starved(self) -> bool:
        """Whether somebody stands in line until a task of ours has ended."""
        return bool(self._line) and self._in_flight >= min(self._given, self._learnt)

    @property
    def _in_flight(self) -> int:
        return len(self._held) + len(self._sending)

    def give(self, limit: int) -> None:
        """Sets the limit, when it was read somewhere."""
        self._given = limit

    def join(self, ticket: int) -> None:
        """Puts a create at the end of the line."""
        self._line[ticket] = None

    def ready(self, now: float) -> list[int]:
        """The tickets whose turn it is now; each must come back by `accepted`, `full` or `left`."""
        turn: list[int] = []
        while self._line and self._may_send(now):
            ticket, _ = self._line.popitem(last=False)
            self._sending.add(ticket)
            turn.append(ticket)
        return turn

    def _may_send(self, now: float) -> bool:
        if self._in_flight < min(self._given, self._learnt):
            return len(self._sending) < self._window
        # Only one try at a time, and none beside others: else the answer would not tell whose slot it was.
        if self._sending or self._in_flight >= self._given or now < self._probe_at:
            return False
        self._probe = next(iter(self._line))
        return True

    @property
    def wake_at(self) -> float:
        """When the next of the line may try though no slot was freed; infinite when no time will help."""
        if not self._line or self._sending or self._in_flight >= self._given:
            return inf
        return self._probe_at

    def accepted(self, ticket: int, now: float, *, made_at: float | None = None) -> int | None:
        """The vendor made the task: its slot is held until `ended`. The ticket that was let go for it, if there is one.

        `made_at` is when, by the vendor's clock; `None` when it did not say.
        """
        self._sending.discard(ticket)
        self._held[ticket] = None
        forgotten = next(iter(self._held)) if len(self._held) > _HELD_MAX else None
        if forgotten is not None:
            del self._held[forgotten]
        self._window = min(self._window + 1, _WINDOW_MAX)
        self._foreign_wait = _FOREIGN_FIRST_SECONDS
        if self._probe == ticket:
            # There was one more, or one had been freed that we have not heard of yet: `ended` will tell.
            self._probe, self._wait_before = None, self._probe_wait
            self._raised_at, self._raised_made_at = now, made_at
            self._probe_at, self._probe_wait = now + self._policy.probe_after, self._policy.probe_after
        self._learnt = max(self._learnt, self._in_flight)
        return forgotten

    def full(self, ticket: int, now: float) -> None:
        """1303: no task was made; the create goes back to the head of the line."""
        self._sending.discard(ticket)
        self._put_back(ticket)
        self._learnt = self._in_flight
        self._window = 1
        if self._in_flight == 0:
            self._be_patient(now, self._foreign_wait)
            self._foreign_wait = min(2 * self._foreign_wait, _FOREIGN_MAX_SECONDS)
        elif self._probe == ticket:
            self._probe_wait = min(2 * self._probe_wait, self._longest_wait)
            self._be_patient(now, self._probe_wait)
        else:
            # No try for one more: somebody else took a slot of ours, and may give it back soon.
            self._probe_wait = self._policy.probe_after
            self._be_patient(now, self._probe_wait)
        self._probe = None if self._probe == ticket else self._probe

    @property
    def _longest_wait(self) -> float:
        # What is missing of a limit that was given is held by others, who give it back within some tasks.
        most = self._policy.max_probe_wait
        return most if self._given == inf else min(_LENT_MAX_SECONDS, most)

    def _put_back(self, ticket: int) -> None:
        # Several may be refused at once: the head of the line keeps the order in which they came.
        before = list(itertools.takewhile(lambda other: other < ticket, self._line))
        for one in (ticket, *reversed(before)):
            self._line[one] = None
            self._line.move_to_end(one, last=False)

    def _be_patient(self, now: float, wait: float) -> None:
        # Two clients of one account must not keep in step.
        self._probe_at = now + wait * (0.75 + 0.5 * self._draw())

    def left(self, ticket: int) -> None:
        """The create is over without a task: refused, cancelled, or lost in doubt."""
        self._line.pop(ticket, None)
        self._sending.discard(ticket)
        if self._probe == ticket:
            self._probe = None

    def ended(self, ticket: int, now: float, *, ended_at: float | None = None) -> None:
        """The task has ended, by the vendor's clock at `ended_at` (`None`: not known): its slot is free."""
        self._held.pop(ticket, None)
        if self._was_found(now, ended_at):
            # So the limit is what it was before, and the try as good as refused.
            self._raised_at, self._raised_made_at = -inf, None
            self._probe_wait = min(2 * self._wait_before, self._longest_wait)
            self._be_patient(now, self._probe_wait)
            self._learnt = max(self._learnt - 1, self._in_flight, 1)

    def _was_found(self, now: float, ended_at: float | None) -> bool:
        """Whether the slot that a try found was no new one, but this one: free, though we had not heard of it yet."""
        if ended_at is None or self._raised_made_at is None:
            return now - self._raised_at < _HEARSAY_SECONDS
        return ended_at <= self._raised_made_at

    def drain(self) -> list[int]:
        """Empties the line, and says who stood in it."""
        line = list(self._line)
        self._line.clear()
        return line

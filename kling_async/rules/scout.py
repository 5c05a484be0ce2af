"""How far to read down the list for tasks whose place is not known. Pure: `now` is passed in.

Pages are read from the head on: while they show some of ours, and a few more in vain, since a query for each is the
alternative. What an expedition did not find is asked for singly, and the next one goes on where it stopped.
"""

from __future__ import annotations

from math import inf

from kling_async import spec
from kling_async.policies import PollPolicy
from kling_async.rules.places import STEP, STRETCH, Places, Sweep

_IN_VAIN_AT_LEAST = 1
_SEEKERS_A_PAGE = 100  # a page in vain for so many, on top
_MOST_DOUBLINGS = 7


class Scout:
    """The expeditions down the list of one resource.

    Attributes:
        held_until: no page is read before, since the last one failed.
    """

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._depth = 0
        self._anew = False  # somebody came while a page was on its way
        self._in_vain = 0  # pages of this expedition
        self._ends_in_vain = 0  # expeditions in a row that read the whole list
        self._over_at = -inf
        self._failures = 0
        self.held_until = -inf

    def somebody_new(self) -> None:
        """A task of unknown place has come: new ones stand at the head (observed), so there it begins again."""
        self._depth = self._ends_in_vain = 0
        self._anew = True

    def ready(self, now: float) -> bool:
        """Whether an expedition is under way, or may begin."""
        return now >= self._over_at + self._policy.interval * 2.0 ** min(self._ends_in_vain, _MOST_DOUBLINGS)

    def page(self, seekers: int, places: Places) -> Sweep:
        """The page to read next for so many, given the places that are known."""
        self._anew = False
        if self._depth == 0 and not places.stretches:
            return Sweep(1, min(STRETCH, -(-2 * seekers // STEP) * STEP))  # others' tasks stand between ours
        while places.is_crowded(self._depth // STRETCH):  # that page is read for those who stand there, anyway
            self._depth += STRETCH
        return Sweep(self._depth // STRETCH + 1, STRETCH)

    def read(self, sweep: Sweep, now: float, *, full: bool, found: int, left: int) -> None:
        """A page was read; it showed so many of those of unknown place, and so many are left."""
        self._failures, self.held_until = 0, -inf
        self._depth = 0 if self._anew else sweep.behind
        if left <= self._policy.singles:
            self._over(-inf)
            self._ends_in_vain = 0
        elif not full or sweep.number >= spec.PAGE_NUM_MAX:
            self._over(now)
            self._depth = 0
            self._ends_in_vain += 1
        elif found <= self._policy.singles:
            self._in_vain += 1
            if self._in_vain > _IN_VAIN_AT_LEAST + left // _SEEKERS_A_PAGE:
                self._over(now)

    def failed(self, now: float) -> None:
        """A page could not be read: the pauses grow as for single queries."""
        self._failures += 1
        self.held_until = now + self._policy.failure_wait(self._failures)

    def _over(self, at: float) -> None:
        self._in_vain, self._over_at = 0, at

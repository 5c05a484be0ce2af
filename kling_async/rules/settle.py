"""What to do next with one create whose outcome is not known: post, ask, or believe. Pure: `now` is passed in.

A create is posted under an external id that never changes. When its answer is lost, the vendor is asked for that id
several times (`RetryPolicy.ask_after`); what it finds is the task; what it does not find after all of these is posted
again under the same id, which the vendor refuses if the first did arrive (observed: 1201 "already exists").
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from kling_async.errors import APIError, ClientClosed, ConfigurationError, KlingError, TransportError
from kling_async.policies import RetryPolicy
from kling_async.rules.retry import RetrySchedule


class Outcome(enum.Enum):
    """What an error says about a create."""

    NOT_SENT = "the request never left: no task"
    BUSY = "1302 or 1303: no task, worth another try later"
    PERHAPS_DUPLICATE = "1201: a bad parameter, or the id is taken; asking tells"
    REFUSED = "no task, and no use in trying again"
    LOST = "a task may exist"


def outcome_of(error: KlingError) -> Outcome:
    """What an error to a POST proves.

    "Not created" is believed only where the request never left, or where the vendor's own envelope refuses it by a
    documented code. Everything else may have made a task, whatever the HTTP status says.
    """
    if isinstance(error, TransportError) and not error.sent:
        return Outcome.NOT_SENT if error.worth_retrying else Outcome.REFUSED
    if isinstance(error, ClientClosed | ConfigurationError):
        return Outcome.REFUSED  # by ourselves, before anything was sent
    if not isinstance(error, APIError) or not error.proves_not_created:
        return Outcome.LOST
    if error.code == 1201:
        return Outcome.PERHAPS_DUPLICATE
    return Outcome.BUSY if error.worth_retrying else Outcome.REFUSED


class Settlement:
    """The course of one create: whether to post or to ask, and when.

    Attributes:
        doubtful: whether a task may exist as far as this create knows: it was lost once, and not found since.
    """

    def __init__(self, policy: RetryPolicy, draw: Callable[[], float], now: float, *, doubtful: bool = False) -> None:
        self._policy = policy
        self._draw = draw
        self._at = now
        self._since = now
        self._asked = 0
        self._asking = doubtful
        self._refusal: APIError | None = None
        self._schedule: RetrySchedule | None = None  # most creates never pause
        self.doubtful = doubtful

    @property
    def _pauses(self) -> RetrySchedule:
        if self._schedule is None:
            self._schedule = RetrySchedule(self._policy, self._draw)
        return self._schedule

    @property
    def in_doubt(self) -> bool:
        """Whether a task may exist under the id: after a lost answer, or as long as a 1201 may mean a duplicate."""
        return self.doubtful or self._refusal is not None

    @property
    def asking(self) -> bool:
        """Whether the next step is to ask for the id; else it is to post."""
        return self._asking

    @property
    def at(self) -> float:
        """When the next step is due."""
        return self._at

    def lost(self, now: float) -> None:
        """The answer to a POST was lost: ask, from now on."""
        self.doubtful = True
        self._ask_from(now)

    def perhaps_duplicate(self, refusal: APIError, now: float) -> None:
        """1201: ask whether the id is taken; if it is not, the refusal was about a parameter."""
        self._refusal = refusal
        self._ask_from(now)

    def not_sent(self, error: KlingError, now: float) -> None:
        """The POST never left: post again after a pause."""
        self._at = now + (self._pauses.after(error) or 0.0)

    def unanswered(self, error: KlingError, now: float) -> bool:
        """A question was not answered: ask again after a pause. False where no answer is to be had."""
        pause = self._pauses.after(error)
        self._at = now + (pause or 0.0)
        return pause is not None

    def absent(self, now: float) -> APIError | None:
        """The vendor does not know the id (yet). The refusal that this confirms, if there is one.

        Without a POST in doubt, one look is enough to tell a bad parameter from a duplicate; after a doubtful one,
        1201 is believed only when the whole schedule has passed.
        """
        self._asked += 1
        if self._refusal is not None and (not self.doubtful or self._asked >= len(self._policy.ask_after)):
            refusal, self._refusal = self._refusal, None
            return refusal
        if self._asked >= len(self._policy.ask_after):
            self._asking, self._at = False, now
        else:
            self._at = max(now, self._since + self._policy.ask_after[self._asked])
        return None

    def taken(self) -> None:
        """The id belongs to another task: whatever was lost or refused, it made none."""
        self.doubtful, self._refusal = False, None

    def _ask_from(self, now: float) -> None:
        self._asking, self._asked, self._since = True, 0, now
        self._at = now + self._policy.ask_after[0]
        self._schedule = None

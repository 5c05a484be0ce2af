"""How the client behaves over time, as frozen values with a unit, a default and a bound each."""

from __future__ import annotations

import attrs

from kling_async.checks import policy_seconds, policy_whole, rising_seconds


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How reads are repeated, and how long a create is settled. Creates are never repeated blindly.

    Attributes:
        timeout: the whole budget of one read in seconds, attempts and pauses together; default 30.
        attempt_timeout: what one request may take of it, in seconds; default 20.
        first_wait: the longest pause before the second attempt, in seconds; it doubles from then on and the
            real pause is drawn between nought and that; default 0.5.
        max_wait: where the doubling ends, in seconds; default 8. The vendor's `Retry-After` is honoured up to
            `max_retry_after` seconds (default 60) if the budget allows it.
        settle_timeout: how long one create may take from its first byte until its outcome is known, in seconds:
            sending, and asking for it where the answer was lost; default 300.
        ask_after: when to ask for a create whose answer was lost, in seconds after the loss, in rising order; default
            0, 1, 3, 10, 30. What is not found by the last of these is posted again, under the same external id.

    Raises:
        ConfigurationError: a number out of bounds.
    """

    timeout: float = attrs.field(default=30.0, validator=policy_seconds())
    attempt_timeout: float = attrs.field(default=20.0, validator=policy_seconds())
    first_wait: float = attrs.field(default=0.5, validator=policy_seconds(zero=True))
    max_wait: float = attrs.field(default=8.0, validator=policy_seconds(zero=True))
    max_retry_after: float = attrs.field(default=60.0, validator=policy_seconds(zero=True))
    settle_timeout: float = attrs.field(default=300.0, validator=policy_seconds())
    ask_after: tuple[float, ...] = attrs.field(default=(0.0, 1.0, 3.0, 10.0, 30.0), validator=rising_seconds)


@attrs.frozen(kw_only=True)
class PollPolicy:
    """How the one poller of a resource looks after all awaited tasks.

    Attributes:
        interval: seconds between two looks at a task around the time at which tasks usually end; default 5. A task
            younger than that is looked at up to two times less often, an older one up to six times (`rules.rhythm`
            has the formula), and each pause is up to a twentieth longer by chance. An extension takes one to several
            minutes (observed); the vendor sets no limit on queries (document-api, "Concurrency").
        singles: up to how many tasks that one page of the list would show are asked for one by one instead; default
            1. A page of 50 tasks costs about as much as two queries.
        concurrency: how many single queries for awaited tasks may be under way at once; default 10.
        max_failure_wait: how far the pause grows while polls fail one after the other, in seconds; default 30.
        unknown_status_wait: how long a task may keep a status that no document lists, in seconds; default 600.

    Raises:
        ConfigurationError: a number out of bounds.
    """

    interval: float = attrs.field(default=5.0, validator=policy_seconds())
    singles: int = attrs.field(default=1, validator=policy_whole(least=0))
    concurrency: int = attrs.field(default=10, validator=policy_whole(least=1))
    max_failure_wait: float = attrs.field(default=30.0, validator=policy_seconds())
    unknown_status_wait: float = attrs.field(default=600.0, validator=policy_seconds(zero=True))

    def failure_wait(self, failures: int) -> float:
        """Seconds to pause after so many failed polls in a row: the interval, doubled with each up to the bound."""
        growth: float = self.interval * 2.0 ** min(failures - 1, 30)
        return min(growth, max(self.max_failure_wait, self.interval))


@attrs.frozen(kw_only=True)
class PoolLimits:
    """How many requests may be on the wire at once. Creates, reads and files have shares of their own.

    Attributes:
        creates: default 100.
        reads: queries, listings and polls together; default 100.
        files: downloads; default 4.

    Raises:
        ConfigurationError: a number below 1.
    """

    creates: int = attrs.field(default=100, validator=policy_whole(least=1))
    reads: int = attrs.field(default=100, validator=policy_whole(least=1))
    files: int = attrs.field(default=4, validator=policy_whole(least=1))


@attrs.frozen(kw_only=True)
class DownloadPolicy:
    """How films are fetched. Pauses between attempts are those of `RetryPolicy`; how many at once, of `PoolLimits`.

    Attributes:
        stall_timeout: how long a host may be silent, in seconds; default 30. There is no bound on the whole: films are
            large, and lines are slow.
        attempts: how many attempts in a row may bring nothing new; default 6. One that breaks off after it brought
            something does not count: the next one goes on from there.
        redirects: how many are followed for one attempt, 0 to 5; default 5.
        max_bytes: how large a film may be; default 16 GiB.

    Raises:
        ConfigurationError: a number out of bounds.
    """

    stall_timeout: float = attrs.field(default=30.0, validator=policy_seconds())
    attempts: int = attrs.field(default=6, validator=policy_whole(least=1))
    redirects: int = attrs.field(default=5, validator=policy_whole(least=0, most=5))
    max_bytes: int = attrs.field(default=16 * 1024**3, validator=policy_whole(least=1))


@attrs.frozen(kw_only=True)
class SlotPolicy:
    """How creates wait for the account's slots.

    Attributes:
        limit: how many tasks of a kind this client may have in flight; `None` (default) learns it from the vendor's
            refusals (1303). The vendor's limit is per account, model and pack: other clients share it.
        read_packs: reads the limit from the names of the account's packs before the first create (a pack named
            `...-5Con-...` means 5, observed); default false. A pack that does not say leaves it to be learnt.
        probe_after: after how many seconds a create tries whether there is a slot more than learnt; default 30. It
            doubles with each refusal, up to `max_probe_wait` seconds (default 1,800; at most 600 count while less
            than the `limit` is to be had, since what others hold they give back).

    Raises:
        ConfigurationError: a number out of bounds.
    """

    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(policy_whole(least=1)))
    read_packs: bool = False
    probe_after: float = attrs.field(default=30.0, validator=policy_seconds())
    max_probe_wait: float = attrs.field(default=1800.0, validator=policy_seconds())


DEFAULT_WAIT_SECONDS = 1800.0
"""How long `wait` waits unless told otherwise: ten times the usual end of an extension (observed: minutes)."""

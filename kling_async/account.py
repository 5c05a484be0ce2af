"""What the account has bought and used."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from kling_async.errors import RequestError
from kling_async.models import ResourcePack
from kling_async.resources import budget
from kling_async.rules.wire import costs_call, read_packs
from kling_async.runtime.transport import Transport


@attrs.frozen
class Account:
    """What the account has bought and used."""

    _transport: Transport

    async def costs(
        self, start: datetime, end: datetime, *, resource_pack_name: str | None = None, timeout: float | None = None
    ) -> tuple[ResourcePack, ...]:
        """The resource packs that were of use between two times. Free; the figures lag by up to 12 hours.

        The vendor takes one such request a second: calls of one client stand in line for that, first come first served.

        Args:
            start: aware time.
            end: aware time, not before `start`.
            resource_pack_name: only this pack; `None` for all.
            timeout: the whole budget in seconds, the line included; `None`: the line has no bound, and then it takes
                `RetryPolicy.timeout`.

        Raises:
            RequestError: a time without a zone, or an end before its start.
            RateLimited: others on the account kept asking, for longer than the budget.
            APIError, TransportError, MalformedResponse: as for `get`.

        Source: document-api, "Account".
        """
        first, last = _aware("start", start), _aware("end", end)
        if last < first:
            raise RequestError("end: must not be before start")
        call = costs_call(first, last, resource_pack_name)
        return read_packs(await self._transport.read_spaced(call, timeout=budget(timeout)))


def _aware(name: str, time: object) -> datetime:
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise RequestError(f"{name}: must be a datetime with a time zone, such as datetime.now(UTC)")
    return time.astimezone(UTC)

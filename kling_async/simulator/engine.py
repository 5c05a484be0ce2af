"""The vendor's rules as a pure state machine: a call goes in, a reply comes out, a given clock says when.

No socket, no sleep, no clock of its own: `server.py` puts it on a port, tests call `Engine.handle` itself.
"""

from __future__ import annotations

from decimal import Decimal
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from uuid import UUID

from attrs import evolve

from kling_async.simulator import checks, files, omni, records, routes, sources
from kling_async.simulator.account import Accepted, Account
from kling_async.simulator.checks import Order
from kling_async.simulator.ledger import DAY, Task, Video
from kling_async.simulator.routes import EXTEND, FILE_SUFFIX, Route
from kling_async.simulator.wire import (
    BAD_PARAMETER,
    BAD_REQUEST,
    JSON,
    MEANING_OF,
    NO_METHOD,
    NO_RESOURCE,
    PACK_EMPTY,
    SLOTS_FULL,
    STATUS_OF,
    TOO_FAST,
    Call,
    Refused,
    Reply,
    dump,
)
from kling_async.spec import COSTS_MAX_REQUESTS_PER_SECOND, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Mapping

# Assumed: what a task costs by its mode. The vendor's price list is no part of the documents that we follow.
COSTS: Final = {"std": Decimal(2), "pro": Decimal("3.5")}
PACK_DAYS: Final = 365


class Engine(Account):
    """An account that answers calls, as the vendor does. Its arguments and attributes are those of `Account`."""

    def __repr__(self) -> str:
        ledger = self._ledger
        return f"<Engine {ledger.in_flight} in flight, {len(self.accepted)} accepted, {len(self.faults)} faults left>"

    # What a server asks.

    def handle(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """The vendor's answer, and what the script makes of it.

        Args:
            method: as in the request line.
            path: still quoted, without the query.
            query: behind the question mark.
            headers: with names in any case.
            body: of a POST.
        """
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        call = Call(method, path, query, lower, body)
        route = routes.find(method, path)
        self.requests[route.name, route.family] += 1
        fault = self._script.take(route, method, path)
        if fault is None:
            return self._answer(call, route)
        # Carried out even where the answer is then thrown away: the task must exist.
        reply = self._answer(call, route) if fault.after else self._envelope(SUCCESS, "SUCCEED")
        if fault.vendor_code is not None:
            reply = self.refuse(fault.vendor_code, fault.message, created=reply.created)
        return fault.spoil(reply)

    def refuse(self, code: int, message: str | None = None, *, created: str | None = None) -> Reply:
        """An error envelope, with the status and the meaning of the vendor's table by default."""
        return self._envelope(code, message or MEANING_OF.get(code, "unknown error"), created=created)

    # The calls.

    def _answer(self, call: Call, route: Route) -> Reply:
        try:
            return self._carry_out(call, route)
        except Refused as refusal:
            if route.name == "create":
                self.refused[refusal.code] += 1
            return self._envelope(refusal.code, refusal.message)

    def _carry_out(self, call: Call, route: Route) -> Reply:
        now = self._clock()
        self._settled(now)
        if route.name == "unknown":
            raise Refused(NO_METHOD, f"requested method is invalid: {call.method} {call.path}")
        if route.name == "file":
            return self._file(call, route, now)
        self.keys.check(call.headers.get("authorization"), now)
        if route.name == "create":
            return self._create(call, route, now)
        return self._envelope(SUCCESS, "SUCCEED", data=self._read(call, route, now))

    def _read(self, call: Call, route: Route, now: float) -> JSON:
        if route.name == "costs":
            return self._costs(call, now)
        if route.name == "list":
            number, size = checks.page(call.query)
            return [self._record(task) for task in self._ledger.page(route.family, number=number, size=size)]
        task = self._ledger.find(route.family, route.id)
        if task is None:
            # Observed: with this code and not with 1203, which the table would suggest.
            raise Refused(BAD_PARAMETER, "Task not found by id/external id")
        return self._record(task)

    def _costs(self, call: Call, now: float) -> JSON:
        asked_at, gap = self._costs_asked_at, 1 / COSTS_MAX_REQUESTS_PER_SECOND
        # Not below zero: a clock that is set back must not shut this call for as long.
        if asked_at is not None and 0 <= now - asked_at < gap:
            raise Refused(TOO_FAST, "at most 1 request per second is allowed here")
        self._costs_asked_at = now
        wanted = checks.period(call.query)
        ends_at = self._opened_at + PACK_DAYS * DAY
        pack = records.pack_record(self._ledger, slots=self.slots, opened_at=self._opened_at, ends_at=ends_at, now=now)
        packs = [pack] if wanted in {None, pack["resource_pack_name"]} else []
        return {"resource_pack_subscribe_infos": list[JSON](packs)}

    def _create(self, call: Call, route: Route, now: float) -> Reply:
        body = checks.body_of(call)
        is_extension = route.family == EXTEND
        order = checks.extension(body, lenient=self._lenient) if is_extension else omni.shot(body)
        self._check_external_id(order)
        source = self._source(order, now)
        self._check_capacity(COSTS[order.mode])
        task = self._open(order, source, now)
        self.accepted.append(Accepted(task.id, order.external_id, order.family, body, now))
        return self._envelope(SUCCESS, "SUCCEED", data=self._record(task), created=task.id)

    def _check_external_id(self, order: Order) -> None:
        # Observed on both families; assumed: for ever, and whatever became of the first.
        if order.external_id in self._ledger.by_external_id:
            raise Refused(BAD_PARAMETER, f"external_task_id {order.external_id} already exists")

    def _source(self, order: Order, now: float) -> Video | None:
        if order.video_id is not None:
            return sources.source_to_extend(order.video_id, self._ledger, now)
        sources.check_shown(order, self._ledger, self.base_url)
        return None

    def _check_capacity(self, cost: Decimal) -> None:
        # Units leave the pack when a task ends; assumed: what is in flight is spoken for.
        if not self._ledger.can_pay(cost):
            raise Refused(PACK_EMPTY, "resource pack is exhausted or expired")
        if self.slots is not None and self._ledger.in_flight >= self.slots:
            raise Refused(SLOTS_FULL, "parallel task over resource pack limit")

    def _open(self, order: Order, source: Video | None, now: float) -> Task:
        segments = sources.segments(order, source, self._rng)
        task = Task(
            id=self._new_id(),
            number=len(self._ledger.tasks),
            family=order.family,
            order=order,
            created_at=now,
            cost=COSTS[order.mode],
            source=source,
            result=Video(self._new_id(), order.model, now, segments),
            failure=self._failures.pop(0) if self._failures else None,
        )
        seconds = self._task_seconds(task) if callable(self._task_seconds) else self._task_seconds
        self._ledger.open(task, submitted_seconds=self._submitted_seconds, task_seconds=seconds)
        return task

    def _file(self, call: Call, route: Route, now: float) -> Reply:
        video = self._ledger.videos.get(route.id)
        if video is None or not video.is_kept(now):
            raise Refused(NO_RESOURCE, f"file {route.id}{FILE_SUFFIX} does not exist, or no longer")
        part = files.serve(self._file_of(video.segments), method=call.method, headers=call.headers)
        if part.status == files.UNSATISFIABLE:
            reply = self.refuse(BAD_REQUEST, "no byte of the file is in the Range")
            return evolve(reply, status=part.status, headers={**reply.headers, **part.headers})
        return Reply(part.status, part.content, {"Date": self._date(), **part.headers})

    # Bricks.

    def _envelope(self, code: int, message: str, *, data: JSON = None, created: str | None = None) -> Reply:
        request_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        envelope: dict[str, JSON] = {"code": code, "message": message, "request_id": request_id}
        if data is not None:
            envelope["data"] = data
        headers = {"Content-Type": "application/json; charset=utf-8", "Date": self._date()}
        return Reply(STATUS_OF.get(code, STATUS_OF[BAD_REQUEST]), dump(envelope), headers, created)

    def _date(self) -> str:
        return formatdate(self._clock(), usegmt=True)

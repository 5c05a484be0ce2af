"""The vendor's rules as a pure state machine: a call goes in, a reply comes out, a given clock says when.

No socket, no sleep, no clock of its own: `server.py` puts it on a port, tests call `Engine.handle` itself.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from email.utils import formatdate
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import UUID

from attrs import evolve, frozen

from kling_async.simulator import checks, files, media, omni, records, routes, sources
from kling_async.simulator.auth import Keys
from kling_async.simulator.checks import Order
from kling_async.simulator.faults import Fault, Script
from kling_async.simulator.ledger import DAY, Change, Ledger, Task, Video
from kling_async.simulator.routes import EXTEND, FILE_SUFFIX, FILES_PATH, Route
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
from kling_async.spec import COSTS_MAX_REQUESTS_PER_SECOND, MODELS, SUCCESS, TABLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ACCESS_KEY: Final = "simulated-access-key"
SECRET_KEY: Final = "simulated-secret-key-of-at-least-32-characters"  # noqa: S105 -- opens nothing but this
API_KEY: Final = "simulated-api-key"
WEBHOOK_SECRET: Final = "whsec_c2ltdWxhdGVkLXdlYmhvb2stc2VjcmV0LW9mLTMyLWI="  # noqa: S105 -- likewise
"""For simulators that sign; none does so unasked."""

# The specification's own example extends this one, so that it can be pasted as it stands.
EXAMPLE_SOURCE: Final = "original-video-id"

# Assumed: what a task costs by its mode. The vendor's price list is no part of the documents that we follow.
COSTS: Final = {"std": Decimal(2), "pro": Decimal("3.5")}
PLENTY: Final = Decimal(1_000_000_000)
PACK_DAYS: Final = 365


@frozen
class Accepted:
    """A create that the vendor took: the task it made, and the JSON members as they were sent."""

    task_id: str
    external_task_id: str | None
    family: str
    fields: Mapping[str, JSON]
    at: float


class Engine:
    """One account at the simulated vendor.

    Args:
        clock: Unix seconds. Everything moves by it: tokens, tasks, ages, the `Date` of each answer.
        rng: where ids and the length of each extension come from; a seeded one makes a run repeatable.
        lenient: take `negative_prompt` and `cfg_scale` on an extension and ignore them, as the live service
            seems to do; by default they are refused, as the specification says.
        slots: how many tasks may be in flight at once, `None` for any number. May be set later.
        units: what the resource pack holds, `None` for more than anybody uses.
        task_seconds: from create to the end of a task, in seconds, or a function of the task.
        submitted_seconds: how much of that it is `submitted` before it is `processing`.
        film: makes the bytes of a result file from the seconds of its parts.

    Attributes:
        keys: what the account signs in with. More may be added.
        accepted: every create that was taken, in order: what was really made.
        requests: how many calls came in, by name and family; `count` sums them.
        refused: how many creates the rules refused, by code; scripted faults are not among them.
        base_url: what the URLs of result files begin with; the server sets it.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        rng: Random | None = None,
        lenient: bool = False,
        slots: int | None = None,
        units: int | Decimal | None = None,
        task_seconds: float | Callable[[Task], float] = 2.0,
        submitted_seconds: float = 0.5,
        film: Callable[[Sequence[Decimal]], bytes] = media.film,
    ) -> None:
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 -- ids of a simulator are no secrets
        self._last_id = self._rng.randrange(8 * 10**17, 9 * 10**17)
        self._file_of = lru_cache(16)(lambda segments: files.File.of(film(segments)))
        self._lenient = lenient
        self._task_seconds = task_seconds
        self._submitted_seconds = submitted_seconds
        self._opened_at = clock()
        self._costs_asked_at: float | None = None
        self._failures: list[str] = []
        self._script = Script()
        self._ledger = Ledger(PLENTY if units is None else Decimal(units))
        self.slots = slots
        self.keys = Keys({ACCESS_KEY: SECRET_KEY}, {API_KEY})
        self.accepted: list[Accepted] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[int] = Counter()
        self.base_url = ""
        self.sources = tuple(self._ready_sources())

    def __repr__(self) -> str:
        ledger = self._ledger
        return f"<Engine {ledger.in_flight} in flight, {len(self.accepted)} accepted, {len(self.faults)} faults left>"

    # What a test asks and arranges.

    @property
    def in_flight(self) -> int:
        """How many tasks hold a slot now."""
        return self._settled(self._clock()).in_flight

    @property
    def peak_in_flight(self) -> int:
        """The highest number of tasks that ever held a slot at once."""
        return self._ledger.peak

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every change of a task's status so far, in order."""
        return tuple(self._settled(self._clock()).changes)

    @property
    def now(self) -> float:
        """Unix seconds by the engine's clock."""
        return self._clock()

    @property
    def next_change_at(self) -> float:
        """When a task will take its next status, in Unix seconds; infinite when none will."""
        return self._ledger.next_change_at

    def news(self, place: int) -> Iterator[tuple[str, dict[str, JSON]]]:
        """Where to post each change behind the first `place` changes, empty for nowhere, and the record as of then."""
        for change in self._settled(self._clock()).changes[place:]:
            task = self._ledger.tasks[change.task_id]
            then = evolve(task, status=change.status, updated_at=change.at)
            yield task.order.callback_url or "", self._record(then)

    def wants_callbacks(self, id: str) -> bool:
        """Whether the task was ordered with a `callback_url`."""
        return self._ledger.tasks[id].order.callback_url is not None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The scripted faults that have not struck yet."""
        return self._script.left

    def count(self, name: str, *, family: str | None = None) -> int:
        """How many calls came in with this name (`create`, `get`, `list`, `costs`, `file`, `unknown`)."""
        return sum(n for (of, kin), n in self.requests.items() if of == name and family in {None, kin})

    def script(self, *faults: Fault) -> None:
        """Make the next answers go wrong, behind what is already scripted."""
        for fault in faults:
            if not isinstance(fault, Fault):  # said here: struck later, it would look like a vendor in trouble
                raise TypeError(f"{type(fault).__name__} is no Fault; make one by Fault.code(...), Fault.reset() ...")
        self._script.add(*faults)

    def clear_faults(self) -> None:
        """Let everything go well from now on."""
        self._script.clear()

    def fail_next(self, times: int = 1, *, message: str = "The generation failed") -> None:
        """Let the next tasks that are created end as `failed`, with this as `task_status_msg`."""
        self._failures.extend([message] * times)

    def fail_task(self, id: str, *, message: str = "The generation failed") -> None:
        """Let a task in flight end as `failed`, by its own id or the caller's.

        Raises:
            LookupError: there is no such task, or it has ended.
        """
        ledger = self._settled(self._clock())
        task = ledger.tasks.get(id) or ledger.by_external_id.get(id)
        if task is None or task.is_over:
            raise LookupError(f"no task in flight has the id {id}")
        task.failure = message

    def add_source(
        self,
        *,
        duration: float | Decimal | str = "5.0",
        model: str = MODELS[0],
        age_days: float = 0.0,
        id: str | None = None,
    ) -> str:
        """The id of a new source video of so many seconds, made by `model` so many days ago."""
        seconds = Decimal(str(duration))
        if not 0 < seconds <= media.LONGEST_SECONDS:
            raise ValueError(f"duration={duration!r}: expected up to {media.LONGEST_SECONDS} seconds")
        video = Video(id or self._new_id(), model, self._clock() - age_days * DAY, (seconds,))
        self._ledger.videos[video.id] = video
        return video.id

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

    def _ready_sources(self) -> Iterator[str]:
        """Clips of both lengths by each model of the specification's table, behind the one of its example."""
        yield self.add_source(id=EXAMPLE_SOURCE)
        for model in MODELS:
            for seconds in TABLE_SECONDS:
                yield self.add_source(duration=f"{seconds}.0", model=model, id=f"source-{model}-{seconds}s")

    def _settled(self, now: float) -> Ledger:
        self._ledger.settle(now)
        return self._ledger

    def _record(self, task: Task) -> dict[str, JSON]:
        return records.task_record(task, self._url_of)

    def _url_of(self, video: Video) -> str:
        return f"{self.base_url}{FILES_PATH}{quote(video.id, safe='')}{FILE_SUFFIX}"

    def _new_id(self) -> str:
        """18 digits, as seen on the wire: beyond 2^53, growing, and never given twice."""
        self._last_id += self._rng.randrange(1, 1000)
        return str(self._last_id)

    def _envelope(self, code: int, message: str, *, data: JSON = None, created: str | None = None) -> Reply:
        request_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        envelope: dict[str, JSON] = {"code": code, "message": message, "request_id": request_id}
        if data is not None:
            envelope["data"] = data
        headers = {"Content-Type": "application/json; charset=utf-8", "Date": self._date()}
        return Reply(STATUS_OF.get(code, STATUS_OF[BAD_REQUEST]), dump(envelope), headers, created)

    def _date(self) -> str:
        return formatdate(self._clock(), usegmt=True)

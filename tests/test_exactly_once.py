"""Whatever happens on the way, each create makes one task: a state machine over real sockets.

    pytest tests/test_exactly_once.py --runs 10000 --hypothesis-seed 1 --hypothesis-show-statistics

One run is a few creates through a middleman that cuts, delays and garbles, at a vendor that fails and restarts, by
clients that are cancelled, closed and begun anew. Its end is fair weather, in which every create is called once more.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, ClassVar, Literal, TypeVar

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from middleman import Middleman, Mishap

from kling_async import (
    ApiKey,
    ClientClosed,
    ConcurrencyLimited,
    KlingClient,
    KlingError,
    PollPolicy,
    RateLimited,
    SlotPolicy,
    TransportError,
)
from kling_async.simulator import Fault, Simulator
from kling_async.simulator.account import API_KEY
from kling_async.simulator.engine import Engine
from kling_async.simulator.wire import JSON, Reply
from kling_async.testing import VirtualLoop

_T = TypeVar("_T")

GARBAGE = b"THIS IS NOT HTTP\r\n\r\n"
HTML = b"HTTP/1.1 %d Oops\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"
CODES = (1302, 1303, 5000, 5001, 5002, 5999)
# A POST has about 336 bytes and its answer about 410: every byte of them is hit, and what lies behind.
REQUEST_BYTES, ANSWER_BYTES = 360, 440


_MOSTLY_POST = st.sampled_from(["POST", "POST", "POST", "GET"])
_ENDS = st.sampled_from(["close", "reset"])

MISHAPS = st.one_of(
    st.builds(Mishap, on=_MOSTLY_POST, forward=st.integers(0, REQUEST_BYTES), deliver=st.just(0), then=_ENDS),
    st.builds(Mishap, on=_MOSTLY_POST, deliver=st.integers(0, ANSWER_BYTES), then=_ENDS),
    st.builds(
        Mishap,
        on=_MOSTLY_POST,
        hold=st.sampled_from([0.0, 0.5, 25.0, 90.0, 330.0]),
        lag=st.sampled_from([0.0, 0.5, 25.0]),
    ),
    st.builds(
        Mishap,
        on=_MOSTLY_POST,
        forward=st.sampled_from([None, None, 0]),
        instead=st.sampled_from([GARBAGE, HTML % 502, HTML % 200, HTML % 404]),
        then=_ENDS,
    ),
)
FAULTS = st.one_of(
    # What says "not created" is never said of a task that was made: 1302 and 1303 come in its place alone.
    st.builds(Fault.code, st.sampled_from(CODES), on=st.sampled_from(["create", "create", "get", "list"])),
    st.builds(
        Fault.code, st.sampled_from([code for code in CODES if code >= 5000]), on=st.just("create"), after=st.just(True)
    ),
    st.sampled_from(
        [
            Fault.changed(lambda answer: {**answer, "data": {}}, on="create"),
            Fault.changed(lambda answer: {**answer, "data": {"task_id": []}}, on="create"),
            Fault.body(b"{}", on="create", after=True),
            Fault.body(b"[]", on="get", after=True),
            Fault.truncated(complete=True, on="create"),
            Fault.empty(503, on="create", after=True),
        ]
    ),
)
WEATHER: st.SearchStrategy[list[Mishap | Fault]] = st.lists(st.one_of(MISHAPS, MISHAPS, FAULTS), min_size=1, max_size=3)


class PaidTwice(AssertionError):
    """The vendor took two creates for one job."""


class Vendor(Engine):
    """The vendor, and who made which task: by the client's key and the create's prompt."""

    def __init__(self, loop: VirtualLoop, slots: int | None) -> None:
        super().__init__(clock=loop.wall, rng=Random(0), slots=slots, task_seconds=60.0)  # noqa: S311
        self.makers: list[tuple[str, JSON]] = []

    def handle(
        self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        known = len(self.accepted)
        reply = super().handle(method, path, query, headers, body)
        key = (headers or {}).get("Authorization", "")
        self.makers += [(key.removeprefix("Bearer "), made.fields["prompt"]) for made in self.accepted[known:]]
        return reply

    def tasks_of(self, job: Job) -> list[str]:
        return [made.task_id for made in self.accepted if made.fields["prompt"] == job.prompt]


@attrs.define(eq=False)
class Job:
    """What shall be made once, and what its creates said."""

    prompt: str
    own_id: str | None
    known_id: str | None = None  # the id that an error or a note named
    denied_to: set[str] = attrs.field(factory=set)  # the clients that were told "no" last


@attrs.define(eq=False)
class Person:
    """One client, known to the vendor by a key of its own."""

    key: str
    kling: KlingClient


@attrs.define(eq=False)
class Create:
    """One call of `create`; `alone`: no other of the same client was about the same job meanwhile."""

    person: Person
    job: Job
    alone: bool = True
    task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        return self.task is not None and not self.task.done()


def _says_nothing_of_others(error: KlingError) -> bool:
    """Whether it tells of this create alone: an earlier process may have made the task all the same."""
    never_left = isinstance(error, TransportError) and not error.sent
    return never_left or isinstance(error, ClientClosed | ConcurrencyLimited | RateLimited)


class Creates(RuleBasedStateMachine):
    """Creates in foul weather."""

    anonymous = False
    ended = 0
    outcomes: ClassVar = Counter[str]()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        loop = self.runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.jobs: list[Job] = []
        self.creates: list[Create] = []
        self.people: list[Person] = []
        self.wrong: list[AssertionError] = []
        self.numbers = itertools.count()

    def do(self, step: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(step)

    # --- the scene -----------------------------------------------------------------------------------------------

    @initialize(
        slots=st.sampled_from([None, None, 1, 2]), knows_limit=st.booleans(), weather=WEATHER, own=st.booleans()
    )
    def begin(self, slots: int | None, knows_limit: bool, weather: list[Mishap | Fault], own: bool) -> None:
        self.policy = SlotPolicy(limit=slots if knows_limit else None)
        self.do(self._begin(slots))
        self.worsen(weather)
        self.submit(own, None)

    async def _begin(self, slots: int | None) -> None:
        self.vendor = Vendor(self.loop, slots)
        self.simulator = Simulator(self.vendor)
        await self.simulator.start()
        self.middleman = Middleman(self.simulator.port, anonymous=self.anonymous)
        await self.middleman.open()
        self.person = self._newcomer()

    def _newcomer(self) -> Person:
        key = f"{API_KEY}-{next(self.numbers)}"
        self.vendor.keys.api_keys.add(key)
        kling = KlingClient(
            ApiKey(key),
            base_url=self.middleman.url,
            polling=PollPolicy(interval=20.0),
            slots=self.policy,
            wall=self.loop.wall,
            draw=lambda: 0.5,
            new_id=lambda: f"made-id-{next(self.numbers):04}",
        )
        person = Person(key, kling)
        self.people.append(person)
        return person

    async def _create(self, create: Create, own_id: str | None, timeout: float | None) -> None:
        job = create.job
        job.denied_to.discard(create.person.key)
        try:
            task = await create.person.kling.video_extend.create(
                self.vendor.sources[0], prompt=job.prompt, external_task_id=own_id, timeout=timeout
            )
        except KlingError as error:
            self.outcomes[f"{type(error).__name__}, {error.created}"] += 1
            job.known_id = error.external_task_id
            self._check_error(create, error)
        except asyncio.CancelledError as cancelled:
            notes = getattr(cancelled, "__notes__", [])
            self.outcomes[f"cancelled, {'noted' if notes else 'no note'}"] += 1
            if notes:
                job.known_id = notes[0].rpartition(" ")[2]
            else:
                self._deny(create)
        except Exception as error:
            self.wrong.append(AssertionError(f"{job.prompt}: {error!r}"))
        else:
            self.outcomes["task"] += 1
            job.known_id = task.external_task_id
            if task.id not in (made := self.vendor.tasks_of(job)):
                self.wrong.append(AssertionError(f"{job.prompt}: {task.id} was returned, but {made} were made"))

    def _check_error(self, create: Create, error: KlingError) -> None:
        if error.created == "no":
            self._deny(create)
            if not _says_nothing_of_others(error) and self.vendor.tasks_of(create.job):
                self.wrong.append(AssertionError(f"{create.job.prompt} is there, but its create said {error!r}"))
        elif error.created != "unknown" or error.external_task_id is None:
            self.wrong.append(AssertionError(f"{create.job.prompt}: {error!r} must not come of a create"))

    def _deny(self, create: Create) -> None:
        # Each "no" is about the requests of its own create, and the vendor's books cannot tell two at once apart.
        if create.alone:
            create.job.denied_to.add(create.person.key)

    def start(self, job: Job, own_id: str | None, timeout: float | None) -> None:
        create = Create(self.person, job)
        for other in self.creates:
            if other.under_way and other.person is self.person and other.job is job:
                other.alone = create.alone = False
        self.creates.append(create)

        async def begin() -> None:
            create.task = asyncio.create_task(self._create(create, own_id, timeout))
            await asyncio.sleep(0)

        self.do(begin())

    @property
    def running(self) -> list[asyncio.Task[None]]:
        return [create.task for create in self.creates if create.task is not None and not create.task.done()]

    # --- what people do ------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.jobs) < 5)
    @rule(own=st.booleans(), timeout=st.sampled_from([None, None, None, 0.0, 5.0, 60.0]))
    def submit(self, own: bool, timeout: float | None) -> None:
        number = len(self.jobs)
        job = Job(f"job-{number}", f"own-id-{number:05}" if own and not self.anonymous else None)
        self.jobs.append(job)
        self.start(job, job.own_id, timeout)

    @precondition(lambda self: any(job.own_id for job in self.jobs))
    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.jobs if job.own_id]))
        self.start(job, job.own_id, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.running)).cancel()

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.001, 0.6, 1.0, 5.0, 21.0, 70.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule(turns=st.integers(1, 12))
    def pass_turns(self, turns: int) -> None:
        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.do(turn())

    @rule(how=st.sampled_from(["killed", "closed", "left"]))
    def restart_client(self, how: Literal["killed", "closed", "left"]) -> None:
        """Cancelled and closed, closed under its creates, or left behind for a second process."""
        self.do(self._restart_client(how))

    async def _restart_client(self, how: str) -> None:
        if how == "killed":
            for task in self.running:
                task.cancel()
        if how != "left":
            await self.person.kling.close()
        self.person = self._newcomer()

    # --- what befalls them -----------------------------------------------------------------------------------------

    @rule(weather=WEATHER)
    def worsen(self, weather: list[Mishap | Fault]) -> None:
        for one in weather:
            if isinstance(one, Mishap):
                self.middleman.mishaps.append(one)
            else:
                self.vendor.script(one)

    @rule(seconds=st.sampled_from([0.0, 10.0, 100.0]))
    def restart_vendor(self, seconds: float) -> None:
        async def restart() -> None:
            await self.simulator.stop()
            await asyncio.sleep(seconds)
            # Elsewhere: somebody else may have taken the port by now, and nobody but the middleman knew it.
            self.simulator = Simulator(self.vendor)
            await self.simulator.start()
            self.middleman.target = self.simulator.port

        self.do(restart())

    @rule(seconds=st.sampled_from([0.1, 2.0, 50.0, 400.0]))
    def refuse_connections(self, seconds: float) -> None:
        async def refuse() -> None:
            self.middleman.shut()
            await asyncio.sleep(seconds)
            await self.middleman.open()

        self.do(refuse())

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def nobody_pays_twice(self) -> None:
        for job in self.jobs:
            if len(self.vendor.tasks_of(job)) > 1:
                raise PaidTwice(f"{job.prompt} was made {len(self.vendor.tasks_of(job))} times")

    @invariant()
    def nobody_was_told_an_untruth(self) -> None:
        if self.wrong:
            raise self.wrong[0]
        for job in self.jobs:
            for key in job.denied_to:
                assert (key, job.prompt) not in self.vendor.makers, f"{job.prompt} was made after all"

    @invariant()
    def slots_are_given_back(self) -> None:
        if self.jobs and not self.running:
            slots = self.person.kling.video_extend._line.slots
            assert not slots.waiting
            assert not slots._sending

    def teardown(self) -> None:
        if not self.jobs:  # this run was given up before it began
            self.runner.close()
            return
        try:
            self.do(self._clear_up())
            self._check_all()
            if not self.anonymous:
                self.do(self._create_all_again())
                self._check_all()
            type(self).ended += 1
        finally:
            self.do(self._leave())
            self.runner.close()

    def _check_all(self) -> None:
        self.nobody_pays_twice()
        self.nobody_was_told_an_untruth()
        self.slots_are_given_back()

    async def _clear_up(self) -> None:
        """Fair weather, until all is over that is under way, requests that are held among it."""
        self.vendor.clear_faults()
        self.vendor.slots = None
        self.middleman.mishaps.clear()
        await asyncio.gather(*self.running)
        await asyncio.sleep(400.0)

    async def _create_all_again(self) -> None:
        """What is known by an id is there once in the end, whoever asks."""
        self.person = self._newcomer()
        named = [(job, known) for job in self.jobs if (known := job.own_id or job.known_id)]
        for job, known in named:
            await self._create(Create(self.person, job), known, None)
            if len(made := self.vendor.tasks_of(job)) != 1:
                self.wrong.append(AssertionError(f"{job.prompt}: {made} were made in the end"))

    async def _leave(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        for person in self.people:
            await person.kling.close()
        await self.middleman.__aexit__(None, None, None)
        await self.simulator.stop()


class AnonymousCreates(Creates):
    """The same without external ids, as far as the vendor can see."""

    anonymous = True
    ended = 0
    outcomes: ClassVar = Counter[str]()


def _settings(runs: int, *, phases: tuple[Phase, ...]) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=14,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )


def test_each_create_makes_one_task(runs: int) -> None:
    before = Creates.ended
    run_machine(Creates, settings=_settings(runs, phases=(Phase.generate, Phase.shrink)))
    assert Creates.ended - before >= runs
    logging.getLogger(__name__).info("%d runs: %s", Creates.ended - before, dict(Creates.outcomes.most_common()))


def test_control_without_external_ids_somebody_pays_twice() -> None:
    with pytest.raises(PaidTwice):
        run_machine(AnonymousCreates, settings=_settings(200, phases=(Phase.generate,)))
    assert AnonymousCreates.ended < 200

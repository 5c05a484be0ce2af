"""What every fault must do: one row of the table of faults each, by its number, over real sockets.

C is a create, Q a query or poll, L a listing. Rows that are about callbacks (32-42) or the journal (43 for batches,
58, 59) alone stand elsewhere. So do those about downloads, and parts of rows that are tested closer to their cause:

| row | where |
|---|---|
| 3   | `test_exactly_once.py` cuts at any byte; `test_settle.py` holds the schedule of questions |
| 5, 51 | `test_awaited.py`: states never fall, whatever the order of looks |
| 14  | `test_slots.py`: what 1303 teaches |
| 16  | `test_pace.py`: the common pause |
| 23, 26, 27 | `test_guard.py`: names, redirects and addresses of file hosts; `test_addresses.py` |
| 29, 30 | `test_fetch.py`: films that are too large or too short, and URLs that have gone; `test_fetching.py` |
| 31  | `test_parts.py`, `test_download.py`: disks that are full, folders that cannot be written |
| 19, 20 | `test_transport.py`: tokens that are signed anew, clocks that are off |
| 28  | `test_transport.py`: the memory that a bomb takes |
| 48, 50 | `test_wire.py`: all shapes of a record; `test_watch.py`: any order and loss of answers |
| 54  | `test_waiter.py`: waits cancelled at any turn |
| 55, 56 | `test_pool.py`: loops, forks, reserved connections |
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from faultserver import Act, FaultServer, answer, envelope, task_record
from middleman import Middleman, Mishap
from told import now, refused, uncertain

from kling_async import (
    AccessKey,
    AccountError,
    AddressNotAllowed,
    APIError,
    ApiKey,
    AuthenticationError,
    ConcurrencyLimited,
    ConfigurationError,
    ContentRejected,
    InvalidRequest,
    KlingClient,
    MalformedResponse,
    NotFound,
    NoVideo,
    Page,
    PollPolicy,
    RateLimited,
    RequestError,
    RetryPolicy,
    SlotPolicy,
    Task,
    TaskFailed,
    TaskStatus,
    TaskVanished,
    TransportError,
    UnknownStatus,
    Video,
    WaitTimeout,
)
from kling_async.credentials import Credentials
from kling_async.rules.paging import Walk
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

MakeClient = Callable[..., KlingClient]
POLLING, LEARNT, DEFAULT = PollPolicy(interval=5.0), SlotPolicy(), RetryPolicy()
# A POST of these tests has about 309 bytes, its answer about 404; what the port's digits add is at the end.
REQUEST_CUTS = [0, 1, *range(25, 300, 25), *range(304, 312), 1000]
ANSWER_CUTS = [0, 1, *range(25, 400, 25), *range(400, 408), 1000]


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[MakeClient]:
    """Makes clients of the simulator, or of another host; they are closed at the end."""
    made: list[KlingClient] = []

    def make(
        url: str = "",
        *,
        credentials: Credentials | None = None,
        slots: SlotPolicy = LEARNT,
        retry: RetryPolicy = DEFAULT,
        wall: Callable[[], float] = wall,
    ) -> KlingClient:
        credentials = credentials or ApiKey(simulator.api_key)
        url = url or simulator.url
        made.append(
            KlingClient(
                credentials, base_url=url, wall=wall, draw=lambda: 0.5, polling=POLLING, slots=slots, retry=retry
            )
        )
        return made[-1]

    yield make
    for one in made:
        await one.close()


def made_once(simulator: Simulator, task: Task) -> bool:
    return [made.task_id for made in simulator.accepted] == [task.id]


async def create(kling: KlingClient, simulator: Simulator, **more: Any) -> Task:
    return await kling.video_extend.create(simulator.sources[0], external_task_id="mine-1", **more)


# --- 1, 2: connection refused ----------------------------------------------------------------------------------------


async def test_row_01_refused_connection_is_tried_again_until_it_is_not(
    kling: KlingClient, simulator: Simulator
) -> None:
    await simulator.stop()
    creating = asyncio.create_task(create(kling, simulator))
    await asyncio.sleep(20.0)
    await simulator.start()
    assert made_once(simulator, await creating)
    assert (simulator.count("create"), simulator.count("get")) == (1, 0)  # no doubt: there was nothing to ask for


async def test_row_01_refused_connection_is_not_tried_for_as_long_as_a_doubt(
    kling: KlingClient, simulator: Simulator
) -> None:
    await simulator.stop()
    began = asyncio.get_running_loop().time()
    error = await refused(create(kling, simulator))
    assert isinstance(error, TransportError)
    assert asyncio.get_running_loop().time() - began <= RetryPolicy().timeout


async def test_row_01_refused_connection_made_nothing(kling: KlingClient, simulator: Simulator) -> None:
    await simulator.stop()
    error = await refused(create(kling, simulator, timeout=60.0))
    assert isinstance(error, TransportError)
    assert (error.created, error.external_task_id) == ("no", "mine-1")


async def test_row_02_refused_connection_does_not_end_a_wait(kling: KlingClient, simulator: Simulator) -> None:
    task = await create(kling, simulator)
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await simulator.stop()
    await asyncio.sleep(300.0)
    assert not waiting.done()
    await simulator.start()
    assert (await waiting).status is TaskStatus.SUCCEED


# --- 3, 4: the create's connection ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("at", REQUEST_CUTS)
async def test_row_03_request_cut_at_a_byte_makes_one_task(
    client: MakeClient, simulator: Simulator, at: int, then: Literal["reset", "close"]
) -> None:
    async with Middleman(simulator.port) as middleman:
        middleman.mishaps.append(Mishap(on="POST", forward=at, deliver=0, then=then))
        assert made_once(simulator, await create(client(middleman.url), simulator))


@pytest.mark.parametrize("after", [False, True], ids=["not made", "made"])
async def test_row_03_reset_that_cannot_be_settled_is_unknown(
    kling: KlingClient, simulator: Simulator, after: bool
) -> None:
    simulator.script(Fault.reset(on="create", after=after), Fault.reset(on="get", times=None))
    error = await uncertain(create(kling, simulator))
    assert error.external_task_id == "mine-1"


async def test_row_03_reset_is_asked_about_before_anything_is_posted_again(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.reset(on="create"))
    await create(kling, simulator)
    assert (simulator.count("create"), simulator.count("get")) == (2, 5)
    assert now() == pytest.approx(30.0, abs=0.1)


async def test_row_03_task_that_is_found_is_adopted(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create", after=True))
    assert made_once(simulator, await create(kling, simulator))
    assert simulator.count("create") == 1


async def test_row_03_task_that_shows_late_is_adopted_after_1201(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.reset(on="create", after=True), Fault.code(1201, on="get", times=6))
    assert made_once(simulator, await create(kling, simulator))
    assert simulator.count("create") == 2


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("at", ANSWER_CUTS)
async def test_row_04_answer_cut_at_a_byte_makes_one_task(
    client: MakeClient, simulator: Simulator, at: int, then: Literal["reset", "close"]
) -> None:
    async with Middleman(simulator.port) as middleman:
        middleman.mishaps.append(Mishap(on="POST", deliver=at, then=then))
        assert made_once(simulator, await create(client(middleman.url), simulator))
        assert simulator.count("create") == 1


async def test_row_04_answer_cut_in_its_body_that_cannot_be_settled_is_unknown(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.truncated(on="create", reset=True), Fault.truncated(on="get", reset=True, times=None))
    await uncertain(create(kling, simulator))
    assert len(simulator.accepted) == 1


async def test_row_05_poll_cut_in_its_body_does_not_end_a_wait(kling: KlingClient, simulator: Simulator) -> None:
    task = await create(kling, simulator)
    simulator.script(Fault.truncated(on="query", reset=True, times=5))
    assert (await kling.video_extend.wait(task)).status is TaskStatus.SUCCEED


# --- 6, 7: time ------------------------------------------------------------------------------------------------------


async def test_row_06_create_answered_byte_by_byte_is_settled_by_asking(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.trickle(1.0, on="create"))
    assert made_once(simulator, await create(kling, simulator))
    assert now() <= 20.0 * 1.1


async def test_row_06_create_answered_byte_by_byte_to_the_end_of_its_time_is_unknown(
    kling: KlingClient, simulator: Simulator
) -> None:
    simulator.script(Fault.trickle(1.0, on="create"))
    await uncertain(create(kling, simulator, timeout=10.0))
    assert now() <= 10.0 * 1.1


async def test_row_06_read_answered_byte_by_byte_is_tried_on_another_connection(client: MakeClient) -> None:
    slow = Act(say=envelope(task_record()), pace=1.0)
    async with FaultServer.of(slow, Act(say=envelope(task_record()))) as server:
        assert (await client(server.url).video_extend.get("t-1")).id == "t-1"
        assert server.connections == 2
        assert now() <= 21.0 * 1.1


async def test_row_06_read_that_is_always_answered_so_ends_with_its_time(client: MakeClient) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()), pace=1.0)) as server:
        error = await refused(client(server.url).video_extend.get("t-1", timeout=25.0))
        assert isinstance(error, TransportError)
        assert error.created == "no"
        assert now() <= 25.0 * 1.1


async def test_row_07_silent_connection_is_dropped(client: MakeClient) -> None:
    async with FaultServer.of(Act(then="silence"), Act(say=envelope(task_record()))) as server:
        assert (await client(server.url).video_extend.get("t-1")).id == "t-1"
        assert server.connections == 2
        assert now() <= 21.0


async def test_row_07_silent_connection_stops_no_poll(kling: KlingClient, simulator: Simulator) -> None:
    task = await create(kling, simulator)
    simulator.script(Fault.slow(10_000.0, on="query", times=2))
    assert (await kling.video_extend.wait(task, timeout=300.0)).status is TaskStatus.SUCCEED


# --- 8 to 13: answers that are none, and the vendor's own trouble ----------------------------------------------------

NO_ANSWER = {
    "08 half a JSON of the right length": Fault.truncated(complete=True, on="create"),
    "08 nothing": Fault.empty(on="create", after=True),
    "08 nothing, not made": Fault.empty(on="create"),
    "08 an empty list": Fault.body(b"[]", on="create", after=True),
    "09 HTML 502": Fault.html(502, on="create"),
    "09 HTML 502, made": Fault.html(502, on="create", after=True),
    "09 HTML 503": Fault.html(503, on="create"),
    "09 HTML 504, made": Fault.html(504, on="create", after=True),
    "09 HTML 200, made": Fault.html(200, on="create", after=True),
    "09 HTML 404": Fault.html(404, on="create"),
    "10 garbage": Fault.garbage(on="create"),
    "10 garbage, made": Fault.garbage(on="create", after=True),
    "11 5000": Fault.code(5000, on="create"),
    "11 5000, made": Fault.code(5000, on="create", after=True),
    "11 5002, made": Fault.code(5002, on="create", after=True),
    "12 5001": Fault.code(5001, on="create"),
    "12 5001, made": Fault.code(5001, on="create", after=True),
    "12 5999, made": Fault.code(5999, on="create", after=True),
}


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_rows_08_to_12_create_is_settled_by_asking(
    kling: KlingClient, simulator: Simulator, fault: Fault
) -> None:
    simulator.script(fault)
    assert made_once(simulator, await create(kling, simulator))
    assert simulator.count("create") == (1 if fault.after else 2)


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_rows_08_to_12_create_that_cannot_be_settled_is_unknown(
    kling: KlingClient, simulator: Simulator, fault: Fault
) -> None:
    simulator.script(fault, Fault.code(5001, on="get", times=None))
    await uncertain(create(kling, simulator))
    assert len(simulator.accepted) == int(fault.after)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.truncated(complete=True, on="query", times=3),
        Fault.html(200, on="query", times=3),
        Fault.html(502, times=3),
    ],
    ids=["08 half a JSON", "09 HTML 200", "09 HTML 502"],
)
async def test_rows_08_and_09_read_is_repeated(kling: KlingClient, simulator: Simulator, fault: Fault) -> None:
    task = await create(kling, simulator)
    simulator.script(fault)
    assert (await kling.video_extend.get(task)).id == task.id


async def test_row_08_what_arrived_is_shown_in_short_and_without_secrets(client: MakeClient) -> None:
    said = answer(b'{"code": 0, "token": "Bearer sesame", "data": [' + b"7, " * 5_000)
    async with FaultServer.of(Act(say=said)) as server:
        error = await refused(client(server.url).video_extend.get("t-1", timeout=0.2))
        assert isinstance(error, MalformedResponse)
        assert len(error.message) < 300
        assert "sesame" not in str(error)


@pytest.mark.parametrize("status", [200, 502, 503, 504])
async def test_row_09_status_of_a_page_is_kept(kling: KlingClient, simulator: Simulator, status: int) -> None:
    simulator.script(Fault.html(status, times=None))
    error = await refused(kling.video_extend.get("t-1"))
    assert isinstance(error, MalformedResponse)
    assert (error.http_status, error.created) == (status, "no")


@pytest.mark.parametrize("code", [5000, 5001, 5002])
async def test_row_13_reads_and_listings_outlive_the_vendors_trouble(
    kling: KlingClient, simulator: Simulator, code: int
) -> None:
    task = await create(kling, simulator)
    simulator.script(Fault.code(code, on="get", times=3), Fault.code(code, on="list", times=3))
    assert (await kling.video_extend.get(task)).id == task.id
    assert [one.id async for one in kling.video_extend.list()] == [task.id]


async def test_row_13_retry_after_is_waited_for(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(5001, headers={"Retry-After": "9"}))
    await kling.video_extend.list()
    assert now() == pytest.approx(9.0, abs=0.1)


# --- 14 to 16: full, and too fast ------------------------------------------------------------------------------------


async def test_row_14_storm_of_1303_ends_with_the_task(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1303, on="create", times=30))
    assert made_once(simulator, await create(kling, simulator))  # however often: a job has no count of tries
    assert simulator.count("get") == 0  # and nothing was in doubt


async def test_row_14_creates_over_the_limit_are_all_made_in_the_end(kling: KlingClient, simulator: Simulator) -> None:
    simulator.engine.slots = 2
    tasks = await asyncio.gather(*(kling.video_extend.create(simulator.sources[0]) for _ in range(8)))
    assert len({task.id for task in tasks}) == len(simulator.accepted) == 8
    assert simulator.engine.peak_in_flight == 2


async def test_row_14_account_that_stays_full_made_nothing(kling: KlingClient, simulator: Simulator) -> None:
    simulator.engine.slots = 1
    await kling.video_extend.create(simulator.sources[0])
    error = await refused(create(kling, simulator, timeout=30.0))
    assert isinstance(error, ConcurrencyLimited)
    assert error.created == "no"
    assert len(simulator.accepted) == 1


async def test_row_15_slots_of_others_are_tried_for_ever_more_rarely(
    kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.engine.slots = 0
    error = await refused(create(kling, simulator, timeout=600.0))
    assert isinstance(error, ConcurrencyLimited)
    assert error.created == "no"
    assert now() == pytest.approx(600.0, abs=0.1)
    assert simulator.count("create") <= 20  # 1, 2, 4, ... 60 s
    assert len([record for record in caplog.records if "none by this client" in record.message]) == 1


async def test_row_15_slot_that_others_give_back_is_taken(kling: KlingClient, simulator: Simulator) -> None:
    simulator.engine.slots = 0
    creating = asyncio.create_task(create(kling, simulator))
    await asyncio.sleep(300.0)
    simulator.engine.slots = 1
    assert made_once(simulator, await creating)


async def test_row_16_1302_pauses_the_whole_client(kling: KlingClient, simulator: Simulator) -> None:
    task = await create(kling, simulator)
    simulator.script(Fault.code(1302, on="create"))
    creating = asyncio.create_task(kling.video_extend.create(simulator.sources[0]))
    await asyncio.sleep(0.1)
    begun = simulator.count("get"), simulator.count("list"), simulator.count("create")
    reads = [asyncio.create_task(kling.video_extend.get(task)) for _ in range(20)]
    await asyncio.sleep(0.85)
    assert (simulator.count("get"), simulator.count("list"), simulator.count("create")) == begun
    await asyncio.gather(creating, *reads)
    assert len(simulator.accepted) == 2


async def test_row_16_while_1302_goes_on_the_rate_at_least_halves(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1302, on="create", times=None))
    creating = asyncio.create_task(refused(create(kling, simulator, timeout=200.0)))
    counts = []
    for seconds in (20.0, 40.0, 80.0):
        before = simulator.count("create")
        await asyncio.sleep(seconds)
        counts.append((simulator.count("create") - before) / seconds)
    assert counts[1] <= counts[0] / 2
    assert counts[2] <= counts[1]
    error = await creating
    assert isinstance(error, RateLimited)
    assert error.created == "no"


async def test_row_16_1302_on_a_read_is_waited_for(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1302, on="list", times=2))
    await kling.video_extend.list()
    assert now() >= 3.0


# --- 17, 18: refused for good ----------------------------------------------------------------------------------------

ACCOUNT = {1100: AccountError, 1101: AccountError, 1102: AccountError, 1103: AccountError, 1304: AddressNotAllowed}


@pytest.mark.parametrize(("code", "kind"), ACCOUNT.items())
async def test_row_17_refusal_for_the_accounts_sake_is_sent_once_and_made_nothing(
    kling: KlingClient, simulator: Simulator, code: int, kind: type[APIError]
) -> None:
    simulator.script(Fault.code(code, on="create", times=None))
    error = await refused(create(kling, simulator))
    assert isinstance(error, kind)
    assert (error.code, error.http_status, error.created) == (code, 403 if code == 1103 else 429, "no")
    assert (simulator.count("create"), simulator.count("get")) == (1, 0)


@pytest.mark.parametrize("code", ACCOUNT)
async def test_row_17_creates_in_line_hear_it_and_are_not_sent(
    client: MakeClient, simulator: Simulator, code: int
) -> None:
    kling = client(slots=SlotPolicy(limit=1))
    await kling.video_extend.create(simulator.sources[0])
    simulator.script(Fault.code(code, on="create", times=None))
    creates = [refused(kling.video_extend.create(simulator.sources[0])) for _ in range(5)]
    errors = await asyncio.gather(*creates)
    assert {error.created for error in errors} == {"no"}
    assert sum(error.attempts for error in errors) == 1
    assert simulator.count("create") == 2


async def test_row_17_what_was_paid_for_is_still_awaited(kling: KlingClient, simulator: Simulator) -> None:
    waiting = asyncio.create_task(kling.video_extend.run(simulator.sources[0]))
    await asyncio.sleep(1.0)
    simulator.script(Fault.code(1102, on="create", times=None))
    await refused(create(kling, simulator))
    assert (await waiting).status is TaskStatus.SUCCEED


REFUSED = {
    1200: InvalidRequest,
    1201: InvalidRequest,
    1202: InvalidRequest,
    1203: NotFound,
    1300: ContentRejected,
    1301: ContentRejected,
}


@pytest.mark.parametrize("message", ["already exists", "Task not found by id/external id", "prompt is too long"])
@pytest.mark.parametrize(("code", "kind"), REFUSED.items())
async def test_row_18_refusal_made_nothing_whatever_its_words(
    kling: KlingClient, simulator: Simulator, code: int, kind: type[APIError], message: str
) -> None:
    simulator.script(Fault.code(code, message=message, on="create", times=None))
    error = await refused(create(kling, simulator))
    assert isinstance(error, kind)
    assert (error.code, error.created, error.external_task_id) == (code, "no", "mine-1")
    # 1201 may mean that the id is taken; one question tells.
    assert (simulator.count("create"), simulator.count("get")) == (1, int(code == 1201))


async def test_row_18_1201_of_an_id_that_is_taken_gives_the_task(client: MakeClient, simulator: Simulator) -> None:
    first = await create(client(), simulator)
    assert (await create(client(), simulator)).id == first.id
    assert made_once(simulator, first)


# --- 19 to 21: tokens and keys ---------------------------------------------------------------------------------------


def signed(simulator: Simulator) -> AccessKey:
    return AccessKey(simulator.access_key, simulator.secret_key)


@pytest.mark.parametrize("code", [1003, 1004])
async def test_row_19_token_that_expires_on_the_way_is_signed_anew_once(
    client: MakeClient, simulator: Simulator, code: int
) -> None:
    simulator.script(Fault.code(code, on="create"))
    assert made_once(simulator, await create(client(credentials=signed(simulator)), simulator))
    assert (simulator.count("create"), simulator.count("get")) == (2, 0)


async def test_row_19_second_1004_is_an_error_and_made_nothing(client: MakeClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1004, on="create", times=None))
    error = await refused(create(client(credentials=signed(simulator)), simulator))
    assert isinstance(error, AuthenticationError)
    assert (error.created, error.attempts, simulator.count("create")) == ("no", 2, 2)


@pytest.mark.parametrize("seconds", [-7200.0, -600.0, 600.0, 7200.0])
async def test_row_20_clock_that_is_off_costs_one_request_and_one_warning(
    client: MakeClient, simulator: Simulator, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    kling = client(credentials=signed(simulator), wall=lambda: wall() + seconds)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await kling.video_extend.create(simulator.sources[0])
    assert len(simulator.accepted) == 3
    assert simulator.count("create") <= 4
    assert len([record for record in caplog.records if "clock" in record.message]) == simulator.count("create") - 3


@pytest.mark.parametrize("code", [1000, 1001, 1002])
async def test_row_21_refused_credentials_are_named_and_not_tried_again(
    kling: KlingClient, simulator: Simulator, code: int
) -> None:
    simulator.script(Fault.code(code, on="create", times=None))
    error = await refused(create(kling, simulator))
    assert isinstance(error, AuthenticationError)
    assert (error.created, simulator.count("create")) == ("no", 1)
    for hint in (simulator.url.removeprefix("http://"), "ApiKey", "access key pair", "region"):
        assert hint in str(error)
    assert simulator.api_key not in str(error)


# --- 22, 24, 25, 28: names, certificates, redirects, floods ----------------------------------------------------------


@pytest.mark.parametrize("reason", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_row_22_name_that_resolves_later_is_enough(
    client: MakeClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    failures = [reason] * 4
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", simulator.port))

    def resolve(*_: object, **__: object) -> list[object]:
        if failures:
            raise socket.gaierror(failures.pop(), "no such name today")
        return [address]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    task = await create(client(f"http://api.example:{simulator.port}"), simulator)
    assert made_once(simulator, task)
    assert simulator.count("create") == 1


async def test_row_22_name_that_never_resolves_made_nothing(
    client: MakeClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await refused(create(client("http://api.example"), simulator, timeout=20.0))
    assert isinstance(error, TransportError)
    assert error.created == "no"


@pytest.fixture
def self_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parent / "samples" / "loopback.pem")
    return context


async def test_row_24_certificate_that_is_not_valid_is_tried_once(
    client: MakeClient, simulator: Simulator, self_signed: ssl.SSLContext
) -> None:
    async with FaultServer.of(Act(say=envelope(task_record())), tls=self_signed) as server:
        error = await refused(create(client(server.url), simulator))
        assert isinstance(error, TransportError)
        assert (error.created, error.attempts) == ("no", 1)
        assert server.received == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_row_25_redirected_create_is_not_followed_and_unknown(
    client: MakeClient, simulator: Simulator, status: str
) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()))) as elsewhere:
        moved = answer(b"", status=status, headers={"Location": f"{elsewhere.url}/there"})
        async with FaultServer.of(Act(say=moved)) as server:
            error = await uncertain(create(client(server.url), simulator))
            assert f"{elsewhere.url}/there" in error.message
        assert elsewhere.connections == 0


async def test_row_25_redirected_read_is_not_followed(client: MakeClient) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()))) as elsewhere:
        moved = answer(b"", status="302 Found", headers={"Location": f"{elsewhere.url}/there"})
        async with FaultServer.of(Act(say=moved)) as server:
            error = await refused(client(server.url).video_extend.get("t-1"))
            assert isinstance(error, MalformedResponse)
            assert (error.created, len(server.received)) == ("no", 1)
        assert elsewhere.connections == 0


@pytest.mark.parametrize("on", ["get", "list"])
async def test_row_28_bomb_is_dropped_tried_again_and_then_told(client: MakeClient, on: str) -> None:
    bomb = answer(gzip.compress(b" " * 9 * 2**20), headers={"Content-Encoding": "gzip"})
    async with FaultServer.of(Act(say=bomb)) as server:
        kling = client(server.url, retry=RetryPolicy(timeout=2.0))
        error = await refused(kling.video_extend.get("t-1") if on == "get" else _first_page(kling))
        assert isinstance(error, TransportError)
        assert "larger than" in error.message
        assert (error.created, error.attempts) == ("no", server.connections)
        assert server.connections > 1


async def test_row_28_bomb_in_answer_to_a_create_is_settled_by_asking(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.body(b" " * 9 * 2**20, on="create", after=True))
    assert made_once(simulator, await create(kling, simulator))


async def _first_page(kling: KlingClient) -> Page:
    return await kling.video_extend.list()


# --- 43, 44: restarts ------------------------------------------------------------------------------------------------


async def test_row_43_create_that_a_dead_process_sent_is_adopted_by_its_own_id(
    client: MakeClient, simulator: Simulator
) -> None:
    simulator.script(Fault.slow(10.0, on="create"))
    first = client()
    dying = asyncio.create_task(create(first, simulator))
    await asyncio.sleep(1.0)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await first.close()
    assert made_once(simulator, await create(client(), simulator))


async def test_row_44_connection_that_a_restart_left_stale_makes_one_task(
    kling: KlingClient, simulator: Simulator
) -> None:
    await kling.video_extend.create(simulator.sources[0])
    await simulator.stop()
    await simulator.start()
    await create(kling, simulator)
    assert len(simulator.accepted) == 2


async def test_row_44_connection_that_is_closed_under_the_create_makes_one_task(
    client: MakeClient, simulator: Simulator
) -> None:
    async with Middleman(simulator.port) as middleman:
        kling = client(middleman.url)
        await kling.video_extend.create(simulator.sources[0])
        middleman.mishaps.append(Mishap(on="POST", forward=0, deliver=0, then="close"))
        await create(kling, simulator)
        assert len(simulator.accepted) == 2


async def test_row_44_wait_goes_on_after_a_restart(kling: KlingClient, simulator: Simulator) -> None:
    waiting = asyncio.create_task(kling.video_extend.run(simulator.sources[0]))
    for _ in range(5):
        await asyncio.sleep(9.0)
        await simulator.stop()
        await simulator.start()
    assert made_once(simulator, await waiting)


# --- 45 to 51: what a query may say ----------------------------------------------------------------------------------

NOTHING = json.dumps({"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": None}).encode()


@pytest.mark.parametrize(
    "fault",
    [Fault.code(1201, on="get", times=4), Fault.code(1203, on="get", times=4), Fault.body(NOTHING, on="get", times=4)],
    ids=["1201", "1203", "a success without a task"],
)
async def test_row_45_task_that_is_not_there_yet_is_waited_for(
    kling: KlingClient, simulator: Simulator, fault: Fault
) -> None:
    task = await create(kling, simulator)
    simulator.script(fault)
    assert (await kling.video_extend.wait(task)).id == task.id


async def test_row_46_task_that_vanishes_is_told_after_a_minute_and_not_made_again(
    kling: KlingClient, simulator: Simulator
) -> None:
    task = await create(kling, simulator)
    await asyncio.sleep(20.0)
    simulator.script(Fault.code(1201, on="get", times=None))
    error = await refused(kling.video_extend.wait(task))
    assert isinstance(error, TaskVanished)
    assert (error.created, error.task_id, error.external_task_id) == ("yes", task.id, "mine-1")
    assert now() >= 80.0
    assert simulator.count("get") >= 3
    assert made_once(simulator, task)


def _odd(id: str) -> Callable[[dict[str, Any]], Any]:
    def change(told: dict[str, Any]) -> Any:
        records = told["data"] if isinstance(told["data"], list) else [told["data"]]
        for record in records:
            if record["task_id"] == id:
                record["task_status"] = "reticulating"
        return told

    return change


@pytest.mark.parametrize("others", [0, 9])
async def test_row_47_unknown_status_is_borne_and_then_told_and_harms_nobody_else(
    kling: KlingClient, simulator: Simulator, caplog: pytest.LogCaptureFixture, others: int
) -> None:
    odd, *rest = [await kling.video_extend.create(simulator.sources[0]) for _ in range(1 + others)]
    simulator.script(Fault.changed(_odd(odd.id), on="query", times=None))
    waiting = asyncio.create_task(refused(kling.video_extend.wait(odd)))
    ended = await kling.video_extend.wait_all(rest)
    assert {task.status for task in ended} <= {TaskStatus.SUCCEED}
    assert now() < 100.0
    error = await waiting
    assert isinstance(error, UnknownStatus)
    assert (error.created, error.task_id) == ("yes", odd.id)
    assert now() >= 600.0
    assert len([record for record in caplog.records if "reticulating" in record.message]) == 1


async def test_row_47_unknown_status_in_the_answer_to_a_create_is_a_task(
    kling: KlingClient, simulator: Simulator
) -> None:
    def change(told: dict[str, Any]) -> Any:
        told["data"]["task_status"] = "reticulating"
        return told

    simulator.script(Fault.changed(change, on="create"))
    task = await create(kling, simulator)
    assert made_once(simulator, task)
    assert task.status is TaskStatus.UNKNOWN


async def test_row_48_both_spellings_numbers_for_ids_and_fields_nobody_knows(
    kling: KlingClient, simulator: Simulator
) -> None:
    def change(told: dict[str, Any]) -> Any:
        record = told["data"]
        record["task_id"] = int(record["task_id"])
        record["task_status"] = record["task_status"].replace("succeed", "succeeded")
        record["surprise"] = {"of": ["any", "kind"]}
        record.pop("updated_at")
        return told

    simulator.script(Fault.changed(change, on="create"), Fault.changed(change, on="get", times=None))
    task = await create(kling, simulator)
    assert made_once(simulator, task)
    assert (await kling.video_extend.wait(task)).status is TaskStatus.SUCCEED


def _bare(told: dict[str, Any]) -> Any:
    told["data"].pop("task_result", None)
    return told


async def test_row_49_success_whose_video_comes_a_look_later(kling: KlingClient, simulator: Simulator) -> None:
    task = await create(kling, simulator)
    await asyncio.sleep(61.0)
    simulator.script(Fault.changed(_bare, on="get"))
    assert (await kling.video_extend.wait(task)).video.id


async def test_row_49_success_without_a_video_is_told_after_another_look(
    kling: KlingClient, simulator: Simulator
) -> None:
    task = await create(kling, simulator)
    await asyncio.sleep(61.0)
    simulator.script(Fault.changed(_bare, on="get", times=None))
    error = await refused(kling.video_extend.wait(task))
    assert isinstance(error, NoVideo)
    assert (error.created, error.task_id, error.task.raw["task_status"]) == ("yes", task.id, "succeed")
    assert simulator.count("get") == 2


async def test_row_50_answers_are_matched_by_id_whatever_their_order(kling: KlingClient, simulator: Simulator) -> None:
    def shuffle(told: dict[str, Any]) -> Any:
        told["data"] = told["data"][::-2]  # backwards, and every second one is missing
        return told

    tasks = [await kling.video_extend.create(simulator.sources[0]) for _ in range(10)]
    simulator.script(Fault.changed(shuffle, on="list", times=None))
    ended = await kling.video_extend.wait_all(tasks)
    assert [task.id for task in ended] == [task.id for task in tasks]
    assert len({task.video.id for task in ended}) == 10


async def test_row_51_older_look_does_not_lead_back(kling: KlingClient, simulator: Simulator) -> None:
    def stale(told: dict[str, Any]) -> Any:
        told["data"]["task_status"] = "submitted"
        told["data"]["updated_at"] = told["data"]["created_at"]
        return told

    task = await create(kling, simulator)
    simulator.script(Fault.none(on="get", times=4), Fault.changed(stale, on="get", times=None))
    error = await refused(kling.video_extend.wait(task, timeout=40.0))
    assert isinstance(error, WaitTimeout)
    assert error.created == "yes"
    [pending] = error.pending
    assert isinstance(pending, Task)
    assert pending.status is TaskStatus.PROCESSING


# --- 52, 53: listings ------------------------------------------------------------------------------------------------


async def test_row_52_list_that_moves_shows_every_task_once(kling: KlingClient, simulator: Simulator) -> None:
    tasks = {(await kling.video_extend.create(simulator.sources[0])).id for _ in range(12)}
    seen = []
    async for task in kling.video_extend.list(page_size=5):
        seen.append(task.id)
        if len(seen) % 4 == 0 and len(seen) < 12:
            await kling.video_extend.create(simulator.sources[0])
    assert len(seen) == len(set(seen))
    assert tasks <= set(seen)


def test_row_53_list_that_repeats_one_page_for_ever_comes_to_an_end() -> None:
    walk, fetched, shown = Walk(1, 2), 0, 0
    while (number := walk.next_page) is not None:
        tasks = tuple(Task(str(number), TaskStatus.SUBMITTED) for number in range(2))
        shown += len(walk.took(Page(number, 2, tasks)).tasks)
        fetched += 1
    assert (fetched, shown) == (1000, 2)


# --- 54 to 57: the caller's own house --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, Fault.reset(on="create"), Fault.reset(on="create", after=True)])
async def test_row_54_create_cancelled_at_any_turn_is_noted_or_was_not_sent(
    client: MakeClient, simulator: Simulator, fault: Fault | None
) -> None:
    faults = [] if fault is None else [fault]
    for turns in range(40):
        kling, own_id, known = client(), f"mine-{turns}", len(simulator.accepted)
        simulator.clear_faults()
        simulator.script(*faults)
        creating = asyncio.create_task(kling.video_extend.create(simulator.sources[0], external_task_id=own_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not await _noted(creating):
            assert len(simulator.accepted) == known
        simulator.clear_faults()
        await kling.video_extend.create(simulator.sources[0], external_task_id=own_id)
        assert len(simulator.accepted) == known + 1


async def _noted(creating: asyncio.Task[Task]) -> bool:
    """Whether a create that is cancelled now gave its task, or else left a note."""
    creating.cancel()
    try:
        await creating
    except asyncio.CancelledError as cancelled:
        await asyncio.sleep(0.1)  # what is under way arrives
        return bool(getattr(cancelled, "__notes__", None))
    return True


async def test_row_55_create_from_a_second_live_loop_is_refused_unsent(
    kling: KlingClient, simulator: Simulator
) -> None:
    await create(kling, simulator)

    def elsewhere() -> None:
        asyncio.run(kling.video_extend.create("v-1", timeout=5.0))

    error = await refused(asyncio.to_thread(elsewhere))
    assert isinstance(error, ConfigurationError)
    assert error.created == "no"
    assert simulator.count("create") == 1


async def test_row_56_create_does_not_wait_behind_reads(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    simulator.script(Fault.slow(5.0, on="get", times=None))
    reads = [asyncio.create_task(kling.video_extend.get(task, timeout=200.0)) for _ in range(200)]
    await asyncio.sleep(1.0)
    await create(kling, simulator)
    assert now() < 1.1
    await asyncio.gather(*reads)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_row_57_wall_clock_that_jumps_moves_no_deadline(
    client: MakeClient, simulator: Simulator, jump: float
) -> None:
    shift = 0.0
    kling = client(credentials=signed(simulator), wall=lambda: wall() + shift)
    simulator.script(Fault.reset(on="create", after=True), Fault.code(5000, on="get", times=None))
    creating = asyncio.create_task(uncertain(create(kling, simulator, timeout=100.0)))
    await asyncio.sleep(10.0)
    shift = jump
    await creating
    assert 90.0 <= now() <= 100.0
    simulator.clear_faults()
    assert made_once(simulator, await kling.video_extend.wait(await create(kling, simulator), timeout=100.0))


# --- 60, 61: sources and failed tasks --------------------------------------------------------------------------------


async def test_row_60_source_known_to_be_too_long_is_refused_here(kling: KlingClient, simulator: Simulator) -> None:
    error = await refused(kling.video_extend.create(Video("v-1", duration=Decimal(177))))
    assert isinstance(error, RequestError)
    assert (error.created, simulator.count("create")) == ("no", 0)


@pytest.mark.parametrize("model", ["kling-v9", "", "kling v1"])
async def test_row_60_model_that_no_document_lists_is_refused_here(
    kling: KlingClient, simulator: Simulator, model: str
) -> None:
    error = await refused(create(kling, simulator, model_name=model))
    assert isinstance(error, RequestError)
    assert "model_name" in error.message
    assert (error.created, simulator.count("create")) == ("no", 0)


@pytest.mark.parametrize("source", ["too old", "too long", "of another account"])
async def test_row_60_source_that_the_vendor_refuses_made_nothing_and_is_told_in_its_words(
    kling: KlingClient, simulator: Simulator, source: str
) -> None:
    ids = {
        "too old": simulator.add_source(age_days=31.0),
        "too long": simulator.add_source(duration="178.0"),
        "of another account": "video-of-somebody-else",
    }
    error = await refused(kling.video_extend.create(ids[source]))
    assert isinstance(error, APIError)
    assert error.created == "no"
    assert len(error.message) > 10
    assert (simulator.count("create"), len(simulator.accepted)) == (1, 0)


async def test_row_61_failed_task_is_never_made_again_under_its_id(client: MakeClient, simulator: Simulator) -> None:
    simulator.fail_next()
    kling = client()
    error = await refused(kling.video_extend.run(simulator.sources[0], external_task_id="mine-1"))
    assert isinstance(error, TaskFailed)
    assert error.created == "yes"
    for again in (kling, client()):
        assert (await create(again, simulator)).status is TaskStatus.FAILED
    assert len(simulator.accepted) == 1


async def test_row_61_another_id_makes_another_task(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    await refused(kling.video_extend.run(simulator.sources[0], external_task_id="mine-1"))
    assert (await kling.video_extend.run(simulator.sources[0], external_task_id="mine-2")).status is TaskStatus.SUCCEED

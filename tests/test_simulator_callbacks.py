"""The simulated vendor's callbacks: what it posts, how it signs, and what goes wrong by script."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web
from posts import OTHER, SECRET, VECTOR, VECTOR_BODY, VECTOR_TIME

from kling_async import ApiKey, ConfigurationError, KlingClient
from kling_async.rules.signatures import Verifier
from kling_async.simulator import Delivery, Engine, Posted, Simulator
from kling_async.simulator.callbacks import WRONG_SECRET, is_near, key_of, signed
from kling_async.testing import wall


class Ear:
    """A server that notes what is posted to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, dict[str, str], bytes]] = []
        self.status = 200
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append((wall(), headers, await request.read()))
        return web.Response(status=self.status)

    @property
    def records(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.heard]

    @property
    def statuses(self) -> list[str]:
        return [record.get("task_status", record.get("status")) for record in self.records]


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    ear = Ear()
    app = web.Application()
    app.router.add_post("/ear", ear.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear.url = f"http://127.0.0.1:{runner.addresses[0][1]}/ear"
    yield ear
    await runner.cleanup()


def vendor(delivery: Delivery = Delivery(), secret: str | tuple[str, ...] | None = SECRET) -> Simulator:
    return Simulator(clock=wall, task_seconds=60.0, submitted_seconds=10.0, webhook_secret=secret, delivery=delivery)


def client(simulator: Simulator) -> KlingClient:
    return KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall)


async def carried_out(simulator: Simulator, url: str, tasks: int = 1, *, seconds: float = 70.0) -> None:
    """So many tasks are made and end, and all that is to be sent is sent."""
    async with client(simulator) as kling:
        for _ in range(tasks):
            await kling.video_extend.create(simulator.sources[0], callback_url=url)
        await asyncio.sleep(seconds)


def is_signed(headers: dict[str, str], body: bytes, secret: str = SECRET) -> bool:
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), content, sha256)
    return f"v1,{base64.b64encode(right).decode()}" in headers["webhook-signature"].split(" ")


def test_it_signs_as_the_vendors_published_vector() -> None:
    headers = signed("9876543210", VECTOR_TIME, VECTOR_BODY, [SECRET])
    assert headers == {"Content-Type": "application/json", **VECTOR}


async def test_each_change_is_posted_when_it_happens(ear: Ear) -> None:
    begun = wall()
    async with vendor() as simulator:
        await carried_out(simulator, ear.url)
    assert ear.statuses == ["submitted", "processing", "succeed"]
    assert [round(at - begun) for at, _, _ in ear.heard] == [0, 10, 60]
    assert all(is_signed(headers, body) for _, headers, body in ear.heard)
    assert len({headers["webhook-id"] for _, headers, _ in ear.heard}) == 3


async def test_each_body_is_the_record_of_then(ear: Ear) -> None:
    async with vendor() as simulator:
        await carried_out(simulator, ear.url)
        [task] = simulator.accepted
    submitted, processing, succeed = ear.records
    assert submitted["updated_at"] < processing["updated_at"] < succeed["updated_at"]
    assert ("task_result" in processing, "task_result" in succeed) == (False, True)
    assert {record["task_id"] for record in ear.records} == {task.task_id}
    assert succeed["task_result"]["videos"][0]["url"].startswith(simulator.url)


async def test_newer_shape(ear: Ear) -> None:
    async with vendor(Delivery(shape="newer")) as simulator:
        simulator.fail_next(message="too dark")
        await carried_out(simulator, ear.url, tasks=2)
    ends = ear.records[-2:]
    assert [(end["status"], end["message"], len(end["outputs"])) for end in ends] == [
        ("failed", "too dark", 0),
        ("succeeded", "", 1),
    ]
    assert ends[1]["outputs"][0]["type"] == "video"
    assert ends[1]["external_id"].startswith("kling-async-")


async def test_without_a_url_nothing_is_posted(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.run(simulator.sources[0])
    assert not simulator.posted


async def test_tasks_with_and_without_a_url_side_by_side(ear: Ear) -> None:
    async with vendor() as signing, client(signing) as kling:
        await kling.video_extend.create(signing.sources[0])
        await kling.video_extend.create(signing.sources[0], callback_url=ear.url)
        await asyncio.sleep(70.0)
    assert {record["task_id"] for record in ear.records} == {signing.accepted[1].task_id}


async def test_without_a_secret_it_is_not_signed(ear: Ear) -> None:
    async with vendor(secret=None) as simulator:
        assert simulator.webhook_secrets == ()
        await carried_out(simulator, ear.url)
    assert not [name for _, headers, _ in ear.heard for name in headers if name.startswith("webhook")]


async def test_while_a_secret_rotates_it_signs_twice(ear: Ear) -> None:
    async with vendor(secret=(SECRET, OTHER)) as simulator:
        await carried_out(simulator, ear.url)
    for _, headers, body in ear.heard:
        assert is_signed(headers, body, SECRET)
        assert is_signed(headers, body, OTHER)


# --- by script -------------------------------------------------------------------------------------------------------


async def test_all_can_be_lost(ear: Ear) -> None:
    async with vendor(Delivery(lose=1.0)) as simulator:
        await carried_out(simulator, ear.url)
        assert not simulator.posted
    assert not ear.heard


async def test_a_part_can_be_lost(ear: Ear) -> None:
    async with vendor(Delivery(lose=0.5)) as simulator:
        await carried_out(simulator, ear.url, tasks=50)
    assert 50 <= len(ear.heard) <= 100


@pytest.mark.parametrize(("fresh", "ids"), [(False, 3), (True, 9)])
async def test_copies(ear: Ear, fresh: bool, ids: int) -> None:
    async with vendor(Delivery(copies=3, fresh_ids=fresh)) as simulator:
        await carried_out(simulator, ear.url)
    assert Counter(ear.statuses) == {"submitted": 3, "processing": 3, "succeed": 3}
    assert len({headers["webhook-id"] for _, headers, _ in ear.heard}) == ids


async def test_late(ear: Ear) -> None:
    begun = wall()
    async with vendor(Delivery(delay=30.0)) as simulator:
        await carried_out(simulator, ear.url, seconds=100.0)
    assert [round(at - begun) for at, _, _ in ear.heard] == [30, 40, 90]
    assert all(abs(int(headers["webhook-timestamp"]) - at) <= 1 for at, headers, _ in ear.heard)


async def test_out_of_order(ear: Ear) -> None:
    async with vendor(Delivery(copies=3, shuffle=100.0)) as simulator:
        await carried_out(simulator, ear.url, seconds=200.0)
    assert len(ear.statuses) == 9
    assert ear.statuses != sorted(ear.statuses, key=["submitted", "processing", "succeed"].index)


async def test_forged_ones_tell_the_opposite_and_are_signed_with_another_secret(ear: Ear) -> None:
    async with vendor(Delivery(forge=1.0)) as simulator:
        simulator.fail_next()
        await carried_out(simulator, ear.url)
    forged = [(json.loads(body), headers, body) for _, headers, body in ear.heard if not is_signed(headers, body)]
    assert [record["task_status"] for record, _, _ in forged] == ["failed", "failed", "succeed"]
    assert all(is_signed(headers, body, WRONG_SECRET) for _, headers, body in forged)
    assert len(ear.heard) == 6


async def test_forged_ones_of_a_vendor_that_does_not_sign_are_not_signed_either(ear: Ear) -> None:
    async with vendor(Delivery(forge=1.0), secret=None) as simulator:
        await carried_out(simulator, ear.url)
    assert len(ear.heard) == 6
    assert not [name for _, headers, _ in ear.heard for name in headers if name.startswith("webhook")]


async def test_corrupted_ones_are_changed_behind_their_signature(ear: Ear) -> None:
    async with vendor(Delivery(corrupt=1.0)) as simulator:
        await carried_out(simulator, ear.url)
        assert {posted.kind for posted in simulator.posted} == {"corrupted"}
    assert len(ear.heard) == 3
    assert not any(is_signed(headers, body) for _, headers, body in ear.heard)


async def test_script_can_change_while_it_runs(ear: Ear) -> None:
    async with vendor(Delivery(lose=1.0)) as simulator:
        await carried_out(simulator, ear.url, seconds=20.0)
        simulator.delivery = Delivery()
        assert simulator.delivery == Delivery()
        await asyncio.sleep(50.0)
    assert ear.statuses == ["succeed"]


def _task_of(simulator: Simulator, posted: Posted) -> int:
    return [accepted.task_id for accepted in simulator.accepted].index(posted.task_id)


async def test_no_two_runs_share_an_id() -> None:
    """Who keeps the ids that it has seen, in a file say, must not take another run's for repetitions."""
    seen: list[set[str]] = []
    for _ in range(2):
        async with vendor(Delivery()) as simulator:
            await carried_out(simulator, "http://localhost:1/", tasks=5, seconds=100.0)
            seen.append({posted.id for posted in simulator.posted})
    assert len(seen[0]) == 15
    assert not seen[0] & seen[1]


async def test_same_seed_is_the_same_run() -> None:
    async def run(seed: int) -> list[tuple[int, str]]:
        async with vendor(Delivery(lose=0.5, copies=2, shuffle=20.0, seed=seed)) as simulator:
            await carried_out(simulator, "http://localhost:1/", tasks=5, seconds=100.0)
            return [(_task_of(simulator, posted), posted.status) for posted in simulator.posted]

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


# --- the other side --------------------------------------------------------------------------------------------------


async def test_what_it_was_answered_is_noted(ear: Ear) -> None:
    ear.status = 503
    async with vendor() as simulator:
        await carried_out(simulator, ear.url)
        assert [posted.answer for posted in simulator.posted] == [503, 503, 503]
        [task] = simulator.accepted
        first = simulator.posted[0]
    assert first == Posted(first.at, task.task_id, first.id, "submitted", "true", 503)


async def test_what_did_not_arrive_is_told_without_what_stands_behind_the_path(
    ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    ear.status = 404
    caplog.set_level("INFO")
    async with vendor() as simulator:
        await carried_out(simulator, f"{ear.url}?token=secret")
    told = [record.getMessage() for record in caplog.records if record.name == "kling_async.simulator.callbacks"]
    assert told == [f"A callback to {ear.url} was answered 404"] * 3


async def test_nobody_there_is_noted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    async with vendor() as simulator:
        await carried_out(simulator, url)
        assert [posted.answer for posted in simulator.posted] == [None, None, None]


async def test_who_does_not_answer_is_let_go_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with vendor() as simulator:
            await carried_out(simulator, f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=15.0)
            assert [posted.answer for posted in simulator.posted] == [None]


async def test_nothing_leaves_this_machine() -> None:
    async with vendor() as simulator:
        await carried_out(simulator, "https://example.com/callback")
        assert [posted.answer for posted in simulator.posted] == [None, None, None]


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://localhost:1/x", True),
        ("http://127.0.0.1/", True),
        ("https://[::1]:8/", True),
        ("http://127.8.8.8/", True),
        ("http://localhost.example.com/", False),
        ("http://10.0.0.1/", False),
        ("http://0.0.0.0/", False),
        ("http:///", False),
    ],
)
def test_this_machine_is_named_so(url: str, near: bool) -> None:
    assert is_near(url) is near


async def test_stopped_in_the_middle_it_goes_on_when_started_again(ear: Ear) -> None:
    async with vendor() as simulator:
        async with client(simulator) as kling:
            await kling.video_extend.create(simulator.sources[0], callback_url=ear.url)
            await asyncio.sleep(5.0)
        await simulator.stop()
        await asyncio.sleep(20.0)
        assert ear.statuses == ["submitted"]
        await simulator.start()
        await asyncio.sleep(50.0)
        assert ear.statuses == ["submitted", "processing", "succeed"]


async def test_stopping_breaks_off_what_is_under_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with vendor() as simulator:
            await carried_out(simulator, f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=5.0)
        assert not simulator.posted


# --- what it is given ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["whsec_!", "whsec_", "", "no base64", "whsec_AAAA", (SECRET, "")])
def test_secret_that_is_none_is_refused(secret: str | tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"base64|less than 16 bytes|padding|only"):
        Simulator(webhook_secret=secret)


@pytest.mark.parametrize("part", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["lose", "forge", "corrupt"])
def test_part_that_is_none_is_refused(name: str, part: float) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*from 0 to 1"):
        Delivery(**{name: part})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "secret", ["whsec_AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA"]
)
def test_key_of_a_secret(secret: str) -> None:
    assert key_of(secret) == bytes(16)


@pytest.mark.parametrize(
    "secret", ["whsec_AAAAAAAAAAAAAAAAAAAAAA", "whsec_AAAAAAAAAAAAAAAAAAAA", "whsec_!", "", SECRET]
)
def test_a_secret_is_one_for_both_or_for_none(secret: str) -> None:
    def taken(take: Callable[[], object]) -> bool:
        try:
            take()
        except (ValueError, ConfigurationError):
            return False
        return True

    assert taken(lambda: key_of(secret)) == taken(lambda: Verifier([secret]))


async def test_engine_of_ones_own_may_sign_too(ear: Ear) -> None:
    engine = Engine(clock=wall, task_seconds=60.0)
    async with Simulator(engine, webhook_secret=SECRET) as simulator:
        await carried_out(simulator, ear.url)
    assert len(ear.heard) == 3

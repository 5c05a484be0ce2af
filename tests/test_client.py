"""The client as a whole: how it is set up, what it shows of itself, and the simulator behind it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kling_async import (
    AccessKey,
    ApiKey,
    ConfigurationError,
    InvalidRequest,
    KlingClient,
    PollPolicy,
    RateLimited,
    RequestError,
    ResourcePack,
    TaskStatus,
    TransportError,
)
from kling_async.simulator import Fault, Simulator
from kling_async.spec import BASE_URL
from kling_async.testing import wall

KEY = ApiKey("an-api-key-to-be-kept")
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


# --- set up ----------------------------------------------------------------------------------------------------------


def test_without_credentials_it_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY"):
        KlingClient()


def test_api_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_API_KEY", "from-the-environment\n")
    assert KlingClient()._transport._signer.credentials == ApiKey("from-the-environment")


def test_access_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_ACCESS_KEY", "access")
    monkeypatch.setenv("KLING_SECRET_KEY", "secret")
    assert KlingClient()._transport._signer.credentials == AccessKey("access", "secret")


def test_credentials_given_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_API_KEY", "from-the-environment")
    assert KlingClient(KEY)._transport._signer.credentials is KEY


@pytest.mark.parametrize("credentials", ["a-key", ("access", "secret"), 7, object()])
def test_credentials_of_another_kind_are_refused_and_not_shown(credentials: object) -> None:
    with pytest.raises(ConfigurationError, match="neither ApiKey nor AccessKey") as caught:
        KlingClient(credentials)  # type: ignore[arg-type]
    assert "a-key" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_host_is_the_vendors_unless_told_otherwise() -> None:
    assert KlingClient(KEY)._transport.base_url == BASE_URL


def test_host_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BASE_URL", " http://127.0.0.1:8765/ \n")
    assert KlingClient(KEY)._transport.base_url == "http://127.0.0.1:8765"


def test_host_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BASE_URL", "http://127.0.0.1:8765")
    assert KlingClient(KEY, base_url="https://api.example")._transport.base_url == "https://api.example"


@pytest.mark.parametrize("url", ["http://[::1]:80", "https://api.example/behind/a/proxy/", "http://localhost:1"])
def test_base_url_may_be(url: str) -> None:
    assert KlingClient(KEY, base_url=url)._transport.base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "api.example",
        "ftp://api.example",
        "https://",
        "https://:443",
        "https://api.example:0",
        "https://api.example:99999",
        "https://api.example:port",
        "https://[::1",
        "https://api.example?a=1",
        "https://api.example#a",
        "https://user@api.example",
        "https://user:pass@api.example",
        "https://api example",
        "https://api.example\n",
        b"https://api.example",
        7,
        ["https://api.example"],
    ],
)
def test_base_url_may_not_be(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        KlingClient(KEY, base_url=url)
    assert "pass" not in str(caught.value)


def test_base_url_from_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BASE_URL", "nonsense")
    with pytest.raises(ConfigurationError, match="base_url"):
        KlingClient(KEY)


async def test_path_of_the_base_url_stands_before_every_call(simulator: Simulator) -> None:
    async with KlingClient(KEY, base_url=f"{simulator.url}/behind", wall=wall) as kling:
        with pytest.raises(InvalidRequest, match="/behind/v1/videos"):
            await kling.video_extend.list()
    assert simulator.count("unknown") == 1


def test_construction_outside_of_a_loop_opens_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kling = KlingClient(KEY)
        assert "SessionPool closed" in repr(kling)
        del kling
        gc.collect()


async def test_client_can_be_used_again_after_close(kling: KlingClient) -> None:
    for _ in range(3):
        assert (await kling.video_extend.list()).tasks == ()
        await kling.close()


async def test_leaving_by_an_error_closes_too(simulator: Simulator) -> None:
    client = KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall)

    async def use() -> None:
        async with client:
            await client.video_extend.list()
            raise LookupError

    with pytest.raises(LookupError):
        await use()
    assert "SessionPool closed" in repr(client)


async def test_server_that_is_down_is_told_by_its_address() -> None:
    async with Simulator(clock=wall) as simulator:
        pass
    async with KlingClient(KEY, base_url=simulator.url, wall=wall, draw=lambda: 0.5) as kling:
        with pytest.raises(TransportError, match="cannot connect") as caught:
            await kling.video_extend.list()
        assert caught.value.host == simulator.url.removeprefix("http://")


# --- what it shows ---------------------------------------------------------------------------------------------------


async def test_repr_shows_who_waits(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    assert "<VideoExtend /v1/videos/video-extend, <Waiter 0 waiting, idle" in repr(kling)
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(1.0)
    shown = repr(kling)
    assert simulator.url.removeprefix("http://") in shown
    assert "<Waiter 1 waiting, polling, <Watch 1 awaited" in shown
    assert "SessionPool open" in shown
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


SECRETIVE: dict[str, Callable[[], object]] = {
    "client": lambda: KlingClient(AccessKey("access-key-1234", "the-secret"), base_url="http://h"),
    "api key": lambda: KlingClient(ApiKey("the-secret"), base_url="http://h"),
    "transport": lambda: KlingClient(ApiKey("the-secret"), base_url="http://h")._transport,
    "account": lambda: KlingClient(ApiKey("the-secret"), base_url="http://h").account,
    "extend": lambda: KlingClient(ApiKey("the-secret"), base_url="http://h").video_extend,
    "downloader": lambda: KlingClient(ApiKey("the-secret"), base_url="http://h")._downloader,
}


@pytest.mark.parametrize("make", SECRETIVE.values(), ids=SECRETIVE.keys())
def test_repr_shows_no_secret(make: Callable[[], object]) -> None:
    assert "the-secret" not in repr(make())


# --- the simulator behind it -----------------------------------------------------------------------------------------


def _simulated(simulator: Simulator | None = None) -> KlingClient:
    return KlingClient.simulated(simulator or Simulator(clock=wall, task_seconds=5.0), polling=PollPolicy(interval=1.0))


async def test_simulated_starts_and_stops_its_simulator() -> None:
    kling = _simulated()
    ran = [kling.simulator.running]
    async with kling:
        ran.append(kling.simulator.running)
        assert (await kling.video_extend.run(kling.simulator.sources[0])).status is TaskStatus.SUCCEED
    ran.append(kling.simulator.running)
    assert ran == [False, True, False]


@pytest.mark.real_time
async def test_simulated_makes_a_simulator_of_its_own() -> None:
    async with KlingClient.simulated() as kling:
        assert (await kling.video_extend.list()).tasks == ()


async def test_simulated_leaves_a_running_simulator_alone() -> None:
    async with Simulator(clock=wall) as simulator:
        async with _simulated(simulator) as kling:
            await kling.video_extend.list()
        assert simulator.running
        await kling.video_extend.list()  # it runs, so there is somebody to ask
        await kling.close()


async def test_running_simulator_needs_no_async_with() -> None:
    async with Simulator(clock=wall) as simulator:
        kling = _simulated(simulator)
        assert (await kling.video_extend.list()).tasks == ()
        await kling.close()
        assert simulator.running


@pytest.mark.parametrize("entered", [False, True], ids=["before", "after"])
async def test_simulated_outside_of_async_with_says_so(entered: bool, tmp_path: Path) -> None:
    kling = _simulated()
    if entered:
        async with kling:
            await kling.video_extend.list()
    source = kling.simulator.sources[0]
    for call in (
        kling.video_extend.list,
        lambda: kling.video_extend.create(source),
        lambda: kling.video_extend.wait("t-1"),
        lambda: kling.account.costs(START, END),
    ):
        with pytest.raises(ConfigurationError, match="async with") as caught:
            await call()
        assert caught.value.created == "no"
    assert "not started" in repr(kling)


async def test_simulated_can_be_entered_again_and_goes_on_where_it_was() -> None:
    kling = _simulated()
    async with kling:
        task = await kling.video_extend.run(kling.simulator.sources[0])
    async with kling:
        assert (await kling.video_extend.get(task.id)).status is TaskStatus.SUCCEED


def test_simulated_in_two_runs() -> None:
    simulator = Simulator(task_seconds=0.1, submitted_seconds=0.05)
    kling = KlingClient.simulated(simulator, polling=PollPolicy(interval=0.05))

    async def main() -> None:
        async with kling:
            await kling.video_extend.run(simulator.sources[0])

    for _ in range(2):
        asyncio.run(main())
    assert len(simulator.accepted) == 2


async def test_simulated_film_lies_at_the_apis_own_origin(tmp_path: Path) -> None:
    async with _simulated() as kling:
        task = await kling.video_extend.run(kling.simulator.sources[0])
        assert (await kling.download(task, tmp_path / "film.mp4")).stat().st_size > 1000


async def test_entering_twice_does_not_leave_the_simulator_running() -> None:
    kling = _simulated()
    async with kling:
        async with kling:
            await kling.video_extend.list()
        assert not kling.simulator.running


async def test_close_that_is_cancelled_stops_the_simulator_all_the_same() -> None:
    kling = _simulated()
    await kling.__aenter__()
    waiting = asyncio.create_task(kling.video_extend.run(kling.simulator.sources[0]))
    await asyncio.sleep(1.0)
    closing = asyncio.create_task(kling.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, waiting, return_exceptions=True)
    assert not kling.simulator.running
    assert "SessionPool closed" in repr(kling)


def test_real_client_has_no_simulator() -> None:
    with pytest.raises(ConfigurationError, match=r"KlingClient\.simulated"):
        _ = KlingClient(KEY).simulator


# --- costs -----------------------------------------------------------------------------------------------------------


async def test_costs_are_the_resource_packs(kling: KlingClient, simulator: Simulator) -> None:
    [pack] = await kling.account.costs(START, END)
    assert isinstance(pack, ResourcePack)
    assert (pack.type, pack.status) == ("decreasing_total", "online")
    assert isinstance(pack.total_quantity, Decimal)
    assert pack.effective_time is not None
    assert pack.effective_time.tzinfo is UTC


async def test_costs_of_one_pack_by_its_name(kling: KlingClient, simulator: Simulator) -> None:
    [pack] = await kling.account.costs(START, END)
    await asyncio.sleep(1.0)
    assert await kling.account.costs(START, END, resource_pack_name=pack.name) == (pack,)
    await asyncio.sleep(1.0)
    assert await kling.account.costs(START, END, resource_pack_name="another & more") == ()


async def test_costs_wait_for_their_turn_when_asked_too_often(kling: KlingClient, simulator: Simulator) -> None:
    for _ in range(4):
        assert len(await kling.account.costs(START, END)) == 1
    assert asyncio.get_running_loop().time() >= 3.0


async def test_costs_that_never_get_their_turn_are_an_error(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1302, times=None))
    with pytest.raises(RateLimited):
        await kling.account.costs(START, END, timeout=5.0)


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [
        (datetime(2026, 1, 1), END, "start"),  # noqa: DTZ001 -- without a zone on purpose
        (START, datetime(2026, 2, 1), "end"),  # noqa: DTZ001
        (START.date(), END, "start"),
        (START, 1_800_000_000, "end"),
        (END, START, "end"),
    ],
)
async def test_costs_between_senseless_times_are_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, start: datetime, end: datetime, named: str
) -> None:
    with pytest.raises(RequestError, match=named):
        await kling.account.costs(start, end)
    assert simulator.count("costs") == 0


async def test_costs_take_times_of_any_zone(kling: KlingClient) -> None:
    there = timezone(timedelta(hours=8))
    assert len(await kling.account.costs(START.astimezone(there), START)) == 1


def test_base_url_with_the_calls_own_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ends in /v1"):
        KlingClient(ApiKey("key"), base_url="https://api-singapore.klingai.com/v1/")


@pytest.mark.parametrize("name", ["retry", "polling", "pool", "slots", "downloads", "network"])
def test_what_is_no_policy_is_refused(name: str) -> None:
    given: dict[str, Any] = {name: 5}
    with pytest.raises(ConfigurationError, match=rf"{name}: 5 \(int\) is not allowed; it must be a \w+"):
        KlingClient(ApiKey("key"), **given)


def test_base_url_can_be_read() -> None:
    assert KlingClient(ApiKey("key"), base_url="https://api-beijing.klingai.com/").base_url == (
        "https://api-beijing.klingai.com"
    )

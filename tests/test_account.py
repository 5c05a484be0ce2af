"""What the account has bought: at most one request a second, and nobody fails for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from kling_async import AccessKey, ClientClosed, KlingClient, RateLimited, TransportError, spec
from kling_async.runtime.transport import Transport
from kling_async.simulator import Fault, Simulator
from kling_async.simulator.engine import Engine
from kling_async.simulator.wire import Reply
from kling_async.testing import wall

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def now() -> float:
    return asyncio.get_running_loop().time()


class Noting(Engine):
    """A vendor that notes when each request for the costs came in, whatever became of it."""

    def __init__(self) -> None:
        super().__init__(clock=wall)
        self.asked: list[float] = []

    def handle(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        if path == spec.ACCOUNT_COSTS_PATH:
            self.asked.append(self.now)
        return super().handle(method, path, query, headers, body)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Noting()) as simulator:
        yield simulator


@pytest.fixture
def asked(simulator: Simulator) -> list[float]:
    """When each request for the costs came in."""
    assert isinstance(simulator.engine, Noting)
    return simulator.engine.asked


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


async def test_many_at_once_are_asked_one_a_second(
    kling: KlingClient, simulator: Simulator, asked: list[float]
) -> None:
    packs = await asyncio.gather(*(kling.account.costs(START, END) for _ in range(60)))
    assert all(len(found) == 1 for found in packs)
    assert len(asked) == 60
    assert min(gaps(asked)) >= 1.0
    assert now() == pytest.approx(59.0, abs=0.5)  # longer than a read's budget of 30 s, and nobody failed
    assert not simulator.refused


async def test_the_first_waits_for_nothing(kling: KlingClient) -> None:
    await kling.account.costs(START, END)
    assert now() < 0.5


async def test_repetitions_keep_the_gap_too(kling: KlingClient, simulator: Simulator, asked: list[float]) -> None:
    simulator.script(Fault.html(502, on="costs", times=3))
    assert len(await kling.account.costs(START, END)) == 1
    assert len(asked) == 4
    assert min(gaps(asked)) >= 1.0


async def test_a_token_signed_anew_keeps_the_gap_too(simulator: Simulator, asked: list[float]) -> None:
    keys = AccessKey(simulator.access_key, simulator.secret_key)
    async with KlingClient(keys, base_url=simulator.url, wall=lambda: wall() - 7200) as kling:
        assert len(await kling.account.costs(START, END)) == 1
    assert len(asked) == 2
    assert min(gaps(asked)) >= 1.0


async def test_without_the_gap_the_test_would_notice(
    kling: KlingClient, asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transport, "_send_spaced", Transport._send)
    await asyncio.gather(*(kling.account.costs(START, END) for _ in range(3)))
    assert min(gaps(asked)) < 1.0


async def test_a_budget_counts_the_line(kling: KlingClient, simulator: Simulator) -> None:
    asking = [asyncio.create_task(kling.account.costs(START, END)) for _ in range(10)]
    await asyncio.sleep(0)  # they stand in line
    with pytest.raises(TransportError, match="not this request's turn in time") as caught:
        await kling.account.costs(START, END, timeout=3.0)
    assert now() == pytest.approx(3.0)
    assert not caught.value.sent
    assert all(len(found) == 1 for found in await asyncio.gather(*asking))
    assert simulator.count("costs") == 10


async def test_others_on_the_account_are_waited_for(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1302, on="costs", times=2))
    assert len(await kling.account.costs(START, END)) == 1
    simulator.script(Fault.code(1302, on="costs", times=None))
    with pytest.raises(RateLimited):
        await kling.account.costs(START, END, timeout=20.0)


async def test_who_is_cancelled_in_line_leaves_it_to_the_others(kling: KlingClient, simulator: Simulator) -> None:
    asking = [asyncio.create_task(kling.account.costs(START, END)) for _ in range(4)]
    await asyncio.sleep(0.5)
    asking[1].cancel()
    asking[2].cancel()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False, True, True, False]
    assert simulator.count("costs") == 2


async def test_who_stands_in_line_when_the_client_is_closed_is_told(kling: KlingClient, simulator: Simulator) -> None:
    asking = [asyncio.create_task(kling.account.costs(START, END)) for _ in range(4)]
    await asyncio.sleep(0.5)
    await kling.close()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(end, ClientClosed) for end in ends] == [False, True, True, True]
    assert simulator.count("costs") == 1
    assert "SessionPool closed" in repr(kling)


def test_a_client_asks_in_one_loop_after_the_other(kling_url: str) -> None:
    kling = KlingClient(AccessKey(Simulator.access_key, Simulator.secret_key), base_url=kling_url)

    async def ask() -> None:
        async with kling:
            for ended in await asyncio.gather(
                *(kling.account.costs(START, END, timeout=0.2) for _ in range(3)), return_exceptions=True
            ):
                assert isinstance(ended, TransportError)

    for _ in range(2):
        asyncio.run(ask())


@pytest.fixture
def kling_url() -> str:
    """Where nobody listens."""
    return "http://127.0.0.1:9"

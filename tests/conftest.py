"""Fixtures: the simulator and a client of it, in virtual time unless a test is marked `real_time`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from postgres import Postgres, binaries
from shell import SETTINGS, Shell, Vendor

from kling_async import ApiKey, KlingClient, PollPolicy
from kling_async.simulator import Simulator
from kling_async.testing import VirtualLoop, wall


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time jumps in every test but those that are marked."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runs", type=int, default=40, help="how often the state machine of creates runs; default 40")


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> int:
    """How often a state machine runs, as the command line says."""
    return int(request.config.getoption("--runs"))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """The vendor on loopback: tasks take 60 s of virtual time."""
    async with Simulator(clock=wall, task_seconds=60.0, submitted_seconds=10.0) as simulator:
        yield simulator


@pytest.fixture
async def kling(simulator: Simulator) -> AsyncIterator[KlingClient]:
    """A client of the simulator, in the same virtual time, without chance."""
    async with KlingClient(
        ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, draw=lambda: 0.5, polling=PollPolicy(interval=5.0)
    ) as client:
        yield client


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    """A simulator in a thread of its own, in real time."""
    vendor = Vendor()
    yield vendor.simulator
    vendor.stop()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and an environment that says nothing to the command line."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(
    vendor: Simulator, no_settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Runs commands on an account of the simulator."""
    return Shell(vendor, monkeypatch, capsys)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of one process."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed here")
    with Postgres() as server:
        yield server


@pytest.fixture
async def url(postgres: Postgres) -> str:
    """A database of the test's own."""
    return await postgres.new()

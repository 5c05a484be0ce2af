"""The fixtures in users' projects: a pytest of its own for each, under each way to run coroutine tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# By name, a second way in: what users do who load plugins one by one.
ALONE = ("-p", "kling_async")
ASYNCIO = (*ALONE, "-p", "pytest_asyncio.plugin")
RUNNERS = {
    "none": ALONE,
    "pytest-asyncio strict": (*ASYNCIO, "-o", "asyncio_mode=strict"),
    "pytest-asyncio auto": (*ASYNCIO, "-o", "asyncio_mode=auto"),
    "anyio": (*ALONE, "-p", "anyio"),
    "anyio auto": (*ALONE, "-p", "anyio", "-o", "anyio_mode=auto"),
}

WEATHER = """
from kling_async import TaskStatus
from kling_async.simulator import Delivery, Fault
from kling_async.testing import virtual_time

@virtual_time
async def test_weather(kling_client, kling_simulator):
    kling_simulator.script(Fault.code(1303, on="create", times=20))
    kling_simulator.delivery = Delivery(lose=1)
    async with kling_client as kling:
        task = await kling.video_extend.run("original-video-id", callback_url="http://localhost:1/kling")
    assert task.status is TaskStatus.SUCCEED
    assert len(kling_simulator.accepted) == 1
    assert kling_client.simulator is kling_simulator
"""


def run(folder: Path, test: str, *options: str, conftest: str = "") -> str:
    """What pytest prints of such a test, in a project that has nothing else."""
    settings = "[pytest]\nfilterwarnings =\n  error\n  ignore:The configuration option\n"
    (folder / "pytest.ini").write_text(settings, "utf-8")
    (folder / "conftest.py").write_text(conftest, "utf-8")
    (folder / "test_mine.py").write_text(test, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    if "-p" in options:
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = (sys.executable, "-m", "pytest", "-q", *options)
    done = subprocess.run(  # noqa: S603 - our own
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", RUNNERS.values(), ids=RUNNERS.keys())
def test_fixtures_in_virtual_time(options: tuple[str, ...], tmp_path: Path) -> None:
    assert "1 passed" in (told := run(tmp_path, WEATHER, *options)), told


REAL = """
import pytest
from kling_async.simulator import Simulator

@pytest.fixture
def kling_simulator():
    return Simulator(task_seconds=0.1, submitted_seconds=0.05)

{mark}
async def test_real(kling_client):
    async with kling_client as kling:
        await kling.video_extend.run("original-video-id")
"""


@pytest.mark.parametrize(
    ("runner", "mark"),
    [
        ("pytest-asyncio strict", "@pytest.mark.asyncio"),
        ("pytest-asyncio auto", ""),
        ("anyio", "@pytest.mark.anyio"),
        ("anyio auto", ""),
    ],
)
def test_fixtures_on_the_loop_of_another_plugin(runner: str, mark: str, tmp_path: Path) -> None:
    """With a simulator of the user's own, since a fixture of theirs with that name comes first."""
    test = REAL.format(mark=mark) + "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    assert "1 passed" in (told := run(tmp_path, test, *RUNNERS[runner])), told


HOUR = """
import asyncio
from kling_async.testing import VirtualLoop
{mark}
async def test_hour(kling_client):
    await asyncio.sleep(3600)
    async with kling_client as kling:
        await kling.video_extend.run("original-video-id")
"""
FACTORY = """
from kling_async.testing import VirtualLoop

def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualLoop}
"""
BACKEND = """
import pytest
from kling_async.testing import VirtualLoop

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualLoop}
"""


@pytest.mark.parametrize(
    ("runner", "conftest"), [("pytest-asyncio auto", FACTORY), ("anyio auto", BACKEND)], ids=["pytest-asyncio", "anyio"]
)
def test_all_coroutine_tests_of_a_project_in_virtual_time(runner: str, conftest: str, tmp_path: Path) -> None:
    told = run(tmp_path, HOUR.format(mark=""), *RUNNERS[runner], conftest=conftest)
    assert "1 passed" in told, told


def test_in_classes_and_in_unittest(tmp_path: Path) -> None:
    test = """
import unittest
from kling_async import KlingClient
from kling_async.testing import virtual_time

class TestMine:
    @virtual_time
    async def test_mine(self, kling_client):
        async with kling_client as kling:
            await kling.video_extend.list()

class Mine(unittest.TestCase):
    @virtual_time
    async def test_mine(self):
        async with KlingClient.simulated() as kling:
            self.assertEqual((await kling.video_extend.list()).tasks, ())
"""
    assert "2 passed" in (told := run(tmp_path, test, *ALONE)), told


LOOKS = """
import sys

def pytest_sessionfinish():
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & {"aiohttp", "kling_async"}), "end")
"""


def test_nothing_is_imported_until_a_fixture_is_named(tmp_path: Path) -> None:
    told = run(tmp_path, "def test_mine(tmp_path): ...", "-s", conftest=LOOKS)
    assert "1 passed" in told
    assert "loaded: end" in told


def test_what_is_imported_would_be_noticed(tmp_path: Path) -> None:
    told = run(tmp_path, "def test_mine(kling_client): ...", "-s", conftest=LOOKS)
    assert "1 passed" in told
    assert "loaded: aiohttp kling_async end" in told


def test_fixtures_are_listed_with_what_they_are_for(tmp_path: Path) -> None:
    told = run(tmp_path, "", "--fixtures")
    assert "kling_client" in told
    assert "use it by `async with`" in told

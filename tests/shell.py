"""A shell for tests of the command line: a simulator in a thread of its own, and what a command said to it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from threading import Event, Thread
from typing import Any

import attrs
import pytest

from kling_async import KlingClient, PollPolicy, SlotPolicy
from kling_async.cli import run
from kling_async.events import OnEvent
from kling_async.simulator import Simulator

# The command line, but for policies whose defaults are made for minutes.
IMPATIENT = """
import sys
from kling_async import KlingClient, PollPolicy, RetryPolicy, cli
retry, polling = RetryPolicy(settle_timeout=0.5, first_wait=0.1), PollPolicy(interval=0.05)
connect = lambda **options: KlingClient(retry=retry, polling=polling, **options)
sys.exit(cli.run(sys.argv[1:], connect=connect))
"""
# What changes how a terminal is written to, or who is called.
SETTINGS = (
    *("KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL", "KLING_API_KEY"),
    *("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"),
)


class Vendor:
    """A simulator in a thread of its own, for commands that block."""

    def __init__(self) -> None:
        self.simulator: Simulator
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Simulator(task_seconds=0.05, submitted_seconds=0.01) as self.simulator:
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@attrs.frozen
class Said:
    """What a command said: its exit code, and the lines on standard output and standard error."""

    code: int
    out: list[str]
    err: list[str]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out]


class Shell:
    """Runs commands in this process, on an account of the simulator."""

    def __init__(
        self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.simulator = simulator
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.settings = {"KLING_BASE_URL": simulator.url, "KLING_API_KEY": simulator.api_key}
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Said:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capsys.readouterr()
        code = run(arguments, connect=impatient)
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out.splitlines(), said.err.splitlines())

    def terminal(self, columns: int, **settings: str) -> None:
        """From now on, standard output and standard error are a terminal of so many columns."""
        self._monkeypatch.setenv("FORCE_COLOR", "1")
        self._monkeypatch.setenv("COLUMNS", str(columns))
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)

    def task(self, **fields: str) -> str:
        """The id of an extension that has ended."""
        return str(self("extend", "original-video-id", "--json", *flags(fields)).records[0]["id"])


def flags(fields: Mapping[str, str]) -> list[str]:
    return [word for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", value)]


def impatient(*, base_url: str | None, slots: SlotPolicy, on_event: OnEvent | None) -> KlingClient:
    """A client whose polls do not wait."""
    return KlingClient(base_url=base_url, slots=slots, on_event=on_event, polling=PollPolicy(interval=0.05))


def module(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -W error -m kling_async ...`, or some code in its place."""
    command = [sys.executable, "-W", "error", *(["-c", code] if code else ["-m", "kling_async"]), *arguments]
    settings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=settings, check=False)  # noqa: S603

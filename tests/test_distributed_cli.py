"""The command line with PostgreSQL: a batch that enqueues and watches, and a worker that ends cleanly."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from postgres import PASSWORD, Postgres
from posts import SECRET
from rich.console import Console

from kling_async import ConfigurationError, KlingClient, Outcome, PollPolicy, VideoExtendRequest
from kling_async.cli import run
from kling_async.cli.board import Board
from kling_async.cli.screen import Screen
from kling_async.distributed import PostgresBatch
from kling_async.distributed import commands as module
from kling_async.distributed.commands import client_for, run_worker, watch_batch
from kling_async.simulator import Simulator

pytestmark = pytest.mark.real_time

JOBS = [(key, VideoExtendRequest(video_id="original-video-id", prompt=key)) for key in ("a", "b", "c")]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL", "KLING_POSTGRES", "KLING_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KLING_API_KEY", Simulator.api_key)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"key": key, "video_id": request.video_id}) for key, request in JOBS]
    Path("jobs.jsonl").write_text("\n".join(lines), "utf-8")


@pytest.fixture
async def simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    async with Simulator(task_seconds=0.2, submitted_seconds=0.05) as simulator:
        monkeypatch.setenv("KLING_BASE_URL", simulator.url)
        yield simulator


# The command line, but for a client that does not look at a task every five seconds alone.
IMPATIENT = """
import sys
from kling_async import KlingClient, PollPolicy, cli
from kling_async.distributed import commands
commands.KlingClient = lambda **options: KlingClient(polling=PollPolicy(interval=0.05), **options)
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KlingClient", lambda **given: KlingClient(polling=PollPolicy(interval=0.05), **given))


class Process:
    """A command in a process of its own, and what it has printed."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-W", "error", "-u", "-c", IMPATIENT, *arguments]
        self._process = subprocess.Popen(  # noqa: S603 - ours
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self, beginning: str) -> str:
        """The first line of what is told beside the results that begins so."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith(beginning):
                return line
        raise AssertionError(f"no line begins with {beginning}")

    def ended(self, number: signal.Signals) -> tuple[int, str, str]:
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=20)
        return self._process.returncode, out, err


# In processes of their own.


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator in a thread of its own, for commands that block."""
    ready, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event, Simulator]]()

    async def serve() -> None:
        async with Simulator(task_seconds=0.1, submitted_seconds=0.05) as simulator:
            loops.append((asyncio.get_running_loop(), asyncio.Event(), simulator))
            ready.set()
            await loops[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    loop, stop, simulator = loops[0]
    monkeypatch.setenv("KLING_BASE_URL", simulator.url)
    yield simulator
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def database(postgres: Postgres) -> str:
    return asyncio.run(postgres.new())


def test_a_batch_and_a_worker_say_what_they_are_connected_to(
    vendor: Simulator, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Process("worker", "--postgres", database, "--limit", "3", "--out", "films")
    shown = database.replace(f":{PASSWORD}", "")
    assert worker.line("Simulator") == f"Simulator at {vendor.url}: no money, no real films.\n"
    assert worker.line("worker") == f"worker for {vendor.url}, jobs in {shown}\n"
    assert run(["batch", "jobs.jsonl", "--postgres", database]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    notes = said.err.splitlines()
    assert notes[0] == f"3 jobs in {shown}"
    assert notes[-1] == "3 of 3 jobs are done, for 6 units."
    code, out, err = worker.ended(signal.SIGTERM)
    assert (code, out) == (0, "")
    assert err == "the worker has ended; other workers go on with what it had under way\n"
    assert sorted(path.name for path in Path("films").iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_ctrl_c_leaves_the_jobs_to_the_workers(vendor: Simulator, database: str) -> None:
    batch = Process("batch", "jobs.jsonl", "--postgres", database)
    batch.line("3 jobs in ")
    time.sleep(0.5)
    code, _, err = batch.ended(signal.SIGINT)
    assert code == 130
    assert f"kling-async batch jobs.jsonl --postgres {database.replace(PASSWORD, '***')}" in err.replace("'", "")
    assert PASSWORD not in err
    worker = Process("worker", "--postgres", database, "--limit", "3")
    worker.line("worker for")
    assert run(["batch", "jobs.jsonl", "--postgres", database]) == 0
    assert worker.ended(signal.SIGINT)[0] == 130


# In this process.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch", "jobs.jsonl"], "one of --journal and --postgres is needed"),
        (
            ["batch", "jobs.jsonl", "--postgres", "postgresql:///db", "--out", "films"],
            "--out does not go with --postgres",
        ),
        (["worker"], "Missing option '--postgres'"),
        (["worker", "--postgres", "postgresql:///db", "--change-limit"], "--change-limit needs --limit"),
        (["worker", "--postgres", "postgresql:///db", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_what_workers_would_do_is_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "jobs.jsonl", "--postgres", database, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("\tcreate\t") == 3


def test_worker_of_the_live_service_has_nothing_to_warn_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_API_KEY", "k" * 20)
    assert run(["worker", "--postgres", "postgresql://127.0.0.1:1/none", "--limit", "3"]) == 11
    assert "Simulator" not in capsys.readouterr().err


def test_folder_for_films_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--postgres", "mysql:///db", "--out", "some/films"]) == 3
    assert Path("some/films").is_dir()


def test_what_is_no_url_is_told_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--postgres", f"mysql://kling:{PASSWORD}@host/db", "--limit", "3"]) == 3
    assert PASSWORD not in capsys.readouterr().err


def test_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "kling_async.distributed.commands", raising=False)
    monkeypatch.setitem(sys.modules, "kling_async.distributed", None)
    assert run(["worker", "--postgres", "postgresql:///db"]) == 2
    assert "pip install 'kling_async[distributed]'" in capsys.readouterr().err


def working_at(
    url: str, *, tell: Callable[[str], None], limit: int = 3, change_limit: bool = False
) -> asyncio.Task[int]:
    work = run_worker(url, client_for(url), limit=limit, change_limit=change_limit, out=None, tell=tell)
    return asyncio.create_task(work)


@pytest.mark.usefixtures("_impatient")
async def test_progress_is_told(url: str, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Counter[str]] = []
    outcomes: list[Outcome] = []
    lines: list[str] = []
    working = asyncio.create_task(
        run_worker(url, client_for(url), limit=3, change_limit=False, out=None, tell=lines.append)
    )
    done = await watch_batch(
        url, JOBS, retry_failed=False, tell=lines.append, over=outcomes.append, moved=states.append
    )
    assert done == len(outcomes) == 3
    assert any(state["accepted"] for state in states)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await working == 0


async def test_first_signal_ends_cleanly_and_the_second_at_once(url: str, simulator: Simulator) -> None:
    told = asyncio.Event()

    def tell(_: str) -> None:
        told.set()

    before = signal.getsignal(signal.SIGINT)
    working = working_at(url, tell=tell)
    await told.wait()
    os.kill(os.getpid(), signal.SIGINT)
    assert await working == 130
    assert signal.getsignal(signal.SIGINT) in {before, signal.default_int_handler}


async def test_limit_is_changed_by_that_name_alone(url: str, simulator: Simulator) -> None:
    async with PostgresBatch(url) as batch:
        await batch.set_limit(3)
    with pytest.raises(ConfigurationError, match="share 3 slots"):
        await run_worker(url, client_for(url), limit=5, change_limit=False, out=None, tell=print)
    told = asyncio.Event()
    working = asyncio.create_task(
        run_worker(url, client_for(url), limit=5, change_limit=True, out=None, tell=lambda _: told.set())
    )
    await told.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await working == 0


async def test_worker_with_a_secret_hears_of_callbacks_elsewhere(url: str) -> None:
    assert "unsigned" in repr(client_for(url, environment={}).callbacks)
    async with client_for(url, environment={"KLING_WEBHOOK_SECRET": SECRET}) as kling:
        assert isinstance(kling, KlingClient)
        assert "<Callbacks signed" in repr(kling.callbacks)


def test_board_shows_what_others_carry_out() -> None:
    board = Board(Screen(), jobs=3)
    board.elsewhere = 2
    with board.shown():
        shown = Console(file=io.StringIO(), width=100)
        shown.print(board)
    assert "0 of 3 ended, 2 under way, 1 waiting" in shown.file.getvalue()  # type: ignore[attr-defined]

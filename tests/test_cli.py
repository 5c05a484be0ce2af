"""The command line: its exit codes, and errors without a traceback."""

from __future__ import annotations

import asyncio
import io
import json
import os
import runpy
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from rich.console import Console

from kling_async import KlingClient, Outcome, PollPolicy, RequestError, cli
from kling_async import __main__ as main_module
from kling_async.cli import run
from kling_async.simulator import Simulator
from kling_async.version import VERSION

JOBS = '{"key": "a", "video_id": "original-video-id"}\n{"key": "b", "video_id": "original-video-id", "mode": "pro"}\n'
OMNI = {
    "key": "o",
    "model_name": "kling-video-o1",
    "prompt": "<<<video_1>>> goes on",
    "video_list": [{"video_url": "https://example.com/a.mp4"}],
}


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


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    vendor = Vendor()
    yield vendor.simulator
    vendor.stop()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL", "KLING_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("jobs.jsonl").write_text(JOBS, "utf-8")


@pytest.fixture
def account(vendor: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The settings of an account, and polls that do not wait."""
    monkeypatch.setenv("KLING_BASE_URL", vendor.url)
    monkeypatch.setenv("KLING_API_KEY", vendor.api_key)
    monkeypatch.setattr(cli, "KlingClient", lambda **options: KlingClient(polling=QUICK, **options))
    return vendor


QUICK = PollPolicy(interval=0.05)
BATCH = ["batch", "jobs.jsonl", "--journal", "run.sqlite3"]


def told(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """The lines on standard output and on standard error."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out.splitlines(), captured.err.splitlines()


def module(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -W error -m kling_async ...`, or some code in its place."""
    command = [sys.executable, "-W", "error", *(["-c", code] if code else ["-m", "kling_async"]), *arguments]
    settings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=settings, check=False)  # noqa: S603


# --- in this process -------------------------------------------------------------------------------------------------


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert VERSION in told(capsys)[0][0]


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = "\n".join(told(capsys)[0])
    assert all(f"\n  {command} " in text for command in ("demo", "simulate", "batch"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["batch"],
        ["batch", "jobs.jsonl"],
        ["batch", "nowhere.jsonl", "--journal", "run.sqlite3"],
        ["batch", ".", "--journal", "run.sqlite3"],
        ["batch", "jobs.jsonl", "--journal", "."],
        [*BATCH, "--slots", "0"],
        [*BATCH, "--timeout", "-1"],
        [*BATCH, "--out", "jobs.jsonl"],
        [*BATCH, "--surplus"],
        ["demo", "--task-seconds", "soon"],
        ["demo", "--out", "nowhere/film.mp4"],
        ["demo", "--out", "."],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert told(capsys)[1][-1].startswith("Error: ")


def test_simulate_passes_its_options_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(["simulate", "--port", "none"])
    assert "usage: kling-async simulate" in told(capsys)[1][0]


def test_simulate_gives_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["simulate", "--port", str(taken.getsockname()[1])]) == 1
    assert told(capsys)[1][0].startswith("kling-async simulate: cannot listen")


def test_demo_saves_a_film(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--task-seconds", "0.01", "--out", "film.mp4"]) == 0
    assert Path("film.mp4").read_bytes()[4:8] == b"ftyp"
    assert "this costs nothing" in told(capsys)[0][0]


async def test_terminal_shows_a_line_that_moves() -> None:
    async def work() -> str:
        return "done"

    console = Console(force_terminal=True, file=io.StringIO())
    assert await cli._shown(console, "working", work) == "done"


@pytest.mark.usefixtures("account")
def test_batch_carries_out_each_job(account: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(account.accepted)
    assert run([*BATCH, "--out", "films", "--slots", "2", "--timeout", "60"]) == 0
    out, err = told(capsys)
    assert sorted(file.name for file in Path("films").iterdir()) == ["a.mp4", "b.mp4"]
    assert (out[-1], err, len(account.accepted) - before) == ("2 of 2 jobs are done.", [], 2)
    assert any(line.startswith("a: video ") and line.endswith("films/a.mp4") for line in out)


def test_batch_again_sends_nothing(account: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BATCH) == 0
    before = account.count("create")
    assert run(BATCH) == 0
    assert account.count("create") == before
    assert told(capsys)[0][-1] == "2 of 2 jobs are done."


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("name", ["jobs.csv", "JOBS.CSV"])
def test_batch_reads_csv(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).write_text("key,video_id,mode\na,original-video-id,\nb,original-video-id,pro\n", "utf-8")
    assert run(["batch", name, "--journal", "run.sqlite3"]) == 0
    assert told(capsys)[0][-1] == "2 of 2 jobs are done."


@pytest.mark.usefixtures("account")
def test_batch_makes_omni_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_text(json.dumps(OMNI), "utf-8")
    assert run([*BATCH, "--omni"]) == 0
    assert told(capsys)[0][-1] == "1 of 1 jobs are done."


@pytest.mark.usefixtures("account")
def test_empty_file_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_text("", "utf-8")
    assert run(BATCH) == 0
    assert told(capsys)[0][-1] == "0 of 0 jobs are done."


@pytest.mark.usefixtures("account")
def test_job_that_is_not_done_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_text(JOBS + '{"key": "[bold]c[/]", "video_id": "not-there"}', "utf-8")
    assert run(BATCH) == 1
    out, _ = told(capsys)
    assert out[-1] == "2 of 3 jobs are done; run it again to go on."
    assert [line for line in out if line.startswith("[bold]c[/]: ") and "created: no" in line]


def test_failed_job_is_made_anew_when_that_is_wanted(account: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    account.fail_next()
    assert run([*BATCH, "--slots", "1"]) == 1
    assert run(BATCH) == 1
    assert run([*BATCH, "--retry-failed"]) == 0
    assert told(capsys)[0][-1] == "2 of 2 jobs are done."


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"key": "a"', "line 1: is no JSON"),
        (b'{"key": "a", "video_id": "v", "cfg_scale": 1}', "line 1: cfg_scale"),
        (b'{"key": "\\ud800", "video_id": "v"}', "half of a surrogate pair"),
    ],
)
def test_bad_job_is_1_and_told(content: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_bytes(content)
    assert run(BATCH) == 1
    assert words in told(capsys)[1][0]


@pytest.mark.usefixtures("account")
def test_file_that_is_no_utf_8_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_bytes(b"\xff\xfe{\x00")
    assert run(BATCH) == 2
    assert "is not UTF-8" in told(capsys)[1][-1]


@pytest.mark.usefixtures("account")
def test_journal_that_is_none_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.sqlite3").write_text("not a journal")
    assert run(BATCH) == 1
    assert told(capsys)[1][0].startswith("Error: ")


@pytest.mark.usefixtures("account")
def test_folder_that_cannot_be_made_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BATCH, "--out", "jobs.jsonl/films"]) == 1
    assert told(capsys)[1] == ["Error: jobs.jsonl/films: Not a directory"]


def test_error_of_the_system_without_a_file_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_many(**_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(cli, "KlingClient", too_many)
    assert run(BATCH) == 1
    assert told(capsys)[1] == ["Error: the system: too many open files"]


def test_no_credentials_is_1_and_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BATCH) == 1
    assert "KLING_API_KEY" in told(capsys)[1][0]


@pytest.mark.usefixtures("account")
def test_interrupted_is_130_and_a_rerun_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(cli, "_batch", interrupted)
    assert run(BATCH) == 130
    hint = "Nothing is lost: run it again with the same journal to go on."
    assert [line for line in told(capsys)[1] if line] == [hint, "Interrupted."]


def test_outcome_with_nothing_to_show_is_its_key() -> None:
    assert cli._line(Outcome("a")) == "a"


def test_outcome_with_an_error_tells_it() -> None:
    assert cli._line(Outcome("a", error=RequestError("so it is"))).startswith("a: so it is. Mend")


# The command line, but for policies whose defaults are made for minutes.
IMPATIENT = """
import sys
from kling_async import KlingClient, PollPolicy, RetryPolicy, cli
retry, polling = RetryPolicy(settle_timeout=0.5, first_wait=0.1), PollPolicy(interval=0.05)
cli.KlingClient = lambda **options: KlingClient(retry=retry, polling=polling, **options)
sys.exit(cli.run(sys.argv[1:]))
"""

# --- as a process ----------------------------------------------------------------------------------------------------


def test_module_runs_the_demo() -> None:
    done = module("demo", "--task-seconds", "0.01")
    assert (done.returncode, done.stderr, Path("kling-demo.mp4").exists()) == (0, "", True)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_module_runs_a_batch(vendor: Simulator, form: str) -> None:
    Path("jobs.csv").write_text("key,video_id\na,original-video-id\nb,original-video-id\n", "utf-8")
    settings = {"KLING_BASE_URL": vendor.url, "KLING_API_KEY": vendor.api_key}
    done = module("batch", f"jobs.{form}", "--journal", "run.sqlite3", code=IMPATIENT, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 of 2 jobs are done.\n")


def test_module_without_credentials_is_1_without_a_traceback() -> None:
    done = module(*BATCH)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")


def test_module_used_wrongly_is_2() -> None:
    assert module("batch").returncode == 2


def test_module_with_no_server_tells_so_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    done = module(*BATCH, code=IMPATIENT, KLING_BASE_URL=url, KLING_API_KEY="k" * 20)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("created: no") == 2
    assert done.stdout.endswith("0 of 2 jobs are done; run it again to go on.\n")


def test_ctrl_c_is_130_and_says_that_a_rerun_goes_on(vendor: Simulator) -> None:
    before = vendor.count("create")
    vendor.engine._task_seconds = 600.0
    settings = {**os.environ, "KLING_BASE_URL": vendor.url, "KLING_API_KEY": vendor.api_key}
    command = [sys.executable, "-W", "error", "-m", "kling_async", *BATCH]
    try:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings) as process:  # noqa: S603
            while states() != ["accepted", "accepted"]:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
    finally:
        vendor.engine._task_seconds = 0.05
    assert (process.returncode, vendor.count("create") - before) == (130, 2)
    assert "Traceback" not in errors
    assert "run it again with the same journal to go on" in errors


def states() -> list[str]:
    with suppress(sqlite3.Error), closing(sqlite3.connect("file:run.sqlite3?mode=ro", uri=True)) as database:
        return [state for (state,) in database.execute("SELECT state FROM jobs")]
    return []


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_missing_extra_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from kling_async.__main__ import main; sys.exit(main())"
    done = module(code=code)
    assert (done.returncode, done.stderr) == (2, f"kling-async needs {missing}: pip install 'kling_async[cli]'\n")


def test_any_other_missing_module_is_a_fault_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kling_async.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"kling_async\.cli"):
        main_module.main()


def test_exit_code_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kling-async", "--version"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(main_module.__file__), run_name="__main__")


def test_missing_extra_is_told_in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "kling_async.cli")
    monkeypatch.setitem(sys.modules, "click", None)
    assert main_module.main() == 2
    assert told(capsys)[1] == ["kling-async needs click: pip install 'kling_async[cli]'"]


def test_demo_that_could_not_save_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run(["demo"]) == 2
    assert "is not writable" in told(capsys)[1][-1]


async def test_board_counts_what_runs_and_waits() -> None:
    board = cli._Board(Console(force_terminal=True, file=io.StringIO()), 3)
    board.reached("a", "leased")
    board.reached("a", "accepted")
    assert board.progress.tasks[0].description == "1 running, 2 waiting"
    board.over("a")
    assert (board.progress.tasks[0].description, board.progress.tasks[0].completed) == ("0 running, 2 waiting", 1)


def test_help_of_batch_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "--help"]) == 0
    assert '    {"key": "film-1", "video_id": "...", "prompt": "The scene continues"}' in told(capsys)[0]

"""What a terminal shows: pictures of what is under way, tables by width, colours, and nothing of it where none is."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from shell import Shell
from test_cli_making import endless

from kling_async import Outcome, RequestError, Task, TaskStatus
from kling_async.cli import texts
from kling_async.cli.board import ONE_TO_SEVERAL_MINUTES, Board
from kling_async.cli.interrupt import _Presses, carried, end_at_once
from kling_async.cli.screen import Screen

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def bare(lines: list[str]) -> list[str]:
    """The lines without what moves and colours."""
    return [ESCAPE.sub("", line).rstrip() for line in lines]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (65.9, "1:05"), (3600, "1:00:00"), (7325, "2:02:05")])
def test_time_that_has_passed(seconds: float, told: str) -> None:
    assert texts.clock(seconds) == told


@pytest.mark.parametrize(("there", "total", "told"), [(0, None, "0.0 MB"), (1_240_000, 8_000_000, "1.2 of 8.0 MB")])
def test_how_much_of_a_film_is_there(there: int, total: int | None, told: str) -> None:
    assert texts.megabytes(there, total) == told


def test_what_is_not_known_is_nothing() -> None:
    assert (texts.number(None), texts.local(None), texts.iso(None)) == ("", "", None)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome("a"), "a"),
        (Outcome("a", path=Path("film.mp4")), "a, film.mp4"),
        (Outcome("a", Task("t", TaskStatus.SUBMITTED)), "a: submitted"),
        (Outcome("a", error=RequestError("so it is")), "a: so it is. Mend the argument; nothing was sent."),
    ],
)
def test_what_became_of_something(outcome: Outcome, told: str) -> None:
    assert texts.ended(outcome) == told


# --- the picture of what is under way --------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drawn(board: Board, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with console.capture() as capture:
        console.print(board)
    return bare(capture.get().splitlines())


def took(seconds: float) -> Task:
    return Task("t", TaskStatus.SUCCEED, created_at=EPOCH, updated_at=EPOCH + timedelta(seconds=seconds))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, no_settings: None) -> Screen:
    monkeypatch.setenv("FORCE_COLOR", "1")
    return Screen()


def test_one_thing_with_its_state_and_age(screen: Screen, clock: Clock) -> None:
    board = Board(screen, usual=ONE_TO_SEVERAL_MINUTES, now=clock)
    board.moved("842", "processing", age=60.0)
    clock.now += 23
    line, expected = drawn(board, 60)
    assert line.split()[1:] == ["842", "processing", "1:23"]
    assert expected == "  an extension takes one to several minutes"


def test_the_clock_of_a_thing_goes_on_over_its_states(screen: Screen, clock: Clock) -> None:
    board = Board(screen, now=clock)
    board.moved("a", "creating")
    clock.now += 10
    board.moved("a", "creating")
    board.renamed("a", "842")
    board.moved("842", "running")
    clock.now += 5
    assert drawn(board, 60)[0].split()[1:] == ["842", "running", "0:15"]


def test_nothing_is_said_of_what_is_not_known(screen: Screen, clock: Clock) -> None:
    board = Board(screen, now=clock)
    board.moved("a", "processing")
    assert len(drawn(board, 60)) == 1


def test_what_was_learnt_is_told(screen: Screen, clock: Clock) -> None:
    board = Board(screen, usual=ONE_TO_SEVERAL_MINUTES, now=clock)
    for seconds in range(60, 160, 10):
        board.learn(took(float(seconds)))
    assert board.expected() == "of the last tasks, most took 1:10 to 2:20"


def test_a_task_that_runs_teaches_nothing(screen: Screen, clock: Clock) -> None:
    board = Board(screen, usual="not yet", now=clock)
    for _ in range(10):
        board.learn(Task("t", TaskStatus.PROCESSING, created_at=EPOCH, updated_at=EPOCH + timedelta(seconds=9)))
    assert board.expected() == "not yet"


@pytest.mark.parametrize(("width", "has_bar"), [(60, False), (79, False), (80, True), (160, True)])
def test_bars_are_for_wide_terminals(screen: Screen, clock: Clock, width: int, has_bar: bool) -> None:
    board = Board(screen, now=clock)
    board.moved("a", "processing")
    assert ("━" in drawn(board, width)[0]) == has_bar


def test_a_bar_grows_with_what_is_usual(screen: Screen, clock: Clock) -> None:
    board = Board(screen, now=clock)
    for _ in range(10):
        board.learn(took(100.0))
    board.moved("a", "processing", age=50.0)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(board)
    assert capture.get().count("━") + capture.get().count("╸") == 10


def test_a_download_shows_how_much_there_is(screen: Screen, clock: Clock) -> None:
    board = Board(screen, now=clock)
    board.arrived("a", 1_000_000, 4_000_000)
    assert "downloading 1.0 of 4.0 MB" in drawn(board, 100)[0]


def test_many_have_a_head_and_an_end(screen: Screen, clock: Clock) -> None:
    board = Board(screen, jobs=20, now=clock)
    for number in range(12):
        board.moved(f"film-{number}", "running")
    board.over("film-0", None)
    lines = drawn(board, 60)
    assert lines[0].split() == ["1", "of", "20", "ended,", "11", "under", "way,", "8", "waiting", "0:00"]
    assert (len(lines), lines[-1]) == (10, "  and 3 more")


def test_a_name_with_a_line_break_stays_one_line(screen: Screen, clock: Clock) -> None:
    board = Board(screen, now=clock)
    board.moved("a\nb", "running")
    assert "a b" in drawn(board, 60)[0]


# --- commands on terminals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 160])
def test_a_table_fits_its_terminal(shell: Shell, columns: int) -> None:
    task = shell.task()
    shell.terminal(columns)
    for command in ("list", "costs"):
        lines = bare(shell(command).out)
        assert max(map(len, lines)) <= columns
        assert command != "list" or any(line.split()[:1] == [task] for line in lines)


def test_a_wide_table_has_more_columns(shell: Shell) -> None:
    shell.task()
    heads = []
    for columns in (60, 160):
        shell.terminal(columns)
        heads.append(next(line.split() for line in bare(shell("list").out) if "status" in line))
    assert heads[0] == ["id", "status", "created"]
    assert heads[1] == ["id", "status", "created", "took", "seconds", "units", "video", "your", "id"]


def test_no_color_has_none(shell: Shell) -> None:
    shell.task()
    shell.terminal(100)
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", "".join(shell("list").out))
    shell.terminal(100, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", "".join(shell("list").out))


def test_a_wait_is_seen(shell: Shell) -> None:
    shell.terminal(100)
    with endless(shell.simulator):
        said = shell("extend", "original-video-id", "--timeout", "0.5")
    assert re.search(r"━ \d+ (submitted|processing) 0:00", "\n".join(bare(said.out)))


def test_its_result_stays(shell: Shell) -> None:
    shell.terminal(100)
    said = shell("extend", "original-video-id", "--out", "film.mp4")
    assert any(re.fullmatch(r"✓ \d+: video \d+, [\d.]+ s, 2 units, film\.mp4", line) for line in bare(said.out))


def test_json_on_a_terminal_stays_whole(shell: Shell) -> None:
    shell.terminal(60)
    lines = [line for line in bare(shell("extend", "original-video-id", "--json").out) if '"kind"' in line]
    assert len(lines) == 1


def test_an_error_is_wrapped_by_words(shell: Shell) -> None:
    shell.terminal(60)
    said = shell("wait", "no-such-task")
    lines = bare(said.err[1:] + said.out)
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60


def test_how_long_tasks_took_is_asked_once(shell: Shell) -> None:
    ids = [shell.task() for _ in range(2)]
    before = shell.simulator.count("list")
    shell("wait", *ids)
    assert shell.simulator.count("list") == before
    shell.terminal(100)
    shell("wait", *ids)
    assert shell.simulator.count("list") - before <= 1


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_the_first_press_ends_the_work_in_good_order() -> None:
    put_away = list[str]()

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            put_away.append("all")

    with pytest.raises(KeyboardInterrupt):
        carried(work())
    assert put_away == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_press_ends_the_process() -> None:
    ends = list[int]()

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            os.kill(os.getpid(), signal.SIGINT)
            raise

    with pytest.raises(KeyboardInterrupt):
        carried(work(), end=ends.append)
    assert ends == [130]


def test_a_press_before_the_loop_runs_counts() -> None:
    presses = _Presses(lambda _: None)
    presses(signal.SIGINT, None)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(presses.watched(asyncio.sleep(60)))


def test_who_ignores_ctrl_c_is_left_alone() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert carried(work()) == "done"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_no_signals() -> None:
    async def work() -> str:
        return "done"

    results = list[str]()
    thread = threading.Thread(target=lambda: results.append(carried(work())))
    thread.start()
    thread.join()
    assert results == ["done"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_gets_its_cursor_back(terminal: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    primary, secondary = os.openpty()
    with open(secondary, "w") as screen, (tmp_path / "file").open("w") as file:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", screen if terminal else file)
        ends = list[int]()
        monkeypatch.setattr(os, "_exit", ends.append)
        end_at_once(130)
        monkeypatch.undo()
    assert ends == [130]
    assert (tmp_path / "file").read_bytes() == b""
    if terminal:
        assert os.read(primary, 100).startswith(b"\x1b[?25h")
    os.close(primary)


STUBBORN = """
import asyncio, sys
from kling_async.cli.interrupt import _Presses, carried, end_at_once
async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("once", flush=True)
        await asyncio.sleep(600)
carried(work())
"""


@pytest.mark.parametrize("terminal", [False, True])
def test_a_second_press_ends_a_process_that_hangs(terminal: bool) -> None:
    primary, secondary = os.openpty()
    error = secondary if terminal else subprocess.PIPE
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=error, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for word in ("begun\n", "once\n"):
            assert process.stdout.readline() == word
            process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    os.close(secondary)
    if terminal:
        assert b"\x1b[?25h" in os.read(primary, 100)  # the cursor is seen again
    os.close(primary)

"""`demo` and `simulate`, and the whole command line as a process in a terminal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Timer

import av
import pytest
from shell import Shell, module


def length(film: str) -> float:
    """Seconds that a film plays."""
    with av.open(film) as container:
        return float(container.duration or 0) / av.time_base


def test_demo_ends_with_a_film_of_a_minute(shell: Shell) -> None:
    said = shell("demo", "--task-seconds", "0.01", "--out", "film.mp4")
    assert (said.code, 11 <= len(said.out) <= 14) == (0, True)
    assert length("film.mp4") >= 60
    assert said.err[-1] == f"It is in {Path('film.mp4').resolve()}: open it in any player."
    assert said.err[0].endswith("built in: no account, no money, no real films.")


def test_demo_shows_each_step(shell: Shell) -> None:
    said = shell("demo", "--task-seconds", "0.01", "--seconds", "14", "--json")
    assert [record["key"] for record in said.records] == ["step 1", "step 2"] + ["step 3"] * (len(said.records) - 2)
    assert [record["path"] for record in said.records][-1] == "kling-demo.mp4"
    assert [
        line for line in said.err if line == "step 2: running, from " + said.records[0]["videos"][0]["duration"] + " s"
    ]


def test_module_runs_the_demo(no_settings: None) -> None:
    done = module("demo", "--task-seconds", "0.01", "--seconds", "9")
    assert (done.returncode, Path("kling-demo.mp4").exists()) == (0, True)
    assert "\x1b" not in done.stdout + done.stderr


def test_simulate_passes_its_options_on(shell: Shell) -> None:
    said = shell("simulate", "--port", "none")
    assert (said.code, said.err[0].startswith("usage: kling-async simulate")) == (2, True)


def test_simulate_gives_its_own_exit_code(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = shell("simulate", "--port", str(taken.getsockname()[1]))
    assert said.code == 1
    assert said.err[0].startswith("kling-async simulate: cannot listen")


# --- in a terminal of its own ----------------------------------------------------------------------------------------


def typed(*arguments: str, until: bytes, columns: int = 80) -> tuple[bytes, int]:
    """What a terminal shows of a command that gets Ctrl-C as soon as it shows something, and its exit code."""
    primary, secondary = os.openpty()
    command = [sys.executable, "-m", "kling_async", *arguments]
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(  # noqa: S603
        command, stdin=secondary, stdout=secondary, stderr=secondary, env=settings, start_new_session=True
    ) as process:
        os.close(secondary)
        late = Timer(30.0, process.kill)  # or else a picture that never comes would be waited for
        late.start()
        shown, pressed = b"", False
        while chunk := _read(primary):
            shown += chunk
            if not pressed and re.search(until, shown):
                process.send_signal(signal.SIGINT)
                pressed = True
        late.cancel()
    os.close(primary)
    return shown, process.returncode


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody is left at the other side
        return b""


@pytest.mark.parametrize("columns", [60, 160])
def test_ctrl_c_in_a_terminal_leaves_it_as_it_was(shell: Shell, columns: int) -> None:
    shell.simulator.engine._task_seconds = 600.0
    try:
        shown, code = typed("extend", "original-video-id", until=rb"\d{18} (submitted|processing)", columns=columns)
    finally:
        shell.simulator.engine._task_seconds = 0.05
    task = shell.simulator.accepted[-1].task_id
    assert code == 130
    assert shown.rstrip().endswith(f"  kling-async wait {task}".encode())
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is seen again

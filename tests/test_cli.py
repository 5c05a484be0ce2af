"""The command line as a whole: its exit codes, where it says what, and errors without a traceback."""

from __future__ import annotations

import io
import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from shell import IMPATIENT, Said, Shell, module

from kling_async import (
    CreateUncertain,
    KlingClient,
    KlingError,
    NoVideo,
    SlotPolicy,
    Task,
    TaskFailed,
    TaskStatus,
    WaitTimeout,
    errors,
)
from kling_async import __main__ as main_module
from kling_async.cli import run
from kling_async.cli.entry import main
from kling_async.cli.exits import EXITS, common, exit_of
from kling_async.cli.session import Session, advice, whereabouts
from kling_async.events import OnEvent
from kling_async.version import VERSION

COMMANDS = [
    "extend",
    "chain",
    "omni",
    "batch",
    "worker",
    "wait",
    "download",
    "list",
    "show",
    "costs",
    "demo",
    "simulate",
]
TASK = Task("t-1", TaskStatus.FAILED)
README = Path(__file__).parent.parent / "README.md"


# --- help ------------------------------------------------------------------------------------------------------------


def test_version_is_told(shell: Shell) -> None:
    assert VERSION in shell("--version").out[0]


def test_help_names_the_commands_in_their_order(shell: Shell) -> None:
    shown = re.findall(r"^  (\w+) ", "\n".join(shell("--help").out).partition("Commands:")[2], re.MULTILINE)
    assert shown[: len(COMMANDS)] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples(shell: Shell, command: str) -> None:
    said = shell(command, "--help")
    text = "\n".join(said.out)
    assert said.code == 0
    assert re.search(r"(?i)examples?:\n +(.*\| )?kling-async " + command, text), text


@pytest.mark.parametrize("command", COMMANDS[:-1])
def test_examples_name_options_that_there_are(command: str) -> None:
    found = main.commands[command]
    examples = (found.help or "").partition("Examples:")[2]
    options = {option for parameter in found.params for option in parameter.opts}
    own = "\n".join(line for line in re.split(r"[|\n]", examples) if f"kling-async {command} " in line)
    assert set(re.findall(r"--[a-z-]+", own)) <= options


def test_help_shows_the_exit_codes(shell: Shell) -> None:
    text = " ".join("\n".join(shell("--help").out).partition("Exit codes:")[2].split())
    for row in EXITS:
        assert f"{row.code} {row.when}" in text


def test_readme_shows_the_exit_codes() -> None:
    rows = ["| code | when | errors |", "|---|---|---|"]
    for row in EXITS:
        rows.append(f"| {row.code} | {row.when} | {', '.join(f'`{kind.__name__}`' for kind in row.errors)} |")
    assert "\n".join(rows) in README.read_text("utf-8")


def test_readme_names_every_command() -> None:
    table = README.read_text("utf-8").partition("## From the shell")[2].partition("```")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == COMMANDS


def members(what: str) -> set[str]:
    """The members that README documents for something."""
    table = README.read_text("utf-8").partition("<!-- json members -->")[2].partition("\n\n")[0]
    row = next(row for row in table.splitlines() if row.startswith(f"| {what}"))
    return set(re.findall(r"`(\w+)`", row.rsplit("|", 2)[1]))


def names(value: object) -> set[str]:
    """The members of a record, those within it too."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    return set(value).union(*map(names, value.values())) if isinstance(value, dict) else set()


def test_readme_names_the_members_of_json(shell: Shell) -> None:
    task = shell.task()
    Path("jobs.jsonl").write_text('{"key": "a", "video_id": "original-video-id"}', "utf-8")
    known, ended = members("a task"), members("what became of it")
    assert names(shell("show", task, "--json").records) == known
    assert names(shell("wait", task, "no-such-task", "--json").records) == known | ended
    assert names(shell("costs", "--json").records) == members("`costs`")
    dry = shell("batch", "jobs.jsonl", "--journal", "run.sqlite3", "--dry-run", "--json")
    assert names(dry.records) == members("`batch --dry-run`")


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_is_clicks_own(shell_name: str) -> None:
    said = module(_KLING_ASYNC_COMPLETE=f"{shell_name}_source")
    assert (said.returncode, said.stderr) == (0, "")
    assert "_KLING_ASYNC_COMPLETE" in said.stdout


def test_completion_knows_models() -> None:
    said = module(_KLING_ASYNC_COMPLETE="bash_complete", COMP_WORDS="kling-async extend --model ", COMP_CWORD="3")
    assert [line.partition(",")[2] for line in said.stdout.splitlines()] == ["kling-v1", "kling-v1-5", "kling-v1-6"]


# --- exit codes ------------------------------------------------------------------------------------------------------


def test_each_code_stands_once() -> None:
    codes = [row.code for row in EXITS]
    assert codes == sorted(set(codes))
    assert {0, 1, 2, 130} <= set(codes)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ServerError("no", code=5000, http_status=500), 1),
        (errors.TransportError("no", sent=False), 1),
        (errors.RequestError("no"), 2),
        (errors.ConfigurationError("no"), 3),
        (errors.AuthenticationError("no", code=1000, http_status=401), 3),
        (errors.AccountError("no", code=1102, http_status=429), 4),
        (errors.AddressNotAllowed("no", code=1304, http_status=429), 4),
        (errors.ContentRejected("no", code=1301, http_status=400), 5),
        (errors.NotFound("no", code=1203, http_status=404), 6),
        (CreateUncertain("no", external_task_id="e-1"), 7),
        (WaitTimeout("no", pending=(TASK,)), 8),
        (TaskFailed("no", task=TASK), 9),
        (errors.DownloadError("no"), 10),
        (errors.JournalError("no"), 11),
    ],
    ids=lambda given: type(given).__name__,
)
def test_code_of_an_error(error: KlingError, code: int) -> None:
    assert exit_of(error).code == code


@pytest.mark.parametrize(("codes", "code"), [([], 0), ([0, 0], 0), ([0, 9], 9), ([9, 9], 9), ([6, 9], 1)])
def test_code_of_several_is_theirs_where_they_agree(codes: list[int], code: int) -> None:
    assert common(codes) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["batch"],
        ["batch", "jobs.jsonl"],
        ["batch", "nowhere.jsonl", "--journal", "run.sqlite3"],
        ["batch", ".", "--journal", "run.sqlite3"],
        ["batch", "jobs.jsonl", "--journal", "."],
        ["batch", "jobs.jsonl", "--journal", "run.sqlite3", "--slots", "0"],
        ["batch", "jobs.jsonl", "--journal", "run.sqlite3", "--timeout", "-1"],
        ["batch", "jobs.jsonl", "--journal", "run.sqlite3", "--out", "jobs.jsonl"],
        ["batch", "jobs.jsonl", "--journal", "run.sqlite3", "--surplus"],
        ["demo", "--task-seconds", "soon"],
        ["demo", "--out", "nowhere/film.mp4"],
        ["demo", "--seconds", "181"],
        ["extend"],
        ["extend", "original-video-id", "--model", "kling-v9"],
        ["extend", "original-video-id", "--prompt", "a", "--prompt-file", "jobs.jsonl"],
        ["extend", "original-video-id", "--prompt-file", "nowhere.txt"],
        ["extend", "original-video-id", "--prompt-file", "bytes.txt"],
        ["extend", "original-video-id", "--prompt-file", "empty.txt"],
        ["extend", "original-video-id", "--prompt-file", "-"],
        ["extend", "original-video-id", "--no-wait", "--out", "film.mp4"],
        ["extend", "original-video-id", "--timeout", "soon"],
        ["extend", "original-video-id", "--timeout", "nan"],
        ["extend", " blanks "],
        ["extend", "original-video-id", "--external-id", ""],
        ["extend", "original-video-id", "--prompt", "p" * 2501],
        ["chain", "original-video-id"],
        ["chain", "original-video-id", "--seconds", "181"],
        ["chain", "original-video-id", "--seconds", "60", "--source-seconds", "0"],
        ["chain", "original-video-id", "--seconds", "60", "--source-seconds", "soon"],
        ["omni", "not an address"],
        ["wait"],
        ["wait", "a", "b", "--out", "film.mp4"],
        ["wait", "a", "--out", "nowhere/film.mp4"],
        ["download", "a", "b", "--out", "film.mp4"],
        ["list", "--since", "soon"],
        ["list", "--since", "999999999d"],
        ["list", "--status", "done"],
        ["list", "--limit", "0"],
        ["simulate", "--port", "none"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_wrong_usage_is_2_and_sends_nothing(shell: Shell, arguments: list[str]) -> None:
    Path("jobs.jsonl").touch()
    Path("empty.txt").write_text("\n", "utf-8")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    before = shell.simulator.engine.requests.total()
    said = shell(*arguments)
    assert (said.code, said.out) == (2, [])
    assert "rror: " in said.err[-1]
    assert shell.simulator.engine.requests.total() == before


def test_a_folder_that_cannot_be_written_is_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = shell("demo")
    assert said.code == 2
    assert "is not writable" in said.err[-1]


def test_no_credentials_is_3_and_says_what_to_set(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KLING_API_KEY")
    said = shell("list")
    assert said.code == 3
    assert "KLING_API_KEY" in said.err[-1]


def test_another_key_is_3(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_API_KEY", "k" * 20)
    said = shell("wait", "a", "b")
    assert said.code == 3
    assert sum("Error:" in line for line in said.err) == 1  # once for all
    assert said.err[-1] == "To go on: kling-async wait a b"


def test_error_of_the_system_names_its_file(shell: Shell) -> None:
    Path("jobs.jsonl").write_text('{"key": "a", "video_id": "original-video-id"}', "utf-8")
    said = shell("batch", "jobs.jsonl", "--journal", "run.sqlite3", "--out", "jobs.jsonl/films")
    assert (said.code, said.err) == (1, ["Error: jobs.jsonl/films: Not a directory"])


def failing(error: BaseException) -> object:
    def connect(*, base_url: str | None, slots: SlotPolicy, on_event: OnEvent | None) -> KlingClient:
        raise error

    return connect


def told_of(error: BaseException, capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    code = run([*arguments, "list"], connect=failing(error))  # type: ignore[arg-type]
    said = capsys.readouterr()
    return Said(code, said.out.splitlines(), said.err.splitlines())


def test_error_of_the_system_without_a_file_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    said = told_of(OSError("too many open files"), capsys)
    assert (said.code, said.err) == (1, ["Error: the system: too many open files"])


def test_what_nobody_thought_of_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    said = told_of(ZeroDivisionError("secret"), capsys)
    assert (said.code, len(said.err)) == (1, 1)
    assert said.err[0].startswith(f"Error: unexpected: ZeroDivisionError in kling_async {VERSION}. Please report it")
    assert "secret" not in said.err[0]


def test_debug_shows_its_traceback(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["list", "--debug"], connect=failing(ZeroDivisionError()))  # type: ignore[arg-type]
    assert code == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_debug_shows_the_log(shell: Shell) -> None:
    said = shell("extend", "original-video-id", "--debug")
    assert any(re.fullmatch(r"info: task \d+ was accepted as .*", line) for line in said.err)
    assert not any(line.startswith("info: ") for line in shell("list").err)


def test_interrupted_before_anything_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    said = told_of(KeyboardInterrupt(), capsys)
    assert (said.code, said.err) == (130, ["", "Interrupted."])


def test_asked_something_and_answered_by_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert told_of(click.Abort(), capsys).code == 130


# --- who is talked to ------------------------------------------------------------------------------------------------


def test_the_first_line_says_that_it_is_the_simulator(shell: Shell) -> None:
    said = shell("list", "--json")
    assert said.err[0] == f"Simulator at {shell.simulator.url}: no money, no real films."


@pytest.mark.parametrize(
    ("url", "environment", "told"),
    [
        ("https://api-singapore.klingai.com", {"KLING_API_KEY": "k"}, ""),
        ("https://api-singapore.klingai.com", {"KLING_API_KEY": "simulated-api-key"}, "The key is the simulator's"),
        ("http://127.0.0.1:1", {"KLING_API_KEY": "simulated-api-key"}, "Simulator at http://127.0.0.1:1"),
        ("http://localhost:1", {"KLING_ACCESS_KEY": "simulated-access-key"}, "Simulator at http://localhost:1"),
        ("http://[::1]:1", {"KLING_API_KEY": "k"}, "http://[::1]:1 is an address of this machine"),
        # The API key is what counts where both are set.
        ("https://example.com", {"KLING_API_KEY": "k", "KLING_ACCESS_KEY": "simulated-access-key"}, ""),
    ],
)
def test_who_is_talked_to(url: str, environment: dict[str, str], told: str) -> None:
    assert whereabouts(url, environment).startswith(told)
    assert bool(whereabouts(url, environment)) == bool(told)


def test_nothing_is_said_of_the_live_service(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_API_KEY", "k" * 20)
    assert "klingai.com" in Session(["list"]).client().base_url
    assert capsys.readouterr().err == ""


def test_base_url_of_the_command_line_counts(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BASE_URL", "http://127.0.0.1:9")
    said = shell("list", "--base-url", shell.simulator.url)
    assert (said.code, said.err[0]) == (0, f"Simulator at {shell.simulator.url}: no money, no real films.")


# --- what to do next -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoVideo("no", task=TASK), "kling-async wait"),
        (errors.DownloadError("no"), "kling-async download"),
        (errors.ServerError("no", code=5000, http_status=500), "Try again later"),
    ],
)
def test_advice_is_for_a_shell(error: KlingError, words: str) -> None:
    assert words in advice(error)


def test_a_command_is_told_as_it_would_be_typed() -> None:
    session = Session(["wait"])
    session.base_url = "http://127.0.0.1:1"
    told = session.again(
        "wait", ["it's"], {"--out": "a film.mp4", "--timeout": 90.0, "--omni": True, "--slots": None, "--quiet": False}
    )
    assert told == (
        "kling-async wait 'it'\"'\"'s' --out 'a film.mp4' --timeout 90 --omni --base-url http://127.0.0.1:1"
    )


# --- as a process ----------------------------------------------------------------------------------------------------


def test_module_without_credentials_is_one_line(no_settings: None) -> None:
    done = module("list")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (3, 1, "")


def test_module_used_wrongly_is_2(no_settings: None) -> None:
    assert module("batch").returncode == 2


def test_module_with_no_server_tells_so(no_settings: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    Path("jobs.jsonl").write_text('{"key": "a", "video_id": "v"}\n{"key": "b", "video_id": "v"}', "utf-8")
    batch = ["batch", "jobs.jsonl", "--journal", "run.sqlite3"]
    done = module(*batch, code=IMPATIENT, KLING_BASE_URL=url, KLING_API_KEY="k" * 20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("created: no") == 2
    assert done.stderr.endswith("0 of 2 jobs are done, for 0 units; run it again to go on.\n")


def test_who_reads_may_leave_early(shell: Shell) -> None:
    shell.task()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", IMPATIENT, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Error" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert run(["list"], connect=failing(BrokenPipeError())) == 1  # type: ignore[arg-type]
        file.write("nobody reads this")
    assert (tmp_path / "out").read_text("utf-8") == ""


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


def test_a_letter_that_the_terminal_does_not_know_is_written_otherwise(shell: Shell) -> None:
    said = module("extend", "original-video-id", "--no-wait", PYTHONIOENCODING="ascii", FORCE_COLOR="1", NO_COLOR="1")
    assert (said.returncode, "\\u2713 " in said.stdout) == (0, True)


def test_output_may_be_anything_that_takes_text(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "argv", ["kling-async", "--version"])
    assert main_module.main() == 0
    assert VERSION in output.getvalue()


def test_no_command_shows_what_there_is(shell: Shell) -> None:
    said = shell()
    assert (said.out + said.err)[0] == "Usage: kling-async [OPTIONS] COMMAND [ARGS]..."


def test_missing_extra_is_told_in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("kling_async.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "click", None)
    assert main_module.main() == 2
    assert capsys.readouterr().err == "kling-async needs click: pip install 'kling_async[cli]'\n"

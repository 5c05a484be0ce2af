"""`batch`: jobs out of files and pipes, once each, and what a rerun does."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import click
import pytest
from shell import IMPATIENT, Shell, module
from test_cli_making import endless, interrupt_at

from kling_async.cli.batching import batch
from kling_async.cli.session import Session

JOBS = '{"key": "a", "video_id": "original-video-id"}\n{"key": "b", "video_id": "original-video-id", "mode": "pro"}\n'
OMNI = {
    "key": "o",
    "model_name": "kling-video-o1",
    "prompt": "<<<video_1>>> goes on",
    "video_list": [{"video_url": "https://example.com/a.mp4?token=t"}],
}
BATCH = ["batch", "jobs.jsonl", "--journal", "run.sqlite3"]


@pytest.fixture(autouse=True)
def _jobs(no_settings: None) -> None:
    Path("jobs.jsonl").write_text(JOBS, "utf-8")


def test_each_job_is_carried_out(shell: Shell) -> None:
    before = len(shell.simulator.accepted)
    said = shell(*BATCH, "--out", "films", "--slots", "2", "--timeout", "60")
    assert (said.code, len(shell.simulator.accepted) - before) == (0, 2)
    assert sorted(file.name for file in Path("films").iterdir()) == ["a.mp4", "b.mp4"]
    assert said.err[-1] == "2 of 2 jobs are done, for 5.5 units."
    assert any(line.startswith("a: video ") and line.endswith("films/a.mp4") for line in said.out)


def test_again_sends_nothing(shell: Shell) -> None:
    assert shell(*BATCH).code == 0
    before = shell.simulator.count("create")
    assert shell(*BATCH).err[-1] == "2 of 2 jobs are done, for 5.5 units."
    assert shell.simulator.count("create") == before


@pytest.mark.parametrize("name", ["jobs.csv", "JOBS.CSV"])
def test_csv_is_known_by_its_name(shell: Shell, name: str) -> None:
    Path(name).write_text("key,video_id,mode\na,original-video-id,\nb,original-video-id,pro\n", "utf-8")
    assert shell("batch", name, "--journal", "run.sqlite3").code == 0


@pytest.mark.parametrize(
    ("options", "text"), [([], JOBS), (["--format", "csv"], "key,video_id\na,original-video-id\nb,original-video-id\n")]
)
def test_jobs_may_come_by_a_pipe(shell: Shell, options: list[str], text: str) -> None:
    said = shell("batch", "-", "--journal", "run.sqlite3", *options, stdin=text.encode())
    assert (said.code, len(said.out)) == (0, 2)


def test_json_has_each_jobs_key(shell: Shell) -> None:
    records = {record["key"]: record for record in shell(*BATCH, "--json", "--out", "films").records}
    assert records.keys() == {"a", "b"}
    assert (records["a"]["path"], records["b"]["final_unit_deduction"]) == ("films/a.mp4", "3.5")


def test_omni_jobs(shell: Shell) -> None:
    Path("jobs.jsonl").write_text(json.dumps(OMNI), "utf-8")
    [record] = shell(*BATCH, "--omni", "--json").records
    assert (record["kind"], record["status"]) == ("omni-video", "succeed")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_jobs_is_wrong_usage_and_leaves_no_journal(shell: Shell, text: str) -> None:
    Path("jobs.jsonl").write_text(text, "utf-8")
    said = shell(*BATCH)
    assert said.code == 2
    assert "there is no job in it" in said.err[-1]
    assert not Path("run.sqlite3").exists()


def test_what_goes_on_from_standard_input_says_so() -> None:
    session = Session(["batch", "-", "--journal", "run.sqlite3"])
    with click.Context(batch, info_name="batch"):
        again = session.same()
    assert again() == "... (the same lines) | kling-async batch - --journal run.sqlite3"


def test_a_job_that_is_not_done_is_1(shell: Shell) -> None:
    Path("jobs.jsonl").write_text(JOBS + '{"key": "[bold]c[/]", "video_id": "not-there"}', "utf-8")
    said = shell(*BATCH)
    assert (said.code, len(said.out)) == (1, 2)
    assert said.err[-1] == "2 of 3 jobs are done, for 5.5 units; run it again to go on."
    assert [line for line in said.err if line.startswith("Error: [bold]c[/]: ") and "created: no" in line]


def test_a_failed_job_is_made_anew_when_that_is_wanted(shell: Shell) -> None:
    shell.simulator.fail_next()
    assert shell(*BATCH, "--slots", "1").code == 1
    assert shell(*BATCH).code == 1
    assert shell(*BATCH, "--retry-failed").code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"key": "a"', "line 1: is no JSON"),
        (b'{"key": "a", "video_id": "v", "cfg_scale": 1}', "line 1: cfg_scale"),
        (b'{"key": "\\ud800", "video_id": "v"}', "half of a surrogate pair"),
        (b"\xff\xfe{\x00", "is not UTF-8"),
    ],
)
def test_a_bad_job_is_2_and_told(shell: Shell, content: bytes, words: str) -> None:
    Path("jobs.jsonl").write_bytes(content)
    said = shell(*BATCH)
    assert said.code == 2
    assert words in said.err[-1]


def test_a_journal_that_is_none_is_11(shell: Shell) -> None:
    Path("run.sqlite3").write_text("not a journal")
    assert shell(*BATCH).code == 11


# --- before it is sent -----------------------------------------------------------------------------------------------


def test_a_dry_run_sends_nothing_and_makes_no_journal(shell: Shell) -> None:
    before = shell.simulator.engine.requests.total()
    said = shell(*BATCH, "--dry-run", "--out", "films")
    assert (said.code, said.out) == (0, ["a\tcreate\toriginal-video-id\t\t\t", "b\tcreate\toriginal-video-id\t\tpro\t"])
    assert said.err[-1] == "2 create: 2 of 2 jobs may be paid. Nothing was sent."
    assert shell.simulator.engine.requests.total() == before
    assert not Path("run.sqlite3").exists()
    assert not Path("films").exists()


def test_a_dry_run_knows_what_was_done(shell: Shell) -> None:
    done = {record["key"]: record["id"] for record in shell(*BATCH, "--json").records}
    records = shell(*BATCH, "--dry-run", "--json").records
    assert [(record["id"], record["does"], record["may_pay"]) for record in records] == [
        (done[key], "nothing", False) for key in "ab"
    ]


def test_a_dry_run_of_omni_shows_no_signature(shell: Shell) -> None:
    Path("jobs.jsonl").write_text(json.dumps(OMNI), "utf-8")
    said = shell(*BATCH, "--omni", "--dry-run")
    assert said.out == ["o\tcreate\thttps://example.com/a.mp4\tkling-video-o1\t\t"]


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_tells_the_same_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, "remembered in")
    with endless(shell.simulator):
        said = shell(*BATCH, "--slots", "2")
    assert (said.code, said.err[-1]) == (130, "  kling-async batch jobs.jsonl --journal run.sqlite3 --slots 2")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_module_runs_a_batch(shell: Shell, form: str) -> None:
    Path("jobs.csv").write_text("key,video_id\na,original-video-id\nb,original-video-id\n", "utf-8")
    done = module("batch", f"jobs.{form}", "--journal", "run.sqlite3", code=IMPATIENT)
    assert (done.returncode, done.stdout.count("video ")) == (0, 2)


def test_ctrl_c_of_a_process_is_130_and_a_rerun_goes_on(shell: Shell) -> None:
    before = shell.simulator.count("create")
    command = [sys.executable, "-W", "error", "-m", "kling_async", *BATCH]
    with endless(shell.simulator), subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while states() != ["accepted", "accepted"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, shell.simulator.count("create") - before) == (130, 2)
    assert errors.splitlines()[-1] == f"  kling-async {' '.join(BATCH)}"


def states() -> list[str]:
    with suppress(sqlite3.Error), closing(sqlite3.connect("file:run.sqlite3?mode=ro", uri=True)) as database:
        return [state for (state,) in database.execute("SELECT state FROM jobs")]
    return []

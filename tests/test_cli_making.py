"""`extend`, `omni` and `chain`: what is made, once, and how it goes on after an interruption."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shell import Shell

from kling_async.cli.options import text_of
from kling_async.cli.screen import Screen
from kling_async.simulator import Fault, Simulator

EXTEND = ["extend", "original-video-id"]
CHAIN = ["chain", "original-video-id", "--seconds", "12", "--source-seconds", "5"]
CLIP = "https://example.com/clip.mp4"


def sent(simulator: Simulator) -> dict[str, object]:
    return dict(simulator.accepted[-1].fields)


@contextmanager
def endless(simulator: Simulator) -> Iterator[None]:
    """Tasks that nobody sees the end of."""
    before, simulator.engine._task_seconds = simulator.engine._task_seconds, 600.0
    try:
        yield
    finally:
        simulator.engine._task_seconds = before


# --- extend ----------------------------------------------------------------------------------------------------------


def test_a_film_is_saved(shell: Shell) -> None:
    said = shell(*EXTEND, "--prompt", "A storm", "--mode", "pro", "--model", "kling-v1", "--out", "film.mp4")
    assert said.code == 0
    assert re.fullmatch(r"\d+: video \d+, [\d.]+ s, 3\.5 units, film\.mp4", said.out[0])
    assert Path("film.mp4").read_bytes()[4:8] == b"ftyp"
    fields = sent(shell.simulator)
    assert (fields["prompt"], fields["mode"], fields["model_name"]) == ("A storm", "pro", "kling-v1")


def test_each_state_is_a_plain_line_where_no_terminal_is(shell: Shell) -> None:
    said = shell(*EXTEND, "--out", "film.mp4")
    states = [line.partition(": ")[2] for line in said.err[1:]]
    assert states[0] == "creating"
    assert states[1] == "submitted"
    assert states[-1] == "downloading"
    assert not any("\x1b" in line for line in said.err + said.out)


def test_a_folder_is_made_and_the_film_named_by_your_own_id(shell: Shell) -> None:
    assert shell(*EXTEND, "--external-id", "order-1", "--out", "new/films/").code == 0
    assert [file.name for file in Path("new/films").iterdir()] == ["order-1.mp4"]


def test_the_same_external_id_makes_nothing_twice(shell: Shell) -> None:
    before = len(shell.simulator.accepted)
    first, second = (shell(*EXTEND, "--external-id", "order-2", "--json").records[0] for _ in range(2))
    assert (first["id"], len(shell.simulator.accepted) - before) == (second["id"], 1)
    assert first["external_task_id"] == "order-2"


def test_json_is_one_object_and_nothing_else(shell: Shell) -> None:
    [record] = shell(*EXTEND, "--json", "--out", "film.mp4").records
    assert (record["kind"], record["status"], record["error"]) == ("video-extend", "succeed", None)
    assert (record["final_unit_deduction"], record["path"]) == ("2", "film.mp4")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["created_at"])
    assert re.fullmatch(r"\d+\.\d", record["videos"][0]["duration"])


def test_no_wait_leaves_at_once(shell: Shell) -> None:
    with endless(shell.simulator):
        said = shell(*EXTEND, "--no-wait")
    assert (said.code, re.fullmatch(r"\d+: submitted", said.out[0]) is not None) == (0, True)


@pytest.mark.parametrize("prompt", ["@alice walks in", "-", "--json", "two\nlines"])
def test_a_prompt_is_taken_as_it_stands(shell: Shell, prompt: str) -> None:
    shell(*EXTEND, "--prompt", prompt, "--no-wait", stdin=b"from standard input\n")
    assert sent(shell.simulator)["prompt"] == ("from standard input" if prompt == "-" else prompt)


@pytest.mark.parametrize("file", ["scene.txt", "-"])
def test_a_prompt_may_stand_in_a_file(shell: Shell, file: str) -> None:
    text = "\ufeffA störm\r\ncomes up\r\n".encode()
    Path("scene.txt").write_bytes(text)
    shell(*EXTEND, "--prompt-file", file, "--no-wait", stdin=text)
    assert sent(shell.simulator)["prompt"] == "A störm\r\ncomes up"


def test_a_failed_task_is_9_and_says_why(shell: Shell) -> None:
    shell.simulator.fail_next(message="no \x1b[31mluck")
    said = shell(*EXTEND, "--json")
    assert (said.code, said.records[0]["status"], said.records[0]["error"]["class"]) == (9, "failed", "TaskFailed")
    assert "no  [31mluck" in said.err[-1]  # a vendor's words move no cursor


def test_what_is_refused_is_5(shell: Shell) -> None:
    said = shell("extend", "no-such-video", "--json")
    assert (said.code, said.records[0]["id"], said.records[0]["error"]["code"]) == (5, None, 1201)
    assert said.records[0]["error"]["created"] == "no"


def test_an_empty_wallet_is_4(shell: Shell) -> None:
    shell.simulator.script(Fault.code(1102, on="create"))
    said = shell(*EXTEND)
    assert said.code == 4
    assert "resource pack" in said.err[-2]
    assert said.err[-1].startswith("To go on: kling-async extend --external-id kling-async-")


def test_time_that_is_over_is_8_and_says_how_to_go_on(shell: Shell) -> None:
    with endless(shell.simulator):
        said = shell(*EXTEND, "--timeout", "0.1", "--out", "film.mp4")
    task = shell.simulator.accepted[-1].task_id
    assert said.code == 8
    assert said.err[-1] == f"To go on: kling-async wait {task} --out film.mp4 --timeout 0.1"


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupt_at(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Ctrl-C as soon as something is told."""
    note = Screen.note

    def pressed(screen: Screen, text: str) -> None:
        note(screen, text)
        if words in text:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Screen, "note", pressed)


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ([], ""),
        (["--out", "film.mp4"], " --out film.mp4"),
        (["--timeout", "60"], " --timeout 60"),
        (["--timeout", "none", "--json"], " --timeout none --json"),
        (["--prompt", "x", "--mode", "pro", "--slots", "3"], ""),
    ],
)
def test_ctrl_c_tells_how_to_wait_for_what_was_accepted(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, more: list[str], options: str
) -> None:
    interrupt_at(monkeypatch, "submitted")
    with endless(shell.simulator):
        said = shell(*EXTEND, *more)
    task = shell.simulator.accepted[-1].task_id
    assert said.code == 130
    assert said.err[-2:] == ["Detached; nothing is lost. To go on:", f"  kling-async wait {task}{options}"]


def test_ctrl_c_before_that_tells_a_command_that_makes_nothing_twice(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, ": creating")
    said = shell(*EXTEND, "--prompt", "it's on")
    words = shlex.split(said.err[-1])
    assert said.code == 130
    assert words[:3] == ["kling-async", "extend", "--external-id"]
    assert words[4:] == ["original-video-id", "--prompt", "it's on"]


def test_an_external_id_that_was_given_is_not_told_twice(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, ": creating")
    said = shell(*EXTEND, "--external-id=order-9")
    assert said.err[-1] == "  kling-async extend original-video-id --external-id=order-9"


def test_a_line_for_a_slot_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.simulator.engine, "slots", 0)
    interrupt_at(monkeypatch, "others hold them all")
    said = shell(*EXTEND, "--external-id", "order-10")
    assert said.code == 130
    assert "order-10: in line for a slot, others hold them all" in said.err


# --- omni ------------------------------------------------------------------------------------------------------------


def test_omni_makes_the_next_shot(shell: Shell) -> None:
    said = shell("omni", CLIP, "--prompt", "The door opens", "--seconds", "10", "--aspect-ratio", "1:1", "--json")
    assert (said.code, said.records[0]["kind"]) == (0, "omni-video")
    fields = sent(shell.simulator)
    assert fields["prompt"] == "Based on <<<video_1>>>, generate the next shot: The door opens"
    assert (fields["duration"], fields["aspect_ratio"], fields["model_name"]) == ("10", "1:1", "kling-video-o1")


def test_omni_goes_on_as_omni(shell: Shell) -> None:
    with endless(shell.simulator):
        said = shell("omni", CLIP, "--timeout", "0.1")
    task = shell.simulator.accepted[-1].task_id
    assert said.err[-1] == f"To go on: kling-async wait {task} --omni --timeout 0.1"


# --- chain -----------------------------------------------------------------------------------------------------------


def prompts(simulator: Simulator, count: int) -> list[object]:
    return [accepted.fields.get("prompt") for accepted in simulator.accepted[-count:]]


def test_a_chain_grows_and_is_saved(shell: Shell) -> None:
    said = shell(*CHAIN, "--out", "film.mp4")
    assert said.code == 0
    assert said.err[1] == "2 steps, from 5 s to between 13 and 15 s."
    assert [line.partition(":")[0] for line in said.out] == ["step 1", "step 2"]
    assert said.out[1].endswith(", film.mp4")
    assert said.err[-1].endswith(" s, for 4 units.")
    assert Path("film.mp4").exists()


def test_a_chain_again_pays_nothing(shell: Shell) -> None:
    first = shell(*CHAIN, "--json")
    before = len(shell.simulator.accepted)
    again = shell(*CHAIN, "--json")
    assert [record["id"] for record in again.records] == [record["id"] for record in first.records]
    assert len(shell.simulator.accepted) == before


def test_a_dry_run_of_a_chain_sends_nothing(shell: Shell) -> None:
    before = shell.simulator.engine.requests.total()
    said = shell(*CHAIN, "--dry-run")
    assert (said.code, said.out) == (0, ["2 steps, from 5 s to between 13 and 15 s."])
    assert shell.simulator.engine.requests.total() == before
    assert not Path("kling-chains.sqlite3").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [None, None]),
        (["--prompt", "a"], ["a", "a"]),
        (["--prompt", "a", "--prompt", "b"], ["a", "b"]),
        (["--prompt-file", "scenes.txt"], ["one", "two"]),
    ],
)
def test_prompts_of_a_chain(shell: Shell, options: list[str], expected: list[str | None]) -> None:
    Path("scenes.txt").write_text("one\n\ntwo\n", "utf-8")
    assert shell(*CHAIN, *options).code == 0
    assert prompts(shell.simulator, 2) == expected


def test_ctrl_c_of_a_chain_tells_the_same_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, "step 1: running")
    said = shell(*CHAIN)
    assert said.code == 130
    assert said.err[-1] == f"  kling-async {shlex.join(CHAIN)}"


def test_a_step_whose_time_is_over_says_how_to_go_on(shell: Shell) -> None:
    with endless(shell.simulator):
        said = shell(*CHAIN, "--timeout", "0.1")
    assert said.code == 8
    assert said.err[-1] == f"To go on: kling-async {shlex.join(CHAIN)} --timeout 0.1"


def test_a_long_film_needs_no_step(shell: Shell) -> None:
    said = shell("chain", "original-video-id", "--seconds", "4", "--source-seconds", "5.5")
    assert (said.code, said.out) == (0, [])
    assert said.err[1] == "nothing to do: the film has 5.5 s."


def test_who_is_read_from_at_a_terminal_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = os.openpty()
    os.write(ours, b"typed\n\x04")  # Ctrl-D
    with open(theirs, encoding="utf-8") as terminal:  # noqa: PTH123 - a number, not a path
        monkeypatch.setattr(sys, "stdin", terminal)
        assert text_of("-", "JOBS") == "typed\n"
    os.close(ours)
    assert "up to Ctrl-D" in capsys.readouterr().err

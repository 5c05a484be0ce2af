"""`wait` and `download`: tasks of either kind, several at once, and what goes wrong with some of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Shell
from test_cli_making import CLIP, endless, interrupt_at


def made(shell: Shell, *arguments: str) -> str:
    """The id of a task that was just made."""
    shell(*arguments, "--no-wait")
    return shell.simulator.accepted[-1].task_id


def test_each_is_told_as_it_ends(shell: Shell) -> None:
    ids = [made(shell, "extend", "original-video-id") for _ in range(3)]
    said = shell("wait", *ids, "--json")
    assert (said.code, {record["id"] for record in said.records}) == (0, set(ids))


def test_films_go_to_a_folder(shell: Shell) -> None:
    ids = [made(shell, "extend", "original-video-id", "--external-id", f"w-{number}") for number in range(2)]
    assert shell("wait", *ids, "--out", "films/").code == 0
    assert sorted(file.name for file in Path("films").iterdir()) == ["w-0.mp4", "w-1.mp4"]


@pytest.mark.parametrize("command", ["wait", "download", "show"])
@pytest.mark.parametrize("options", [[], ["--omni"]])
def test_the_kind_is_found_out(shell: Shell, command: str, options: list[str]) -> None:
    task = made(shell, "omni", CLIP)
    shell("wait", task)
    [record] = shell(command, task, "--json", *options).records
    assert (record["id"], record["kind"]) == (task, "omni-video")


def test_omni_asks_for_that_kind_alone(shell: Shell) -> None:
    assert shell("wait", shell.task(), "--omni").code == 6


def test_your_own_id_will_do(shell: Shell) -> None:
    task = shell.task(external_id="mine-1")
    [record] = shell("wait", "mine-1", "--json").records
    assert (record["key"], record["id"]) == ("mine-1", task)


def test_an_id_given_twice_is_one(shell: Shell) -> None:
    task = shell.task()
    assert len(shell("wait", task, task).out) == 1


def test_one_that_is_not_there_does_not_keep_the_others(shell: Shell) -> None:
    task = shell.task()
    said = shell("wait", "no-such-task", task, "--json")
    lost, found = sorted(said.records, key=lambda record: str(record["key"]), reverse=True)
    assert (said.code, found["id"], found["error"]) == (6, task, None)
    assert (lost["key"], lost["id"], lost["error"]["class"]) == ("no-such-task", None, "NotFound")


def test_two_that_went_wrong_in_two_ways_are_1(shell: Shell) -> None:
    shell.simulator.fail_next()
    task = made(shell, "extend", "original-video-id")
    assert shell("wait", "no-such-task", task).code == 1


def test_time_that_is_over_names_those_that_are_left(shell: Shell) -> None:
    done = shell.task()
    with endless(shell.simulator):
        ids = [made(shell, "extend", "original-video-id") for _ in range(2)]
        said = shell("wait", done, *ids, "--timeout", "0.1")
    assert said.code == 8
    assert said.err[-1] == f"To go on: kling-async wait {ids[0]} {ids[1]} --timeout 0.1"


def test_ctrl_c_names_those_that_are_left(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    done = shell.task()
    with endless(shell.simulator):
        task = made(shell, "extend", "original-video-id")
        interrupt_at(monkeypatch, f"{task}: ")
        said = shell("wait", done, task, "--base-url", shell.simulator.url)
    left = f"{task} --base-url {shell.simulator.url}"
    assert said.code == 130
    assert said.err[-1] in {f"  kling-async wait {left}", f"  kling-async wait {done} {left}"}


def test_download_saves_here_by_the_tasks_own_name(shell: Shell) -> None:
    task = shell.task(external_id="mine-2")
    said = shell("download", task)
    assert (said.code, Path("mine-2.mp4").exists()) == (0, True)
    assert said.out[0].endswith(", mine-2.mp4")


def test_download_of_what_runs_is_9_and_says_to_wait(shell: Shell) -> None:
    with endless(shell.simulator):
        said = shell("download", made(shell, "extend", "original-video-id"))
    assert said.code == 9
    assert "kling-async wait" in said.err[-1]


def test_download_that_breaks_is_10_and_says_how_to_go_on(shell: Shell) -> None:
    task = shell.task()
    Path("film.mp4.part").mkdir()
    said = shell("download", task, "--out", "film.mp4")
    assert said.code == 10
    assert said.err[-1] == f"To go on: kling-async download {task} --out film.mp4"

"""`list`, `show` and `costs`: what is chosen, and how it is shown to people and to scripts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from shell import Shell
from test_cli_making import CLIP

from kling_async.simulator import Fault


def test_list_shows_the_newest_first_as_cells(shell: Shell) -> None:
    old, new = shell.task(), shell.task(external_id="mine-3")
    said = shell("list", "--limit", "2")
    cells = [line.split("\t") for line in said.out]
    assert [row[0] for row in cells] == [new, old]
    assert cells[0][1] == "succeed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", cells[0][2])
    assert (len(cells[0]), cells[0][-1]) == (8, "mine-3")


def test_list_pages_as_far_as_it_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kling_async.spec.PAGE_SIZE_MAX", 2)
    for _ in range(3):
        shell.task()
    assert len(shell("list", "--limit", "3").out) == 3
    assert len(shell("list", "--all").out) == len(shell("list", "--limit", "100000").out) >= 3


def test_list_by_status(shell: Shell) -> None:
    shell.simulator.fail_next()
    task = shell.task()
    records = shell("list", "--status", "failed", "--json").records
    assert task in {record["id"] for record in records}
    assert {record["status"] for record in records} == {"failed"}


@pytest.mark.parametrize(("since", "some"), [("1h", True), ("2d", True), ("2001-01-01", True), ("2999-01-01", False)])
def test_list_since(shell: Shell, since: str, some: bool) -> None:
    shell.task()
    said = shell("list", "--since", since)
    assert (said.code, bool(said.out)) == (0, some)


def test_list_of_omni(shell: Shell) -> None:
    shell("omni", CLIP, "--json")
    assert {record["kind"] for record in shell("list", "--omni", "--json").records} == {"omni-video"}


def test_an_empty_list_is_said_beside(shell: Shell) -> None:
    said = shell("list", "--since", "2999-01-01T10:00")
    assert (said.code, said.out, said.err[-1]) == (0, [], "No tasks.")


def test_an_empty_list_is_no_object(shell: Shell) -> None:
    assert shell("list", "--since", "2999-01-01", "--json").out == []


def test_records_that_are_none_are_told(shell: Shell) -> None:
    shell.task()

    def spoilt(answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"data": [*answer["data"], {"no": "task"}]}

    shell.simulator.script(Fault.changed(spoilt, on="list"))
    assert "Page 1 of the list has records that are no tasks: 1." in shell("list").err


def test_show_tells_all_that_is_known(shell: Shell) -> None:
    task = shell.task()
    said = shell("show", task)
    facts = dict(line.split(maxsplit=1) for line in said.out if line.startswith(("id", "kind", "status")))
    assert facts == {"id": task, "kind": "video-extend", "status": "succeed"}
    assert any(re.fullmatch(r"video 1 url +http.*\.mp4", line) for line in said.out)
    assert not any(line.startswith("status message") for line in said.out)  # there was none


def test_show_parts_several(shell: Shell) -> None:
    said = shell("show", shell.task(), shell.task())
    assert said.out.count("") == 1


def test_show_of_what_is_not_there_is_6(shell: Shell) -> None:
    said = shell("show", "no-such-task")
    assert (said.code, said.out) == (6, [])


def test_costs_shows_the_packs(shell: Shell) -> None:
    said = shell("costs")
    assert (said.code, said.out[0].split("\t")[:2]) == (0, ["Simulated-Video-1000000000Units-12Months", "online"])


def test_costs_of_a_pack_that_is_none(shell: Shell) -> None:
    said = shell("costs", "--pack", "nothing")
    assert (said.code, said.out, said.err[-1]) == (0, [], "No resource packs.")


def test_costs_in_json_are_exact(shell: Shell) -> None:
    [record] = shell("costs", "--since", "1d", "--json").records
    assert re.fullmatch(r"\d+(\.\d+)?", record["remaining_quantity"])

"""The page of a poller: what is wanted is read at its place, what shows no change is not read at all."""

from __future__ import annotations

import pytest

from kling_async.errors import MalformedResponse
from kling_async.models import Task, TaskStatus
from kling_async.rules.wire import Envelope, read_task, read_wanted


def page(*records: object) -> Envelope:
    return Envelope(list(records), None, 200)


def record(id: object, status: str = "processing", own: str | None = None) -> dict[str, object]:
    return {"task_id": id, "task_status": status, "task_info": {"external_task_id": own} if own else {}}


def read(envelope: Envelope, *known: Task, also: tuple[str, ...] = ()) -> list[Task | None]:
    last = {key: task for task in known for key in (task.id, task.external_task_id) if key}
    return read_wanted(envelope, lambda key: key in last or key in also, last.get)


def seen(id: str, own: str | None = None) -> Task:
    return read_task(Envelope(record(id, own=own), None, 200))


def test_each_stands_at_its_place_and_nobody_for_what_is_not_wanted() -> None:
    shown = read(page(record("1"), "junk", record("2"), record("3")), also=("2", "3"))
    assert [task and task.id for task in shown] == [None, None, "2", "3"]


def test_what_cannot_be_read_leaves_its_place_empty() -> None:
    shown = read(page({"task_id": "1"}, record("2")), also=("1", "2"))
    assert [task and task.id for task in shown] == [None, "2"]


@pytest.mark.parametrize("id", [7, "7"])
def test_an_id_may_be_a_number(id: object) -> None:
    [task] = read(page(record(id)), also=("7",))
    assert task is not None
    assert task.id == "7"


def test_a_task_is_wanted_by_either_id() -> None:
    [task, other] = read(page(record("1", own="mine"), record("2", own="theirs")), also=("mine",))
    assert (task and task.id, other) == ("1", None)


@pytest.mark.parametrize("own", [None, "mine"])
def test_without_a_change_it_is_the_very_task(own: str | None) -> None:
    known = seen("1", own)
    [task] = read(page(record("1", own=own)), known)
    assert task is known


def test_with_a_change_it_is_another() -> None:
    known = seen("1")
    [task] = read(page(record("1", "failed")), known)
    assert task is not None
    assert (task is known, task.status) == (False, TaskStatus.FAILED)


def test_a_page_that_is_no_list_is_refused() -> None:
    with pytest.raises(MalformedResponse):
        read(Envelope({"task_id": "1"}, None, 200))

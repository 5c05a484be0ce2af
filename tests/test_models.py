from __future__ import annotations

import copy
import decimal
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest

from kling_async.models import NoVideo, Page, ResourcePack, Task, TaskStatus, Video, supports, units_of

URL = "https://files.example/a.mp4?Signature=planted&Expires=1"
VIDEO = Video(id="v1", url=URL, duration=Decimal("9.6"), watermark_url="https://files.example/w.mp4?Signature=planted")
TASK = Task(
    id="t1",
    status=TaskStatus.SUCCEED,
    created_at=datetime(2024, 8, 4, tzinfo=UTC),
    videos=(VIDEO, Video("v2")),
    parent_video=VIDEO,
    raw={"url": URL},
)

# The specification's model table, cell by cell.
CELLS = [
    ("kling-v1", "std", 5),
    ("kling-v1", "std", 10),
    ("kling-v1", "pro", 5),
    ("kling-v1", "pro", 10),
    ("kling-v1-5", "std", 5),
    ("kling-v1-5", "std", 10),
    ("kling-v1-5", "pro", 5),
    ("kling-v1-5", "pro", 10),
    ("kling-v1-6", "std", 5),
    ("kling-v1-6", "std", 10),
    ("kling-v1-6", "pro", 5),
    ("kling-v1-6", "pro", 10),
]


@pytest.mark.parametrize(("model", "mode", "seconds"), CELLS)
def test_each_cell_of_the_table_is_supported(model: str, mode: str, seconds: int) -> None:
    assert supports(model, mode, seconds)


@pytest.mark.parametrize(
    ("model", "mode", "seconds"),
    [
        ("kling-v2", "std", 5),
        ("kling-video-o1", "pro", 5),
        ("", "std", 5),
        ("kling-v1", "ultra", 5),
        ("kling-v1", "std", 7),
        ("kling-v1", "std", 0),
    ],
)
def test_nothing_else_is_supported(model: str, mode: str, seconds: int) -> None:
    assert not supports(model, mode, seconds)


@pytest.mark.parametrize("status", TaskStatus)
def test_a_task_has_ended_when_it_succeeded_or_failed(status: TaskStatus) -> None:
    assert status.ended == (status in {"succeed", "failed"})


def test_the_video_of_a_task_is_its_first() -> None:
    assert TASK.video is VIDEO


@pytest.mark.parametrize("status", [TaskStatus.PROCESSING, TaskStatus.FAILED, TaskStatus.SUCCEED])
def test_a_task_without_videos_says_so(status: TaskStatus) -> None:
    task = Task(id="t1", status=status, external_task_id="mine")
    with pytest.raises(NoVideo, match=f"task t1 is {status.value} and has no video") as caught:
        _ = task.video
    assert caught.value.task is task


@pytest.mark.parametrize("shown", [repr(VIDEO), repr(TASK), str(TASK), repr(Page(1, 30, (TASK,)))])
def test_repr_hides_the_signed_query_of_urls(shown: str) -> None:
    assert "planted" not in shown
    assert "https://files.example/a.mp4" in shown  # control: the harmless half is there


def test_repr_of_a_video_without_url() -> None:
    assert repr(Video("v1")) == "Video(id='v1', url=None, duration=None)"


@pytest.mark.parametrize("value", [VIDEO, TASK, Page(1, 30, (TASK,)), ResourcePack("n", "i", "t", "online")])
def test_data_is_frozen(value: object) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.id = "other"  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [VIDEO, TASK, Page(1, 30, (TASK,)), ResourcePack("n", "i", "t", "online")])
def test_data_travels(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value  # noqa: S301 - our own bytes


def test_the_raw_record_does_not_decide_equality() -> None:
    assert attrs.evolve(TASK, raw={}) == TASK
    assert attrs.evolve(TASK, id="t2") != TASK  # control


def test_tasks_can_be_kept_in_sets() -> None:
    assert len({TASK, attrs.evolve(TASK, raw={})}) == 1


def paid(id: str, units: str | None) -> Task:
    return Task(id, TaskStatus.SUCCEED, final_unit_deduction=None if units is None else Decimal(units))


def test_units_are_added_up_exactly() -> None:
    tasks = [paid(str(number), "0.1") for number in range(1000)]
    assert units_of(tasks) == 100
    assert units_of([paid("a", "12345678901234567890.1"), paid("b", "0.0000000001")]) == Decimal(
        "12345678901234567890.1000000001"
    )


def test_units_do_not_depend_on_the_callers_context() -> None:
    with decimal.localcontext(prec=2):
        assert units_of([paid("a", "1234.5"), paid("b", "0.25")]) == Decimal("1234.75")


def test_units_of_none_are_nought() -> None:
    assert units_of([]) == 0
    assert units_of([paid("a", None)]) == 0


def test_a_task_that_is_seen_twice_was_paid_once() -> None:
    assert units_of([paid("a", "2"), paid("a", "2"), paid("b", "3.5")]) == Decimal("5.5")


@pytest.mark.parametrize(
    ("created", "updated", "until"),
    [
        (None, None, None),
        (datetime(2026, 1, 1, tzinfo=UTC), None, datetime(2026, 1, 31, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_videos_are_kept_for_thirty_days(
    created: datetime | None, updated: datetime | None, until: datetime | None
) -> None:
    assert attrs.evolve(TASK, created_at=created, updated_at=updated).kept_until == until

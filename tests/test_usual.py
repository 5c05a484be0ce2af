"""Records as usual are read as the converter reads them; all others are left to it."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.rules.wire import records
from kling_async.rules.wire.usual import NOT_USUAL, usual_task

ODDITIES: list[object] = [
    *(None, "", 0, 7, 1.5, True, "x", "9.6", "NaN", [], {}, [{}], {"id": "v"}),
    [{"id": "v", "url": None}],
]
MEMBERS = {
    "task_id": "t1",
    "task_status": "succeed",
    "task_status_msg": "",
    "created_at": 1_718_000_000_123,
    "updated_at": 1_718_000_010_123,
    "final_unit_deduction": "3",
    "task_info": {
        "external_task_id": "mine",
        "parent_video": {"id": "v0", "url": "https://f.example/0.mp4", "duration": "5"},
    },
    "task_result": {"videos": [{"id": "v1", "url": "https://f.example/1.mp4", "duration": "9.6"}]},
}
INNER = {"external_task_id": "mine", "parent_video": {"id": "v0"}, "videos": [{"id": "v1"}]}


@st.composite
def records_of_any_kind(draw: st.DrawFn) -> dict[str, object]:
    """A usual record in which some members are gone, or something else."""
    record: dict[str, object] = dict(MEMBERS)
    for name in draw(st.sets(st.sampled_from(sorted(MEMBERS)), max_size=3)):
        inner = {**INNER, draw(st.sampled_from(sorted(INNER))): draw(st.sampled_from(ODDITIES))}
        record[name] = draw(st.sampled_from([*ODDITIES, inner]))
    for name in draw(st.sets(st.sampled_from(sorted(MEMBERS)), max_size=2)):
        record.pop(name)
    return record


@given(records_of_any_kind())
def test_what_is_read_quickly_is_what_the_converter_reads(record: dict[str, object]) -> None:
    with suppress(*NOT_USUAL):
        quick = usual_task(record)
        assert quick == records._unusual_task(record)
        assert quick.raw is record


def test_a_usual_record_is_read_quickly() -> None:
    assert usual_task(MEMBERS).videos[0].duration == Decimal("9.6")


@pytest.mark.parametrize("name", ["task_id", "task_status", "created_at", "updated_at"])
def test_what_lacks_a_member_that_all_have_is_not_usual(name: str) -> None:
    with pytest.raises(NOT_USUAL):
        usual_task({member: value for member, value in MEMBERS.items() if member != name})


def test_a_number_that_is_none_is_not_usual() -> None:
    with pytest.raises(ValueError, match="finite"):
        usual_task({**MEMBERS, "final_unit_deduction": "NaN"})

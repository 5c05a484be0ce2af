"""Both shapes of a callback's body become the same task."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posts import LEGACY, NEWER, body

from kling_async import Task, TaskStatus, WebhookError
from kling_async.rules.wire.callbacks import read_callback


def refused(given: bytes) -> str:
    with pytest.raises(WebhookError) as caught:
        read_callback(given)
    return str(caught.value)


def test_both_shapes_become_the_same_task() -> None:
    legacy, newer = read_callback(body(LEGACY)), read_callback(body({**NEWER}))
    assert newer.final_unit_deduction is None  # the newer shape does not tell it
    assert legacy.final_unit_deduction == Decimal("3.5")
    same = Task(
        id="816000000000000001",
        status=TaskStatus.SUCCEED,
        external_task_id="order-1",
        created_at=datetime(2026, 6, 10, 8, 39, 38, 802000, UTC),
        updated_at=datetime(2026, 6, 10, 8, 39, 54, 151000, UTC),
        videos=newer.videos,
    )
    assert newer == same
    assert newer.videos == legacy.videos
    assert (newer.video.id, newer.video.duration) == ("v-1", Decimal("9.6"))


@pytest.mark.parametrize("record", [LEGACY, NEWER], ids=["legacy", "newer"])
def test_the_record_stays_reachable_as_it_came(record: dict[str, object]) -> None:
    assert read_callback(body(record)).raw == record


@pytest.mark.parametrize("status", ["submitted", "processing", "failed"])
def test_status_and_reason_are_those_of_the_body(status: str) -> None:
    task = read_callback(body(NEWER, status=status, message="too dark", outputs=[]))
    assert (task.status, task.status_message, task.videos) == (status, "too dark", ())


def test_status_that_nobody_listed_is_unknown() -> None:
    assert read_callback(body(NEWER, status="resting")).status is TaskStatus.UNKNOWN


def test_console_test_callback_is_a_task() -> None:
    task = read_callback(b'{"id":"1","status":"submitted","outputs":[]}')
    assert (task.id, task.status, task.videos) == ("1", TaskStatus.SUBMITTED, ())


def test_ids_that_come_as_numbers_are_exact() -> None:
    assert read_callback(body(NEWER, id=816000000000000001)).id == "816000000000000001"


@pytest.mark.parametrize("name", ["external_id", "message", "outputs", "billing", "create_time", "update_time"])
@pytest.mark.parametrize("value", [None, "", "absent"])
def test_optional_members_may_be_absent_null_or_empty(name: str, value: object) -> None:
    record = {key: member for key, member in NEWER.items() if key != name}
    assert read_callback(json.dumps(record if value == "absent" else record | {name: value}).encode()).id


def test_outputs_that_are_no_videos_are_left_out() -> None:
    outputs = [{"type": "image", "id": "i-1"}, 7, {"id": "v-2"}, {"type": "video", "id": "v-3"}]
    assert [video.id for video in read_callback(body(NEWER, outputs=outputs)).videos] == ["v-2", "v-3"]


@pytest.mark.parametrize("name", ["id", "status"])
def test_body_without_what_makes_a_task_is_refused(name: str) -> None:
    assert "is no task" in refused(body(NEWER, **{name: None}))


@pytest.mark.parametrize("given", [b"", b"\xff", b"{", b"7" * 5000, b"[" * 100_000, '{"id":1}'.encode("utf-16")])
def test_body_that_is_no_json_in_utf_8_is_refused(given: bytes) -> None:
    assert "is no JSON" in refused(given)


@pytest.mark.parametrize("given", [b"[]", b"null", b'"x"', b"1", b"NaN"])
def test_body_that_is_no_object_is_refused(given: bytes) -> None:
    assert "is no JSON object" in refused(given)


def test_signed_urls_are_not_in_the_error() -> None:
    assert "planted" not in refused(body(NEWER, id=None, outputs=[{"url": "https://f.example/?sig=planted"}]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LEGACY, *NEWER]), inner, max_size=6),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*LEGACY, *NEWER]), json_values))
def test_any_object_is_a_task_or_our_error(record: dict[str, object]) -> None:
    with contextlib.suppress(WebhookError):
        assert read_callback(json.dumps(record).encode()).id

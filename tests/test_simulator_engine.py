from __future__ import annotations

import json
import re
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_desk import EXTEND, OMNI, SHOT, SOURCE, START, Clock, Desk, data, message, odd_text, verdict

from kling_async.simulator.account import API_KEY
from kling_async.simulator.engine import Engine
from kling_async.spec import MODEL_TABLE, MODELS, VENDOR_CODES

if TYPE_CHECKING:
    from kling_async.simulator.ledger import Task
    from kling_async.simulator.wire import Reply


@pytest.fixture
def desk() -> Desk:
    return Desk()


# The envelope.


def test_success_says_so(desk: Desk) -> None:
    body = desk.extend().json()
    assert (body["code"], body["message"]) == (0, "SUCCEED")


def test_every_answer_has_its_own_uuid(desk: Desk) -> None:
    replies = [desk.extend(), desk.extend("nothing"), desk.call("GET", "/nothing")]
    assert len({UUID(str(reply.json()["request_id"])) for reply in replies}) == 3


def test_an_error_has_no_data(desk: Desk) -> None:
    assert "data" not in desk.extend("nothing").json()


def test_every_answer_is_dated_by_the_clock_of_the_engine(desk: Desk) -> None:
    for reply in (desk.extend(), desk.extend("nothing"), desk.call("GET", "/files/original-video-id.mp4")):
        assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == int(START)


# Paths and methods.

UNKNOWN_CALLS = [
    ("GET", "/"),
    ("GET", ""),
    ("GET", "/v1/videos"),
    ("GET", f"{EXTEND}/"),
    ("GET", f"{EXTEND}/1/2"),
    ("POST", f"{EXTEND}/1"),
    ("PUT", EXTEND),
    ("DELETE", f"{EXTEND}/1"),
    ("HEAD", EXTEND),
    ("get", EXTEND),
    ("POST", "/account/costs"),
    ("POST", "/files/original-video-id.mp4"),
    ("GET", "/files/original-video-id"),
    ("GET", "/files/a/b.mp4"),
    ("GET", f"/{EXTEND}"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN_CALLS)
def test_unknown_path_or_method_is_1202(desk: Desk, method: str, path: str) -> None:
    assert verdict(desk.call(method, path)) == (404, 1202)


def test_unknown_path_needs_no_authorization(desk: Desk) -> None:
    assert verdict(desk.call("GET", "/nothing", headers={})) == (404, 1202)


# Bodies.

CONTENT_TYPES_TAKEN = [
    None,
    "",
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "APPLICATION/JSON ; x=y",
]


@pytest.mark.parametrize("kind", CONTENT_TYPES_TAKEN)
def test_content_type_taken(desk: Desk, kind: str | None) -> None:
    headers = {"authorization": f"Bearer {API_KEY}"} | ({} if kind is None else {"CONTENT-TYPE": kind})
    assert verdict(desk.call("POST", EXTEND, body=b'{"video_id":"original-video-id"}', headers=headers)) == (200, 0)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "\ud800"]
)
def test_content_type_refused(desk: Desk, kind: str) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": kind}
    reply = desk.call("POST", EXTEND, body=b'{"video_id":"original-video-id"}', headers=headers)
    assert verdict(reply) == (400, 1200)


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_content_type_of_a_get_does_not_matter(desk: Desk, kind: str) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": kind, "Accept": "text/html", "X-Odd": "1"}
    assert verdict(desk.call("GET", EXTEND, headers=headers)) == (200, 0)


BODIES_TAKEN = {
    "compact": b'{"video_id":"original-video-id"}',
    "spaced": b' {\r\n "video_id" : "original-video-id"\t} ',
    "raw UTF-8": '{"video_id":"original-video-id","prompt":"中文 \U0001f600"}'.encode(),
    "surrogate pairs": b'{"video_id":"original-video-id","prompt":"\\u4e2d \\ud83d\\ude00"}',
    "lone surrogate": b'{"video_id":"original-video-id","external_task_id":"\\ud800"}',
    "duplicate keys": b'{"video_id":"nothing","video_id":"original-video-id"}',
    "escaped key": b'{"video\\u005fid":"original-video-id"}',
    "members nobody knows": b'{"video_id":"original-video-id","sound":"on","x":[1e400],"n":12345678901234567890}',
    "empty strings": (
        b'{"video_id":"original-video-id","model_name":"","prompt":"","mode":"","callback_url":"","external_task_id":"",'
        b'"negative_prompt":"","cfg_scale":""}'
    ),
    "nulls": (
        b'{"video_id":"original-video-id","model_name":null,"prompt":null,"mode":null,"callback_url":null,'
        b'"external_task_id":null,"negative_prompt":null,"cfg_scale":null}'
    ),
}


@pytest.mark.parametrize("body", BODIES_TAKEN.values(), ids=BODIES_TAKEN.keys())
def test_body_taken(desk: Desk, body: bytes) -> None:
    assert verdict(desk.call("POST", EXTEND, body=body)) == (200, 0)


BODIES_REFUSED = {
    "empty": b"",
    "not JSON": b"video_id=1",
    "cut": b'{"video_id":"ori',
    "two values": b"{}{}",
    "not UTF-8": b'{"video_id":"\xff"}',
    "UTF-16": '{"video_id":"original-video-id"}'.encode("utf-16"),
    "NaN": b'{"video_id":NaN}',
    "infinity": b'{"video_id":-Infinity}',
    "endless integer": b'{"video_id":1' + b"0" * 5000 + b"}",
    "deep array": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "array": b'[{"video_id":"original-video-id"}]',
    "string": b'"original-video-id"',
    "null": b"null",
    "number": b"1",
    "too large": b'{"video_id":"original-video-id","x":"' + b"x" * 1024 * 1024 + b'"}',
}


@pytest.mark.parametrize("body", BODIES_REFUSED.values(), ids=BODIES_REFUSED.keys())
def test_body_refused_as_1200(desk: Desk, body: bytes) -> None:
    assert verdict(desk.call("POST", EXTEND, body=body)) == (400, 1200)


def test_body_of_a_mebibyte_is_not_too_large(desk: Desk) -> None:
    head, tail = b'{"video_id":"original-video-id","x":"', b'"}'
    body = head + b"x" * (1024 * 1024 - len(head) - len(tail)) + tail
    assert verdict(desk.call("POST", EXTEND, body=body)) == (200, 0)


# Parameters of an extension.

REFUSED_FIELDS: list[tuple[dict[str, object], str]] = [
    ({}, "video_id can not be null"),
    ({"video_id": None}, "video_id can not be null"),
    ({"video_id": ""}, "video_id can not be null"),
    ({"video_id": 5}, "video_id"),
    ({"video_id": ["original-video-id"]}, "video_id"),
    ({"video_id": "nothing"}, "video_id"),
    ({"video_id": "\ud800"}, "video_id"),
    ({"prompt": "x" * 2501}, "prompt"),
    ({"prompt": "\U0001f600" * 2501}, "prompt"),
    ({"prompt": 1}, "prompt"),
    ({"mode": "fast"}, "mode"),
    ({"mode": "STD"}, "mode"),
    ({"mode": True}, "mode"),
    ({"mode": {}}, "mode"),
    ({"model_name": 1}, "model_name"),
    ({"model_name": "kling-video-o1"}, "model_name"),
    ({"callback_url": "ftp://example.com/"}, "callback_url"),
    ({"callback_url": "example.com"}, "callback_url"),
    ({"callback_url": "http://"}, "callback_url"),
    ({"callback_url": "http://["}, "callback_url"),
    ({"callback_url": 1}, "callback_url"),
    ({"external_task_id": 1}, "external_task_id"),
    ({"external_task_id": ["a"]}, "external_task_id"),
    ({"negative_prompt": "blur"}, "negative_prompt"),
    ({"negative_prompt": 0}, "negative_prompt"),
    ({"cfg_scale": 0.5}, "cfg_scale"),
    ({"cfg_scale": 0}, "cfg_scale"),
    ({"cfg_scale": False}, "cfg_scale"),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED_FIELDS)
def test_bad_parameter_is_1201_and_named(desk: Desk, fields: dict[str, object], named: str) -> None:
    given = fields if not fields or "video_id" in fields else {"video_id": SOURCE, **fields}
    reply = desk.post(given)
    assert (verdict(reply), message(reply).startswith(named)) == ((400, 1201), True)


@pytest.mark.parametrize("name", ["kling-v9", "KLING-V1", " ", "\ud800"])
def test_unknown_model_is_1203(desk: Desk, name: str) -> None:
    reply = desk.extend(model_name=name)
    assert (verdict(reply), "model_name" in message(reply)) == ((404, 1203), True)


TAKEN_FIELDS: list[dict[str, object]] = [
    {"prompt": "x" * 2500},
    {"prompt": "\U0001f600" * 2500},
    {"prompt": "<<<video_1>>>"},
    {"callback_url": "https://example.com/hook?a=b"},
    {"external_task_id": "a/b c\n中"},
    {"watermark_info": {"enabled": True}},
    {"watermark_info": 5},
]


@pytest.mark.parametrize("fields", TAKEN_FIELDS)
def test_good_parameter_is_taken(desk: Desk, fields: dict[str, object]) -> None:
    assert verdict(desk.post({"video_id": SOURCE, **fields})) == (200, 0)


@pytest.mark.parametrize("cell", sorted(MODEL_TABLE), ids=str)
def test_every_cell_of_the_model_table(desk: Desk, cell: tuple[str, str, int]) -> None:
    model, mode, seconds = cell
    reply = desk.extend(f"source-{model}-{seconds}s", model_name=model, mode=mode)
    assert verdict(reply) == (200, 0)


def test_the_body_of_the_specification_example_works(desk: Desk) -> None:
    prompt = "The scene continues with more action"
    reply = desk.extend("original-video-id", model_name="kling-v1", prompt=prompt, mode="pro")
    assert verdict(reply) == (200, 0)


def test_lenient_takes_what_the_specification_forbids() -> None:
    assert verdict(Desk(lenient=True).extend(negative_prompt="blur", cfg_scale=0.5)) == (200, 0)


def test_lenient_still_checks_the_rest() -> None:
    assert verdict(Desk(lenient=True).extend("nothing", cfg_scale=0.5)) == (400, 1201)


def test_external_id_is_taken_once(desk: Desk) -> None:
    desk.made(external_task_id="mine")
    reply = desk.extend(external_task_id="mine")
    assert (verdict(reply), "already exists" in message(reply)) == ((400, 1201), True)


def test_external_id_is_taken_once_across_families(desk: Desk) -> None:
    desk.made(external_task_id="mine")
    assert verdict(desk.shoot(external_task_id="mine")) == (400, 1201)


def test_external_id_stays_taken_after_success(desk: Desk) -> None:
    desk.finished(desk.made(external_task_id="mine"))
    assert verdict(desk.extend(external_task_id="mine")) == (400, 1201)


def test_external_id_stays_taken_after_failure(desk: Desk) -> None:
    desk.engine.fail_next()
    desk.finished(desk.made(external_task_id="mine"))
    assert verdict(desk.extend(external_task_id="mine")) == (400, 1201)


def test_external_id_of_a_refused_create_is_free(desk: Desk) -> None:
    desk.extend("nothing", external_task_id="mine")
    assert verdict(desk.extend(external_task_id="mine")) == (200, 0)


# Source videos.


def test_a_task_id_given_as_video_id_gets_a_hint(desk: Desk) -> None:
    reply = desk.extend(desk.made())
    assert (verdict(reply), "video_id" in message(reply), "id of a task" in message(reply)) == ((400, 1201), True, True)


def test_an_external_id_given_as_video_id_gets_a_hint(desk: Desk) -> None:
    desk.made(external_task_id="mine")
    assert "id of a task" in message(desk.extend("mine"))


def test_a_source_of_30_days_is_taken(desk: Desk) -> None:
    assert verdict(desk.extend(desk.engine.add_source(age_days=30))) == (200, 0)


def test_a_source_of_more_than_30_days_is_refused(desk: Desk) -> None:
    reply = desk.extend(desk.engine.add_source(age_days=30.01))
    assert (verdict(reply), "video_id" in message(reply)) == ((400, 1201), True)


def test_a_source_ages(desk: Desk) -> None:
    desk.clock.now += 31 * 86_400
    assert verdict(desk.extend()) == (400, 1201)


@pytest.mark.parametrize("model", MODELS)
def test_a_source_of_any_listed_model_is_taken(desk: Desk, model: str) -> None:
    assert verdict(desk.extend(desk.engine.add_source(model=model))) == (200, 0)


def test_a_source_of_another_model_is_refused(desk: Desk) -> None:
    reply = desk.extend(desk.engine.add_source(model="kling-v2-1"))
    assert (verdict(reply), "video_id" in message(reply)) == ((400, 1201), True)


def test_a_result_of_180_seconds_is_taken_and_not_passed(desk: Desk) -> None:
    task = desk.made(desk.engine.add_source(duration=176))
    assert desk.video(task)["duration"] == "180.0"


def test_a_result_over_180_seconds_is_refused(desk: Desk) -> None:
    reply = desk.extend(desk.engine.add_source(duration="176.1"))
    assert (verdict(reply), "180" in message(reply)) == ((400, 1201), True)


@pytest.mark.parametrize("duration", [0, -1, 601, "NaN", float("inf")])
def test_a_source_of_a_senseless_duration_can_not_be_added(desk: Desk, duration: float | str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        desk.engine.add_source(duration=duration)


def test_sources_stand_ready(desk: Desk) -> None:
    assert [verdict(desk.extend(source)) for source in desk.engine.sources] == [(200, 0)] * 7


def test_a_source_may_be_named(desk: Desk) -> None:
    assert desk.engine.add_source(id="clip") == "clip"


# Tasks.


def test_a_new_task_as_the_vendor_shows_it(desk: Desk) -> None:
    record = data(desk.extend(external_task_id="mine"))
    assert record == {
        "task_id": record["task_id"],
        "task_status": "submitted",
        "task_info": {"external_task_id": "mine"},
        "created_at": 1_800_000_000_250,
        "updated_at": 1_800_000_000_250,
    }


def test_a_finished_task_as_the_vendor_shows_it(desk: Desk) -> None:
    task_id = desk.made(external_task_id="mine")
    record = desk.finished(task_id)
    [video] = record["task_result"]["videos"]
    assert record == {
        "task_id": task_id,
        "task_status": "succeed",
        "task_info": {
            "external_task_id": "mine",
            "parent_video": {"id": SOURCE, "url": f"http://vendor/files/{SOURCE}.mp4", "duration": "5.0"},
        },
        "created_at": 1_800_000_000_250,
        "updated_at": 1_800_000_060_250,
        "final_unit_deduction": "2",
        "task_result": {
            "videos": [
                {"id": video["id"], "url": f"http://vendor/files/{video['id']}.mp4", "duration": video["duration"]}
            ]
        },
    }


def test_a_failed_task_as_the_vendor_shows_it(desk: Desk) -> None:
    desk.engine.fail_next(message="content is not allowed")
    task_id = desk.made()
    assert desk.finished(task_id) == {
        "task_id": task_id,
        "task_status": "failed",
        "task_status_msg": "content is not allowed",
        "task_info": {},
        "created_at": 1_800_000_000_250,
        "updated_at": 1_800_000_060_250,
        "final_unit_deduction": "0",
    }


def test_the_envelope_of_a_failed_task_is_a_success(desk: Desk) -> None:
    desk.engine.fail_next()
    task_id = desk.made()
    desk.clock.now += 60
    assert desk.get(task_id).json()["message"] == "SUCCEED"


def test_ids_are_18_digits_beyond_doubles(desk: Desk) -> None:
    task_id = desk.made()
    assert re.fullmatch(r"[0-9]{18}", task_id)
    assert int(task_id) > 2**53


def test_a_video_has_an_id_of_its_own(desk: Desk) -> None:
    task_id = desk.made()
    assert desk.video(task_id)["id"] != task_id


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        (0, "submitted"),
        (9.9, "submitted"),
        (10, "processing"),
        (59.9, "processing"),
        (60, "succeed"),
        (9999, "succeed"),
    ],
)
def test_the_clock_alone_moves_a_task(desk: Desk, seconds: float, status: str) -> None:
    task_id = desk.made()
    desk.clock.now += seconds
    assert desk.task(task_id)["task_status"] == status


def test_updated_at_is_the_time_of_the_change(desk: Desk) -> None:
    task_id = desk.made()
    desk.clock.now += 30
    assert desk.task(task_id)["updated_at"] == 1_800_000_010_250


def test_a_clock_set_back_undoes_nothing(desk: Desk) -> None:
    desk.finished(task_id := desk.made())
    desk.clock.now -= 3600
    assert desk.task(task_id)["task_status"] == "succeed"


def test_the_seconds_may_depend_on_the_task() -> None:
    def by_number(task: Task) -> float:
        return 5.0 + 10 * task.number

    desk = Desk(task_seconds=by_number, submitted_seconds=20)
    first, second = desk.made(), desk.made()
    desk.clock.now += 5
    assert [desk.task(first)["task_status"], desk.task(second)["task_status"]] == ["succeed", "submitted"]


def test_a_task_of_no_seconds_is_created_as_submitted() -> None:
    assert data(Desk(task_seconds=0).extend())["task_status"] == "submitted"


@pytest.mark.parametrize("seed", range(20))
def test_an_extension_adds_4_to_5_seconds(seed: int) -> None:
    desk = Desk(seed=seed)
    assert 9 <= Decimal(desk.video(desk.made())["duration"]) <= 10


def test_a_result_can_be_extended_again(desk: Desk) -> None:
    first = desk.video(desk.made())
    record = desk.finished(desk.made(first["id"]))
    assert record["task_info"]["parent_video"] == first


def test_a_result_is_kept_for_30_days_from_its_end(desk: Desk) -> None:
    video = desk.video(desk.made())
    desk.clock.now += 30 * 86_400
    assert verdict(desk.extend(video["id"])) == (200, 0)


def test_the_model_may_be_another_than_the_source_s(desk: Desk) -> None:
    assert verdict(desk.extend("source-kling-v1-6-5s", model_name="kling-v1-5")) == (200, 0)


def test_a_task_answers_to_the_caller_s_id(desk: Desk) -> None:
    task_id = desk.made(external_task_id="a/b é")
    assert data(desk.get("a%2Fb%20%C3%A9"))["task_id"] == task_id


@pytest.mark.parametrize("id", ["1", "nothing", "%FF", "%", "0" * 5000])
def test_an_unknown_task_is_1201(desk: Desk, id: str) -> None:
    reply = desk.get(id)
    assert (verdict(reply), message(reply)) == ((400, 1201), "Task not found by id/external id")


def test_a_task_of_the_other_family_is_unknown(desk: Desk) -> None:
    assert verdict(desk.get(desk.made(), OMNI)) == (400, 1201)


def test_the_next_tasks_fail_and_then_no_more(desk: Desk) -> None:
    desk.engine.fail_next(2)
    ids = [desk.made() for _ in range(3)]
    desk.clock.now += 60
    assert [desk.task(task_id)["task_status"] for task_id in ids] == ["failed", "failed", "succeed"]


def test_a_given_task_fails(desk: Desk) -> None:
    ids = [desk.made(), desk.made()]
    desk.engine.fail_task(ids[1])
    desk.clock.now += 60
    assert [desk.task(task_id)["task_status"] for task_id in ids] == ["succeed", "failed"]


def test_a_given_task_fails_by_the_caller_s_id(desk: Desk) -> None:
    task_id = desk.made(external_task_id="mine")
    desk.engine.fail_task("mine", message="why")
    assert desk.finished(task_id)["task_status_msg"] == "why"


def test_an_unknown_task_can_not_be_made_to_fail(desk: Desk) -> None:
    with pytest.raises(LookupError):
        desk.engine.fail_task("nothing")


def test_a_task_that_has_ended_can_not_be_made_to_fail(desk: Desk) -> None:
    desk.finished(task_id := desk.made())
    with pytest.raises(LookupError):
        desk.engine.fail_task(task_id)


def test_changes_tell_the_whole_story(desk: Desk) -> None:
    task_id = desk.made()
    desk.clock.now += 60
    assert [(change.at - START, change.task_id, change.status) for change in desk.engine.changes] == [
        (0, task_id, "submitted"),
        (10, task_id, "processing"),
        (60, task_id, "succeed"),
    ]


# The list.


def test_the_list_is_newest_first(desk: Desk) -> None:
    ids = [desk.made() for _ in range(3)]
    assert desk.ids() == ids[::-1]


def test_the_list_of_nothing_is_empty(desk: Desk) -> None:
    assert desk.ids() == []


def test_the_list_has_30_by_default(desk: Desk) -> None:
    ids = [desk.made() for _ in range(31)]
    assert desk.ids() == ids[:0:-1]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("pageNum=1&pageSize=2", [4, 3]),
        ("pageNum=3&pageSize=2", [0]),
        ("pageNum=4&pageSize=2", []),
        ("pageNum=1000&pageSize=500", []),
        ("pageSize=500", [4, 3, 2, 1, 0]),
        ("pageNum=2&pageSize=2&pageNum=1", [2, 1]),
        ("page_num=7&limit=1&x", [4, 3, 2, 1, 0]),
        ("pageNum=0002&pageSize=%32", [2, 1]),
    ],
)
def test_pages(desk: Desk, query: str, places: list[int]) -> None:
    ids = [desk.made() for _ in range(5)]
    assert desk.ids(query) == [ids[place] for place in places]


@pytest.mark.parametrize("name", ["pageNum", "pageSize"])
@pytest.mark.parametrize(
    "value",
    ["0", "-1", "1001", "one", "", " 1", "1 ", "+1", "1.0", "1e2", "0x1", "1_0", "\uff11", "\u0661", "NaN", "9" * 5000],
)
def test_a_page_that_is_none_is_1201_and_named(desk: Desk, name: str, value: str) -> None:
    reply = desk.listing(urlencode({name: value}))
    assert (verdict(reply), message(reply).startswith(name)) == ((400, 1201), True)


def test_a_page_of_501_is_refused(desk: Desk) -> None:
    assert verdict(desk.listing("pageSize=501")) == (400, 1201)


def test_each_family_has_its_own_list(desk: Desk) -> None:
    desk.made()
    desk.shoot()
    assert (len(desk.ids()), len(desk.ids(path=OMNI))) == (1, 1)


def test_the_list_shows_what_get_shows(desk: Desk) -> None:
    record = desk.finished(desk.made())
    assert data(desk.listing()) == [record]


# Slots and units.


def test_without_a_limit_there_is_none(desk: Desk) -> None:
    assert {verdict(desk.extend()) for _ in range(50)} == {(200, 0)}


def test_over_the_slots_is_1303_in_the_words_that_clients_look_for() -> None:
    desk = Desk(slots=1)
    desk.made()
    reply = desk.extend()
    assert (verdict(reply), message(reply)) == ((429, 1303), "parallel task over resource pack limit")


def test_over_the_slots_no_task_exists() -> None:
    desk = Desk(slots=1)
    desk.made()
    desk.extend(external_task_id="mine")
    assert verdict(desk.get("mine")) == (400, 1201)


def test_both_families_share_the_slots() -> None:
    desk = Desk(slots=1)
    desk.made()
    assert verdict(desk.shoot()) == (429, 1303)


@pytest.mark.parametrize("failures", [0, 1])
def test_a_slot_is_free_when_its_task_has_ended(failures: int) -> None:
    desk = Desk(slots=1)
    desk.engine.fail_next(failures)
    desk.made()
    desk.clock.now += 59.9
    before = verdict(desk.extend())
    desk.clock.now += 0.1
    assert (before, verdict(desk.extend())) == ((429, 1303), (200, 0))


def test_no_slots_at_all() -> None:
    assert verdict(Desk(slots=0).extend()) == (429, 1303)


def test_the_limit_may_change() -> None:
    desk = Desk(slots=0)
    desk.engine.slots = 1
    assert verdict(desk.extend()) == (200, 0)


def test_a_mistake_is_told_before_the_slots() -> None:
    assert verdict(Desk(slots=0).extend("nothing")) == (400, 1201)


def test_queries_hold_no_slot() -> None:
    desk = Desk(slots=1)
    desk.listing()
    assert desk.engine.in_flight == 0


def test_the_peak_of_tasks_in_flight(desk: Desk) -> None:
    desk.made(), desk.made()
    desk.clock.now += 60
    desk.made()
    assert (desk.engine.in_flight, desk.engine.peak_in_flight) == (1, 2)


@pytest.mark.parametrize(("mode", "cost"), [("std", "2"), ("pro", "3.5")])
def test_the_deduction_by_mode(desk: Desk, mode: str, cost: str) -> None:
    assert desk.finished(desk.made(mode=mode))["final_unit_deduction"] == cost


def test_an_empty_pack_is_1102() -> None:
    desk = Desk(units=3)
    desk.finished(desk.made())
    assert verdict(desk.extend()) == (429, 1102)


def test_units_of_tasks_in_flight_are_spoken_for() -> None:
    desk = Desk(units=3)
    desk.made()
    assert verdict(desk.extend()) == (429, 1102)


def test_a_failure_gives_its_units_back() -> None:
    desk = Desk(units=3)
    desk.engine.fail_next()
    desk.finished(desk.made())
    assert verdict(desk.extend()) == (200, 0)


def test_units_leave_the_pack_when_the_task_ends() -> None:
    desk = Desk(units=10)
    task_id = desk.made(mode="pro")
    before = desk.pack()["remaining_quantity"]
    desk.finished(task_id)
    assert (before, desk.pack()["remaining_quantity"]) == (10, 6.5)


# The costs.


def test_a_pack_as_the_vendor_shows_it() -> None:
    desk = Desk(units=100, slots=5)
    assert desk.pack() == {
        "resource_pack_name": "Simulated-Video-100Units-5Con-12Months",
        "resource_pack_id": "simulated-pack-1",
        "resource_pack_type": "decreasing_total",
        "total_quantity": 100,
        "remaining_quantity": 100,
        "purchase_time": 1_800_000_000_250,
        "effective_time": 1_800_000_000_250,
        "invalid_time": 1_831_536_000_250,
        "status": "online",
    }


def test_a_pack_without_a_limit_names_none() -> None:
    assert Desk(units=100).pack()["resource_pack_name"] == "Simulated-Video-100Units-12Months"


def test_a_pack_that_has_run_out() -> None:
    assert Desk(units=0).pack()["status"] == "runOut"


def test_a_pack_that_has_expired(desk: Desk) -> None:
    desk.clock.now += 366 * 86_400
    assert desk.pack()["status"] == "expired"


@pytest.mark.parametrize(("name", "packs"), [("", 1), ("Simulated-Video-100Units-12Months", 1), ("another", 0)])
def test_packs_by_name(name: str, packs: int) -> None:
    reply = Desk(units=100).costs(f"start_time=1&end_time=1&resource_pack_name={name}")
    assert len(data(reply)["resource_pack_subscribe_infos"]) == packs


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "start_time can not be null"),
        ("start_time=&end_time=2", "start_time can not be null"),
        ("start_time=1", "end_time can not be null"),
        ("start_time=a&end_time=2", "start_time"),
        ("start_time=1&end_time=1.5", "end_time"),
        ("start_time=-1&end_time=2", "start_time"),
        ("start_time=3&end_time=2", "start_time"),
        ("start_time=1&end_time=" + "9" * 5000, "end_time"),
    ],
)
def test_a_period_that_is_none_is_1201_and_named(desk: Desk, query: str, named: str) -> None:
    reply = desk.costs(query)
    assert (verdict(reply), message(reply).startswith(named)) == ((400, 1201), True)


def test_costs_twice_within_a_second_are_1302(desk: Desk) -> None:
    desk.costs()
    desk.clock.now += 0.9
    assert verdict(desk.costs()) == (429, 1302)


def test_costs_once_a_second(desk: Desk) -> None:
    desk.costs()
    desk.clock.now += 1
    assert verdict(desk.costs()) == (200, 0)


def test_a_clock_set_back_does_not_shut_the_costs(desk: Desk) -> None:
    desk.costs()
    desk.clock.now -= 3600
    assert verdict(desk.costs()) == (200, 0)


# What was counted.


def test_accepted_creates_are_on_record(desk: Desk) -> None:
    task_id = desk.made(prompt="on", external_task_id="mine")
    [accepted] = desk.engine.accepted
    assert (accepted.task_id, accepted.external_task_id, accepted.family, accepted.at, accepted.fields) == (
        task_id,
        "mine",
        "video-extend",
        START,
        {"video_id": SOURCE, "prompt": "on", "external_task_id": "mine"},
    )


def test_refused_creates_are_counted_by_code() -> None:
    desk = Desk(slots=0)
    desk.extend(), desk.extend("nothing"), desk.post([]), desk.get("1")
    assert desk.engine.refused == {1303: 1, 1201: 1, 1200: 1}


def test_a_refused_create_is_not_accepted(desk: Desk) -> None:
    desk.extend("nothing")
    assert desk.engine.accepted == []


def test_calls_are_counted_by_name_and_family(desk: Desk) -> None:
    desk.extend(), desk.shoot(), desk.listing(), desk.get("1"), desk.costs(), desk.call("GET", "/x")
    desk.call("HEAD", "/files/x.mp4")
    counts = [desk.engine.count(name) for name in ("create", "list", "get", "costs", "file", "unknown")]
    assert (counts, desk.engine.count("create", family="omni-video")) == ([2, 1, 1, 1, 1, 1], 1)


def test_the_reply_tells_what_was_created(desk: Desk) -> None:
    reply = desk.extend()
    assert (reply.created, desk.listing().created) == (data(reply)["task_id"], None)


def test_two_engines_with_one_seed_give_the_same_answers() -> None:
    assert Desk(seed=3).extend().body == Desk(seed=3).extend().body


def test_engines_differ_by_default() -> None:
    one, other = Engine(clock=Clock()), Engine(clock=Clock())
    assert one.add_source() != other.add_source()


def test_repr_shows_live_state(desk: Desk) -> None:
    desk.made()
    assert repr(desk.engine) == "<Engine 1 in flight, 1 accepted, 0 faults left>"


# Whatever comes in, an envelope with a known code comes out.

CODES = {row.code for row in VENDOR_CODES}
paths = st.sampled_from([EXTEND, OMNI, f"{EXTEND}/1", "/account/costs", "/files/original-video-id.mp4"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=6,
)


def is_envelope(reply: Reply) -> bool:
    body = json.loads(reply.body)
    return body["code"] in CODES and isinstance(body["message"], str) and bool(UUID(body["request_id"]))


@given(method=odd_text | st.sampled_from(["GET", "POST"]), path=odd_text, query=odd_text, body=st.binary())
def test_any_call_gets_an_envelope(method: str, path: str, query: str, body: bytes) -> None:
    assert is_envelope(Desk().call(method, path, query, body=body))


@given(path=paths.filter(lambda path: "files" not in path), query=odd_text, body=st.binary())
def test_any_query_and_body_get_an_envelope(path: str, query: str, body: bytes) -> None:
    desk = Desk()
    assert is_envelope(desk.call("GET", path, query))
    assert is_envelope(desk.call("POST", path, query, body=body))


@given(id=odd_text)
def test_any_id_gets_an_envelope(id: str) -> None:
    assert is_envelope(Desk().get(id))


@given(headers=st.dictionaries(odd_text | st.sampled_from(["Content-Type", "Range", "If-Range"]), odd_text))
def test_any_headers_get_an_envelope(headers: dict[str, str]) -> None:
    reply = Desk().call("POST", EXTEND, body=b"{}", headers=headers | {"AuthorizatioN": f"Bearer {API_KEY}"})
    assert is_envelope(reply)


extension_members = st.sampled_from(["video_id", "model_name", "mode", "prompt", "callback_url", "external_task_id"])


@given(fields=st.dictionaries(extension_members, json_values))
@settings(max_examples=30)
def test_any_extension_gets_an_envelope(fields: dict[str, object]) -> None:
    assert is_envelope(Desk().post({"video_id": SOURCE} | fields))


@given(fields=st.dictionaries(st.sampled_from([*SHOT, "image_list", "element_list", "watermark_info"]), json_values))
@settings(max_examples=30)
def test_any_shot_gets_an_envelope(fields: dict[str, object]) -> None:
    assert is_envelope(Desk().shoot(**fields))


member_lists = st.lists(
    st.dictionaries(
        st.sampled_from(["video_url", "refer_type", "keep_original_sound", "image_url", "type", "element_id"]),
        json_values | st.sampled_from(["https://example.com/a.mp4", "feature", "yes", "first_frame"]),
        max_size=3,
    ),
    max_size=3,
)


@given(videos=member_lists, images=member_lists, elements=member_lists)
@settings(max_examples=30)
def test_any_inputs_get_an_envelope(videos: object, images: object, elements: object) -> None:
    assert is_envelope(Desk().shoot(video_list=videos, image_list=images, element_list=elements))

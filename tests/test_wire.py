from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from kling_async.errors import (
    APIError,
    InvalidRequest,
    KlingError,
    MalformedResponse,
    NotFound,
    UnknownCode,
    error_for,
)
from kling_async.models import Task, TaskStatus, Video
from kling_async.requests import (
    OmniVideoRequest,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    VideoExtendRequest,
)
from kling_async.rules.wire import (
    Call,
    Envelope,
    Response,
    costs_call,
    create_call,
    page_call,
    read_envelope,
    read_packs,
    read_task,
    read_tasks,
    scrubbed,
    server_time,
    task_call,
)
from kling_async.rules.wire.answers import retry_after
from kling_async.spec import VENDOR_CODES

PATH = "/v1/videos/video-extend"
LIST = page_call(PATH, 1, 30)
ONE = task_call(PATH, "t1")
SAMPLES = Path(__file__).parent / "samples"
NOW = 1_722_769_557
DATE = formatdate(NOW, usegmt=True)


def answer(body: object, *, status: int = 200, **headers: str) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), content)


def success(data: object) -> Envelope:
    return Envelope(data, "r1", 200)


def sample(name: str) -> Response:
    told = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    return answer(told["body"], status=told["status"])


def sampled_task(name: str) -> Task:
    return read_task(read_envelope(ONE, sample(name)))


def refusal(response: Response, call: Call = LIST) -> APIError:
    with pytest.raises(APIError) as caught:
        read_envelope(call, response)
    return caught.value


def malformed(response: Response) -> MalformedResponse:
    with pytest.raises(MalformedResponse) as caught:
        read_envelope(LIST, response)
    return caught.value


# Requests become calls, byte for byte.


def test_the_smallest_extension() -> None:
    call = create_call(PATH, VideoExtendRequest(video_id="v1"), "mine")
    assert (call.method, call.target, call.about) == ("POST", PATH, "create")
    assert call.body == b'{"video_id":"v1","external_task_id":"mine"}'


def test_a_whole_extension() -> None:
    request = VideoExtendRequest(
        video_id="v1",
        prompt='An é, a 中 and a "quote"',
        model_name="kling-v1-6",
        mode="pro",
        callback_url="https://a.example/hook",
        external_task_id="mine",
    )
    assert (
        create_call(PATH, request, "mine").body
        == (
            '{"video_id":"v1","prompt":"An é, a 中 and a \\"quote\\"","model_name":"kling-v1-6","mode":"pro",'
            '"callback_url":"https://a.example/hook","external_task_id":"mine"}'
        ).encode()
    )


def test_an_empty_prompt_is_sent_as_given() -> None:
    assert b'"prompt":""' in (create_call(PATH, VideoExtendRequest(video_id="v1", prompt=""), "mine").body or b"")


def test_the_smallest_shot() -> None:
    call = create_call("/v1/videos/omni-video", OmniVideoRequest(prompt="a"), "mine")
    assert call.body == b'{"prompt":"a","external_task_id":"mine"}'


def test_a_whole_shot() -> None:
    request = OmniVideoRequest(
        prompt="Based on <<<video_1>>>",
        model_name="kling-video-o1",
        video_list=(ReferenceVideo(video_url="https://a.example/v.mp4"),),
        image_list=(ReferenceImage(image_url="QUJD"), ReferenceImage(image_url="QUJD", type="first_frame")),
        element_list=(ReferenceElement(element_id=7), ReferenceElement(element_id="8")),
        mode="pro",
        aspect_ratio="16:9",
        duration=10,
        watermark=False,
        callback_url="https://a.example/hook",
        external_task_id="theirs",
    )
    assert json.loads(create_call(PATH, request, "mine").body or b"") == {
        "prompt": "Based on <<<video_1>>>",
        "model_name": "kling-video-o1",
        "video_list": [{"video_url": "https://a.example/v.mp4", "refer_type": "feature"}],
        "image_list": [{"image_url": "QUJD"}, {"image_url": "QUJD", "type": "first_frame"}],
        "element_list": [{"element_id": 7}, {"element_id": "8"}],
        "mode": "pro",
        "aspect_ratio": "16:9",
        "duration": "10",
        "watermark_info": {"enabled": False},
        "callback_url": "https://a.example/hook",
        "external_task_id": "mine",
    }


def test_the_sound_of_a_video_is_sent_when_it_was_said() -> None:
    video = ReferenceVideo(video_url="https://a.example", refer_type="base", keep_original_sound="yes")
    call = create_call(PATH, OmniVideoRequest(prompt="a", video_list=(video,)), "mine")
    assert json.loads(call.body or b"")["video_list"] == [
        {"video_url": "https://a.example", "refer_type": "base", "keep_original_sound": "yes"}
    ]


def test_what_from_dict_reads_is_what_is_sent() -> None:
    members = {
        "prompt": "a",
        "video_list": [{"video_url": "https://a.example", "refer_type": "feature"}],
        "duration": "5",
        "watermark_info": {"enabled": True},
        "external_task_id": "mine",
    }
    assert json.loads(create_call(PATH, OmniVideoRequest.from_dict(members), "mine").body or b"") == members


def test_a_prompt_is_not_in_the_repr_of_its_call() -> None:
    call = create_call(PATH, VideoExtendRequest(video_id="v1", prompt="planted"), "mine")
    assert "planted" not in repr(call)
    assert b"planted" in (call.body or b"")  # control


@pytest.mark.parametrize(
    ("id", "quoted"),
    [
        ("829836802793406551", "829836802793406551"),
        ("my/id", "my%2Fid"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("..%2f..", "..%252f.."),
        ("é中", "%C3%A9%E4%B8%AD"),
        ("a-b_c.d~e", "a-b_c.d~e"),
    ],
)
def test_ids_are_quoted_in_the_path(id: str, quoted: str) -> None:
    assert task_call(PATH, id) == Call("GET", f"{PATH}/{quoted}", None, "task", id)


def test_a_page() -> None:
    assert page_call(PATH, 1, 30) == Call("GET", f"{PATH}?pageNum=1&pageSize=30", None, "list")


def test_costs() -> None:
    start = datetime(2024, 8, 4, 11, 5, 57, 708_900, tzinfo=UTC)
    end = datetime(2024, 8, 4, 14, 5, 58, tzinfo=timezone(timedelta(hours=2)))
    assert costs_call(start, end, None) == Call(
        "GET", "/account/costs?start_time=1722769557708&end_time=1722773158000", None, "costs"
    )
    assert costs_call(start, end, "a pack&b").target.endswith("&resource_pack_name=a+pack%26b")


# The envelope.


def test_success_is_code_nought() -> None:
    body = {"code": 0, "message": "SUCCEED", "request_id": "r1", "data": [1]}
    assert read_envelope(LIST, answer(body, status=201)) == Envelope([1], "r1", 201)


def test_success_may_have_no_data() -> None:
    assert read_envelope(LIST, answer({"code": 0})) == Envelope(None, None, 200)


def test_http_200_alone_is_no_success() -> None:
    assert refusal(answer({"code": 1102, "message": "empty"})).code == 1102


def test_an_error_status_around_a_success_is_none() -> None:
    assert "an error status around a success" in str(malformed(answer({"code": 0}, status=500)))


@pytest.mark.parametrize("request_id", ["", None, 5, ["r"]])
def test_a_request_id_is_a_text_or_unknown(request_id: object) -> None:
    assert read_envelope(LIST, answer({"code": 0, "request_id": request_id})).request_id is None


@pytest.mark.parametrize("row", VENDOR_CODES[1:], ids=lambda row: str(row.code))
def test_every_vendor_code_becomes_its_class(row: tuple[int, int, str]) -> None:
    code, status, meaning = row
    error = refusal(answer({"code": code, "message": "", "request_id": "r1"}, status=status))
    assert type(error) is error_for(code)
    assert (error.code, error.http_status, error.request_id, error.message) == (code, status, "r1", meaning)


@pytest.mark.parametrize("code", [1, -1, 1999, 5003, 10**18])
def test_an_unlisted_code_is_told_as_it_is(code: int) -> None:
    error = refusal(answer({"code": code}, status=418))
    assert (type(error), error.code, error.message) == (UnknownCode, code, "no message")


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (ONE, NotFound),
        (LIST, InvalidRequest),
        (create_call(PATH, VideoExtendRequest(video_id="v1"), "m"), InvalidRequest),
        (costs_call(datetime.now(UTC), datetime.now(UTC), None), InvalidRequest),
    ],
    ids=lambda value: getattr(value, "about", ""),
)
def test_1201_means_not_found_where_only_the_id_can_be_meant(call: Call, kind: type[APIError]) -> None:
    assert type(refusal(sample("unknown_task"), call)) is kind


def test_the_vendors_message_is_kept() -> None:
    assert refusal(sample("slots_full")).message == "parallel task over resource pack limit"


@pytest.mark.parametrize("message", [None, 5, {"a": 1}, ""])
def test_without_a_message_the_tables_meaning_stands_in(message: object) -> None:
    assert refusal(answer({"code": 1303, "message": message})).message == "parallel task over resource pack limit"


def test_a_long_message_is_cut() -> None:
    assert len(refusal(answer({"code": 1201, "message": "x" * 10**6})).message) == 500


def test_a_refusal_has_the_pause_that_was_asked_for() -> None:
    assert refusal(answer({"code": 1302}, status=429, Retry_After="7")).retry_after == 7


# What is not the vendor's.

NOT_THE_VENDORS = {
    "empty": b"",
    "HTML": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "truncated": b'{"code": 0, "data": {"task_id": "8298',
    "text": b"upstream connect error",
    "bytes": b"\xff\xfe\x00\x01",
    "huge integer": b'{"code": ' + b"9" * 5000 + b"}",
    "deep nesting": b"[" * 100_000,
    "deep data": b'{"code": 0, "data": ' + b'{"a":' * 100_000,
    "list": b"[]",
    "null": b"null",
    "number": b"0",
    "no code": b"{}",
    "code NaN": b'{"code": NaN}',
    "code infinite": b'{"code": Infinity}',
    "code true": b'{"code": true}',
    "code false": b'{"code": false}',
    "code null": b'{"code": null}',
    "code text": b'{"code": "0"}',
    "code float": b'{"code": 0.0}',
    "code list": b'{"code": [0]}',
}


@pytest.mark.parametrize("body", NOT_THE_VENDORS.values(), ids=NOT_THE_VENDORS.keys())
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    error = malformed(answer(body, status=502))
    assert (error.http_status, error.worth_retrying) == (502, True)
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("status", "worth"),
    [(200, True), (404, False), (400, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
def test_whether_it_may_pass_is_read_from_the_status(status: int, worth: bool) -> None:
    assert malformed(answer(b"<html>", status=status)).worth_retrying == worth


def test_a_gateway_may_ask_for_a_pause() -> None:
    assert malformed(answer(b"", status=503, Retry_After="3")).retry_after == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_not_followed(status: int) -> None:
    error = malformed(answer({"code": 0}, status=status, Location="https://b.example/login?token=planted"))
    assert "a redirect to https://b.example/login, which is not followed" in error.message
    assert not error.worth_retrying


def test_a_redirect_to_nowhere() -> None:
    assert "a redirect to nowhere" in malformed(answer(b"", status=302)).message


def test_a_byte_order_mark_is_no_harm() -> None:
    assert read_envelope(LIST, answer(b'\xef\xbb\xbf{"code": 0}')) == Envelope(None, None, 200)


# Hypothesis takes a second to learn all of Unicode, and finds less with it.
words = st.text(st.sampled_from('az09.-é中\ud800\n{}[]",:?=&/'), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.integers(10**15, 10**40) | st.floats() | words
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)
told = scalars | st.sampled_from([{}, [], "", "succeed", 1722769557708, "9.6", [{"id": "v"}], {"videos": [{"id": 5}]}])
records = st.fixed_dictionaries(
    {},
    optional={
        "task_id": told,
        "task_status": told,
        "task_status_msg": told,
        "task_info": told | st.fixed_dictionaries({}, optional={"external_task_id": told, "parent_video": told}),
        "task_result": told | st.fixed_dictionaries({"videos": told}),
        "final_unit_deduction": told,
        "created_at": told,
        "updated_at": told,
    },
)


@given(st.binary(max_size=60), st.integers(100, 599))
def test_any_bytes_end_in_one_kind_of_error(body: bytes, status: int) -> None:
    with pytest.raises(MalformedResponse):
        read_envelope(LIST, answer(body, status=status))


@settings(max_examples=30)
@given(json_values, st.sampled_from([200, 302, 400, 500]))
def test_any_json_is_an_envelope_or_an_error_of_ours(body: object, status: int) -> None:
    try:
        read_envelope(ONE, answer(body, status=status))
    except KlingError as error:
        assert str(error)  # noqa: PT017 - any of ours is fine, and it can be told


@settings(max_examples=30)
@given(st.one_of(records, json_values))
def test_any_record_is_a_task_or_malformed(record: object) -> None:
    envelope = read_envelope(ONE, answer({"code": 0, "data": record}))
    try:
        task = read_task(envelope)
    except (MalformedResponse, NotFound) as error:
        assert str(error)  # noqa: PT017
        return
    assert isinstance(task.id, str)
    assert repr(task)


@settings(max_examples=30)
@given(st.lists(st.one_of(records, json_values), max_size=4))
def test_any_page_is_read_as_far_as_it_goes(page: list[object]) -> None:
    good = {"task_id": "1", "task_status": "succeed"}
    tasks, unreadable = read_tasks(success([*page, good]))
    assert tasks[-1].id == "1"
    assert len(tasks) + unreadable == len(page) + 1


@settings(max_examples=30)
@given(json_values)
def test_any_costs_are_packs_or_malformed(data: object) -> None:
    for told_ in (data, {"resource_pack_subscribe_infos": data}, {"resource_pack_subscribe_infos": [data]}):
        try:
            read_packs(success(told_))
        except MalformedResponse as error:
            assert str(error)  # noqa: PT017


# Records become tasks.


def test_the_specifications_response() -> None:
    assert sampled_task("task_specification") == Task(
        id="string",
        status=TaskStatus.SUCCEED,
        status_message="string",
        external_task_id="string",
        created_at=datetime(2024, 8, 4, 11, 5, 57, 708_000, tzinfo=UTC),
        updated_at=datetime(2024, 8, 4, 11, 5, 57, 708_000, tzinfo=UTC),
        videos=(Video("string", "https://files.example/string.mp4", Decimal("9.6")),),
        final_unit_deduction=Decimal("3.5"),
    )


def test_the_newer_spelling_of_success_and_what_else_it_holds() -> None:
    task = sampled_task("task_succeeded")
    assert task.status is TaskStatus.SUCCEED
    assert task.parent_video == Video(
        "829836802793400001", "https://files.example/parent.mp4?Signature=x", Decimal("5.1")
    )
    assert task.video.watermark_url == "https://files.example/marked.mp4?Signature=x"
    assert task.video.duration == Decimal("9.633")


def test_members_that_no_document_lists_stay_in_the_raw_record() -> None:
    raw = sampled_task("task_succeeded").raw
    assert raw["final_balance_deduction"] == {"quota": "0.42", "list_price": "0.42"}


def test_ids_may_come_as_numbers_and_keep_every_digit() -> None:
    task = sampled_task("task_numbers")
    assert (task.id, task.external_task_id, task.video.id) == ("829836802793406551", "42", "829836802793409999")


def test_amounts_are_exact_even_when_they_come_as_numbers() -> None:
    task = sampled_task("task_numbers")
    assert (task.video.duration, task.final_unit_deduction) == (Decimal("9.6"), Decimal("3.5"))


@pytest.mark.parametrize("name", ["task_bare", "task_empty_members"])
def test_absent_null_and_empty_members_read_alike(name: str) -> None:
    assert sampled_task(name) == Task(id="829836802793406551", status=TaskStatus.SUBMITTED)


def test_the_reason_of_a_failure() -> None:
    task = sampled_task("task_failed")
    assert (task.status, task.status_message) == (TaskStatus.FAILED, "Failure to pass the risk control system")
    assert (task.videos, task.final_unit_deduction) == ((), Decimal(0))


@pytest.mark.parametrize("word", ["queued", "SUCCEED", "unknown"])
def test_a_status_that_no_document_lists_is_unknown(word: str) -> None:
    task = read_task(success({"task_id": "1", "task_status": word}))
    assert (task.status, task.raw["task_status"]) == (TaskStatus.UNKNOWN, word)


@pytest.mark.parametrize("parent", [{"url": "https://a.example"}, {"id": "", "url": "https://a.example"}, {"id": None}])
def test_a_parent_video_without_an_id_is_none(parent: object) -> None:
    task = read_task(success({"task_id": "1", "task_status": "succeed", "task_info": {"parent_video": parent}}))
    assert task.parent_video is None


BAD_MEMBERS: list[tuple[dict[str, object], str]] = [
    ({"task_id": None}, "required field missing @ task.id"),
    ({"task_id": ""}, "required field missing @ task.id"),
    ({"task_id": 1.5}, "@ task.id"),
    ({"task_id": True}, "@ task.id"),
    ({"task_id": ["1"]}, "@ task.id"),
    ({"task_status": None}, "required field missing @ task.status"),
    ({"task_status": 1}, "@ task.status"),
]


@pytest.mark.parametrize(("members", "where"), BAD_MEMBERS, ids=lambda value: str(value)[:50])
def test_a_member_that_cannot_be_read_is_named(members: dict[str, object], where: str) -> None:
    record: dict[str, object] = {"task_id": "1", "task_status": "succeed", **members}
    with pytest.raises(MalformedResponse) as caught:
        read_task(success(record))
    assert where in caught.value.message
    assert caught.value.request_id == "r1"


ODD_MEMBERS: list[dict[str, object]] = [
    {"created_at": "yesterday"},
    {"created_at": True},
    {"created_at": 10**30},
    {"updated_at": -(10**18)},
    {"final_unit_deduction": "many"},
    {"final_unit_deduction": "NaN"},
    {"final_unit_deduction": float("inf")},
    {"final_unit_deduction": True},
    {"task_info": ["x"]},
    {"task_info": {"external_task_id": 0.5}},
    {"task_info": {"parent_video": "v1"}},
    {"task_result": "x"},
    {"task_result": {"videos": {"id": "v1"}}},
    {"task_result": {"videos": 5}},
    {"task_result": {"videos": [None]}},
    {"task_result": {"videos": [{"id": "v1"}, {"url": "https://a"}]}},
    {"task_result": {"videos": [{"id": "v1", "duration": "long"}]}},
]


@pytest.mark.parametrize("odd", ODD_MEMBERS, ids=lambda value: str(value)[:50])
def test_an_odd_member_does_not_hide_its_task(odd: dict[str, object]) -> None:
    task = read_task(success({"task_id": "1", "task_status": "succeed", "task_status_msg": "fine", **odd}))
    assert task == Task("1", TaskStatus.SUCCEED, "fine")
    assert odd.items() <= task.raw.items()


def test_beside_an_odd_member_the_others_are_read() -> None:
    record = {"task_id": "1", "task_status": "succeed", "created_at": "x", "task_result": {"videos": [{"id": "v"}]}}
    assert read_task(success(record)).video.id == "v"


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_a_success_without_a_task_is_not_found(nothing: object) -> None:
    with pytest.raises(NotFound, match="without a task") as caught:
        read_task(success(nothing))
    assert (caught.value.code, caught.value.request_id) == (0, "r1")


@pytest.mark.parametrize("record", ["task", 5, [{"task_id": "1"}]])
def test_what_is_no_record_is_no_task(record: object) -> None:
    with pytest.raises(MalformedResponse, match="is no record"):
        read_task(success(record))


@pytest.mark.parametrize("exact", ["0.1", "3", "1E-7", "123456789012345678901234567890.123456789"])
def test_amounts_are_exact(exact: str) -> None:
    task = read_task(success({"task_id": "1", "task_status": "succeed", "final_unit_deduction": exact}))
    assert str(task.final_unit_deduction) == exact


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_exact_to_the_millisecond(milliseconds: int) -> None:
    task = read_task(success({"task_id": "1", "task_status": "succeed", "created_at": milliseconds}))
    assert task.created_at is not None
    assert (task.created_at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == milliseconds


# Pages and packs.


def test_one_unreadable_record_of_a_page_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "kling_async"):
        tasks, unreadable = read_tasks(read_envelope(LIST, sample("page")))
    assert ([task.id for task in tasks], unreadable) == (["3", "1"], 1)
    assert [record.getMessage() for record in caplog.records] == [
        "a record of the list cannot be read: required field missing @ task.id, request id: r"
    ]


@pytest.mark.parametrize("data", [None, []])
def test_a_page_may_be_empty(data: object) -> None:
    assert read_tasks(success(data)) == ((), 0)


@pytest.mark.parametrize("data", [{}, {"tasks": []}, "none", 0, False])
def test_a_page_is_a_list(data: object) -> None:
    with pytest.raises(MalformedResponse, match="the list of tasks is no list"):
        read_tasks(success(data))


def test_packs() -> None:
    trial, period = read_packs(read_envelope(LIST, sample("costs")))
    assert (trial.name, trial.id, trial.type, trial.status) == (
        "Trial-Video-100Units-5Con-1Months",
        "509f3fd3d4f644a5",
        "decreasing_total",
        "expired",
    )
    assert (trial.total_quantity, trial.remaining_quantity) == (Decimal(200), Decimal("118.5"))
    assert trial.purchase_time == datetime(2024, 9, 12, 7, 4, 24, 368_000, tzinfo=UTC)
    assert trial.raw["resource_pack_id"] == "509f3fd3d4f644a5"
    assert (period.id, period.total_quantity, period.invalid_time) == ("1", None, None)


@pytest.mark.parametrize("data", [None, {}, {"resource_pack_subscribe_infos": None}])
def test_there_may_be_no_packs(data: object) -> None:
    assert read_packs(success(data)) == ()


@pytest.mark.parametrize("data", [[], "x", 5, *({"resource_pack_subscribe_infos": bad} for bad in (5, "x", {"a": 1}))])
def test_packs_are_a_list(data: object) -> None:
    with pytest.raises(MalformedResponse, match="the list of resource packs is no list"):
        read_packs(success(data))


@pytest.mark.parametrize(
    ("pack", "where"),
    [({}, "required field missing @ pack.name"), (None, "is no record"), ("pack", "is no record")],
)
def test_a_pack_that_cannot_be_read_is_told(pack: object, where: str) -> None:
    with pytest.raises(MalformedResponse, match=where):
        read_packs(success({"resource_pack_subscribe_infos": [pack]}))


# Headers.


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 400, float("inf")),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0665", None),
        ("Mon, 99 Foo 2024", None),
    ],
)
def test_retry_after(given_: str, seconds: float | None) -> None:
    assert retry_after(CIMultiDict({"retry-after": given_, "date": DATE})) == seconds


def test_a_date_to_wait_for_needs_the_servers_own() -> None:
    assert retry_after({"Retry-After": DATE}) is None


@pytest.mark.parametrize("date", [DATE, DATE.replace("GMT", "-0000"), formatdate(NOW), formatdate(NOW, localtime=True)])
def test_the_servers_clock(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_time({"Date": date}) == NOW


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "now"}, {"Date": "Mon, 32 Jan 2024 00:00:00 GMT"}])
def test_no_clock(headers: dict[str, str]) -> None:
    assert server_time(headers) is None


@given(st.text(st.sampled_from("Mon,0123456789 JanFeb:+-GMTé\ud800\x00"), max_size=40))
def test_any_header_is_a_time_or_none(text: str) -> None:
    headers: dict[str, Any] = {"Date": text, "Retry-After": text}
    assert isinstance(server_time(headers), float | None)
    assert isinstance(retry_after(headers), float | None)


# Secrets in foreign texts.

SECRETS = [
    "Authorization: Bearer planted-key refused",
    "bearer   planted",
    "token eyJplanted.planted.planted- refused",
    "see https://a.example/v.mp4?Expires=1&Signature=planted%2B/planted now",
    "see 'https://a.example/?token=planted'",
    "/v.mp4?X-Amz-Signature=planted",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_scrubbed(text: str) -> None:
    assert "planted" not in scrubbed(text)
    assert "<secret>" in scrubbed(text)


@pytest.mark.parametrize("text", ["video_id can not be null", "really? a=b", "mode must be one of std, pro", "eye"])
def test_plain_words_are_left_alone(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_do_not_get_into_errors(text: str) -> None:
    for error in (
        refusal(answer({"code": 1002, "message": text}, status=401)),
        malformed(answer(text.encode(), status=502)),
        malformed(answer([text], status=502)),
    ):
        assert "planted" not in str(error)


def test_the_repr_of_an_answer_shows_no_content() -> None:
    assert repr(answer({"planted": 1}, Planted="planted")) == "Response(status=200)"
    assert "planted" not in repr(success({"planted": 1}))

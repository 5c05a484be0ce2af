from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest
from simulator_desk import EXTEND, OMNI, SOURCE, Desk, data, message, verdict

from kling_async.simulator.faults import GARBAGE, Fault
from kling_async.simulator.wire import Ending
from kling_async.spec import VENDOR_CODES

if TYPE_CHECKING:
    from kling_async.simulator.wire import JSON, Reply


@pytest.fixture
def desk() -> Desk:
    return Desk()


def extend_with(desk: Desk, fault: Fault) -> Reply:
    desk.engine.script(fault)
    return desk.extend()


def created(desk: Desk) -> int:
    return len(desk.engine.accepted)


@pytest.mark.parametrize("row", VENDOR_CODES, ids=lambda row: str(row.code))
def test_a_code_comes_with_its_status_and_meaning(desk: Desk, row: tuple[int, int, str]) -> None:
    code, status, meaning = row
    reply = extend_with(desk, Fault.code(code))
    assert (verdict(reply), message(reply)) == ((status, code), meaning)


def test_a_code_with_its_own_words(desk: Desk) -> None:
    fault = Fault.code(1303, message="busy", http_status=418, headers={"Retry-After": "3"})
    reply = extend_with(desk, fault)
    assert (verdict(reply), message(reply), reply.headers["Retry-After"]) == ((418, 1303), "busy", "3")


def test_a_code_that_nobody_knows(desk: Desk) -> None:
    assert verdict(extend_with(desk, Fault.code(9999))) == (400, 9999)


MAKERS = {
    "code": (Fault.code(5002), Fault.code(5002, after=True)),
    "reset": (Fault.reset(), Fault.reset(after=True)),
    "close": (Fault.close(), Fault.close(after=True)),
    "body": (Fault.body(b"x"), Fault.body(b"x", after=True)),
    "html": (Fault.html(), Fault.html(after=True)),
    "empty": (Fault.empty(), Fault.empty(after=True)),
    "redirect": (Fault.redirect("/"), Fault.redirect("/", after=True)),
    "garbage": (Fault.garbage(), Fault.garbage(after=True)),
}


@pytest.mark.parametrize(("before", "after"), MAKERS.values(), ids=MAKERS.keys())
def test_before_and_after_the_task_was_made(desk: Desk, before: Fault, after: Fault) -> None:
    extend_with(desk, before)
    made_before = created(desk)
    extend_with(desk, after)
    assert (made_before, created(desk)) == (0, 1)


@pytest.mark.parametrize(("before", "after"), MAKERS.values(), ids=MAKERS.keys())
def test_the_caller_can_not_tell_before_from_after(before: Fault, after: Fault) -> None:
    one, other = (extend_with(Desk(), fault) for fault in (before, after))
    assert (one.status, one.raw, one.ending) == (other.status, other.raw, other.ending)


def test_the_reply_knows_what_was_created_behind_a_fault(desk: Desk) -> None:
    reply = extend_with(desk, Fault.code(5002, after=True))
    assert reply.created == desk.engine.accepted[0].task_id


@pytest.mark.parametrize(
    "fault", [Fault.slow(1), Fault.trickle(1), Fault.truncated(), Fault.changed(lambda body: body), Fault.none()]
)
def test_what_needs_a_good_answer_carries_the_call_out(desk: Desk, fault: Fault) -> None:
    extend_with(desk, fault)
    assert created(desk) == 1


def test_a_call_that_fails_on_its_own_stays_refused(desk: Desk) -> None:
    desk.engine.script(Fault.slow(5))
    reply = desk.extend("nothing")
    assert (verdict(reply), reply.delay) == ((400, 1201), 5)


def test_slow(desk: Desk) -> None:
    reply = extend_with(desk, Fault.slow(5))
    assert (verdict(reply), reply.delay, reply.pace) == ((200, 0), 5, 0)


def test_every_fault_may_be_late(desk: Desk) -> None:
    assert extend_with(desk, Fault.reset(delay=5)).delay == 5


def test_trickle(desk: Desk) -> None:
    reply = extend_with(desk, Fault.trickle(0.5))
    assert (verdict(reply), reply.delay, reply.pace) == ((200, 0), 0, 0.5)


def test_reset(desk: Desk) -> None:
    reply = extend_with(desk, Fault.reset())
    assert (reply.raw, reply.ending) == (b"", Ending.RESET)


def test_close(desk: Desk) -> None:
    reply = extend_with(desk, Fault.close())
    assert (reply.raw, reply.ending) == (b"", Ending.CLOSE)


def test_truncated_in_the_middle(desk: Desk) -> None:
    reply = extend_with(desk, Fault.truncated())
    assert (reply.cut, reply.ending, verdict(reply)) == (len(reply.body) // 2, Ending.CLOSE, (200, 0))


def test_truncated_at_a_byte(desk: Desk) -> None:
    reply = extend_with(desk, Fault.truncated(0, reset=True))
    assert (reply.cut, reply.ending) == (0, Ending.RESET)


def test_truncated_with_the_length_of_what_is_sent(desk: Desk) -> None:
    reply = extend_with(desk, Fault.truncated(10, complete=True))
    assert (reply.body, reply.cut, reply.ending) == (b'{"code":0,', None, Ending.KEEP)


def test_a_truncated_film_does_not_lie_about_its_length(desk: Desk) -> None:
    desk.engine.script(Fault.truncated(4, complete=True))
    reply = desk.call("GET", f"/files/{SOURCE}.mp4")
    assert (reply.body, "Content-Length" in reply.headers) == (b"film", False)


def test_a_film_that_breaks_off_keeps_its_length(desk: Desk) -> None:
    desk.engine.script(Fault.truncated(4))
    reply = desk.call("GET", f"/files/{SOURCE}.mp4")
    assert (reply.cut, reply.headers["Content-Length"]) == (4, "11")


@pytest.mark.parametrize("status", [200, 502, 503, 504])
def test_html(desk: Desk, status: int) -> None:
    reply = extend_with(desk, Fault.html(status))
    assert (reply.status, reply.headers["Content-Type"], reply.body[:6]) == (status, "text/html", b"<html>")


def test_garbage(desk: Desk) -> None:
    reply = extend_with(desk, Fault.garbage())
    assert (reply.raw, reply.ending) == (GARBAGE, Ending.CLOSE)


def test_redirect(desk: Desk) -> None:
    reply = extend_with(desk, Fault.redirect("http://elsewhere/", status=307))
    assert (reply.status, reply.headers["Location"], reply.body) == (307, "http://elsewhere/", b"")


def test_empty(desk: Desk) -> None:
    reply = extend_with(desk, Fault.empty())
    assert (reply.status, reply.body) == (200, b"")


def test_any_body(desk: Desk) -> None:
    reply = extend_with(desk, Fault.body(b"\x1f\x8b", status=203, headers={"Content-Encoding": "gzip"}))
    assert (reply.status, reply.body, reply.headers["Content-Encoding"]) == (203, b"\x1f\x8b", "gzip")


def test_a_record_is_changed(desk: Desk) -> None:
    def odd(body: dict[str, JSON]) -> JSON:
        return {**body, "data": {"task_status": "pondering"}}

    assert data(extend_with(desk, Fault.changed(odd))) == {"task_status": "pondering"}


def test_a_record_may_become_anything(desk: Desk) -> None:
    assert json.loads(extend_with(desk, Fault.changed(lambda _: None)).body) is None


def test_tasks_vanish_from_the_list(desk: Desk) -> None:
    desk.made()
    desk.engine.script(Fault.changed(lambda body: {**body, "data": []}, on="list"))
    assert [desk.ids(), len(desk.ids())] == [[], 1]


# Which calls are struck.


def test_times(desk: Desk) -> None:
    desk.engine.script(Fault.code(1303, times=2))
    assert [verdict(desk.extend())[1] for _ in range(3)] == [1303, 1303, 0]


def test_until_it_is_cleared(desk: Desk) -> None:
    desk.engine.script(Fault.code(1303, times=None))
    struck = [verdict(desk.extend())[1] for _ in range(3)]
    desk.engine.clear_faults()
    assert (struck, verdict(desk.extend())[1], desk.engine.faults) == ([1303, 1303, 1303], 0, ())


def test_in_the_order_of_the_script(desk: Desk) -> None:
    desk.engine.script(Fault.code(1302), Fault.code(1303))
    desk.engine.script(Fault.code(5000))
    assert [verdict(desk.extend())[1] for _ in range(4)] == [1302, 1303, 5000, 0]


def test_some_calls_pass_first(desk: Desk) -> None:
    desk.engine.script(Fault.none(times=2, on="create"), Fault.code(1303))
    assert [verdict(desk.extend())[1] for _ in range(4)] == [0, 0, 1303, 0]


def test_what_has_not_struck_is_visible(desk: Desk) -> None:
    desk.engine.script(Fault.code(1303, times=3), Fault.reset(on="file"))
    desk.extend()
    assert [(fault.on, fault.times) for fault in desk.engine.faults] == [(None, 2), ("file", 1)]


TARGETS = {
    "create": {"create", "shoot"},
    "get": {"get"},
    "list": {"list"},
    "query": {"get", "list"},
    "costs": {"costs"},
    "file": {"file"},
    "unknown": {"unknown"},
    "GET /": {"get", "list", "costs", "file", "unknown"},
    "GET /v1/videos/video-extend": {"get", "list"},
    "GET /v1/videos/video-extend/": {"get"},
    f"POST {OMNI}": {"shoot"},
    None: {"create", "shoot", "get", "list", "costs", "file", "unknown"},
}


@pytest.mark.parametrize(("on", "expected"), TARGETS.items())
def test_on(on: str | None, expected: set[str]) -> None:
    desk = Desk()
    desk.engine.script(Fault.code(5001, on=on, times=None))
    calls = {
        "create": desk.extend(),
        "shoot": desk.shoot(),
        "get": desk.get("1"),
        "list": desk.listing(),
        "costs": desk.costs(),
        "file": desk.call("GET", f"/files/{SOURCE}.mp4"),
        "unknown": desk.call("GET", "/nothing"),
    }
    assert {name for name, reply in calls.items() if reply.status == 503} == expected


@pytest.mark.parametrize(("family", "struck"), [("video-extend", EXTEND), ("omni-video", OMNI)])
def test_one_family(family: str, struck: str) -> None:
    desk = Desk()
    desk.engine.script(Fault.code(5001, on="list", family=family, times=None))
    assert [path for path in (EXTEND, OMNI) if desk.listing(path=path).status == 503] == [struck]


@pytest.mark.parametrize("on", ["creates", "", "POST", "/v1/videos", "GETlist"])
def test_a_target_that_is_none_is_told_at_once(on: str) -> None:
    with pytest.raises(ValueError, match="expected one of create, get, list"):
        Fault.reset(on=on)


def test_a_struck_call_is_counted(desk: Desk) -> None:
    extend_with(desk, Fault.reset())
    assert desk.engine.count("create") == 1


def test_a_scripted_refusal_is_no_refusal_of_the_rules(desk: Desk) -> None:
    extend_with(desk, Fault.code(1303))
    assert desk.engine.refused == {}


def test_a_struck_answer_is_dated(desk: Desk) -> None:
    assert extend_with(desk, Fault.html()).headers["Date"] == desk.extend().headers["Date"]


@pytest.mark.parametrize("wrong", ["x", None, Fault])
def test_what_is_no_fault_is_refused_at_once(desk: Desk, wrong: object) -> None:
    with pytest.raises(TypeError, match="is no Fault"):
        desk.engine.script(cast("Fault", wrong))
    assert desk.engine.faults == ()


@pytest.mark.parametrize("times", [0, -1])
def test_a_fault_that_never_strikes_is_refused(times: int) -> None:
    with pytest.raises(ValueError, match=r"times=.*: expected 1 or more"):
        Fault.code(1303, times=times)

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_desk import SOURCE, Desk, odd_text, tiny_film, verdict

from kling_async.simulator.engine import Engine
from kling_async.simulator.files import File, serve

FILE = File.of(b"0123456789")
RANGES = [
    ("bytes=0-", 0, 10),
    ("bytes=0-0", 0, 1),
    ("bytes=3-5", 3, 6),
    ("bytes=9-", 9, 10),
    ("bytes=5-99", 5, 10),
    ("bytes=-3", 7, 10),
    ("bytes=-99", 0, 10),
    (" bytes=4- ", 4, 10),
]
WHOLE = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=1_0-",
    "bytes=\uff11-",
    "lines=1-2",
    "bytes=0-1,3-4",
    "bytes=" + "9" * 5000 + "-",
]


def get(**headers: str) -> tuple[int, bytes]:
    part = serve(FILE, method="GET", headers={name.replace("_", "-"): value for name, value in headers.items()})
    return part.status, part.content


@pytest.mark.parametrize(("wanted", "start", "end"), RANGES)
def test_a_range(wanted: str, start: int, end: int) -> None:
    assert get(range=wanted) == (206, FILE.content[start:end])


@pytest.mark.parametrize(("wanted", "start", "end"), RANGES)
def test_a_range_says_where_it_lies(wanted: str, start: int, end: int) -> None:
    headers = serve(FILE, method="GET", headers={"range": wanted}).headers
    assert (headers["Content-Range"], headers["Content-Length"]) == (f"bytes {start}-{end - 1}/10", str(end - start))


@pytest.mark.parametrize("wanted", WHOLE)
def test_what_is_no_range_is_ignored(wanted: str) -> None:
    assert get(range=wanted) == (200, FILE.content)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-", "bytes=-0", "bytes=5-4"])
def test_a_range_of_no_byte_is_416(wanted: str) -> None:
    part = serve(FILE, method="GET", headers={"range": wanted})
    assert (part.status, part.headers["Content-Range"]) == (416, "bytes */10")


def test_if_range_with_the_right_etag() -> None:
    assert get(range="bytes=3-", if_range=FILE.etag) == (206, b"3456789")


@pytest.mark.parametrize("validator", ['"other"', f"W/{FILE.etag}", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_if_range_with_anything_else_gives_the_whole(validator: str) -> None:
    assert get(range="bytes=3-", if_range=validator) == (200, FILE.content)


def test_head_has_the_length_and_no_content() -> None:
    part = serve(FILE, method="HEAD", headers={"range": "bytes=3-"})
    assert (part.status, part.headers["Content-Length"], part.content) == (200, "10", b"")


def test_the_etag_tells_contents_apart() -> None:
    assert FILE.etag == File.of(b"0123456789").etag != File.of(b"0123456788").etag


@given(wanted=odd_text, size=st.integers(0, 3))
def test_any_range_is_served(wanted: str, size: int) -> None:
    part = serve(File.of(b"x" * size), method="GET", headers={"range": f"bytes={wanted}"})
    assert part.status in {200, 206, 416}


def test_a_source_has_its_film() -> None:
    assert Desk().call("GET", f"/files/{SOURCE}.mp4", headers={}).body == b"film of 5.0"


def test_a_result_shows_where_each_extension_begins() -> None:
    desk = Desk()
    first = desk.video(desk.made())
    second = desk.video(desk.made(first["id"]))
    film = desk.call("GET", f"/files/{second['id']}.mp4", headers={}).body
    assert film.startswith(b"film of 5.0+4.")
    assert film.count(b"+") == 2


def test_a_file_is_there_when_its_task_has_succeeded_and_not_before() -> None:
    desk = Desk()
    desk.made()
    video_id = next(iter(desk.engine._ledger.tasks.values())).result.id
    before = desk.call("GET", f"/files/{video_id}.mp4")
    desk.clock.now += 60
    assert (verdict(before), desk.call("GET", f"/files/{video_id}.mp4").status) == ((404, 1203), 200)


def test_a_file_is_gone_after_30_days() -> None:
    desk = Desk()
    desk.clock.now += 30.1 * 86_400
    assert verdict(desk.call("GET", f"/files/{SOURCE}.mp4")) == (404, 1203)


def test_a_file_of_nothing_is_1203() -> None:
    assert verdict(Desk().call("GET", "/files/nothing.mp4")) == (404, 1203)


def test_the_parameters_of_a_signed_url_do_no_harm() -> None:
    assert Desk().call("GET", f"/files/{SOURCE}.mp4", "token=x&expires=1").status == 200


def test_a_named_source_is_reached_by_its_quoted_id() -> None:
    desk = Desk()
    desk.engine.add_source(id="a b/c")
    assert desk.call("GET", "/files/a%20b%2Fc.mp4").status == 200


def test_416_is_an_envelope_that_names_the_size() -> None:
    reply = Desk().call("GET", f"/files/{SOURCE}.mp4", headers={"Range": "bytes=99-"})
    assert (verdict(reply), reply.headers["Content-Range"]) == ((416, 1200), "bytes */11")


def test_a_film_is_made_once() -> None:
    films: list[object] = []

    def film(segments: object) -> bytes:
        films.append(segments)
        return b"film"

    engine = Engine(clock=lambda: 0.0, film=film)
    for _ in range(3):
        engine.handle("GET", f"/files/{SOURCE}.mp4")
    assert len(films) == 1


def test_the_real_films_are_the_default() -> None:
    reply = Engine(clock=lambda: 0.0).handle("GET", f"/files/{SOURCE}.mp4")
    assert reply.body[4:8] == b"ftyp"


def test_the_tiny_film_of_these_tests_tells_segments_apart() -> None:
    assert tiny_film([]) != tiny_film([json.loads("1")])

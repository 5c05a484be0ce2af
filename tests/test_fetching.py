"""The course of a download, without any: what each answer means for what is on disk."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.policies import DownloadPolicy, RetryPolicy
from kling_async.rules.fetching import Again, Course, Follow, GiveUp, Kept, Refresh, Take, Whole

TAG = '"tag"'
MIB = 1024 * 1024
NOTHING = Kept()
PLAIN = {"Accept-Encoding": "identity"}


def course(kept: Kept = NOTHING, *, attempts: int = 3, redirects: int = 5, max_bytes: int = 2**34) -> Course:
    policy = DownloadPolicy(attempts=attempts, redirects=redirects, max_bytes=max_bytes)
    made = Course(policy, RetryPolicy(first_wait=1.0, max_wait=8.0), lambda: 0.5)
    made.found(kept)
    made.begin()
    return made


def begun(size: int = 100, *, tag: str | None = TAG, attempts: int = 3) -> Course:
    """Ten bytes of a film have arrived."""
    made = course(attempts=attempts)
    made.headers()
    assert made.heard(200, {"Content-Length": str(size), **({"ETag": tag} if tag else {})}) == Take(0)
    assert made.arrived(10) is None
    return made


# --- asking ----------------------------------------------------------------------------------------------------------


def test_nothing_there_asks_for_the_whole() -> None:
    assert course().headers() == PLAIN


def test_what_is_there_asks_for_the_rest_if_the_film_is_the_same() -> None:
    made = course(Kept(10, TAG, 100))
    assert made.headers() == {**PLAIN, "Range": "bytes=10-", "If-Range": TAG}
    assert made.can_resume


@pytest.mark.parametrize("kept", [Kept(10, None, 100), Kept(0, TAG, 100)])
def test_without_a_validator_or_a_byte_nothing_can_be_resumed(kept: Kept) -> None:
    made = course(kept)
    assert not made.can_resume
    assert made.headers() == PLAIN


def test_requests_are_counted() -> None:
    made = course()
    made.headers()
    made.headers()
    assert made.requests == 2


# --- validators ------------------------------------------------------------------------------------------------------

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"
STRONG = {
    "tag": ({"ETag": TAG}, TAG),
    "tag in blanks": ({"ETag": f" {TAG} "}, TAG),
    "empty tag": ({"ETag": '""'}, '""'),
    "tag and date": ({"ETag": TAG, "Last-Modified": "Mon, 23 Nov 2026 09:00:00 GMT", "Date": DATE}, TAG),
    "date": ({"Last-Modified": "Mon, 23 Nov 2026 09:59:00 GMT", "Date": DATE}, "Mon, 23 Nov 2026 09:59:00 GMT"),
    "ranges": ({"ETag": TAG, "Accept-Ranges": "bytes"}, TAG),
}
WEAK = {
    "nothing": {},
    "weak tag": {"ETag": f"W/{TAG}"},
    "weak tag beside a date": {"ETag": f"W/{TAG}", "Last-Modified": "Mon, 23 Nov 2026 09:00:00 GMT", "Date": DATE},
    "bare tag": {"ETag": "tag"},
    "half a tag": {"ETag": '"tag'},
    "two tags": {"ETag": '"a", "b"'},
    "tag of odd letters": {"ETag": '"\x7f"'},
    "date of now": {"Last-Modified": "Mon, 23 Nov 2026 09:59:01 GMT", "Date": DATE},
    "date to come": {"Last-Modified": "Mon, 23 Nov 2026 11:00:00 GMT", "Date": DATE},
    "date without a clock": {"Last-Modified": "Mon, 23 Nov 2026 09:00:00 GMT"},
    "no date": {"Last-Modified": "yesterday", "Date": DATE},
    "no ranges": {"ETag": TAG, "Accept-Ranges": "none"},
}


@pytest.mark.parametrize(("headers", "validator"), STRONG.values(), ids=STRONG.keys())
def test_strong_validator_is_kept(headers: dict[str, str], validator: str) -> None:
    made = course()
    made.heard(200, headers)
    assert made.kept == Kept(0, validator, None)


@pytest.mark.parametrize("headers", WEAK.values(), ids=WEAK.keys())
def test_weak_validator_is_none(headers: dict[str, str]) -> None:
    made = course()
    made.heard(200, headers)
    assert made.kept.validator is None


# --- 200 and 206 -----------------------------------------------------------------------------------------------------


def test_whole_film_is_whole_at_its_length() -> None:
    made = begun(10)
    assert made.ended() == Whole()


def test_film_without_a_length_is_whole_at_its_end() -> None:
    made = course()
    made.heard(200, {})
    made.arrived(5)
    assert made.ended() == Whole()


def test_rest_goes_on_where_it_was() -> None:
    made = course(Kept(10, TAG, 100))
    assert made.heard(206, {"Content-Range": "bytes 10-99/100", "ETag": TAG}) == Take(10)
    assert made.kept == Kept(10, TAG, 100)
    made.arrived(90)
    assert made.ended() == Whole()


def test_rest_tells_a_length_that_was_not_known() -> None:
    made = course(Kept(10, TAG, None))
    made.heard(206, {"Content-Range": "bytes 10-99/100"})
    assert made.kept.total == 100


def test_rest_may_come_in_pieces() -> None:
    made = course(Kept(10, TAG, 100))
    made.heard(206, {"Content-Range": "bytes 10-49/100"})
    made.arrived(40)
    assert isinstance(made.ended(), Again)
    made.begin()
    assert made.headers()["Range"] == "bytes=50-"


def test_whole_in_place_of_the_rest_begins_anew() -> None:
    made = course(Kept(10, TAG, 100))
    assert made.heard(200, {"Content-Length": "200", "ETag": '"other"'}) == Take(0)
    assert made.kept == Kept(0, '"other"', 200)


MISMATCHES = {
    "no range": {},
    "another range": {"Content-Range": "bytes 0-99/100"},
    "another length": {"Content-Range": "bytes 10-100/101"},
    "unknown length": {"Content-Range": "bytes 10-99/*"},
    "backwards": {"Content-Range": "bytes 10-9/100"},
    "beyond the end": {"Content-Range": "bytes 10-100/100"},
    "other units": {"Content-Range": "frames 10-99/100"},
    "huge": {"Content-Range": f"bytes 10-{10**30}/{10**30}"},
    "another tag": {"Content-Range": "bytes 10-99/100", "ETag": '"other"'},
    "weak tag": {"Content-Range": "bytes 10-99/100", "ETag": f"W/{TAG}"},
}


@pytest.mark.parametrize("headers", MISMATCHES.values(), ids=MISMATCHES.keys())
def test_rest_that_does_not_fit_is_dropped_with_what_was_there(headers: dict[str, str]) -> None:
    made = course(Kept(10, TAG, 100))
    assert isinstance(made.heard(206, headers), Again)
    assert made.kept == Kept()
    made.begin()
    assert made.headers() == PLAIN


def test_tag_is_not_compared_where_a_date_was_the_validator() -> None:
    made = course(Kept(10, DATE, 100))
    assert made.heard(206, {"Content-Range": "bytes 10-99/100", "ETag": '"any"'}) == Take(10)


def test_range_that_nobody_asked_for_ends_it() -> None:
    assert course().heard(206, {"Content-Range": "bytes 0-9/10"}) == GiveUp(
        "the file's host answered 206 to a request for the whole", keep=False
    )


def test_range_that_cannot_be_had_begins_anew() -> None:
    made = course(Kept(10, TAG, 100))
    assert isinstance(made.heard(416, {}), Again)
    assert made.kept == Kept()


def test_mismatches_come_to_an_end() -> None:
    made = course(Kept(10, TAG, 100), attempts=2)
    assert isinstance(made.heard(416, {}), Again)
    made.begin()
    assert made.heard(416, {}) == GiveUp("the file's host answered 416", keep=False)


@pytest.mark.parametrize("status", [200, 206])
def test_compressed_body_is_refused(status: int) -> None:
    verdict = course(Kept(10, TAG, 100)).heard(status, {"Content-Encoding": "gzip"})
    assert verdict == GiveUp("the file's host sent it compressed, unasked", keep=False)


def test_encoding_named_identity_is_none() -> None:
    assert course().heard(200, {"Content-Encoding": " Identity "}) == Take(0)


# --- lengths ---------------------------------------------------------------------------------------------------------


def test_empty_film_is_an_error() -> None:
    made = course()
    made.heard(200, {"Content-Length": "0"})
    assert made.ended() == GiveUp("the file's host sent an empty file", keep=False)


def test_film_that_is_too_large_is_refused_before_its_first_byte() -> None:
    made = course(max_bytes=1000)
    assert made.heard(200, {"Content-Length": "1001"}) == GiveUp(
        "1,001 bytes are more than max_bytes, 1,000", keep=False
    )
    assert isinstance(course(max_bytes=1000).heard(200, {"Content-Length": "1000"}), Take)


def test_film_that_grows_too_large_is_stopped() -> None:
    made = course(max_bytes=1000)
    made.heard(200, {})
    assert made.arrived(1000) is None
    assert made.arrived(1) == GiveUp("1,001 bytes are more than max_bytes, 1,000", keep=False)


def test_more_than_was_said_is_refused() -> None:
    made = begun(11)
    assert made.arrived(1) is None
    assert made.arrived(1) == GiveUp("the file's host sent more bytes than it had said", keep=False)


@pytest.mark.parametrize("length", ["", "x", "-1", "1e3", "9" * 40])
def test_length_that_is_none_is_not_known(length: str) -> None:
    made = course()
    made.heard(200, {"Content-Length": length})
    assert made.kept.total is None


# --- the other answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_so_many_times(status: int) -> None:
    made = course(redirects=2)
    assert [made.heard(status, {"Location": "/f"}) for _ in range(2)] == [Follow("/f")] * 2
    assert made.heard(status, {"Location": "/f"}) == GiveUp("the file's host redirects more than 2 times")
    made.begin()
    assert made.heard(status, {"Location": "/f"}) == Follow("/f")


def test_redirects_may_be_none_at_all() -> None:
    assert isinstance(course(redirects=0).heard(302, {"Location": "/f"}), GiveUp)


def test_redirect_to_nowhere_ends_it() -> None:
    assert isinstance(course().heard(302, {}), GiveUp)


def test_redirect_does_not_show_where_to() -> None:
    assert "secret" not in repr(Follow("https://files.example/f?sign=secret"))


@pytest.mark.parametrize("status", [403, 404, 410])
def test_url_that_has_gone_is_refreshed_once(status: int) -> None:
    made = begun()
    assert isinstance(made.heard(status, {}), Refresh)
    made.begin()
    assert made.heard(status, {}) == GiveUp(f"the file's host answered {status} to a fresh URL too", keep=False)


@pytest.mark.parametrize("status", [400, 401, 405, 407, 416, 451, 201, 204, 304, 418])
def test_other_answers_end_it(status: int) -> None:
    assert course().heard(status, {}) == GiveUp(f"the file's host answered {status}", keep=False)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_passing_trouble_is_waited_out(status: int) -> None:
    made = course(Kept(10, TAG, 100))
    assert made.heard(status, {}) == Again(f"the file's host answered {status}", 0.5)
    assert made.kept.size == 10


def test_retry_after_is_heeded_up_to_its_bound() -> None:
    assert course().heard(503, {"Retry-After": "7"}) == Again("the file's host answered 503", 7.0)
    assert course().heard(503, {"Retry-After": "7000"}) == Again("the file's host answered 503", 60.0)


# --- attempts --------------------------------------------------------------------------------------------------------


def test_attempts_without_anything_new_are_counted_and_their_pauses_double() -> None:
    made = begun()
    pauses = []
    while isinstance(verdict := made.failed("it broke"), Again):
        pauses.append(verdict.pause)
        made.begin()
    assert verdict == GiveUp("it broke, 3 times in a row")
    assert pauses == [0.5, 1.0, 2.0]  # the first had brought something


def test_attempt_that_brought_something_begins_the_count_anew() -> None:
    made = begun()
    for _ in range(50):
        assert made.failed("it broke") == Again("it broke", 0.5)
        made.begin()
        made.arrived(1)


def test_attempt_that_brought_much_needs_no_pause() -> None:
    made = begun(10 * MIB)
    made.arrived(MIB)
    assert made.failed("it broke") == Again("it broke", 0.0)
    assert made.failed("it broke", asked=3.0) == Again("it broke", 3.0)


def test_to_get_as_far_again_is_no_progress() -> None:
    made = begun(tag=None)
    assert isinstance(made.failed("it broke"), Again)
    for _ in range(2):
        made.begin()
        made.heard(200, {"Content-Length": "100"})
        made.arrived(10)
        assert isinstance(made.failed("it broke"), Again)
    made.begin()
    made.heard(200, {"Content-Length": "100"})
    made.arrived(9)
    assert isinstance(made.failed("it broke"), GiveUp)


def test_break_behind_the_last_byte_is_none() -> None:
    made = begun(10)
    assert made.failed("it broke") == Whole()


def test_end_that_comes_too_soon_is_a_failure() -> None:
    assert begun().ended() == Again("the file's host ended too soon", 0.5)


@given(
    st.integers(0, 700),
    st.dictionaries(st.sampled_from(["ETag", "Content-Range", "Content-Length", "Location"]), st.text()),
)
def test_no_answer_is_too_odd(status: int, headers: dict[str, str]) -> None:
    for kept in (Kept(), Kept(10, TAG, 100)):
        made = course(kept)
        verdict = made.heard(status, headers)
        assert attrs.has(type(verdict))
        assert made.kept.size == 0 or made.kept == kept

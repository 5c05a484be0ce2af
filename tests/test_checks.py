from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async.checks import (
    flag,
    id_text,
    identifier,
    one_of,
    policy_seconds,
    policy_whole,
    refusal,
    seconds,
    text,
    web_address,
    whole,
)
from kling_async.errors import ConfigurationError, RequestError

HUGE = 10**5000  # Python refuses to write it, and no float holds it


def _name(value: object) -> str:
    return "huge" if value in {HUGE, -HUGE} else str(value)


@attrs.frozen(kw_only=True)
class Form:
    """One field of each kind of check."""

    words: object = attrs.field(default="", validator=text("a text", most=5))
    id: object = attrs.field(default="x", validator=id_text("an id"))
    choice: object = attrs.field(default="std", validator=one_of(("std", "pro")))
    flag: object = attrs.field(default=True, validator=flag)
    url: object = attrs.field(default="https://a.example", validator=web_address)
    pause: object = attrs.field(default=1.0, validator=policy_seconds())
    pause_or_none: object = attrs.field(default=0.0, validator=policy_seconds(zero=True))
    count: object = attrs.field(default=1, validator=policy_whole(least=1, most=9))


REFUSED = [
    ({"words": 5}, "words: 5 (int) is not allowed; it must be a text"),
    ({"words": b"ab"}, "words: bytes is not allowed; it must be a text"),
    ({"words": "abcdef"}, "words: 6 characters are too many; at most 5 are allowed"),
    ({"words": "a\ud800"}, "words: holds half of a surrogate pair, which is no character"),
    ({"id": None}, "id: NoneType is not allowed; it must be an id"),
    ({"id": ""}, "id: '' (str) is not allowed; it must be an id, without blanks around it"),
    ({"id": " x"}, "id: ' x' (str) is not allowed; it must be an id, without blanks around it"),
    ({"choice": "PRO"}, "choice: 'PRO' (str) is not allowed; it must be one of std, pro"),
    ({"choice": ["std"]}, "choice: list is not allowed; it must be one of std, pro"),
    ({"flag": 1}, "flag: 1 (int) is not allowed; it must be True or False"),
    ({"flag": "yes"}, "flag: 'yes' (str) is not allowed; it must be True or False"),
    ({"url": "a.mp4"}, "url: 'a.mp4' (str) is not allowed; it must be an absolute http or https URL"),
    ({"pause": 0}, "pause: 0 (int) is not allowed; it must be a finite number of seconds, more than 0"),
    ({"pause": "1"}, "pause: '1' (str) is not allowed; it must be a finite number of seconds, more than 0"),
    ({"pause_or_none": -1}, "pause_or_none: -1 (int) is not allowed; it must be a finite number of seconds, not nega"),
    ({"count": 0}, "count: 0 (int) is not allowed; it must be a whole number from 1 to 9"),
    ({"count": True}, "count: True (bool) is not allowed; it must be a whole number from 1 to 9"),
]


@pytest.mark.parametrize(("members", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_one_clear_error(members: dict[str, object], message: str) -> None:
    with pytest.raises((RequestError, ConfigurationError)) as caught:
        Form(**members)
    assert caught.value.message.startswith(message)


def test_good_values_pass() -> None:
    Form(words="ab\U0001f600", id="a/b", choice="pro", flag=False, url="http://b", pause=0.1, count=9)


def test_a_long_text_is_not_shown() -> None:
    assert str(refusal("x", "s" * 59, "short")).startswith("x: str is")
    assert "sss" in str(refusal("x", "s" * 58, "short"))  # control


@pytest.mark.parametrize("value", [{"secret": 1}, ["secret"], object(), b"secret"])
def test_an_unexpected_object_is_not_shown(value: object) -> None:
    assert str(refusal("x", value, "a number")).startswith(f"x: {type(value).__name__} is not")


@pytest.mark.parametrize("value", [".", "..", "", " ", "a\n", "\ta", "a\x00b", "\ud800", "a\u200b", 7, None, b"a"])
def test_what_cannot_stand_in_a_path_is_no_id(value: object) -> None:
    with pytest.raises(RequestError, match="id: "):
        identifier("id", value, "an id")


@pytest.mark.parametrize("value", ["...", "a/b", "a b", "%2e", "é", "中", "x" * 999])
def test_other_texts_are_ids(value: str) -> None:
    assert identifier("id", value, "an id") == value


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/hook?x=1#y",
        "http://127.0.0.1:8080",
        "https://[::1]/a",
        "https://user:pass@host/",
        "HTTPS://A.EXAMPLE",
        "https://é.example/中",
    ],
)
def test_web_addresses(url: str) -> None:
    assert Form(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/b",
        "file:///etc/passwd",
        "//a/b",
        "https://",
        "https:///path",
        "https://a b",
        "https://a\n",
        "http://[",
        "http://a:99999",
        "http://a:0",
        "http://a:x",
        b"https://a",
        None,
    ],
)
def test_no_web_addresses(url: object) -> None:
    with pytest.raises(RequestError, match="it must be an absolute http or https URL"):
        Form(url=url)


@pytest.mark.parametrize("value", [1, 500])
def test_whole_numbers_within_bounds_pass(value: int) -> None:
    assert whole("size", value, least=1, most=500) == value


def test_a_whole_number_may_have_no_upper_bound() -> None:
    assert whole("size", HUGE, least=1) == HUGE
    with pytest.raises(RequestError, match="a whole number of at least 1"):
        whole("size", 0, least=1)


@pytest.mark.parametrize("value", [0, 501, -1, 1.0, "1", True, None, HUGE, -HUGE, float("nan")], ids=_name)
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(RequestError, match=r"size: .* is not allowed; it must be a whole number from 1 to 500"):
        whole("size", value, least=1, most=500)


@pytest.mark.parametrize("value", [1, 0.001, 1e300])
def test_seconds_pass_as_a_float(value: float) -> None:
    given = seconds("timeout", value)
    assert (given, type(given)) == (value, float)


def test_nought_seconds_pass_where_they_make_sense() -> None:
    assert seconds("timeout", 0, zero=True) == 0.0
    with pytest.raises(RequestError, match="more than 0"):
        seconds("timeout", 0)


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), HUGE, -HUGE, "1", None, True, 1j], ids=_name)
def test_other_seconds_are_refused(value: object) -> None:
    with pytest.raises(RequestError, match=r"timeout: .* is not allowed; it must be a finite number of seconds"):
        seconds("timeout", value, zero=True)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=50)
@given(st.sampled_from([field.name for field in attrs.fields(Form)]), anything)
def test_whatever_is_given_it_passes_or_the_error_is_ours(name: str, value: object) -> None:
    try:
        Form(**{name: value})
    except (RequestError, ConfigurationError) as error:
        told = error.message
    else:
        return
    assert told.startswith(f"{name}: ")
    assert len(told) < 200

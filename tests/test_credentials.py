from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable

import jwt
import pytest

from kling_async.credentials import AccessKey, ApiKey, Credentials, Secret, Signer, credentials_from
from kling_async.errors import ConfigurationError

NOW = 1_800_000_000.25
PAIR = AccessKey("access-key-1234", "planted-secret-key-of-32-letters-or-more")
KEY = ApiKey("planted-api-key")


def claims_of(header: str) -> dict[str, object]:
    token = header.removeprefix("Bearer ")
    # The claims' times are those of the test, not of this machine.
    unchecked = {"verify_exp": False, "verify_nbf": False}
    return jwt.decode(token, PAIR.secret_key, algorithms=["HS256"], options=unchecked)  # type: ignore[arg-type]


# The environment.


def test_an_api_key_from_the_environment() -> None:
    assert credentials_from({"KLING_API_KEY": "k"}) == ApiKey("k")


def test_a_pair_from_the_environment() -> None:
    assert credentials_from({"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "s"}) == AccessKey("a", "s")


def test_an_api_key_comes_before_a_pair() -> None:
    everything = {"KLING_API_KEY": "k", "KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "s"}
    assert credentials_from(everything) == ApiKey("k")


def test_an_empty_api_key_is_none() -> None:
    everything = {"KLING_API_KEY": " \n", "KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "s"}
    assert credentials_from(everything) == AccessKey("a", "s")


def test_line_ends_around_keys_are_stripped() -> None:
    assert credentials_from({"KLING_API_KEY": " k\r\n"}) == ApiKey("k")


@pytest.mark.parametrize(
    ("given", "missing"), [("KLING_ACCESS_KEY", "KLING_SECRET_KEY"), ("KLING_SECRET_KEY", "KLING_ACCESS_KEY")]
)
def test_half_a_pair_is_told(given: str, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{missing} is not set"):
        credentials_from({given: "x"})


def test_nothing_set_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError) as caught:
        credentials_from({"PATH": "/bin"})
    for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY"):
        assert name in caught.value.message


# The keys.


@pytest.mark.parametrize(
    "key", ["", " ", "planted key", "planted\n", "\tplanted", "plant\u00e9d", "planted\x7f", None, 5, b"planted"]
)
def test_what_no_key_looks_like_is_refused_unsaid(key: object) -> None:
    with pytest.raises(ConfigurationError, match="key: must be a text of printable ASCII without blanks") as caught:
        ApiKey(key)  # type: ignore[arg-type]
    assert "plant" not in str(caught.value)


@pytest.mark.parametrize("pair", [("", "s"), ("a", ""), ("a b", "s"), ("a", "s\n"), (None, "s"), ("a", None)])
def test_each_key_of_a_pair_is_checked(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="_key: must be a text of printable ASCII"):
        AccessKey(*pair)


# What stays unsaid.


@pytest.mark.parametrize("credentials", [PAIR, KEY])
@pytest.mark.parametrize("show", [repr, str, "{!r} {}".format, lambda it: repr(Signer(it))])
def test_no_secret_is_shown(credentials: Credentials, show: Callable[..., str]) -> None:
    shown = show(credentials, credentials) if show == "{!r} {}".format else show(credentials)
    assert "planted" not in shown


def test_a_pair_is_told_apart_by_its_tail() -> None:
    assert repr(PAIR) == "AccessKey('…1234', <secret>)"


def test_a_secret_is_not_in_a_traceback_with_locals() -> None:
    key, header = KEY.key, Signer(KEY).header(NOW)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = len(key + header) / 0
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "planted" not in shown
    assert "<secret>" in shown  # control: the locals are there
    assert str(header) == "Bearer planted-api-key"  # control: the header itself is whole


@pytest.mark.parametrize("credentials", [PAIR, KEY])
@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_credentials_are_not_pickled(credentials: Credentials, carry: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="is not pickled"):
        carry(credentials)


def test_a_secret_is_a_text() -> None:
    assert Secret("a") == "a"


# The header.


def test_an_api_key_is_sent_as_it_is() -> None:
    assert Signer(KEY).header(NOW) == "Bearer planted-api-key"


def test_the_token_is_what_the_vendor_documents() -> None:
    header = Signer(PAIR).header(NOW)
    assert jwt.get_unverified_header(header.removeprefix("Bearer ")) == {"alg": "HS256", "typ": "JWT"}
    assert claims_of(header) == {"iss": "access-key-1234", "exp": int(NOW) + 1800, "nbf": int(NOW) - 5}


def test_the_token_is_signed_with_the_secret_key() -> None:
    token = Signer(PAIR).header(NOW).removeprefix("Bearer ")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, "x" * 40, algorithms=["HS256"])


def test_a_short_secret_key_makes_no_warning() -> None:
    # Warnings are errors here; the vendor alone decides how long its keys are.
    assert Signer(AccessKey("a", "short")).header(NOW).startswith("Bearer ey")


@pytest.mark.parametrize("credentials", [PAIR, KEY])
def test_one_signing_serves_many(credentials: Credentials) -> None:
    signer = Signer(credentials)
    assert len({signer.header(NOW + second) for second in range(1700)}) == 1
    assert signer.signings == 1


def test_a_token_is_renewed_before_it_ends() -> None:
    signer = Signer(PAIR)
    first = signer.header(NOW)
    assert signer.header(NOW + 1739.9) == first
    second = signer.header(NOW + 1740)
    assert (second != first, signer.signings) == (True, 2)


def test_a_token_sent_is_always_valid_for_a_while() -> None:
    signer = Signer(PAIR)
    for second in range(0, 10_000, 7):
        claims = claims_of(signer.header(NOW + second))
        assert claims["nbf"] <= NOW + second < claims["exp"] - 59  # type: ignore[operator]


def test_a_clock_set_back_signs_anew() -> None:
    signer = Signer(PAIR)
    signer.header(NOW)
    assert claims_of(signer.header(NOW - 3600))["nbf"] == int(NOW) - 3600 - 5


def test_a_clock_set_back_by_a_little_does_not() -> None:
    signer = Signer(PAIR)
    assert signer.header(NOW) == signer.header(NOW - 59)


def test_an_api_key_knows_no_time() -> None:
    signer = Signer(KEY)
    for now in (NOW, 0.0, NOW * 9):
        signer.header(now)
    assert signer.signings == 1


# Tokens refused for their time.


@pytest.mark.parametrize("skew", [-3600, -600, 0, 600, 3600])
def test_the_skew_is_learnt_from_the_servers_clock(skew: int) -> None:
    signer = Signer(PAIR)
    refused = signer.header(NOW)
    assert signer.refused(refused, server_time=NOW + skew, now=NOW)
    assert claims_of(signer.header(NOW))["nbf"] == int(NOW + skew) - 5


def test_a_refusal_without_a_date_signs_anew_by_our_clock() -> None:
    signer = Signer(PAIR)
    refused = signer.header(NOW)
    assert signer.refused(refused, server_time=None, now=NOW + 9)
    assert claims_of(signer.header(NOW + 9))["nbf"] == int(NOW) + 9 - 5


def test_many_refused_with_one_token_sign_once() -> None:
    signer = Signer(PAIR)
    old = signer.header(NOW)
    assert all(signer.refused(old, server_time=NOW + 600, now=NOW) for _ in range(500))
    assert len({signer.header(NOW) for _ in range(500)}) == 1
    assert signer.signings == 2


def test_a_late_refusal_of_an_old_token_leaves_the_new_one() -> None:
    signer = Signer(PAIR)
    old = signer.header(NOW)
    signer.refused(old, server_time=NOW + 600, now=NOW)
    new = signer.header(NOW)
    assert signer.refused(old, server_time=NOW, now=NOW)
    assert signer.header(NOW) is new


def test_a_refused_new_token_is_replaced() -> None:
    # Control of the two above: what is refused now is not kept.
    signer = Signer(PAIR)
    signer.refused(signer.header(NOW), server_time=NOW + 600, now=NOW)
    signer.refused(signer.header(NOW), server_time=NOW + 900, now=NOW)
    assert claims_of(signer.header(NOW))["nbf"] == int(NOW) + 900 - 5


def test_an_api_key_is_never_replayed() -> None:
    signer = Signer(KEY)
    assert not signer.refused(signer.header(NOW), server_time=NOW, now=NOW)


def test_a_clock_far_off_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    signer = Signer(PAIR)
    for _ in range(3):
        signer.refused(signer.header(NOW), server_time=NOW + 600, now=NOW)
    assert [record.getMessage() for record in caplog.records] == [
        "this machine's clock is -600 s off the vendor's; tokens follow the vendor's"
    ]


def test_a_clock_off_by_a_moment_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signer = Signer(PAIR)
    signer.refused(signer.header(NOW), server_time=NOW + 4, now=NOW)
    assert not caplog.records


def test_repr_of_a_signer_shows_its_state() -> None:
    signer = Signer(PAIR)
    signer.refused(signer.header(NOW), server_time=NOW - 600, now=NOW)
    assert repr(signer) == "<Signer AccessKey('…1234', <secret>), 1 signings, clock -600 s off>"

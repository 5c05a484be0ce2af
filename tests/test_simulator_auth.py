from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_desk import EXTEND, START, Desk, message, odd_text, verdict

from kling_async.simulator.account import ACCESS_KEY, API_KEY, SECRET_KEY
from kling_async.simulator.auth import Keys
from kling_async.simulator.wire import Refused

HEAD = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"iss": ACCESS_KEY, "exp": START + 1800, "nbf": START - 5}


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sign(head: object, claims: object, secret: str = SECRET_KEY, digest: str = "sha256") -> str:
    return sign_raw(json.dumps(head).encode(), json.dumps(claims).encode(), secret, digest)


def sign_raw(head: bytes, claims: bytes, secret: str = SECRET_KEY, digest: str = "sha256") -> str:
    signed = f"{encode(head)}.{encode(claims)}"
    return f"{signed}.{encode(hmac.digest(secret.encode(), signed.encode(), digest))}"


def claims(**changes: object) -> str:
    return sign(HEAD, CLAIMS | changes)


def without(name: str) -> str:
    return sign(HEAD, {key: value for key, value in CLAIMS.items() if key != name})


def ask(headers: dict[str, str]) -> tuple[int, object]:
    return verdict(Desk().call("GET", EXTEND, headers=headers))


def ask_bearer(token: str) -> tuple[int, object]:
    return ask({"Authorization": f"Bearer {token}"})


TAKEN = {
    "static API key": API_KEY,
    "documented claims": claims(),
    "extra claims": claims(iat=START, jti="x", aud=["a"]),
    "claims in another order": sign(HEAD, dict(reversed(CLAIMS.items()))),
    "no typ": sign({"alg": "HS256"}, CLAIMS),
    "fractional times": claims(exp=START + 0.5, nbf=START - 0.5),
    "whole times": claims(exp=int(START) + 2, nbf=int(START) - 2),
    "nbf a minute back": claims(nbf=START - 60),
    "no nbf": without("nbf"),
    "nbf right now": claims(nbf=START),
    "lifetime of a day": claims(exp=START + 86_400),
    "an exp beyond floats": sign_raw(b'{"alg":"HS256"}', b'{"iss":"%s","exp":1%s}' % (ACCESS_KEY.encode(), b"0" * 400)),
    "padded signature": claims() + "=",
}


@pytest.mark.parametrize("token", TAKEN.values(), ids=TAKEN.keys())
def test_taken(token: str) -> None:
    assert ask_bearer(token) == (200, 0)


HEADERS_TAKEN = [
    {"authorization": f"Bearer {API_KEY}"},
    {"AUTHORIZATION": f"bearer {API_KEY}"},
    {"Authorization": f"BEARER  {API_KEY} "},
]


@pytest.mark.parametrize("headers", HEADERS_TAKEN)
def test_names_and_scheme_in_any_case(headers: dict[str, str]) -> None:
    assert ask(headers) == (200, 0)


EMPTY: list[dict[str, str]] = [{}, {"Authorization": ""}, {"Authorization": "  "}]


@pytest.mark.parametrize("headers", EMPTY)
def test_empty_header_is_1001(headers: dict[str, str]) -> None:
    assert ask(headers) == (401, 1001)


@pytest.mark.parametrize("header", [API_KEY, "Bearer", "Bearer ", f"Basic {API_KEY}", f"Token {claims()}"])
def test_no_bearer_is_1002(header: str) -> None:
    assert ask({"Authorization": header}) == (401, 1002)


MALFORMED = {
    "one part": "abc",
    "two parts": "abc.def",
    "four parts": claims() + ".x",
    "empty parts": "..",
    "not base64": "a!b.c!d.e!f",
    "not ASCII": "é.é.é",
    "lone surrogate": "\udcff.\ud800.x",
    "impossible base64 length": "a.b.c",
    "not UTF-8": sign_raw(b"\xff", b"{}"),
    "not JSON": sign_raw(b"{", b"{}"),
    "head is no object": sign([], CLAIMS),
    "claims are no object": sign(HEAD, "x"),
    "deep claims": sign_raw(b'{"alg":"HS256"}', b"[" * 100_000),
    "NaN": sign_raw(b'{"alg":"HS256"}', b'{"iss":"%s","exp":NaN}' % ACCESS_KEY.encode()),
    "infinite exp": sign_raw(b'{"alg":"HS256"}', b'{"iss":"%s","exp":1e999}' % ACCESS_KEY.encode()),
    "no iss": without("iss"),
    "iss is a number": claims(iss=1),
    "no exp": without("exp"),
    "exp is text": claims(exp=str(START + 9)),
    "exp is true": claims(exp=True),
    "exp is null": claims(exp=None),
    "nbf is text": claims(nbf="0"),
    "alg none": sign({"alg": "none"}, CLAIMS),
    "alg none, unsigned": ".".join([*sign({"alg": "none"}, CLAIMS).split(".")[:2], ""]),
    "alg in another case": sign({"alg": "hs256"}, CLAIMS),
    "alg HS512": sign({"alg": "HS512"}, CLAIMS, digest="sha512"),
    "no alg": sign({"typ": "JWT"}, CLAIMS),
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_is_1002(token: str) -> None:
    assert ask_bearer(token) == (401, 1002)


WRONG = {
    "unknown key": claims(iss="somebody"),
    "signed by another": sign(HEAD, CLAIMS, "another-secret-key-of-32-characters-"),
    "unknown key, no secret": sign(HEAD, CLAIMS | {"iss": "somebody"}, ""),
    "no signature": ".".join([*claims().split(".")[:2], ""]),
    "claims changed": ".".join([claims().split(".")[0], claims(x=1).split(".")[1], claims().split(".")[2]]),
    "signature cut": claims()[:-4],
    "wrong and expired": sign(HEAD, CLAIMS | {"exp": 1}, "another-secret-key-of-32-characters-"),
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
def test_wrong_key_is_1000(token: str) -> None:
    assert ask_bearer(token) == (401, 1000)


def test_not_yet_valid_is_1003() -> None:
    assert ask_bearer(claims(nbf=START + 0.5)) == (401, 1003)


@pytest.mark.parametrize("exp", [START - 1, START, 0])
def test_expired_is_1004(exp: float) -> None:
    assert ask_bearer(claims(exp=exp)) == (401, 1004)


def test_the_clock_of_the_engine_judges() -> None:
    desk = Desk()
    desk.clock.now += 1801
    assert verdict(desk.call("GET", EXTEND, headers={"Authorization": f"Bearer {claims()}"})) == (401, 1004)


def test_a_second_key_of_the_account_opens_too() -> None:
    desk = Desk()
    desk.engine.keys.secrets["second"] = "the-second-secret-key-of-32-characters"
    token = sign(HEAD, CLAIMS | {"iss": "second"}, "the-second-secret-key-of-32-characters")
    assert verdict(desk.call("GET", EXTEND, headers={"Authorization": f"Bearer {token}"})) == (200, 0)


def test_a_second_api_key_opens_too() -> None:
    desk = Desk()
    desk.engine.keys.api_keys.add("sk-é")
    assert verdict(desk.call("GET", EXTEND, headers={"Authorization": "Bearer sk-é"})) == (200, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", EXTEND), ("GET", EXTEND), ("GET", f"{EXTEND}/1"), ("GET", "/account/costs")],
)
def test_every_call_of_the_api_asks_for_it(method: str, path: str) -> None:
    assert verdict(Desk().call(method, path, headers={})) == (401, 1001)


def test_no_message_shows_a_secret() -> None:
    reply = Desk().call("GET", EXTEND, headers={"Authorization": f"Bearer {claims(exp=1)}"})
    assert SECRET_KEY not in message(reply)


def test_no_repr_shows_a_secret() -> None:
    assert repr(Keys({"ak": "hidden"}, {"hidden"})) == "Keys(secrets=['ak'])"


@given(header=odd_text)
def test_any_header_is_judged(header: str) -> None:
    with pytest.raises(Refused) as refused:
        Keys({ACCESS_KEY: SECRET_KEY}, {API_KEY}).check(header, START)
    assert refused.value.code in {1000, 1001, 1002, 1003, 1004}


@given(head=st.binary(), body=st.binary())
def test_any_signed_token_is_judged(head: bytes, body: bytes) -> None:
    with pytest.raises(Refused):
        Keys({ACCESS_KEY: SECRET_KEY}).check(f"Bearer {sign_raw(head, body)}", START)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=4,
)


@given(changes=st.dictionaries(st.sampled_from(["iss", "exp", "nbf", "iat"]), json_values))
def test_any_claims_are_judged(changes: dict[str, object]) -> None:
    assert ask_bearer(claims(**changes))[1] in {0, 1000, 1002, 1003, 1004}


def test_the_token_is_signed_as_the_vendor_documents() -> None:
    head, body, signature = claims().split(".")
    expected = hmac.new(SECRET_KEY.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert encode(expected) == signature

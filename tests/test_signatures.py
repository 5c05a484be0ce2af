"""Whether a callback is the vendor's: one error type, whatever comes in."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from posts import OTHER, SECRET, VECTOR, VECTOR_BODY, VECTOR_TIME, body, headers, mac

from kling_async import ApiKey, ConfigurationError, KlingClient, TaskStatus, WebhookError
from kling_async.rules.signatures import Verifier, picked
from kling_async.spec import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP

VERIFIER = Verifier([SECRET])
BODY = body()
SIGNED = headers(BODY)


def refused(given: object, told: object, now: float = VECTOR_TIME, verifier: Verifier = VERIFIER) -> str:
    with pytest.raises(WebhookError) as caught:
        verifier.verify(given, told, now)  # type: ignore[arg-type]
    assert type(caught.value) is WebhookError
    return str(caught.value)


# What passes.


def test_the_vendors_published_vector_passes() -> None:
    callback = VERIFIER.verify(VECTOR_BODY, VECTOR, VECTOR_TIME)
    assert (callback.id, callback.sent_at, callback.task.id) == ("9876543210", 1781080794, "1234567890")
    assert callback.task.status is TaskStatus.SUCCEED


@pytest.mark.parametrize("now", [VECTOR_TIME - 300, VECTOR_TIME + 300, VECTOR_TIME + 0.999])
def test_five_minutes_either_way_pass(now: float) -> None:
    assert VERIFIER.verify(VECTOR_BODY, VECTOR, now).id == "9876543210"


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower])
def test_names_of_headers_pass_in_any_case(change: type[str]) -> None:
    told = {change(name): value for name, value in SIGNED.items()}
    assert VERIFIER.verify(BODY, told, VECTOR_TIME).id == "msg-1"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_pass(kind: type[bytes]) -> None:
    assert VERIFIER.verify(kind(BODY), SIGNED, VECTOR_TIME).id == "msg-1"


@pytest.mark.parametrize("signers", [(SECRET, OTHER), (OTHER, SECRET), (OTHER,), (SECRET,)])
@pytest.mark.parametrize("known", [(SECRET, OTHER), (OTHER, SECRET)])
def test_any_of_several_secrets_passes(known: tuple[str, ...], signers: tuple[str, ...]) -> None:
    told = headers(BODY, secrets=signers)
    assert Verifier(known).verify(BODY, told, VECTOR_TIME).id == "msg-1"


def test_signatures_of_other_versions_stand_beside_ours() -> None:
    told = SIGNED | {WEBHOOK_SIGNATURE: f"v1a,bm8= {SIGNED[WEBHOOK_SIGNATURE]} v2,x"}
    assert VERIFIER.verify(BODY, told, VECTOR_TIME).id == "msg-1"


def test_secret_without_its_prefix_and_padding_is_the_same() -> None:
    bare = SECRET.removeprefix("whsec_").rstrip("=")
    assert Verifier([bare]).verify(BODY, SIGNED, VECTOR_TIME).id == "msg-1"


def test_what_is_no_ascii_in_the_body_passes() -> None:
    given = body(task_status_msg="zu dunkel — 太暗").replace(b"\\u592a", "太".encode())
    assert "太" in VERIFIER.verify(given, headers(given), VECTOR_TIME).task.status_message


# What does not.


@pytest.mark.parametrize("now", [VECTOR_TIME - 300.001, VECTOR_TIME + 300.001, 0.0, float("nan")])
def test_too_old_and_too_new_is_refused(now: float) -> None:
    assert "more than 300 s" in refused(VECTOR_BODY, VECTOR, now)


@pytest.mark.parametrize("name", [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE])
def test_missing_header_is_refused(name: str) -> None:
    assert "is not signed" in refused(BODY, {key: value for key, value in SIGNED.items() if key != name})


def test_nothing_passes_without_a_secret() -> None:
    assert "no webhook secret is set" in refused(BODY, SIGNED, verifier=Verifier([]))


def test_wrong_secret_is_refused() -> None:
    assert "another secret" in refused(BODY, headers(BODY, secrets=(OTHER,)))


@pytest.mark.parametrize("place", range(0, len(VECTOR_BODY), 7))
def test_body_changed_anywhere_is_refused(place: int) -> None:
    changed = VECTOR_BODY[:place] + bytes([VECTOR_BODY[place] ^ 1]) + VECTOR_BODY[place + 1 :]
    assert "no signature" in refused(changed, VECTOR)


@pytest.mark.parametrize("place", range(len(VECTOR[WEBHOOK_SIGNATURE])))
def test_signature_changed_anywhere_is_refused(place: int) -> None:
    right = VECTOR[WEBHOOK_SIGNATURE]
    changed = right[:place] + ("A" if right[place] != "A" else "B") + right[place + 1 :]
    refused(VECTOR_BODY, VECTOR | {WEBHOOK_SIGNATURE: changed})


@pytest.mark.parametrize("delivery", ["other", "", " msg-1", "msg 1", "msg.1", "msg-1\n", "mé", "\ud800", "x" * 256])
def test_other_id_is_refused(delivery: str) -> None:
    refused(BODY, SIGNED | {WEBHOOK_ID: delivery})


@pytest.mark.parametrize(
    "timestamp",
    [
        "1781080795",
        "01781080794",
        "+1781080794",
        "1781080794.0",
        "1_781_080_794",
        " 1781080794",
        "1.781080794e9",
        "nan",
        "-1",
        "",
        "inf",
        "\u0661\u0667",
        "9" * 400,
        "1781080794000",
    ],
)
def test_time_in_other_words_is_refused(timestamp: str) -> None:
    refused(BODY, SIGNED | {WEBHOOK_TIMESTAMP: timestamp})


def test_time_in_other_words_is_refused_even_if_it_was_signed() -> None:
    told = SIGNED | {WEBHOOK_TIMESTAMP: "01781080794", WEBHOOK_SIGNATURE: mac(SECRET, "msg-1", "01781080794", BODY)}
    assert "time of a callback is malformed" in refused(BODY, told)


def test_id_that_could_be_read_in_two_ways_is_refused_even_if_it_was_signed() -> None:
    assert "id of a callback is malformed" in refused(BODY, headers(BODY, id="a.1781080794"))


RIGHT = SIGNED[WEBHOOK_SIGNATURE]


@pytest.mark.parametrize(
    "signature",
    [
        RIGHT[3:],
        RIGHT[:-1],
        f"{RIGHT}=",
        f"{RIGHT},",
        f"v1, {RIGHT[3:]}",
        f"v2,{RIGHT[3:]}",
        f"v1,!{RIGHT[3:]}",
        "v1,",
        "v1",
        ",",
        ",,",
        " ",
        "v1,é",
        "v1,\udcff",
        f"v1,{RIGHT[3:20]}\n{RIGHT[20:]}",
        RIGHT.upper(),
        f"\t{RIGHT}",
        RIGHT.replace("v1,", "V1,"),
        " ".join(["v1,x"] * 10 + [RIGHT]),
    ],
)
def test_malformed_signature_is_refused(signature: str) -> None:
    refused(BODY, SIGNED | {WEBHOOK_SIGNATURE: signature})


class Failing(Mapping[str, str]):
    """A mapping that cannot be read."""

    def __getitem__(self, name: str) -> str:
        raise OSError(name)

    def __iter__(self) -> Iterator[str]:
        raise OSError

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize("told", [None, [], [("webhook-id", "1")], "webhook-id", Failing(), SIGNED | {WEBHOOK_ID: 1}])
def test_headers_that_are_none_are_refused(told: object) -> None:
    refused(BODY, told)


@pytest.mark.parametrize("given", [None, BODY.decode(), 7, {}, b"", b"\xff\xfe"])
def test_body_that_is_none_is_refused(given: object) -> None:
    refused(given, SIGNED)


def test_names_of_headers_that_are_no_texts_do_not_matter() -> None:
    assert VERIFIER.verify(BODY, {**SIGNED, 1: "x"}, VECTOR_TIME).id == "msg-1"  # type: ignore[dict-item]


@pytest.mark.parametrize("given", [b"\xff", b"no JSON", b"[]", b"7", b"null", b"{}", b'{"id": "1"}', b"[" * 10_000])
def test_signed_body_that_is_no_task_is_refused(given: bytes) -> None:
    refused(given, headers(given))


def test_header_that_came_twice_is_refused() -> None:
    told = CIMultiDict(SIGNED)
    told.add(WEBHOOK_TIMESTAMP, SIGNED[WEBHOOK_TIMESTAMP])
    assert "time of a callback is malformed" in refused(BODY, told)


@pytest.mark.parametrize("second", ["v1,AAAA", SIGNED[WEBHOOK_SIGNATURE], "x", ""])
def test_signature_that_came_twice_is_refused(second: str) -> None:
    told = CIMultiDict(headers(BODY, secrets=(SECRET, OTHER)))
    told.add(WEBHOOK_SIGNATURE, second)
    assert "signature of a callback is malformed" in refused(BODY, told)


def test_headers_that_came_twice_are_joined() -> None:
    told = CIMultiDict([("A", "1"), ("b", "2"), ("a", "3")])
    assert picked(told, ("b", "a", "c")) == {"b": "2", "a": "1, 3"}


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from([*SIGNED, "x"]), st.text(max_size=60)))
def test_whatever_comes_in_only_our_error_comes_out(given: bytes, told: dict[str, str]) -> None:
    refused(given, told)


# Secrets.


def everything_shown(error: BaseException) -> str:
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown.stack[:] = [frame for frame in shown.stack if frame.filename != __file__]
    return "".join(shown.format())


@pytest.mark.parametrize(
    "secrets",
    [
        SECRET,
        SECRET.encode(),
        None,
        7,
        [""],
        ["whsec_"],
        ["whsec_planted!"],
        [SECRET, "planted"],
        [None],
        [b"planted"],
        ["whsec_" + "planted-secret-with-other-letters!"],
        ["whsec_cGxhbnRlZA=="],
        ["é" * 40],
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secrets: object) -> None:
    with pytest.raises(ConfigurationError, match="webhook_secrets") as caught:
        Verifier(secrets)  # type: ignore[arg-type]
    assert "planted" not in str(caught.value)
    assert "cGxhbnRlZA" not in str(caught.value)


@pytest.mark.parametrize("secrets", [["whsec_planted!"], "whsec_planted", b"planted", [b"planted"]])
def test_client_does_not_show_a_secret_that_it_refuses(secrets: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="webhook_secrets") as caught:
        KlingClient(ApiKey("key"), webhook_secrets=secrets)
    assert "planted" not in everything_shown(caught.value)


def test_client_does_not_show_a_secret_when_it_refuses_something_else() -> None:
    secret = SECRET[:6] + "planted" + SECRET[13:]
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        KlingClient(ApiKey("key"), webhook_secrets=[secret], base_url="nowhere")
    assert "planted" not in everything_shown(caught.value)


def test_search_finds_a_secret_in_the_locals_of_a_frame() -> None:
    scope: dict[str, object] = {}
    exec(compile("def fail(secret):\n    raise LookupError", "elsewhere.py", "exec"), scope)  # noqa: S102 - a control
    with pytest.raises(LookupError) as caught:
        scope["fail"]("planted")  # type: ignore[operator]
    assert "planted" in everything_shown(caught.value)


@pytest.mark.parametrize(
    "change", [{WEBHOOK_SIGNATURE: "v1,AAAA"}, {WEBHOOK_ID: ""}, {WEBHOOK_TIMESTAMP: "1"}], ids=str
)
def test_refusal_shows_neither_the_secret_nor_the_right_signature(change: dict[str, str]) -> None:
    with pytest.raises(WebhookError) as caught:
        VERIFIER.verify(BODY, SIGNED | change, VECTOR_TIME)
    shown = everything_shown(caught.value)
    assert SECRET.removeprefix("whsec_") not in shown
    if WEBHOOK_SIGNATURE in change:
        assert mac(SECRET, "msg-1", 1781080794, BODY)[3:] not in shown


def test_secrets_are_not_shown() -> None:
    assert repr(Verifier([SECRET, OTHER])) == "<Verifier 2 secrets>"


def test_signatures_are_compared_without_telling_where_they_differ() -> None:
    compared: list[tuple[str, str]] = []

    def same(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    told = headers(BODY, secrets=(SECRET, OTHER))
    assert Verifier([SECRET, OTHER], same=same).verify(BODY, told, VECTOR_TIME).id == "msg-1"
    assert len(compared) == 4  # all with all: what matches first does not end it


def test_what_a_library_raises_does_not_come_out() -> None:
    def fail(one: str, other: str) -> bool:
        raise OSError(one, other)

    shown = refused(BODY, SIGNED, verifier=Verifier([SECRET], same=fail))
    assert "cannot be read" in shown


def test_a_check_that_is_broken_would_be_noticed() -> None:
    blind = Verifier([SECRET], same=lambda one, other: one[:-2] == other[:-2])
    changed = RIGHT[:-2] + ("A" if RIGHT[-2] != "A" else "B") + "="
    assert blind.verify(BODY, SIGNED | {WEBHOOK_SIGNATURE: changed}, VECTOR_TIME).id == "msg-1"

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async.errors import (
    APIError,
    ClientClosed,
    CreateUncertain,
    KlingError,
    MalformedResponse,
    RateLimited,
    RequestError,
    ServerError,
    TransportError,
    error_for,
)
from kling_async.policies import RetryPolicy
from kling_async.rules.retry import RetrySchedule, worth_retrying
from kling_async.spec import VENDOR_CODES

BUSY = ServerError("busy", code=5001, http_status=503)


def pauses(policy: RetryPolicy, error: KlingError = BUSY, *, draw: float = 1.0, count: int = 8) -> list[float | None]:
    schedule = RetrySchedule(policy, lambda: draw)
    return [schedule.after(error) for _ in range(count)]


@pytest.mark.parametrize("row", VENDOR_CODES[1:], ids=lambda row: str(row.code))
def test_the_code_decides_and_never_the_status(row: tuple[int, int, str]) -> None:
    code = row[0]
    errors = [error_for(code)("no", code=code, http_status=status) for status in (200, 400, 429, 503)]
    assert {worth_retrying(error) for error in errors} == {code in {1302, 1303, 5000, 5001, 5002}}


WHETHER = [
    (TransportError("broken", sent=True), True),
    (TransportError("bad certificate", sent=False, worth_retrying=False), False),
    (MalformedResponse("HTML", http_status=502), True),
    (MalformedResponse("redirect", http_status=302, worth_retrying=False), False),
    (RequestError("no"), False),
    (CreateUncertain("lost", external_task_id="mine"), False),
    (ClientClosed("closed"), False),
    (KlingError("?"), False),
]


@pytest.mark.parametrize(("error", "worth"), WHETHER, ids=lambda value: str(value)[:12])
def test_other_errors_say_it_themselves(error: KlingError, worth: bool) -> None:
    assert worth_retrying(error) == worth
    assert (pauses(RetryPolicy(), error, count=1) != [None]) == worth


def test_the_longest_pause_doubles_up_to_its_bound() -> None:
    assert pauses(RetryPolicy(first_wait=0.5, max_wait=8)) == [0.5, 1, 2, 4, 8, 8, 8, 8]


def test_the_real_pause_is_drawn_below_that() -> None:
    assert pauses(RetryPolicy(first_wait=0.5, max_wait=8), draw=0.25, count=3) == [0.125, 0.25, 0.5]


def test_two_reads_have_schedules_of_their_own() -> None:
    policy = RetryPolicy()
    assert pauses(policy, count=3) == pauses(policy, count=3)


@pytest.mark.parametrize("policy", [RetryPolicy(first_wait=0), RetryPolicy(max_wait=0)])
def test_without_pauses_there_is_no_end_to_the_attempts(policy: RetryPolicy) -> None:
    # 2 ** 1024 is more than a float holds.
    assert set(pauses(policy, count=3000)) == {0}


def limited(retry_after: float) -> APIError:
    return RateLimited("slow down", code=1302, http_status=429, retry_after=retry_after)


def test_retry_after_is_the_least_pause() -> None:
    assert pauses(RetryPolicy(), limited(3), count=4) == [3, 3, 3, 4]


def test_retry_after_is_honoured_up_to_its_bound() -> None:
    assert pauses(RetryPolicy(max_retry_after=60), limited(3600), count=1) == [60]


def test_retry_after_of_a_gateway_counts_too() -> None:
    assert pauses(RetryPolicy(), MalformedResponse("HTML", http_status=503, retry_after=9), count=1) == [9]


def test_retry_after_does_not_make_a_permanent_error_worth_it() -> None:
    gone = error_for(1102)("empty", code=1102, http_status=429, retry_after=1)
    assert pauses(RetryPolicy(), gone, count=1) == [None]


@settings(max_examples=40)
@given(
    first=st.floats(0, 100),
    longest=st.floats(0, 100),
    draw=st.floats(0, 1),
    asked=st.none() | st.floats(0, 1e9),
    cap=st.floats(0, 1000),
)
def test_every_pause_is_within_its_bounds(
    first: float, longest: float, draw: float, asked: float | None, cap: float
) -> None:
    policy = RetryPolicy(first_wait=first, max_wait=longest, max_retry_after=cap)
    error = ServerError("busy", code=5001, http_status=503, retry_after=asked)
    for pause in pauses(policy, error, draw=draw, count=20):
        assert pause is not None
        assert min(asked or 0, cap) <= pause <= max(longest, min(asked or 0, cap))

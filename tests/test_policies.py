from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from kling_async.errors import ConfigurationError
from kling_async.policies import DEFAULT_WAIT_SECONDS, DownloadPolicy, PollPolicy, PoolLimits, RetryPolicy, SlotPolicy

Policy = type[RetryPolicy | PollPolicy | PoolLimits | DownloadPolicy]

DEFAULTS: dict[Policy, dict[str, float]] = {
    RetryPolicy: {
        "timeout": 30.0,
        "attempt_timeout": 20.0,
        "first_wait": 0.5,
        "max_wait": 8.0,
        "max_retry_after": 60.0,
        "settle_timeout": 300.0,
    },
    PollPolicy: {
        "interval": 5.0,
        "singles": 1,
        "concurrency": 10,
        "max_failure_wait": 30.0,
        "unknown_status_wait": 600.0,
    },
    PoolLimits: {"creates": 100, "reads": 100, "files": 4},
    DownloadPolicy: {"stall_timeout": 30.0, "attempts": 6, "redirects": 5, "max_bytes": 16 * 2**30},
}
MAY_BE_NOUGHT = {"first_wait", "max_wait", "max_retry_after", "singles", "unknown_status_wait", "redirects"}
WHOLE = {"singles", "concurrency", "creates", "reads", "files", "attempts", "redirects", "max_bytes"}
MOST = {"redirects": 5}
FIELDS = [(policy, name) for policy, fields in DEFAULTS.items() for name in fields]


def make(policy: Callable[..., object], **members: object) -> object:
    return policy(**members)


@pytest.mark.parametrize(("policy", "name"), FIELDS)
def test_defaults(policy: Policy, name: str) -> None:
    assert getattr(policy(), name) == DEFAULTS[policy][name]


@pytest.mark.parametrize("field", [field for policy in DEFAULTS for field in attrs.fields(policy)])
def test_every_number_is_checked(field: attrs.Attribute[object]) -> None:
    assert field.validator is not None


@pytest.mark.parametrize("policy", DEFAULTS)
def test_policies_are_frozen(policy: Policy) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(policy(), attrs.fields(policy)[0].name, 1)


@pytest.mark.parametrize(("policy", "name"), FIELDS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", None, True, -0.5])
def test_a_bad_number_is_told(policy: Policy, name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: .* is not allowed; it must be a (finite|whole) number"):
        make(policy, **{name: value})


@pytest.mark.parametrize(("policy", "name"), FIELDS)
def test_nought_is_taken_where_it_makes_sense(policy: Policy, name: str) -> None:
    if name in MAY_BE_NOUGHT:
        assert getattr(make(policy, **{name: 0}), name) == 0
        return
    with pytest.raises(ConfigurationError, match=f"{name}: 0"):
        make(policy, **{name: 0})


@pytest.mark.parametrize(("policy", "name"), FIELDS)
def test_a_good_number_is_taken(policy: Policy, name: str) -> None:
    good = MOST.get(name, 7)
    assert getattr(make(policy, **{name: good}), name) == good


def test_more_than_five_redirects_are_never_followed() -> None:
    with pytest.raises(ConfigurationError, match="redirects: 6"):
        DownloadPolicy(redirects=6)


@pytest.mark.parametrize(("policy", "name"), [field for field in FIELDS if field[1] in WHOLE])
def test_a_count_is_whole(policy: Policy, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: 1.5"):
        make(policy, **{name: 1.5})


def test_a_wait_has_an_end_by_default() -> None:
    assert DEFAULT_WAIT_SECONDS == 1800.0


def test_a_lost_create_is_asked_for_five_times_within_half_a_minute() -> None:
    assert RetryPolicy().ask_after == (0.0, 1.0, 3.0, 10.0, 30.0)


@pytest.mark.parametrize("wrong", [(), [0.0, 1.0], 1.0, None, (1.0, 0.5), (-1.0,), ("0",), (float("nan"),)])
def test_moments_to_ask_are_a_tuple_of_rising_seconds(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="ask_after"):
        make(RetryPolicy, ask_after=wrong)


def test_moments_to_ask_may_be_one_or_the_same() -> None:
    assert RetryPolicy(ask_after=(0, 0)).ask_after == (0, 0)


def test_slots_are_learnt_unless_a_limit_is_given() -> None:
    assert (SlotPolicy().limit, SlotPolicy().read_packs, SlotPolicy(limit=5).limit) == (None, False, 5)


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 2.5}, {"limit": True}, {"probe_after": 0}, {"max_probe_wait": -1}]
)
def test_slots_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        make(SlotPolicy, **wrong)

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest

from kling_async import errors, models
from kling_async.errors import (
    APIError,
    ClientClosed,
    ConcurrencyLimited,
    ConfigurationError,
    Created,
    CreateUncertain,
    DownloadError,
    KlingError,
    MalformedResponse,
    NotFound,
    RequestError,
    ServerError,
    TransportError,
    UnknownCode,
    error_for,
    meaning_of,
)
from kling_async.models import NoVideo, Task, TaskFailed, TaskStatus, WaitTimeout
from kling_async.spec import VENDOR_CODES

TASK = Task(id="t1", status=TaskStatus.FAILED, status_message="no", external_task_id="mine", raw={"task_id": "t1"})

# Source: document-api, "Error codes"; the classes are those that callers act differently on.
KINDS = {
    **dict.fromkeys(range(1000, 1005), "AuthenticationError"),
    **dict.fromkeys(range(1100, 1104), "AccountError"),
    **dict.fromkeys(range(1200, 1203), "InvalidRequest"),
    1203: "NotFound",
    1300: "ContentRejected",
    1301: "ContentRejected",
    1302: "RateLimited",
    1303: "ConcurrencyLimited",
    1304: "AddressNotAllowed",
    **dict.fromkeys(range(5000, 5003), "ServerError"),
}


def every_class() -> list[type[KlingError]]:
    found: list[type[KlingError]] = [KlingError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in dict.fromkeys(found) if kind.__module__ in {errors.__name__, models.__name__}]


def api_error(code: int, **more: object) -> APIError:
    return error_for(code)("the vendor says no", code=code, http_status=429, **more)  # type: ignore[arg-type]


def sample(kind: type[KlingError]) -> KlingError:
    """One error of each class with every field set to what it is not by default."""
    if issubclass(kind, APIError):
        error: KlingError = kind("refused", code=(*kind.codes, 1999)[0], http_status=429, retry_after=2.5)
    elif kind is TransportError:
        error = TransportError("broken", sent=True, worth_retrying=False)
    elif kind is MalformedResponse:
        error = MalformedResponse("HTML", http_status=502, worth_retrying=False, retry_after=3.0)
    elif kind is CreateUncertain:
        error = CreateUncertain("lost", external_task_id="mine")
    elif kind is WaitTimeout:
        error = WaitTimeout("over", pending=(TASK, "t2"))
    elif issubclass(kind, models._AboutTask):
        error = kind("about a task", task=TASK)
    else:
        error = kind("no")
    error.created, error.task_id, error.external_task_id = "unknown", "t9", "e9"
    error.request_id, error.host, error.attempts = "r9", "vendor.example", 3
    return error


# Kinds by code.


@pytest.mark.parametrize("row", VENDOR_CODES[1:], ids=lambda row: str(row.code))
def test_each_documented_code_has_its_class(row: tuple[int, int, str]) -> None:
    assert error_for(row[0]).__name__ == KINDS[row[0]]


def test_no_class_serves_a_code_that_no_document_lists() -> None:
    assert set(APIError.kinds) == set(KINDS)


def test_a_second_class_for_a_code_fails_at_its_creation() -> None:
    with pytest.raises(TypeError, match="1303 belongs to ConcurrencyLimited already"):
        type("Again", (APIError,), {"codes": (1303,)})
    assert APIError.kinds[1303] is ConcurrencyLimited


def test_a_subclass_does_not_take_its_parents_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APIError, "kinds", dict(APIError.kinds))

    class Narrower(ConcurrencyLimited):
        """Serves no code of its own."""

    assert Narrower not in APIError.kinds.values()


def test_a_new_code_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APIError, "kinds", dict(APIError.kinds))

    class Later(APIError):
        """Control: a code that is free makes no trouble."""

        codes: ClassVar[tuple[int, ...]] = (1999,)

    assert error_for(1999) is Later


@pytest.mark.parametrize("code", [-1, 1, 999, 1305, 4999, 5003, 10**30])
def test_an_unlisted_code_is_an_unknown_code(code: int) -> None:
    assert error_for(code) is UnknownCode


@pytest.mark.parametrize("row", VENDOR_CODES, ids=lambda row: str(row.code))
def test_meaning_of_a_documented_code(row: tuple[int, int, str]) -> None:
    assert meaning_of(row[0]) == row[2]


def test_an_unlisted_code_has_no_meaning() -> None:
    assert not meaning_of(1999)


# What is worth another try, and what is proven.


@pytest.mark.parametrize("code", [*KINDS, 1999, 4999, 5003])
def test_worth_retrying_is_decided_by_the_code(code: int) -> None:
    # Every one of these came with HTTP 429: the status says nothing.
    assert api_error(code).worth_retrying == (code in {1302, 1303} or code >= 5000)


@pytest.mark.parametrize("code", [*KINDS, 1199, 1999, 5003])
def test_a_create_is_proven_refused_by_documented_codes_alone(code: int) -> None:
    assert api_error(code).proves_not_created == (code in KINDS and code < 5000)


# What an error says.


def test_str_says_the_facts_and_the_advice() -> None:
    error = api_error(
        1303, request_id="r1", host="vendor.example", external_task_id="mine", task_id="t1", attempts=2, created="no"
    )
    assert str(error) == (
        "the vendor says no (code: 1303, HTTP: 429, created: no, task id: t1, external id: mine, request id: r1, "
        "host: vendor.example, requests sent: 2). Wait until a task of the account has ended, then create again."
    )


def test_str_leaves_out_what_is_not_known() -> None:
    assert str(RequestError("mode: no")) == "mode: no. Mend the argument; nothing was sent."


def test_str_of_a_malformed_response_says_the_status() -> None:
    assert "HTTP: 502" in str(MalformedResponse("HTML", http_status=502))


@pytest.mark.parametrize("kind", every_class())
def test_every_class_advises(kind: type[KlingError]) -> None:
    assert str(sample(kind)).endswith(f". {kind.advice}")
    assert kind.advice[0].isupper() or kind.advice.startswith("`")


@pytest.mark.parametrize("kind", every_class())
def test_every_class_is_described(kind: type[KlingError]) -> None:
    assert kind.__doc__


def test_uncertain_never_advises_to_create_at_once() -> None:
    assert "before anything else" in CreateUncertain.advice


# Whether a task exists.

WHETHER_CREATED: list[tuple[KlingError, Created]] = [
    (RequestError("no"), "no"),
    (ConfigurationError("no"), "no"),
    (api_error(1201), "no"),
    (api_error(5000), "no"),
    (TransportError("broken", sent=False), "no"),
    (MalformedResponse("HTML", http_status=502), "no"),
    (CreateUncertain("lost", external_task_id="mine"), "unknown"),
    (TaskFailed("failed", task=TASK), "yes"),
    (NoVideo("none", task=TASK), "yes"),
    (WaitTimeout("over", pending=(TASK,)), "yes"),
    (WaitTimeout("over", pending=("some-id",)), "unknown"),
    (ClientClosed("closed"), "no"),
    (DownloadError("full"), "no"),
]


@pytest.mark.parametrize(("error", "created"), WHETHER_CREATED, ids=lambda value: type(value).__name__)
def test_created(error: KlingError, created: Created) -> None:
    assert error.created == created


@pytest.mark.parametrize(
    "error", [TaskFailed("no", task=TASK), NoVideo("no", task=TASK), WaitTimeout("over", pending=(TASK, "x"))]
)
def test_an_error_about_a_task_has_its_ids(error: KlingError) -> None:
    assert (error.task_id, error.external_task_id) == ("t1", "mine")


def test_a_timeout_has_all_that_had_not_ended() -> None:
    assert WaitTimeout("over", pending=("x", TASK)).pending == ("x", TASK)


# Relations to the exceptions that Python programs know.


def test_a_wait_timeout_is_a_timeout_error() -> None:
    assert issubclass(WaitTimeout, TimeoutError)


def test_a_request_error_is_a_value_error() -> None:
    assert issubclass(RequestError, ValueError)


def test_every_error_has_one_root() -> None:
    assert all(issubclass(kind, KlingError) for kind in every_class())
    assert len(every_class()) >= 20


# Errors travel: through process pools and task queues, and to each of many waiters as a copy.


@pytest.mark.parametrize("kind", every_class())
@pytest.mark.parametrize(
    "travel",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],  # noqa: S301 - our own bytes
    ids=["pickle", "copy", "deepcopy"],
)
def test_errors_travel_whole(kind: type[KlingError], travel: type[KlingError]) -> None:
    error = sample(kind)
    arrived: object = travel(error)  # type: ignore[arg-type]
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)
    assert (str(arrived), arrived.args) == (str(error), error.args)


def test_a_copy_is_its_own() -> None:
    error = sample(NotFound)
    own = copy.copy(error)
    own.task_id = "other"
    assert error.task_id == "t9"


def test_a_server_error_keeps_what_it_was_asked_to_wait() -> None:
    assert ServerError("busy", code=5001, http_status=503, retry_after=7.0).retry_after == 7.0

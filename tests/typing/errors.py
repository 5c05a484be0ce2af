"""What a user acts on when a call is refused: read by strict type checkers, never run."""

from __future__ import annotations

from typing import assert_type

from kling_async import (
    AccountError,
    AddressNotAllowed,
    APIError,
    AuthenticationError,
    ClientClosed,
    ConcurrencyLimited,
    ConfigurationError,
    ContentRejected,
    DownloadError,
    InvalidRequest,
    JournalError,
    KlingError,
    MalformedResponse,
    NotFound,
    NoVideo,
    RateLimited,
    RequestError,
    ServerError,
    Task,
    TaskVanished,
    TransportError,
    UnknownCode,
    UnknownStatus,
    WebhookError,
)


def by_code(error: APIError) -> str:
    assert_type(error.code, int)
    assert_type(error.http_status, int)
    assert_type(error.request_id, str | None)
    assert_type(error.worth_retrying, bool)
    match error:
        case AccountError() | AuthenticationError() | AddressNotAllowed():
            return "see to the account"
        case RateLimited() | ConcurrencyLimited() | ServerError():
            return "later"
        case InvalidRequest() | NotFound() | ContentRejected():
            return "mend it"
        case _:
            return "not known" if isinstance(error, UnknownCode) else str(error)


def by_kind(error: KlingError) -> str:
    match error:
        case APIError():
            return by_code(error)
        case NoVideo() | TaskVanished() | UnknownStatus():
            assert_type(error.task, Task)
            return error.task.id
        case TransportError() | MalformedResponse():
            assert_type(error.host, str | None)
            assert_type(error.attempts, int)
            return "the network"
        case RequestError() | ConfigurationError() | JournalError() | DownloadError():
            return str(error)
        case ClientClosed() | WebhookError():
            return error.advice
        case _:
            return "another"

"""The exit codes: one table, from which `--help` and README are made, and which `run` decides by."""

from __future__ import annotations

from typing import Final

import attrs

from kling_async.errors import (
    AccountError,
    AddressNotAllowed,
    AuthenticationError,
    ConfigurationError,
    ContentRejected,
    CreateUncertain,
    DownloadError,
    InvalidRequest,
    JournalError,
    KlingError,
    NotFound,
    RequestError,
)
from kling_async.models import NoVideo, TaskFailed, TaskVanished, WaitTimeout


@attrs.frozen
class Exit:
    """One exit code.

    Attributes:
        when: what it says to a script.
        errors: the errors that end in it.
        is_final: whether the same once more would not mend it.
    """

    code: int
    when: str
    errors: tuple[type[KlingError], ...] = ()
    is_final: bool = False


DONE: Final = 0
NOT_DONE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

EXITS: Final = (
    Exit(DONE, "all is done"),
    Exit(NOT_DONE, "something is not, or trouble of the API, the network or this machine"),
    Exit(USAGE, "wrong usage: nothing was sent", (RequestError,), is_final=True),
    Exit(3, "credentials or settings are missing, or not accepted", (ConfigurationError, AuthenticationError)),
    Exit(4, "the account cannot pay, or may not do this from here", (AccountError, AddressNotAllowed)),
    Exit(5, "the vendor refuses the request; nothing was made", (InvalidRequest, ContentRejected), is_final=True),
    Exit(6, "the vendor does not know this id", (NotFound,), is_final=True),
    Exit(7, "uncertain: a task may exist, and may cost money", (CreateUncertain,)),
    Exit(8, "the time to wait was over; the task goes on", (WaitTimeout,)),
    Exit(9, "the task failed, or has no film", (TaskFailed, NoVideo, TaskVanished), is_final=True),
    Exit(10, "the film could not be fetched or saved", (DownloadError,)),
    Exit(11, "the journal cannot be used", (JournalError,), is_final=True),
    Exit(INTERRUPTED, "Ctrl-C; what was begun goes on at the vendor's"),
)


_TROUBLE: Final = next(row for row in EXITS if row.code == NOT_DONE)


def exit_of(error: KlingError) -> Exit:
    """What this error ends in."""
    return next((row for row in EXITS if isinstance(error, row.errors)), _TROUBLE)


def common(codes: list[int]) -> int:
    """The exit code of several things: their own where all that went wrong is of one kind, else 1."""
    wrong = set(codes) - {DONE}
    return DONE if not wrong else wrong.pop() if len(wrong) == 1 else NOT_DONE


def table() -> list[tuple[str, str]]:
    """The codes with their meanings, for `--help`."""
    return [(str(row.code), row.when) for row in EXITS]

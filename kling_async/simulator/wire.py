"""What goes into the engine and what comes out: a call, a reply, and the refusal that becomes one."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from attrs import field, frozen

from kling_async.spec import VENDOR_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

STATUS_OF: Final = {row.code: row.http_status for row in VENDOR_CODES}
MEANING_OF: Final = {row.code: row.meaning for row in VENDOR_CODES}

# The codes that the engine itself gives. Source: document-api, "Error codes".
AUTH_FAILED: Final = 1000
AUTH_EMPTY: Final = 1001
AUTH_INVALID: Final = 1002
AUTH_NOT_YET: Final = 1003
AUTH_EXPIRED: Final = 1004
PACK_EMPTY: Final = 1102
BAD_REQUEST: Final = 1200
BAD_PARAMETER: Final = 1201
NO_METHOD: Final = 1202
NO_RESOURCE: Final = 1203
TOO_FAST: Final = 1302
SLOTS_FULL: Final = 1303
INTERNAL: Final = 5000

MAX_BODY_BYTES: Final = 1024 * 1024  # assumed: the vendor's page names no limit


class Refused(Exception):
    """The vendor's "no": one of its codes, and a message that names the cause."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@frozen
class Call:
    """One HTTP request as the engine sees it: raw path, raw query, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Ending(enum.Enum):
    """What becomes of the connection behind a reply."""

    KEEP = "keep"
    CLOSE = "close"  # FIN
    RESET = "reset"  # RST


@frozen
class Reply:
    """One HTTP answer, and what the call behind it did.

    Attributes:
        status: the HTTP status.
        body: the bytes of the answer.
        headers: to be sent with it; `Content-Length` is added where it is missing.
        created: the id of the task that the call made, `None` when it made none.
        delay: seconds to hold the whole answer back.
        pace: seconds to wait before each byte of the body.
        cut: how many bytes of the body leave before the connection ends, `None` for all.
        raw: sent as it stands in place of an HTTP answer, `None` for a proper one.
        ending: what becomes of the connection.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    created: str | None = None
    delay: float = 0.0
    pace: float = 0.0
    cut: int | None = None
    raw: bytes | None = None
    ending: Ending = Ending.KEEP

    def json(self) -> dict[str, JSON]:
        """The body as the JSON object that every answer of the API is."""
        return cast("dict[str, JSON]", json.loads(self.body))


def parse(text: str) -> JSON:
    """The JSON value in the text, by the standard and without Python's extensions.

    Raises:
        ValueError: for all else, nesting too deep and integers too long for Python among it.
    """
    try:
        return cast("JSON", json.loads(text, parse_constant=_no_constant))
    except RecursionError:
        # Not chained: its traceback is as deep as the body was.
        raise ValueError("nested too deeply") from None


def dump(value: object) -> bytes:
    """The value as JSON in ASCII, so that a lone surrogate from a caller can be echoed back."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _no_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not JSON")

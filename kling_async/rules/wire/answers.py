"""(status, headers, body) -> the vendor's data, or the error that they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from kling_async import spec
from kling_async.errors import APIError, MalformedResponse, NotFound, error_for, meaning_of
from kling_async.rules.wire.calls import Call
from kling_async.rules.wire.texts import loads


@attrs.define
class Response:
    """What arrived: the status, the headers (looked up in any case of letters), the whole body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@attrs.define
class Envelope:
    """What a successful answer holds, and where it came from: its record may turn out to be unreadable."""

    data: object = attrs.field(repr=False)
    request_id: str | None
    http_status: int
    host: str | None = None
    attempts: int = 0


def read_envelope(call: Call, response: Response, *, host: str | None = None, attempts: int = 0) -> Envelope:
    """The vendor's data, if the answer says success: `code` 0 (HTTP 200 alone is none).

    `host` and `attempts` say where it came from, for errors that are found later in the data.

    Raises:
        APIError: the vendor refused, by its code.
        MalformedResponse: the answer is not the vendor's.
    """
    if 300 <= response.status < 400:
        where = scrubbed(response.headers.get("Location", "nowhere").partition("?")[0])[:200]
        raise _malformed(response, f"a redirect to {where}, which is not followed", worth_retrying=False)
    outer = _json_object(response)
    code = outer.get("code")
    if isinstance(code, bool) or not isinstance(code, int):
        raise _malformed(response, "JSON without the vendor's code")
    if code != spec.SUCCESS:
        raise _api_error(call, response, code, outer)
    if not 200 <= response.status < 300:
        raise _malformed(response, "an error status around a success")
    return Envelope(outer.get("data"), _request_id(outer), response.status, host, attempts)


def _json_object(response: Response) -> dict[str, Any]:
    try:
        outer = loads(response.body)
    except (ValueError, RecursionError):  # bad UTF-8 and endless digits are ValueErrors too
        raise _malformed(response, f"no JSON: {_snippet(response.body)}") from None
    if not isinstance(outer, dict):
        raise _malformed(response, f"JSON that is no envelope: {_snippet(response.body)}")
    return outer


def _request_id(outer: Mapping[str, Any]) -> str | None:
    given = outer.get("request_id")
    return given if isinstance(given, str) and given else None


def _api_error(call: Call, response: Response, code: int, outer: Mapping[str, Any]) -> APIError:
    # An unknown id is answered 1201 (observed) or 1203; with 1201 on a query for one task, only the id can be meant.
    kind = NotFound if code == 1201 and call.about == "task" else error_for(code)
    given = outer.get("message")
    message = scrubbed(given)[:500] if isinstance(given, str) and given else meaning_of(code) or "no message"
    return kind(
        message if call.id is None else f"{message}: {call.id}",
        code=code,
        http_status=response.status,
        request_id=_request_id(outer),
        retry_after=retry_after(response.headers),
    )


def _malformed(response: Response, what: str, *, worth_retrying: bool | None = None) -> MalformedResponse:
    # What a gateway answers with 4xx stands (a wrong path, a wrong host); only these three pass by themselves.
    passing = not 400 <= response.status < 500 or response.status in {408, 425, 429}
    return MalformedResponse(
        f"not the vendor's answer: {what}",
        http_status=response.status,
        worth_retrying=passing if worth_retrying is None else worth_retrying,
        retry_after=retry_after(response.headers),
    )


def _snippet(body: bytes) -> str:
    return repr(scrubbed(body[:200].decode("utf-8", "replace"))) if body else "an empty body"


def scrubbed(text: str) -> str:
    """The text without what looks like a token or the signed query of a URL."""
    return _SECRETS.sub("<secret>", text)


_SECRETS = re.compile(
    r"""(?<=://)[^\s/@"'<>]+(?=@)|(?i:bearer\s+)\S+|\beyJ[\w-]+(?:\.[\w-]*)*|(?<=[\w/])\?[\w%-]+=[^\s"'<>]+"""
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How many seconds the answer asks to wait, `None` when it does not, or not in words that HTTP knows."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdecimal():
        return float(given)
    until, now = _http_date(given), server_time(headers)
    return None if until is None or now is None else max(0.0, until - now)


def server_time(headers: Mapping[str, str]) -> float | None:
    """The server's clock by its `Date` header, in Unix seconds; `None` when there is none."""
    return _http_date(headers.get("Date", ""))


def _http_date(given: str) -> float | None:
    try:
        time = parsedate_to_datetime(given)
        # A time without a zone would be read as this machine's; in HTTP it can only be UTC.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None

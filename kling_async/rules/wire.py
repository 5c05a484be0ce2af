"""The wire as pure functions: request -> call; (status, headers, body) -> model or error.

The vendor's spelling (`pageNum`, `task_status_msg`, milliseconds, numbers as texts) lives and dies in this file.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from kling_async import spec
from kling_async.errors import APIError, MalformedResponse, NotFound, error_for, meaning_of
from kling_async.models import ResourcePack, Task, TaskStatus, Video
from kling_async.requests import (
    OmniVideoRequest,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    VideoExtendRequest,
)

_log = logging.getLogger("kling_async")

_T = TypeVar("_T")

# --- request -> call -------------------------------------------------------------------------------------------------


@attrs.frozen
class Call:
    """One request as it will stand on the wire, without host and credentials.

    `about` tells errors apart that share a code: a query for one task has no parameter but its id.
    """

    method: Literal["GET", "POST"]
    target: str
    body: bytes | None = attrs.field(default=None, repr=False)
    about: Literal["create", "task", "list", "costs"] = "list"


def create_call(path: str, request: VideoExtendRequest | OmniVideoRequest, external_task_id: str) -> Call:
    """The call that creates a task under that external id. The request itself is left as it is."""
    members = {**_REQUESTS.unstructure(request), "external_task_id": external_task_id}
    return Call("POST", path, json.dumps(members, ensure_ascii=False).encode(), "create")


def task_call(path: str, id: str) -> Call:
    """The call that asks for one task, by the vendor's id or the caller's own."""
    return Call("GET", f"{path}/{quote(id, safe='')}", about="task")


def page_call(path: str, number: int, size: int) -> Call:
    """The call that asks for one page of the list."""
    return Call("GET", f"{path}?pageNum={number}&pageSize={size}", about="list")


def costs_call(start: datetime, end: datetime, resource_pack_name: str | None) -> Call:
    """The call that asks for the account's resource packs."""
    query = {"start_time": _milliseconds(start), "end_time": _milliseconds(end)}
    named = {} if resource_pack_name is None else {"resource_pack_name": resource_pack_name}
    return Call("GET", f"{spec.ACCOUNT_COSTS_PATH}?{urlencode({**query, **named})}", about="costs")


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _request_converter() -> cattrs.Converter:
    # Members that were not given are left out, so that the vendor's own defaults hold.
    converter = cattrs.Converter()
    for kind in (VideoExtendRequest, ReferenceImage, ReferenceElement):
        converter.register_unstructure_hook(
            kind, make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True)
        )
    converter.register_unstructure_hook(
        ReferenceVideo,
        make_dict_unstructure_fn(
            ReferenceVideo,
            converter,
            _cattrs_omit_if_default=True,
            refer_type=override(omit_if_default=False),
        ),
    )
    converter.register_unstructure_hook(
        OmniVideoRequest,
        make_dict_unstructure_fn(
            OmniVideoRequest,
            converter,
            _cattrs_omit_if_default=True,
            duration=override(unstruct_hook=str),
            watermark=override(rename="watermark_info", unstruct_hook=lambda enabled: {"enabled": enabled}),
        ),
    )
    return converter


_REQUESTS = _request_converter()

# --- (status, headers, body) -> model or error -----------------------------------------------------------------------


@attrs.frozen
class Response:
    """What arrived: the status, the headers (looked up in any case of letters), the whole body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Envelope:
    """What a successful answer holds, and where it came from: its record may turn out to be unreadable."""

    data: object = attrs.field(repr=False)
    request_id: str | None
    http_status: int
    host: str | None = None
    attempts: int = 0


def read_envelope(call: Call, response: Response) -> Envelope:
    """The vendor's data, if the answer says success: `code` 0 (HTTP 200 alone is none).

    Raises:
        APIError: the vendor refused, by its code.
        MalformedResponse: the answer is not the vendor's.
    """
    if 300 <= response.status < 400:
        where = response.headers.get("Location", "nowhere").partition("?")[0]
        raise _malformed(response, f"a redirect to {where[:200]}, which is not followed", worth_retrying=False)
    outer = _json_object(response)
    code = outer.get("code")
    if isinstance(code, bool) or not isinstance(code, int):
        raise _malformed(response, "JSON without the vendor's code")
    if code != spec.SUCCESS:
        raise _api_error(call, response, code, outer)
    if not 200 <= response.status < 300:
        raise _malformed(response, "an error status around a success")
    return Envelope(outer.get("data"), _request_id(outer), response.status)


def _json_object(response: Response) -> dict[str, Any]:
    try:
        outer = json.loads(response.body)
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
        message,
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


_SECRETS = re.compile(r"""(?i:bearer\s+)\S+|\beyJ[\w-]+(?:\.[\w-]*)*|(?<=[\w/])\?[\w%-]+=[^\s"'<>]+""")


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


# --- records -> models -----------------------------------------------------------------------------------------------


def read_task(envelope: Envelope) -> Task:
    """The task that an answer about one task holds.

    Raises:
        NotFound: the answer is a success without a task (observed of tasks that are not there, or not yet).
        MalformedResponse: the record has no id or no status, or a member of a kind that cannot be read.
    """
    if envelope.data is None or envelope.data in _EMPTY:
        raise NotFound(
            "the vendor answered without a task",
            code=spec.SUCCESS,
            http_status=envelope.http_status,
            request_id=envelope.request_id,
        )
    return _read(envelope, Task, envelope.data)


def read_tasks(envelope: Envelope) -> tuple[Task, ...]:
    """The tasks of one page, in the vendor's order.

    Records that cannot be read are left out: one must not hide the others. Whoever asks for such a task by its
    id gets the error.

    Raises:
        MalformedResponse: the page is no list.
    """
    # No tasks are answered with an empty list, or with none at all.
    records = [] if envelope.data is None else envelope.data
    if not isinstance(records, list):
        raise _unreadable(envelope, "the list of tasks is no list")
    return tuple(task for record in records if (task := _read_or_none(record)) is not None)


def read_packs(envelope: Envelope) -> tuple[ResourcePack, ...]:
    """The account's resource packs.

    Raises:
        MalformedResponse: the answer holds no list of packs, or one that cannot be read.
    """
    data = {} if envelope.data is None else envelope.data
    records = _present(data).get("resource_pack_subscribe_infos", []) if isinstance(data, dict) else None
    if not isinstance(records, list):
        raise _unreadable(envelope, "the list of resource packs is no list")
    return tuple(_read(envelope, ResourcePack, record) for record in records)


def _read(envelope: Envelope, kind: type[_T], record: object) -> _T:
    try:
        return _RECORDS.structure(record, kind)
    except Exception as error:  # cattrs groups whatever the hooks raise; what is wrong is told by the paths
        raise _unreadable(envelope, "; ".join(cattrs.transform_error(error, path=kind.__name__.lower()))) from None


def _read_or_none(record: object) -> Task | None:
    try:
        return _RECORDS.structure(record, Task)
    except Exception as error:
        _log.warning("a record of the list cannot be read: %s", "; ".join(cattrs.transform_error(error, path="task")))
        return None


def _unreadable(envelope: Envelope, what: str) -> MalformedResponse:
    return MalformedResponse(
        f"the vendor's record cannot be read: {scrubbed(what)[:500]}",
        http_status=envelope.http_status,
        request_id=envelope.request_id,
        host=envelope.host,
        attempts=envelope.attempts,
    )


def _record_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(TaskStatus, _status)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook(Decimal, _exact)
    from_members = make_dict_structure_fn(Task, converter, raw=override(struct_hook=_as_it_is))
    converter.register_structure_hook(Task, lambda record, kind: from_members(_task_members(record), kind))
    from_pack = make_dict_structure_fn(ResourcePack, converter, raw=override(struct_hook=_as_it_is))
    converter.register_structure_hook(ResourcePack, lambda record, kind: from_pack(_pack_members(record), kind))
    from_video = make_dict_structure_fn(Video, converter)
    converter.register_structure_hook(Video, lambda record, kind: from_video(_present(record), kind))
    return converter


def _task_members(record: object) -> dict[str, Any]:
    """A task's record by our names. Members that are absent, null or empty fall back to the model's defaults."""
    told = _present(record)
    info, result = _present(told.get("task_info", {})), _present(told.get("task_result", {}))
    parent = _present(info.get("parent_video", {}))
    members = {
        "id": told.get("task_id"),
        "status": told.get("task_status"),
        "status_message": told.get("task_status_msg"),
        "external_task_id": info.get("external_task_id"),
        "created_at": told.get("created_at"),
        "updated_at": told.get("updated_at"),
        "videos": result.get("videos"),
        "parent_video": parent if "id" in parent else None,  # without an id it names nothing
        "final_unit_deduction": told.get("final_unit_deduction"),
        "raw": record,
    }
    return _present(members)


def _pack_members(record: object) -> dict[str, Any]:
    told = _present(record)
    short = {name.removeprefix("resource_pack_"): value for name, value in told.items()}
    return {**short, "raw": record}


def _present(record: object) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise TypeError(f"{type(record).__name__} is no record")
    return {name: value for name, value in record.items() if value is not None and value not in _EMPTY}


_EMPTY: tuple[object, ...] = ("", {}, [])


def _as_it_is(value: Any, _: object) -> Any:
    return value


def _text(value: object, _: object) -> str:
    # Ids are 18 digits beyond 2**53: exact as texts and whole numbers, lost as floats.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no text")


def _status(value: object, _: object) -> TaskStatus:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no status")
    return _STATUSES.get(value, TaskStatus.UNKNOWN)


_STATUSES = {
    spec.STATUS_SUBMITTED: TaskStatus.SUBMITTED,
    spec.STATUS_PROCESSING: TaskStatus.PROCESSING,
    spec.STATUS_SUCCEED: TaskStatus.SUCCEED,
    spec.STATUS_SUCCEEDED: TaskStatus.SUCCEED,
    spec.STATUS_FAILED: TaskStatus.FAILED,
}


def _time(value: object, _: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no time in milliseconds")
    return _EPOCH + timedelta(milliseconds=value)


def _exact(value: object, _: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{type(value).__name__} is no number")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError("it is no finite number")
    return number


_RECORDS = _record_converter()


# --- journal ---------------------------------------------------------------------------------------------------------


def journalled_request(request: VideoExtendRequest | OmniVideoRequest) -> str:
    """The request as text; equal requests give equal texts."""
    return json.dumps(_REQUESTS.unstructure(request), ensure_ascii=False, sort_keys=True)


def journalled_task(task: Task) -> str:
    """The task's record as text, without the signed part of its URLs: who reads the file must not get the films."""
    return json.dumps(_unsigned(task.raw), ensure_ascii=False)


def read_journalled_task(text: str) -> Task:
    """The task of a text that `journalled_task` made."""
    return _RECORDS.structure(json.loads(text), Task)


def _unsigned(value: object) -> object:
    match value:
        case Mapping():
            return {name: _unsigned(member) for name, member in value.items()}
        case list():
            return [_unsigned(member) for member in value]
        case str() if "://" in value:
            return value.partition("?")[0]
        case _:
            return value

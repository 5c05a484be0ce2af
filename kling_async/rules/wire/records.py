"""The vendor's records -> models, and back and forth for the journal."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, get_type_hints

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from kling_async import spec
from kling_async.errors import MalformedResponse, NotFound
from kling_async.models import ResourcePack, Task, TaskStatus, Video
from kling_async.rules.wire.answers import Envelope, scrubbed
from kling_async.rules.wire.usual import EPOCH, NOT_USUAL, STATUSES, usual_task

_log = logging.getLogger("kling_async")

_T = TypeVar("_T")


def read_task(envelope: Envelope) -> Task:
    """The task that an answer about one task holds.

    Raises:
        NotFound: the answer is a success without a task (observed of tasks that are not there, or not yet).
        MalformedResponse: the record has no id or no status, or a member of a kind that cannot be read.
    """
    if not envelope.data and envelope.data != 0:
        raise NotFound(
            "the vendor answered without a task",
            code=spec.SUCCESS,
            http_status=envelope.http_status,
            request_id=envelope.request_id,
            host=envelope.host,
            attempts=envelope.attempts,
        )
    return _read(envelope, _task, envelope.data)


def read_tasks(envelope: Envelope) -> tuple[tuple[Task, ...], int]:
    """The tasks of one page in the vendor's order, and how many of its records cannot be read.

    One bad record must not hide the others. Whoever asks for such a task by its id gets the error.

    Raises:
        MalformedResponse: the page is no list.
    """
    records = _records(envelope)
    tasks = tuple([task for record in records if (task := _read_or_none(record, envelope)) is not None])
    return tasks, len(records) - len(tasks)


def read_wanted(
    envelope: Envelope, wanted: Callable[[str], bool], last: Callable[[str], Task | None]
) -> list[Task | None]:
    """The tasks of one page by their places; `None` for those that are not wanted, or cannot be read.

    Nothing is made of a record that shows no change: there stands the very task that `last` gives.

    Raises:
        MalformedResponse: the page is no list.
    """
    return [_wanted(record, envelope, wanted, last) for record in _records(envelope)]


def _wanted(
    record: object, envelope: Envelope, wanted: Callable[[str], bool], last: Callable[[str], Task | None]
) -> Task | None:
    if not isinstance(record, dict):
        return None
    key: object = record.get("task_id")
    if isinstance(key, int):
        key = str(key)
    if not isinstance(key, str) or not wanted(key):
        key = _inner(record, "task_info").get("external_task_id")
        if not isinstance(key, str) or not wanted(key):
            return None
    known = last(key)
    return known if known is not None and known.raw == record else _read_or_none(record, envelope)


def _records(envelope: Envelope) -> list[object]:
    # No tasks are answered with an empty list, or with none at all.
    records = [] if envelope.data is None else envelope.data
    if not isinstance(records, list):
        del records  # as below, in `_read`
        raise _unreadable(envelope, "the list of tasks is no list")
    return records


def read_packs(envelope: Envelope) -> tuple[ResourcePack, ...]:
    """The account's resource packs.

    Raises:
        MalformedResponse: the answer holds no list of packs, or one that cannot be read.
    """
    data = {} if envelope.data is None else envelope.data
    records = _present(data).get("resource_pack_subscribe_infos", []) if isinstance(data, dict) else None
    if not isinstance(records, list):
        raise _unreadable(envelope, "the list of resource packs is no list")
    return tuple(_read(envelope, _pack, record) for record in records)


def _read(envelope: Envelope, read: Callable[[object], _T], record: object) -> _T:
    try:
        return read(record)
    except Exception as error:  # cattrs groups whatever the hooks raise; what is wrong is told by the paths
        del record  # a traceback that shows locals must not show its signed URLs
        path = read.__name__.strip("_")
        raise _unreadable(envelope, "; ".join(cattrs.transform_error(error, path=path))) from None


def _pack(record: object) -> ResourcePack:
    return _TELLING.structure(record, ResourcePack)


def _read_or_none(record: object, envelope: Envelope) -> Task | None:
    try:
        return usual_task(record)
    except NOT_USUAL:
        pass
    try:
        return _unusual_task(record)
    except Exception as error:
        why = "; ".join(cattrs.transform_error(error, path="task"))
        _log.info("a record of the list cannot be read: %s, request id: %s", why, envelope.request_id)
        return None


def _unreadable(envelope: Envelope, what: str) -> MalformedResponse:
    return MalformedResponse(
        f"the vendor's record cannot be read: {scrubbed(what)[:500]}",
        http_status=envelope.http_status,
        request_id=envelope.request_id,
        host=envelope.host,
        attempts=envelope.attempts,
    )


def _record_converter(*, telling: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=telling)
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


def _task(record: object) -> Task:
    """The task of a record.

    Raises:
        Exception: whatever cattrs tells of a record without an id or a status.
    """
    try:
        return usual_task(record)
    except NOT_USUAL:
        return _unusual_task(record)


def _unusual_task(record: object) -> Task:
    try:
        return _QUICK.structure(record, Task)
    except Exception:
        # The task was paid for: one odd member must not hide it. What makes it a task is its id and its status.
        members = _task_members(record)
        odd = {name for name in members.keys() & _OPTIONAL.keys() if not _fits(members[name], name)}
        if not odd:
            return _TELLING.structure(record, Task)
        _log.info("members of the record of task %.40s cannot be read: %s", members.get("id"), ", ".join(sorted(odd)))
        return _FROM_MEMBERS({name: value for name, value in members.items() if name not in odd}, Task)


_OPTIONAL = {name: kind for name, kind in get_type_hints(Task).items() if name not in {"id", "status", "raw"}}


def _fits(value: object, name: str) -> bool:
    try:
        _QUICK.structure(value, _OPTIONAL[name])
    except Exception:
        return False
    return True


def _task_members(record: object) -> dict[str, Any]:
    """A task's record by our names. Members that are absent, null or empty fall back to the model's defaults."""
    if not isinstance(record, dict):
        raise TypeError(f"{type(record).__name__} is no record")
    told = record.get
    info, result = _inner(record, "task_info"), _inner(record, "task_result")
    parent = _inner(info, "parent_video")
    members = {
        "id": told("task_id"),
        "status": told("task_status"),
        "status_message": told("task_status_msg"),
        "external_task_id": info.get("external_task_id"),
        "created_at": told("created_at"),
        "updated_at": told("updated_at"),
        "videos": result.get("videos"),
        "parent_video": parent if parent.get("id") else None,  # without an id it names nothing
        "final_unit_deduction": told("final_unit_deduction"),
        "raw": record,
    }
    return {name: value for name, value in members.items() if value or value == 0}


def _pack_members(record: object) -> dict[str, Any]:
    told = _present(record)
    short = {name.removeprefix("resource_pack_"): value for name, value in told.items()}
    return {**short, "raw": record}


def _inner(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    inner = record.get(name)
    return inner if isinstance(inner, dict) else {}


def _present(record: object) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise TypeError(f"{type(record).__name__} is no record")
    # Absent, null and empty are the same; nought and false are something.
    return {name: value for name, value in record.items() if value or value == 0}


def _as_it_is(value: Any, _: object) -> Any:
    return value


def _text(value: object, _: object) -> str:
    # Ids are 18 digits beyond 2**53: exact as texts and whole numbers, lost as floats.
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no text")


def _status(value: object, _: object) -> TaskStatus:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no status")
    return STATUSES.get(value, TaskStatus.UNKNOWN)


def _time(value: object, _: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no time in milliseconds")
    return EPOCH + timedelta(milliseconds=value)


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


# The quick one stops at the first thing that is wrong, the other collects them with their paths.
_QUICK, _TELLING = _record_converter(telling=False), _record_converter(telling=True)
_FROM_MEMBERS = make_dict_structure_fn(
    Task, _QUICK, _cattrs_detailed_validation=False, raw=override(struct_hook=_as_it_is)
)


def journalled_task(task: Task) -> str:
    """The task's record as text, without the signed part of its URLs: who reads the file must not get the films."""
    return json.dumps(_unsigned(task.raw), ensure_ascii=False)


def read_journalled_task(text: str) -> Task:
    """The task of a text that `journalled_task` made."""
    return _task(json.loads(text))


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

"""What a caller asked for, checked as the vendor checks it: bodies and queries in, orders or refusals out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from kling_async.simulator.routes import EXTEND
from kling_async.simulator.wire import (
    BAD_PARAMETER,
    BAD_REQUEST,
    JSON,
    MAX_BODY_BYTES,
    NO_RESOURCE,
    Call,
    Refused,
    parse,
)
from kling_async.spec import (
    DEFAULT_MODE,
    DEFAULT_MODEL,
    MODELS,
    MODES,
    OMNI_MODELS,
    PAGE_NUM_DEFAULT,
    PAGE_NUM_MAX,
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    PROMPT_MAX_CHARACTERS,
    UNSUPPORTED_FIELDS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Not \d: that takes the digits of every script, and int() underscores and blanks too.
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


@frozen
class Order:
    """What a create asks for, checked, with the defaults filled in.

    `video_id` is the source of an extension, `video_url` and `seconds` are those of an omni-video.
    """

    family: str
    model: str
    mode: str
    prompt: str | None = None
    callback_url: str | None = None
    external_id: str | None = None
    video_id: str | None = None
    video_url: str | None = None
    seconds: int | None = None


@frozen
class Fields:
    """The members of one JSON object. Null and the empty string count as absent: clients send both."""

    members: Mapping[str, JSON]
    where: str = ""

    def get(self, name: str) -> JSON:
        """The member's value, `None` when it is absent."""
        value = self.members.get(name)
        return None if value == "" else value

    def text(self, name: str) -> str | None:
        """The member as a string, `None` when it is absent."""
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        return value

    def required(self, name: str) -> str:
        """The member as a string that has to be there."""
        value = self.text(name)
        if value is None:
            raise self.refuse(name, "can not be null")
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """The member as one of the words allowed."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise self.refuse(name, f"must be one of {', '.join(allowed)}")
        return value or default

    def url(self, name: str) -> str | None:
        """The member as an absolute http or https URL."""
        value = self.text(name)
        if value is not None and not _is_url(value):
            raise self.refuse(name, "must be an http or https URL")
        return value

    def refuse(self, name: str, why: str) -> Refused:
        """The refusal that names this member."""
        return Refused(BAD_PARAMETER, f"{self.where}{name} {why}")


def body_of(call: Call) -> dict[str, JSON]:
    """The JSON object that a POST carries."""
    if len(call.body) > MAX_BODY_BYTES:
        raise Refused(BAD_REQUEST, f"request body is larger than {MAX_BODY_BYTES} bytes")
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"", "application/json"}:
        raise Refused(BAD_REQUEST, "Content-Type must be application/json")
    try:
        value = parse(call.body.decode("utf-8"))
    except ValueError as error:
        raise Refused(BAD_REQUEST, "request body is not valid JSON") from error
    if not isinstance(value, dict):
        raise Refused(BAD_REQUEST, "request body must be a JSON object")
    return value


def extension(body: Mapping[str, JSON], *, lenient: bool) -> Order:
    """The order in the body of a video-extend. Source: specification, "Request Parameters", "Limitations".

    `lenient` takes the fields that extension does not support, and ignores them.
    """
    fields = Fields(body)
    for name in () if lenient else UNSUPPORTED_FIELDS:
        if fields.get(name) is not None:
            raise fields.refuse(name, "is not supported for video extension")
    return Order(
        family=EXTEND,
        video_id=fields.required("video_id"),
        model=model(fields, MODELS, DEFAULT_MODEL),
        mode=fields.choice("mode", MODES, DEFAULT_MODE),
        prompt=prompt(fields),
        callback_url=fields.url("callback_url"),
        external_id=fields.text("external_task_id"),
    )


def model(fields: Fields, allowed: Sequence[str], default: str) -> str:
    """The model asked for. One of the other family is an illegal value; one that nobody knows does not exist."""
    name = fields.text("model_name") or default
    if name in allowed:
        return name
    if name in (*MODELS, *OMNI_MODELS):
        raise fields.refuse("model_name", f"{name} is not supported here, use one of {', '.join(allowed)}")
    raise Refused(NO_RESOURCE, f"model_name {name} does not exist, use one of {', '.join(allowed)}")


def prompt(fields: Fields) -> str | None:
    """The prompt. Source: document-api, 2,500 characters, which are not bytes."""
    text = fields.text("prompt")
    if text is not None and len(text) > PROMPT_MAX_CHARACTERS:
        raise fields.refuse("prompt", f"is longer than {PROMPT_MAX_CHARACTERS} characters")
    return text


def page(query: str) -> tuple[int, int]:
    """The number and size of the page asked for. Parameters that the list does not have are ignored."""
    given = parameters(query)
    return (
        _whole(given, "pageNum", default=PAGE_NUM_DEFAULT, limit=PAGE_NUM_MAX),
        _whole(given, "pageSize", default=PAGE_SIZE_DEFAULT, limit=PAGE_SIZE_MAX),
    )


def period(query: str) -> str | None:
    """The name of the pack that the costs are asked for, `None` for all. Both times are required, in ms."""
    given = parameters(query)
    start, end = _moment(given, "start_time"), _moment(given, "end_time")
    if start > end:
        raise Refused(BAD_PARAMETER, "start_time must not be after end_time")
    return given.get("resource_pack_name") or None


def parameters(query: str) -> dict[str, str]:
    """The query's parameters; the first counts where one is given twice."""
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def _whole(given: Mapping[str, str], name: str, *, default: int, limit: int) -> int:
    text = given.get(name, str(default))
    if not _DIGITS.fullmatch(text):
        raise Refused(BAD_PARAMETER, f"{name} must be a whole number")
    if not 1 <= int(text) <= limit:
        raise Refused(BAD_PARAMETER, f"{name} must be between 1 and {limit}")
    return int(text)


def _moment(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if not text:
        raise Refused(BAD_PARAMETER, f"{name} can not be null")
    if not _DIGITS.fullmatch(text):
        raise Refused(BAD_PARAMETER, f"{name} must be a Unix time in milliseconds")
    return int(text)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # such as http://[
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)

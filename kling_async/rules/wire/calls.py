"""Requests -> calls, as they will stand on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote, urlencode

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from kling_async import spec
from kling_async.requests import (
    OmniVideoRequest,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    VideoExtendRequest,
)
from kling_async.rules.wire.texts import dumps


@attrs.define
class Call:
    """One request as it will stand on the wire, without host and credentials.

    `about` tells errors apart that share a code: a query for one task has no parameter but its `id`.
    """

    method: Literal["GET", "POST"]
    target: str
    body: bytes | None = attrs.field(default=None, repr=False)
    about: Literal["create", "task", "list", "costs"] = "list"
    id: str | None = None

    @property
    def template(self) -> str:
        """The path, with `{id}` where an id stands: the same for all calls of a kind."""
        return self.target.partition("?")[0] if self.id is None else self.target.rpartition("/")[0] + "/{id}"


def create_call(path: str, request: VideoExtendRequest | OmniVideoRequest, external_task_id: str) -> Call:
    """The call that creates a task under that external id. The request itself is left as it is."""
    members = _members(request)
    members["external_task_id"] = external_task_id
    return Call("POST", path, dumps(members), "create")


def task_call(path: str, id: str) -> Call:
    """The call that asks for one task, by the vendor's id or the caller's own."""
    named = id if id.isalnum() and id.isascii() else quote(id, safe="")  # the vendor's ids are digits
    return Call("GET", f"{path}/{named}", about="task", id=id)


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


def _members(request: VideoExtendRequest | OmniVideoRequest) -> dict[str, object]:
    """The request's members by the vendor's names, in a dictionary of its own."""
    unstructure = _EXTENSION if isinstance(request, VideoExtendRequest) else _OMNI
    return unstructure(request)


_EXTENSION: Callable[[object], dict[str, object]] = _REQUESTS.get_unstructure_hook(VideoExtendRequest)
_OMNI: Callable[[object], dict[str, object]] = _REQUESTS.get_unstructure_hook(OmniVideoRequest)


def journalled_request(request: VideoExtendRequest | OmniVideoRequest) -> str:
    """The request as text; equal requests give equal texts."""
    return json.dumps(_members(request), ensure_ascii=False, sort_keys=True)

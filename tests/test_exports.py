from __future__ import annotations

import inspect

import pytest

import kling_async

PUBLIC = [
    "APIError",
    "AccessKey",
    "AccountError",
    "AddressNotAllowed",
    "Answer",
    "AnyCallbackStore",
    "ApiKey",
    "AuthenticationError",
    "Batch",
    "CallbackStore",
    "Callbacks",
    "Chain",
    "ChainPlan",
    "ClientClosed",
    "ConcurrencyLimited",
    "ConfigurationError",
    "ContentRejected",
    "CreateUncertain",
    "DownloadError",
    "DownloadPolicy",
    "Forecast",
    "InvalidRequest",
    "JournalError",
    "KlingClient",
    "KlingError",
    "MalformedResponse",
    "Network",
    "NoVideo",
    "NotFound",
    "OmniVideo",
    "OmniVideoRequest",
    "Outcome",
    "Page",
    "Pager",
    "PollPolicy",
    "PoolLimits",
    "RateLimited",
    "ReferenceElement",
    "ReferenceImage",
    "ReferenceVideo",
    "RequestError",
    "ResourcePack",
    "RetryPolicy",
    "ServerError",
    "SlotPolicy",
    "Task",
    "TaskFailed",
    "TaskStatus",
    "TaskVanished",
    "TransportError",
    "UnknownCode",
    "UnknownStatus",
    "Video",
    "VideoExtend",
    "VideoExtendRequest",
    "WaitTimeout",
    "WebhookError",
    "supports",
    "units_of",
]


def test_the_public_names_are_these() -> None:
    assert kling_async.__all__ == PUBLIC


def test_they_are_sorted() -> None:
    assert sorted(kling_async.__all__) == kling_async.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_there_and_described(name: str) -> None:
    thing = getattr(kling_async, name)
    assert inspect.getdoc(thing), name
    assert thing.__doc__ is not None, "a base class's description is not its own"


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(kling_async, name))])
def test_each_public_method_is_described(name: str) -> None:
    kind = getattr(kling_async, name)
    methods = [
        member
        for method, member in inspect.getmembers(kind, callable)
        if not method.startswith("_") and (getattr(member, "__module__", None) or "").startswith("kling_async")
    ]
    assert [method.__qualname__ for method in methods if not inspect.getdoc(method)] == []


def test_every_error_is_public() -> None:
    def kinds(root: type[Exception]) -> set[str]:
        return {root.__name__}.union(*(kinds(kind) for kind in root.__subclasses__()))

    theirs = {
        name
        for name in kinds(kling_async.KlingError)
        if hasattr(kling_async.errors, name) or hasattr(kling_async.models, name)
    }
    assert {name for name in theirs if not name.startswith("_")} <= set(PUBLIC)


def test_the_package_says_what_it_is() -> None:
    assert kling_async.__doc__ == "The asyncio SDK for extending Kling videos."

"""What a user writes who watches a client: read by strict type checkers, never run. No type in it may be unknown."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never, assert_type

import aiohttp
from opentelemetry.trace import TracerProvider

from kling_async import ApiKey, KlingClient, KlingError, Network, TaskStatus, otel
from kling_async.events import (
    CallbackReceived,
    Created,
    Downloaded,
    Event,
    PollFailed,
    QueuedForSlot,
    StatusChanged,
)


def tell(event: Event) -> None:
    assert_type(event.at, datetime)
    match event:
        case QueuedForSlot():
            assert_type(event.foreign, bool)
        case Created():
            assert_type(event.request_id, str | None)
        case StatusChanged():
            assert_type(event.before, TaskStatus | None)
        case PollFailed():
            assert_type(event.error, KlingError)
        case CallbackReceived():
            assert_type(event.status, TaskStatus | None)
        case Downloaded():
            assert_type(event.size, int)
        case _:
            assert_never(event)


def watched(session: aiohttp.ClientSession, provider: TracerProvider) -> list[KlingClient]:
    return [
        KlingClient(on_event=tell, tracing=otel.Tracing()),
        KlingClient(ApiKey("key"), tracing=otel.Tracing(provider), network=Network(session=session)),
        KlingClient(network=Network(proxy="http://proxy:3128", proxy_files=True, tls="company.pem")),
        KlingClient(network=Network(trust_env=True, trace_configs=[aiohttp.TraceConfig()])),
        KlingClient.simulated(on_event=tell),
    ]

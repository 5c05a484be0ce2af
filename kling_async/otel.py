"""OpenTelemetry: a span for each request, under a span for each create and each download. Needs the extra `otel`.

    from kling_async import KlingClient, otel

    kling = KlingClient(tracing=otel.Tracing())

Nothing of a trace is sent to the vendor, who could do nothing with it: there is no `traceparent` header.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from kling_async.errors import APIError, KlingError, TransportError
from kling_async.version import VERSION

_log = logging.getLogger("kling_async")

_PORTS = {"http": 80, "https": 443}


class Tracing:
    """Spans of one client or of several, for `KlingClient(tracing=...)`.

    - Each request is a span of kind CLIENT by the conventions for HTTP, with the vendor's own code and request id
      (`kling.code`, `kling.request_id`) beside HTTP's status.
    - `kling.create` and `kling.download` are spans around the requests that they take, with `kling.task_id` and the
      like. Polls serve everybody who waits, and so stand under nobody's span.

    Args:
        tracer_provider: whose tracer to take; `None`: the global one.

    Source: OpenTelemetry, "Semantic conventions for HTTP spans".
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("kling_async", VERSION, tracer_provider)

    def attempt(self, method: str, url: str, *, template: str | None, resend: int) -> AttemptSpan:
        """The span of a request; arguments as in `kling_async.runtime.tracing`."""
        host, port = _server(url)
        facts: dict[str, str | int] = {
            "http.request.method": method,
            "url.full": url,
            "server.address": host,
            "server.port": port,
        }
        if template is not None:
            facts["url.template"] = template
        if resend:
            facts["http.request.resend_count"] = resend
        name = method if template is None else f"{method} {template}"
        return AttemptSpan(self._begun(name, SpanKind.CLIENT, facts))

    @contextmanager
    def operation(self, name: str) -> Iterator[dict[str, str | int]]:
        """The span of a call, the current one for as long as that lasts; what is put into it becomes attributes."""
        facts: dict[str, str | int] = {}
        span = self._begun(f"kling.{name}", SpanKind.INTERNAL, {})
        error: BaseException | None = None
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield facts
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end(span, {f"kling.{name}": value for name, value in facts.items()}, error)

    def _begun(self, name: str, kind: SpanKind, facts: Mapping[str, str | int]) -> Span:
        try:
            return self._tracer.start_span(name, kind=kind, attributes=facts)
        except Exception:
            _log.exception("a span could not be begun")
            return trace.INVALID_SPAN


class AttemptSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(
        self, *, status: int | None = None, request_id: str | None = None, error: BaseException | str | None = None
    ) -> None:
        """Ends it; arguments as in `kling_async.runtime.tracing`."""
        facts: dict[str, str | int] = {}
        if status is not None:
            facts["http.response.status_code"] = status
        if request_id is not None:
            facts["kling.request_id"] = request_id
        _end(self._span, facts, error)


def _end(span: Span, facts: dict[str, str | int], error: BaseException | str | None) -> None:
    """Ends a span. What a processor of the user's raises must not break the call."""
    try:
        status = facts.get("http.response.status_code", 0)
        is_refused = isinstance(status, int) and status >= 400
        if error is not None or is_refused:
            facts["error.type"] = str(status) if is_refused else _type_of(error)
            # What the status says already is not said again.
            span.set_status(Status(StatusCode.ERROR, None if is_refused else _told(error)))
        if isinstance(error, APIError):
            facts["kling.code"] = error.code
        span.set_attributes(facts)
        span.end()
    except Exception:
        _log.exception("a span could not be ended")


def _type_of(error: BaseException | str | None) -> str:
    if isinstance(error, TransportError) and error.__cause__ is not None:
        error = error.__cause__  # says more: a timeout, a name that is not known, a reset
    if not isinstance(error, BaseException):
        return "_OTHER"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _told(error: BaseException | str | None) -> str | None:
    """In words of ours alone: those of a foreign error may hold anything."""
    return error.message if isinstance(error, KlingError) else error if isinstance(error, str) else None


@lru_cache(maxsize=64)
def _origin(scheme: str, netloc: str) -> tuple[str, int]:
    parts = urlsplit(f"{scheme}://{netloc}")
    return parts.hostname or "", parts.port or _PORTS.get(scheme, 0)


def _server(url: str) -> tuple[str, int]:
    scheme, _, rest = url.partition("://")
    return _origin(scheme, rest.partition("/")[0].partition("?")[0])

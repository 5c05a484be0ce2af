"""The seam for tracers: what is told of each request, and of the calls that requests belong to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

Facts = dict[str, str | int]
"""What a call learns about itself on the way; whoever traces it reads them at its end."""


class Attempt(Protocol):
    """One request under way."""

    def ended(
        self, *, status: int | None = None, request_id: str | None = None, error: BaseException | str | None = None
    ) -> None:
        """It is over. Called once.

        Args:
            status: of HTTP; `None` when no answer arrived.
            request_id: the vendor's id of the exchange.
            error: what became of it instead; a text where it is no exception.
        """


class Tracing(Protocol):
    """What `KlingClient(tracing=...)` takes, such as `kling_async.otel.Tracing()`. Nothing that it does may raise."""

    def attempt(self, method: str, url: str, *, template: str | None, resend: int) -> Attempt:
        """A request begins.

        Args:
            method: of HTTP.
            url: whole, but of a film without its query, which is signed.
            template: the path with `{id}` in place of ids; `None` for films, which lie anywhere.
            resend: how often it was sent before.
        """

    def operation(self, name: str) -> AbstractContextManager[Facts]:
        """A call begins, `create` or `download`: the requests within are its own, in the same asyncio task."""

"""For tests of your own code: time that jumps, and callbacks as the vendor signs them. With pytest or without."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Literal, Never, ParamSpec, TypeVar, cast

from kling_async.checks import refusal
from kling_async.rules.signatures import hidden
from kling_async.simulator.account import WEBHOOK_SECRET
from kling_async.simulator.callbacks import newer, signed
from kling_async.simulator.virtual import VirtualLoop, wall
from kling_async.simulator.wire import dump

if TYPE_CHECKING:
    from kling_async.models import Task
    from kling_async.simulator.wire import JSON

__all__ = ["WEBHOOK_SECRET", "VirtualLoop", "signed_callback", "virtual_time", "wall"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def virtual_time(main: Callable[_P, Coroutine[object, Never, _T]]) -> Callable[_P, _T]:
    """A coroutine function as a plain one, which runs it to its end in virtual time: minutes take milliseconds.

    Each call is an `asyncio.run` on a `VirtualLoop` of its own. To pytest such a test is no coroutine: it needs no
    plugin and no mark, takes plain fixtures, and is the same under pytest-asyncio, anyio and unittest.

    Args:
        main: the test, or the whole of a script.
    """

    @functools.wraps(main)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main(*args, **kwargs))

    return run


def signed_callback(
    task: Task, *, secret: str = WEBHOOK_SECRET, shape: Literal["legacy", "newer"] = "legacy"
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a callback about a task as it is, for you to post to your own application.

    Signed now, under a new delivery id: the same pair posted twice is a repetition, as the vendor may send.

    Args:
        task: from a call to the simulator (or the vendor): `create`, `get`, `wait`, a listing.
        secret: one of your application's webhook secrets; default that of the fixtures. Another one makes a forgery.
        shape: of the body: `legacy` (as queries answer) or `newer`.

    Raises:
        RequestError: the task was made by hand, or told by a callback of the newer shape: there is no record to send.
        ConfigurationError: the secret cannot be one.
    """
    if "task_id" not in task.raw:
        raise refusal("task", task, "one that a call has answered with")
    record = cast("dict[str, JSON]", dict(task.raw))
    body = dump(newer(record) if shape == "newer" else record)
    return body, signed(uuid.uuid4().hex, wall(), body, hidden([secret]))

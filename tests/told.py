"""What a call that does not succeed is told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from kling_async import CreateUncertain, KlingError


def now() -> float:
    return asyncio.get_running_loop().time()


async def refused(call: Awaitable[object]) -> KlingError:
    with pytest.raises(KlingError) as caught:
        await call
    return caught.value


async def uncertain(call: Awaitable[object]) -> CreateUncertain:
    error = await refused(call)
    assert isinstance(error, CreateUncertain)
    assert error.created == "unknown"
    return error

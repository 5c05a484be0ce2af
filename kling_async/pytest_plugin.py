"""The fixtures `kling_simulator` and `kling_client`: what pytest loads in every project that has this package.

Installed, it stands beside the package, as `_kling_async_pytest`: to import the package is to import aiohttp, and that
stays undone until a test names a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kling_async import KlingClient
    from kling_async.simulator import Simulator


@pytest.fixture
def kling_simulator() -> Simulator:
    """The simulated Kling, new for each test: script its faults before or while your code runs."""
    from kling_async.simulator import Simulator
    from kling_async.testing import WEBHOOK_SECRET

    return Simulator(webhook_secret=WEBHOOK_SECRET)


@pytest.fixture
def kling_client(kling_simulator: Simulator) -> KlingClient:
    """A `KlingClient` of `kling_simulator`: use it by `async with`, which starts the simulator and stops it again."""
    from kling_async import KlingClient

    return KlingClient.simulated(kling_simulator)

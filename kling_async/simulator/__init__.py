"""The vendor, simulated: for the demo, for our tests, and for yours."""

from kling_async.simulator.account import Accepted
from kling_async.simulator.callbacks import Delivery, Posted
from kling_async.simulator.engine import Engine
from kling_async.simulator.faults import Fault
from kling_async.simulator.server import Simulator

__all__ = ["Accepted", "Delivery", "Engine", "Fault", "Posted", "Simulator"]

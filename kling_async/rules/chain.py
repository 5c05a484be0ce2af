"""How a film grows to a length: what a chain of extensions will take, and whether one step more can help.

One extension adds 4 to 5 s, and the whole may not pass 180 s (document-api): so neither the number of steps nor the
length at the end is known before, but both lie between bounds that are.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import attrs

from kling_async import spec

_LEAST = Decimal(spec.EXTENSION_MIN_SECONDS)
_MOST = Decimal(spec.EXTENSION_MAX_SECONDS)
_TOTAL = Decimal(spec.TOTAL_MAX_SECONDS)
_LAST_START = _TOTAL - _LEAST  # a longer film could not be extended without passing the vendor's bound


@attrs.frozen
class ChainPlan:
    """What is left to do until a film has its length.

    Attributes:
        start: seconds that the film has; `None` while nobody has told.
        target: seconds that it shall have.
        fewest: steps that it takes at least; 0 when there is nothing to do.
        most: steps that it takes at most.
        shortest: seconds that it will have in the end at least. Less than `target` only where the vendor's bound of
            180 s leaves no room for another step.
        longest: seconds that it will have in the end at most.
    """

    start: Decimal | None
    target: Decimal
    fewest: int
    most: int
    shortest: Decimal
    longest: Decimal

    def __str__(self) -> str:
        end = f"to between {self.shortest:f} and {self.longest:f} s"
        if self.start is None:
            return f"at most {_steps(self.most)}, {end}; the first will tell how long the source is"
        if not self.most:
            return f"nothing to do: the film has {self.start:f} s"
        count = _steps(self.most) if self.fewest == self.most else f"{self.fewest} to {_steps(self.most)}"
        return f"{count}, from {self.start:f} s {end}"

    @property
    def is_stuck(self) -> bool:
        """Whether the film is too short, and no step can help."""
        return not self.most and self.start is not None and self.start < self.target


def plan_chain(start: Decimal | None, target: Decimal) -> ChainPlan:
    """What it takes from `start` to `target` seconds; both are more than 0 and `target` at most 180.

    A step is taken while the film is shorter than `target`, and can become 4 s longer within the vendor's bound. Of a
    film whose length nobody told, one step is taken to learn it.
    """
    if start is None:
        most = _until(Decimal(0), target, by=_LEAST)
        return ChainPlan(start, target, 1, most, shortest=max(_LEAST, _reached(target)), longest=_TOTAL)
    if start >= target or start > _LAST_START:
        return ChainPlan(start, target, 0, 0, shortest=start, longest=start)
    fewest, most = _until(start, target, by=_MOST), _until(start, target, by=_LEAST)
    shortest = max(start + fewest * _LEAST, _reached(target))
    longest = min(start + most * _MOST, target + _MOST, _TOTAL)
    return ChainPlan(start, target, fewest, most, shortest=shortest, longest=longest)


def _reached(target: Decimal) -> Decimal:
    """What a film has at least when the last step is done: the target, or so much that no step is left."""
    return min(target, _LAST_START)


def _until(start: Decimal, target: Decimal, *, by: Decimal) -> int:
    """How many steps of one length it takes until no further one is taken."""
    to_target = ((target - start) / by).to_integral_value(ROUND_CEILING)
    to_bound = ((_LAST_START - start) / by).to_integral_value(ROUND_FLOOR) + 1
    return int(min(to_target, to_bound))


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"

"""Callbacks lost, repeated, shuffled and forged: the small version of `python tests/loss.py`."""

from __future__ import annotations

from functools import cache

import attrs
import pytest
from loss import Figures, added, measure

TASKS = 60


@cache
def figures(lose: float | None) -> Figures:
    return measure(TASKS, lose)


@pytest.mark.parametrize("lose", [0.0, 0.1, 0.5, 1.0])
def test_each_task_completes_once_and_in_time_whatever_is_lost(lose: float) -> None:
    assert figures(lose).is_clean(TASKS, figures(None), intervals=added(lose)), str(figures(lose))


def test_without_any_loss_each_end_is_told_to_handlers_once() -> None:
    assert figures(0.0).told == 1


def test_lost_ones_do_not_arrive() -> None:
    # What arrives although all is lost was posted by somebody else.
    assert figures(1.0).posted < 0.2 * 3 * TASKS < figures(0.5).posted < figures(0.0).posted


def test_anything_bad_is_noticed() -> None:
    good, alone = figures(1.0), figures(None)
    assert not attrs.evolve(good, wrong=1).is_clean(TASKS, alone, intervals=1)
    assert not attrs.evolve(good, told=2).is_clean(TASKS, alone, intervals=1)
    assert not attrs.evolve(good, delays=(alone.delays[-1] + 5.1,)).is_clean(TASKS, alone, intervals=1)
    assert not good.is_clean(TASKS + 1, alone, intervals=1)


def test_polling_is_rarer_while_callbacks_arrive() -> None:
    assert figures(0.0).queries < figures(None).queries

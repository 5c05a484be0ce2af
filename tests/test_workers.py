"""Callbacks to several processes: the small version of `python tests/workers.py`."""

from __future__ import annotations

import pytest
from workers import Figures, Options, run


@pytest.mark.real_time
async def test_each_task_completes_once_in_the_worker_that_waits() -> None:
    options = Options(workers=2, tasks=10, task_seconds=1.0)
    figures = await run(options)
    assert figures.is_clean(options), str(figures)


def test_anything_bad_is_noticed() -> None:
    options = Options(tasks=1)
    good = Figures()
    good.completed["t-1"], good.waited_in["t-1"], good.landed_in["t-1"] = 1, 10, [11]
    good.delays.append(0.5)
    assert good.is_clean(options)
    assert good.elsewhere == 1
    assert not good.is_clean(options, most_seconds=0.4)
    good.landed_in["t-1"] = [10, 11]
    assert not good.is_clean(options)
    assert good.elsewhere == 0
    good.landed_in["t-1"] = [10]
    good.completed["t-1"] = 2
    assert not good.is_clean(options)

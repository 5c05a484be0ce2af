"""SIGKILL at random moments and at every named step: the small version of `python tests/kill.py`."""

from __future__ import annotations

import pytest
from kill import STEPS, Figures, Options, kill

pytestmark = pytest.mark.real_time


async def test_killed_anywhere_a_batch_creates_each_job_once() -> None:
    figures = await kill(Options(jobs=20, kills=5, places=(2,), together=True, run_seconds=2.0))
    assert figures.clean, str(figures)
    assert figures.random_kills == 5
    assert figures.named_kills == dict.fromkeys(STEPS, 1)
    assert figures.creates == 20 * figures.batches


async def test_without_the_vendors_help_the_journal_is_enough() -> None:
    figures = await kill(Options(jobs=5, kills=0, places=(2,), steps=("created",), run_seconds=1.0, forgetful=True))
    assert figures.clean, str(figures)


@pytest.mark.parametrize(("without", "forgetful"), [("ids", False), ("intent", True)])
async def test_a_guard_that_is_switched_off_is_noticed(without: str, forgetful: bool) -> None:
    options = Options(
        jobs=5, kills=0, places=(2,), steps=("created",), run_seconds=1.0, forgetful=forgetful, without=without
    )
    assert (await kill(options)).duplicates > 0


@pytest.mark.parametrize("bad", ["duplicates", "lost", "unsaved", "damaged", "missed", "creates_of_reruns"])
def test_one_of_anything_bad_is_not_clean(bad: str) -> None:
    assert Figures().clean
    figures = Figures()
    setattr(figures, bad, 1)
    assert not figures.clean

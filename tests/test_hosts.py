"""Workers in processes of their own that are killed and handed over: the small version of `python tests/hosts.py`."""

from __future__ import annotations

import pytest
from hosts import Figures, Options, run_on
from postgres import Postgres

pytestmark = pytest.mark.real_time


def test_killed_anywhere_workers_make_each_job_once_and_keep_the_limit(postgres: Postgres) -> None:
    options = Options(jobs=16, limit=4, workers=2, task_seconds=0.5, kills=1, terms=1, blackouts=1, takeover=1.0)
    figures = run_on(postgres, options)
    assert figures.clean, str(figures)
    assert (figures.done, figures.creates) == (16, 16)
    assert figures.blackouts == 1


def test_a_guard_that_is_switched_off_is_noticed(postgres: Postgres) -> None:
    options = Options(jobs=8, limit=2, workers=2, task_seconds=0.3, blackouts=1, takeover=1.0, without="ids")
    assert run_on(postgres, options).duplicates > 0


@pytest.mark.parametrize("bad", ["duplicates", "lost", "unsaved", "peak"])
def test_one_of_anything_bad_is_not_clean(bad: str) -> None:
    assert Figures(limit=0).clean
    figures = Figures(limit=0)
    setattr(figures, bad, 1)
    assert not figures.clean

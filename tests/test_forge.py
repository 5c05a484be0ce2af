"""Forged callbacks by chance: the small version of `python tests/forge.py`."""

from __future__ import annotations

import pytest
from forge import SIGNATURE_LETTERS, Figures, forge


def test_nothing_forged_is_taken_and_one_error_comes_out() -> None:
    figures = forge(20_000, seed=1)
    assert figures.clean, str(figures)
    assert figures.inputs == 20_000
    assert figures.genuine > 200
    assert figures.taken >= figures.genuine
    assert figures.refused > 10_000


@pytest.mark.parametrize("blind", [3, SIGNATURE_LETTERS // 2, SIGNATURE_LETTERS - 2])
def test_a_check_that_is_blind_for_one_letter_is_noticed(blind: int) -> None:
    assert forge(10_000, seed=1, blind=blind).false_accepts > 0


@pytest.mark.parametrize("bad", ["false_accepts", "false_refusals"])
def test_one_of_anything_bad_is_not_clean(bad: str) -> None:
    assert Figures().clean
    figures = Figures()
    setattr(figures, bad, 1)
    assert not figures.clean


def test_another_error_is_not_clean() -> None:
    figures = Figures()
    figures.other_errors["ValueError"] += 1
    assert not figures.clean
    assert "ValueError 1" in str(figures)

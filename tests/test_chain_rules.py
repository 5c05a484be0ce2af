"""The plan of a chain, held against chains that grow by chance."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_async.rules.chain import ChainPlan, plan_chain


def seconds(least: str, most: str) -> st.SearchStrategy[Decimal]:
    return st.decimals(least, most, places=1)


def plan(start: str | None, target: str) -> ChainPlan:
    return plan_chain(None if start is None else Decimal(start), Decimal(target))


def grown(start: Decimal, target: Decimal, draw: st.DrawFn) -> list[Decimal]:
    """The lengths of a film that the vendor extends for as long as the plan wants one step more."""
    lengths = [start]
    while plan_chain(lengths[-1], target).most:
        room = min(Decimal(5), 180 - lengths[-1])
        lengths.append(lengths[-1] + draw(seconds("4", str(room))))
    return lengths


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Decimal], Decimal]:
    target = draw(seconds("0.1", "180"))
    return grown(draw(seconds("0.1", "180")), target, draw), target


@given(chains())
@example(([Decimal(175), Decimal(179)], Decimal(180)))
@example(([Decimal("175.5"), Decimal(180)], Decimal(180)))
@example(([Decimal(5), Decimal(9), Decimal(13)], Decimal(13)))
def test_what_the_plan_says_comes_true(chain: tuple[list[Decimal], Decimal]) -> None:
    lengths, target = chain
    said = plan_chain(lengths[0], target)
    assert said.fewest <= len(lengths) - 1 <= said.most
    assert said.shortest <= lengths[-1] <= said.longest


@given(chains())
def test_a_film_of_unknown_length_keeps_within_the_plan(chain: tuple[list[Decimal], Decimal]) -> None:
    lengths, target = chain
    if len(lengths) > 1:  # the first step is taken to learn the length
        said = plan_chain(None, target)
        assert said.fewest <= len(lengths) - 1 <= said.most
        assert said.shortest <= lengths[-1] <= said.longest


@given(chains())
def test_each_step_brings_the_plan_nearer_to_its_end(chain: tuple[list[Decimal], Decimal]) -> None:
    lengths, target = chain
    most = [plan_chain(length, target).most for length in lengths]
    assert most == sorted(set(most), reverse=True)


@given(chains())
def test_no_step_is_taken_that_cannot_help(chain: tuple[list[Decimal], Decimal]) -> None:
    lengths, target = chain
    for before in lengths[:-1]:
        assert before < target
        assert before + 4 <= 180


@given(chains())
def test_it_ends_at_the_target_or_where_no_room_is_left(chain: tuple[list[Decimal], Decimal]) -> None:
    lengths, target = chain
    assert lengths[-1] >= target or lengths[-1] > 176


@pytest.mark.parametrize(
    ("start", "target", "steps", "ends"),
    [
        ("5", "60", (11, 14), ("60", "65")),
        ("5.0", "9", (1, 1), ("9", "10")),
        ("5", "6", (1, 1), ("9", "10")),
        ("10", "60", (10, 13), ("60", "65")),
        ("60", "60", (0, 0), ("60", "60")),
        ("61.5", "60", (0, 0), ("61.5", "61.5")),
        ("171", "180", (2, 2), ("179", "180")),
        ("176", "180", (1, 1), ("180", "180")),
        ("176.1", "180", (0, 0), ("176.1", "176.1")),
        ("5", "180", (35, 43), ("176", "180")),
        (None, "60", (1, 15), ("60", "180")),
        (None, "2", (1, 1), ("4", "180")),
    ],
)
def test_plans(start: str | None, target: str, steps: tuple[int, int], ends: tuple[str, str]) -> None:
    said = plan(start, target)
    assert (said.fewest, said.most) == steps
    assert (said.shortest, said.longest) == tuple(map(Decimal, ends))


@pytest.mark.parametrize(
    ("start", "target", "text"),
    [
        ("5.0", "60", "11 to 14 steps, from 5.0 s to between 60 and 65 s"),
        ("5", "6", "1 step, from 5 s to between 9 and 10 s"),
        ("61.5", "60", "nothing to do: the film has 61.5 s"),
        (None, "60", "at most 15 steps, to between 60 and 180 s; the first will tell how long the source is"),
    ],
)
def test_plan_as_a_sentence(start: str | None, target: str, text: str) -> None:
    assert str(plan(start, target)) == text


@pytest.mark.parametrize(
    ("start", "target", "is_stuck"),
    [("176.1", "180", True), ("176", "180", False), ("178", "178", False), (None, "180", False)],
)
def test_stuck_is_what_is_too_short_and_has_no_room(start: str | None, target: str, is_stuck: bool) -> None:
    assert plan(start, target).is_stuck == is_stuck

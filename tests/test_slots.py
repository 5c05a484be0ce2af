"""The account's slots as a rule: order, limits given and learnt, tries, foreign occupants; in no time at all."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kling_async import ResourcePack, SlotPolicy
from kling_async.rules import slots as module
from kling_async.rules.slots import Slots, limit_of


def of(limit: int | None = None, *, draw: float = 0.5, probe_after: float = 30.0, longest: float = 1800.0) -> Slots:
    return Slots(SlotPolicy(limit=limit, probe_after=probe_after, max_probe_wait=longest), lambda: draw)


def joined(slots: Slots, count: int, *, first: int = 0) -> Slots:
    for ticket in range(first, first + count):
        slots.join(ticket)
    return slots


def turn_of(slots: Slots, now: float) -> int:
    """The one whose turn it is."""
    [ticket] = slots.ready(now)
    return ticket


def full_at(slots: Slots, taken: int, now: float = 0.0) -> Slots:
    """One after the other is accepted until so many are held; the next is refused."""
    joined(slots, taken + 2)
    turn: list[int] = []
    while len(slots.held) < taken:
        turn = turn or slots.ready(now)
        slots.accepted(turn.pop(0), now)
    for ticket in turn or slots.ready(now):
        slots.full(ticket, now)
    return slots


# --- the line --------------------------------------------------------------------------------------------------------


def test_first_in_is_first_out() -> None:
    slots = joined(of(10), 6)
    turns: list[int] = []
    while turn := slots.ready(0.0):
        turns += turn
        for ticket in turn:
            slots.accepted(ticket, 0.0)
    assert turns == [0, 1, 2, 3, 4, 5]


def test_creates_start_one_at_a_time_and_grow_with_success() -> None:
    slots = joined(of(), 40)
    at_once: list[int] = []
    while turn := slots.ready(0.0):
        at_once.append(len(turn))
        for ticket in turn:
            slots.accepted(ticket, 0.0)
    assert at_once[:4] == [1, 2, 4, 8]


def test_no_more_than_100_are_sent_at_once() -> None:
    slots = joined(of(), 1000)
    largest = 0
    while turn := slots.ready(0.0):
        largest = max(largest, len(turn))
        for ticket in turn:
            slots.accepted(ticket, 0.0)
    assert largest == 100


@pytest.mark.parametrize("limit", [1, 2, 5, 30])
def test_given_limit_is_never_passed(limit: int) -> None:
    slots = joined(of(limit), 50)
    while turn := slots.ready(0.0):
        for ticket in turn:
            slots.accepted(ticket, 0.0)
    assert len(slots.held) == limit
    assert slots.wake_at == inf


def test_limit_that_was_read_counts_from_then_on() -> None:
    slots = joined(of(), 5)
    slots.give(2)
    for _ in range(3):
        for ticket in slots.ready(0.0):
            slots.accepted(ticket, 0.0)
    assert len(slots.held) == 2


def test_end_of_a_task_lets_the_next_go() -> None:
    slots = joined(of(1), 2)
    [first] = slots.ready(0.0)
    slots.accepted(first, 0.0)
    assert slots.ready(1.0) == []
    slots.ended(first, 2.0)
    assert slots.ready(2.0) == [1]


def test_cancelled_in_line_is_passed_over() -> None:
    slots = joined(of(1), 3)
    slots.left(0)
    slots.left(1)
    assert slots.ready(0.0) == [2]


def test_cancelled_while_sending_passes_its_turn_on() -> None:
    slots = joined(of(1), 2)
    slots.left(turn_of(slots, 0.0))
    assert slots.ready(0.0) == [1]


def test_cancelled_try_lets_the_next_try() -> None:
    slots = full_at(of(), 2)
    slots.left(turn_of(slots, 30.0))
    assert slots.ready(30.0) == [3]


def test_what_is_not_known_may_leave_and_end() -> None:
    slots = of(1)
    slots.left(7)
    slots.ended(7, 0.0)
    assert repr(slots) == "<Slots 0 held, 0 sending, 0 in line, limit 1 given>"


def test_drain_empties_the_line_and_names_it() -> None:
    slots = joined(of(1), 4)
    slots.ready(0.0)
    assert slots.drain() == [1, 2, 3]
    assert slots.waiting == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_refused_together_go_back_in_their_order(order: tuple[int, ...]) -> None:
    slots = joined(of(5), 5)
    slots._window = 3
    assert slots.ready(0.0) == [0, 1, 2]
    for ticket in order:
        slots.full(ticket, 0.0)
    assert slots.drain() == [0, 1, 2, 3, 4]


# --- 1303 ------------------------------------------------------------------------------------------------------------


def test_1303_sets_the_limit_to_what_is_in_flight() -> None:
    slots = full_at(of(), 3)
    assert repr(slots) == "<Slots 3 held, 0 sending, 2 in line, limit 3 learnt>"


def test_1303_puts_the_create_back_to_the_head() -> None:
    slots = full_at(of(), 3)
    slots.ended(0, 1.0)
    assert slots.ready(1.0) == [3]


def test_1303_counts_what_is_still_under_way() -> None:
    slots = joined(of(5), 3)
    slots._window = 3
    slots.ready(0.0)
    slots.full(2, 0.0)
    assert "limit 2 learnt" in repr(slots)


def test_limit_given_too_high_is_corrected_by_1303() -> None:
    slots = full_at(of(100), 3)
    assert slots.ready(1.0) == []


def test_freed_slots_are_used_without_a_try() -> None:
    slots = full_at(of(), 3)
    slots.ended(0, 40.0, ended_at=39.0)
    assert slots.ready(40.0) == [3]
    slots.accepted(3, 40.0)
    assert slots._raised_at == -inf


# --- tries for one more ----------------------------------------------------------------------------------------------


def refuse_try(slots: Slots) -> float:
    """The next try, at its time, is refused: how long it is until the one after it."""
    now = slots.wake_at
    slots.full(turn_of(slots, now), now)
    return slots.wake_at - now


def test_first_try_comes_after_probe_after() -> None:
    slots = full_at(of(probe_after=30.0), 2)
    assert slots.wake_at == 30.0
    assert slots.ready(29.9) == []
    assert slots.ready(30.0) == [2]


def test_one_try_at_a_time() -> None:
    slots = joined(full_at(of(), 2), 5, first=10)
    assert len(slots.ready(1000.0)) == 1
    assert slots.ready(2000.0) == []
    assert slots.wake_at == inf


def test_refused_tries_grow_rarer() -> None:
    slots = full_at(of(), 2)
    waits = [refuse_try(slots) for _ in range(8)]
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0, 1800.0]


def test_below_a_limit_that_was_given_tries_stay_frequent() -> None:
    # What is missing is held by others, who give it back some time.
    slots = full_at(of(5), 2)
    assert max(refuse_try(slots) for _ in range(8)) == 600.0


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 22.5), (1.0, 37.5)])
def test_tries_of_two_clients_fall_out_of_step(draw: float, wait: float) -> None:
    assert full_at(of(draw=draw), 2).wake_at == wait


def raised(slots: Slots, *, made_at: float | None = 30.0) -> Slots:
    """Two were held and the third refused; the try after that found a slot more."""
    full_at(slots, 2)
    now = slots.wake_at
    slots.accepted(turn_of(slots, now), now, made_at=made_at)
    return slots


def test_accepted_try_raises_the_limit_and_the_next_comes_soon() -> None:
    slots = raised(of())
    assert "3 held" in repr(slots)
    assert "limit 3 learnt" in repr(slots)
    assert slots.wake_at == 60.0


def test_no_try_beyond_the_limit_given() -> None:
    slots = raised(of(3))
    assert slots.ready(10_000.0) == []
    assert slots.wake_at == inf


def test_try_that_found_a_freed_slot_unheard_of_is_taken_back() -> None:
    slots = raised(of(), made_at=30.0)
    slots.ended(0, 33.0, ended_at=29.0)
    assert "limit 2 learnt" in repr(slots)
    assert slots.wake_at == 33.0 + 60.0  # as if it had been refused


def test_task_that_ended_after_the_try_leaves_the_limit_raised() -> None:
    slots = raised(of(), made_at=30.0)
    slots.ended(0, 33.0, ended_at=31.0)
    assert "limit 3 learnt" in repr(slots)


def test_try_is_taken_back_once() -> None:
    slots = raised(of(), made_at=30.0)
    slots.ended(0, 33.0, ended_at=29.0)
    slots.ended(1, 33.0, ended_at=29.0)
    assert "limit 2 learnt" in repr(slots)


@pytest.mark.parametrize(("after", "limit"), [(14.9, 2), (15.0, 3)])
@pytest.mark.parametrize("stamped", ["neither", "made", "ended"])
def test_without_stamps_the_time_of_hearing_decides(after: float, limit: int, stamped: str) -> None:
    slots = raised(of(), made_at=30.0 if stamped == "made" else None)
    slots.ended(0, 30.0 + after, ended_at=29.0 if stamped == "ended" else None)
    assert f"limit {limit} learnt" in repr(slots)


def test_limit_is_at_least_one_once_a_task_was_made() -> None:
    slots = joined(of(), 3)
    slots.full(turn_of(slots, 0.0), 0.0)
    slots.accepted(turn_of(slots, 1.0), 1.0, made_at=1.0)
    slots.ended(0, 2.0, ended_at=1.0)
    assert "limit 1 learnt" in repr(slots)


def test_slot_taken_by_somebody_else_is_tried_for_soon_again() -> None:
    slots = full_at(of(), 2)
    refuse_try(slots)
    slots.ended(0, 100.0, ended_at=99.0)
    slots.full(turn_of(slots, 100.0), 100.0)
    assert "limit 1 learnt" in repr(slots)
    assert slots.wake_at == 130.0


# --- others hold the slots -------------------------------------------------------------------------------------------


def test_foreign_occupants_back_off_from_1_to_60_seconds() -> None:
    slots = joined(of(), 1)
    slots.full(turn_of(slots, 0.0), 0.0)
    waits = [slots.wake_at, *(refuse_try(slots) for _ in range(7))]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_foreign_occupants_are_told_while_somebody_is_in_line() -> None:
    slots = joined(of(5), 1)
    seen = [slots.foreign]
    slots.full(turn_of(slots, 0.0), 0.0)
    seen.append(slots.foreign)
    slots.left(0)
    seen.append(slots.foreign)
    assert seen == [False, True, False]


def test_success_makes_the_back_off_short_again() -> None:
    slots = joined(of(), 2)
    for _ in range(4):
        now = max(slots.wake_at, 0.0)
        slots.full(turn_of(slots, now), now)
    slots.accepted(turn_of(slots, 100.0), 100.0)
    slots.ended(0, 200.0)
    slots.full(turn_of(slots, 200.0), 200.0)
    assert slots.wake_at == 201.0


# --- what is forgotten -----------------------------------------------------------------------------------------------


def test_oldest_of_very_many_held_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_MAX", 3)
    slots = joined(of(), 5)
    while turn := slots.ready(0.0):
        for ticket in turn:
            slots.accepted(ticket, 0.0)
    assert slots.held == (2, 3, 4)


def test_repr_of_the_beginning() -> None:
    assert repr(of()) == "<Slots 0 held, 0 sending, 0 in line, limit unknown>"


# --- for all courses -------------------------------------------------------------------------------------------------


class Course(RuleBasedStateMachine):
    """Any order of joining, answers, cancellations and ends, at a vendor whose slots come and go."""

    kind = Slots

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limit: int | None = None
        self.slots = self.kind(SlotPolicy(), lambda: 0.5)
        self.next = 0
        self.line: list[int] = []
        self.sending: set[int] = set()
        self.held: set[int] = set()

    @initialize(limit=st.none() | st.integers(1, 6), draw=st.floats(0, 1))
    def begin(self, limit: int | None, draw: float) -> None:
        self.limit, self.slots = limit, self.kind(SlotPolicy(limit=limit), lambda: draw)

    @rule(count=st.integers(1, 5))
    def join(self, count: int) -> None:
        joined(self.slots, count, first=self.next)
        self.line += range(self.next, self.next + count)
        self.next += count

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sleep_until_woken(self) -> None:
        if self.now < self.slots.wake_at < inf:
            self.now = self.slots.wake_at

    @rule(pick=st.data(), stamped=st.booleans())
    def accept(self, pick: st.DataObject, stamped: bool) -> None:
        if self.sending:
            ticket = pick.draw(st.sampled_from(sorted(self.sending)))
            self.slots.accepted(ticket, self.now, made_at=self.now if stamped else None)
            self.sending.remove(ticket)
            self.held.add(ticket)

    @rule(pick=st.data())
    def refuse(self, pick: st.DataObject) -> None:
        if self.sending:
            ticket = pick.draw(st.sampled_from(sorted(self.sending)))
            self.slots.full(ticket, self.now)
            self.sending.remove(ticket)
            self.line = sorted([*self.line, ticket])

    @rule(pick=st.data())
    def cancel(self, pick: st.DataObject) -> None:
        if known := sorted({*self.line, *self.sending}):
            ticket = pick.draw(st.sampled_from(known))
            self.slots.left(ticket)
            self.line = [other for other in self.line if other != ticket]
            self.sending.discard(ticket)

    @rule(pick=st.data(), ago=st.none() | st.floats(0, 100))
    def end(self, pick: st.DataObject, ago: float | None) -> None:
        if self.held:
            ticket = pick.draw(st.sampled_from(sorted(self.held)))
            self.slots.ended(ticket, self.now, ended_at=None if ago is None else self.now - ago)
            self.held.remove(ticket)

    @rule()
    def drain(self) -> None:
        assert self.slots.drain() == self.line
        self.line = []

    @invariant()
    def move(self) -> None:
        """After each step, as the line does; whose turn it is, in their order, is sending from now on."""
        turn = self.slots.ready(self.now)
        assert turn == self.line[: len(turn)]
        del self.line[: len(turn)]
        self.sending.update(turn)

    @invariant()
    def no_ticket_is_lost(self) -> None:
        assert list(self.slots._line) == self.line
        assert self.slots._sending == self.sending
        assert set(self.slots.held) == self.held

    @invariant()
    def limit_given_is_kept(self) -> None:
        if self.limit is not None:
            assert len(self.held) + len(self.sending) <= self.limit

    @invariant()
    def nobody_starves(self) -> None:
        at_the_limit = self.limit is not None and len(self.held) + len(self.sending) >= self.limit
        assert not self.line or self.sending or at_the_limit or self.now < self.slots.wake_at < inf


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class Reversing(Slots):
    """Whoever is refused goes before whoever was refused before him."""

    def _put_back(self, ticket: int) -> None:
        self._line[ticket] = None
        self._line.move_to_end(ticket, last=False)


class Forgetful(Slots):
    """Whoever is refused is not in line any more."""

    def _put_back(self, ticket: int) -> None:
        pass


class Sleepy(Slots):
    """Nobody is woken by time."""

    @property
    def wake_at(self) -> float:
        return inf


class Greedy(Slots):
    """The limit given does not hold."""

    def _may_send(self, _: float) -> bool:
        return True


@pytest.mark.parametrize("broken", [Reversing, Forgetful, Sleepy, Greedy])
def test_course_finds_what_is_broken(broken: type[Slots]) -> None:
    class Control(Course):
        kind = broken

    quick = settings(max_examples=3000, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Control, settings=quick)


@given(
    true_limit=st.integers(1, 6),
    limit=st.none() | st.integers(1, 8),
    foreign=st.lists(st.integers(0, 6), max_size=8),
    draw=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_everybody_gets_a_slot_in_the_end(true_limit: int, limit: int | None, foreign: list[int], draw: float) -> None:
    """Others take and give back slots every 100 s, and leave at last; tasks take 60 s and their ends are seen late."""
    slots, now = joined(of(limit, draw=draw), 20), 0.0
    ends: dict[int, float] = {}
    done: list[int] = []
    while len(done) < 20:
        taken = foreign[int(now // 100)] if now // 100 < len(foreign) else 0
        for ticket in slots.ready(now):
            if sum(end > now for end in ends.values()) + taken < true_limit:
                slots.accepted(ticket, now, made_at=now)
                ends[ticket] = now + 60.0
            else:
                slots.full(ticket, now)
        now += 5.0
        for ticket in [ticket for ticket, end in ends.items() if end <= now]:
            slots.ended(ticket, now, ended_at=ends.pop(ticket))
            done.append(ticket)
        assert now < 10_000.0
    assert sorted(done) == list(range(20))


# --- pack names ------------------------------------------------------------------------------------------------------


def pack(name: str, *, status: str = "online") -> ResourcePack:
    return ResourcePack(name=name, id="p-1", type="decreasing_total", status=status)


NAMES = {
    "Trial-Video-100Units-5Con-1Months": 5,
    "Video-20Con": 20,
    "5Con-Video": 5,
    "Video-100000Con-x": 100_000,
    "Video-0Con-1Months": None,
    "Video-05Con": None,
    "Video-5Cons": None,
    "Video-5con": None,
    "Video5Con": None,
    "Video": None,
    "": None,
    "Video-1234567Con": None,
    "Video-\u0665Con": None,  # a digit, but no number of ours
}


@pytest.mark.parametrize(("name", "limit"), NAMES.items(), ids=NAMES.keys())
def test_limit_by_a_packs_name(name: str, limit: int | None) -> None:
    assert limit_of([pack(name)]) == limit


def test_largest_of_several_packs_counts() -> None:
    assert limit_of([pack("a-5Con"), pack("silent"), pack("b-12Con")]) == 12


@pytest.mark.parametrize("status", ["toBeOnline", "expired", "runOut"])
def test_packs_that_are_not_in_use_do_not_count(status: str) -> None:
    assert limit_of([pack("a-20Con", status=status), pack("b-5Con")]) == 5


def test_no_pack_says_nothing() -> None:
    assert limit_of([]) is None

"""Many jobs, once each: over reruns, refusals, cancellation, and in the company of other batches on one journal."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from kling_async import (
    AccountError,
    AddressNotAllowed,
    ApiKey,
    AuthenticationError,
    Batch,
    ClientClosed,
    CreateUncertain,
    DownloadError,
    JournalError,
    KlingClient,
    KlingError,
    NotFound,
    NoVideo,
    OmniVideoRequest,
    Outcome,
    ReferenceVideo,
    RequestError,
    RetryPolicy,
    SlotPolicy,
    TaskFailed,
    TaskStatus,
    VideoExtendRequest,
    WaitTimeout,
)
from kling_async.runtime import journal as journal_module
from kling_async.runtime.carry import Step, noted
from kling_async.simulator import Fault, Simulator
from kling_async.spec import VIDEO_EXTEND_PATH
from kling_async.testing import wall

SOURCE = "original-video-id"


def jobs(*keys: str, **fields: str) -> dict[str, VideoExtendRequest]:
    return {key: VideoExtendRequest(video_id=SOURCE, prompt=key, **fields) for key in keys}


ABC = jobs("a", "b", "c")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite3"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    return folder


async def run(
    kling: KlingClient, path: Path, wanted: Mapping[str, VideoExtendRequest | OmniVideoRequest] = ABC, **options: Any
) -> dict[str, Outcome]:
    """The outcomes of one whole run, by key."""
    async with kling.batch(path, **options) as batch:
        return {outcome.key: outcome async for outcome in batch.run(wanted)}


def made(simulator: Simulator) -> Counter[str]:
    """How many tasks the vendor made for each job."""
    return Counter(str(create.fields["prompt"]) for create in simulator.accepted)


def ask(path: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(question).fetchall()


def states(path: Path) -> list[str]:
    return [state for (state,) in ask(path, "SELECT state FROM jobs ORDER BY place")]


def planned(key: str, simulator: Simulator) -> list[tuple[str, str, str]]:
    """What a batch puts into its journal first."""
    return [(key, simulator.url + VIDEO_EXTEND_PATH, noted(jobs(key)[key]))]


def leases(path: Path) -> int:
    return len(ask(path, "SELECT 1 FROM jobs WHERE owner IS NOT NULL"))


@asynccontextmanager
async def another(simulator: Simulator) -> AsyncIterator[KlingClient]:
    """A client as another process would have it."""
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall) as client:
        yield client


# --- when all goes well ----------------------------------------------------------------------------------------------


async def test_every_job_comes_out_with_its_task(kling: KlingClient, path: Path) -> None:
    outcomes = await run(kling, path)
    assert {key: outcome.ok for key, outcome in outcomes.items()} == {"a": True, "b": True, "c": True}
    assert all(outcome.task and outcome.task.status is TaskStatus.SUCCEED for outcome in outcomes.values())


async def test_every_job_is_made_once(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    await run(kling, path)
    assert made(simulator) == {"a": 1, "b": 1, "c": 1}


async def test_jobs_may_be_pairs_from_anywhere(kling: KlingClient, path: Path) -> None:
    async with kling.batch(path) as batch:
        assert {outcome.key async for outcome in batch.run(iter(ABC.items()))} == {"a", "b", "c"}


async def test_outcomes_come_as_they_are_reached(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.engine._task_seconds = lambda task: {"a": 300.0, "b": 100.0, "c": 200.0}[str(task.order.prompt)]
    assert list(await run(kling, path)) == ["b", "c", "a"]


async def test_no_jobs_are_no_outcomes(kling: KlingClient, path: Path) -> None:
    assert await run(kling, path, {}) == {}


async def test_one_batch_runs_several_times(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    async with kling.batch(path) as batch:
        for _ in range(2):
            assert len([outcome async for outcome in batch.run(ABC)]) == 3
    assert len(simulator.accepted) == 3


async def test_a_batch_can_be_entered_again(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    batch = kling.batch(path)
    for _ in range(2):
        async with batch:
            assert len([outcome async for outcome in batch.run(ABC)]) == 3
    assert len(simulator.accepted) == 3


async def test_steps_are_told_in_their_order(kling: KlingClient, path: Path, out: Path) -> None:
    steps: list[tuple[str, Step]] = []
    await run(kling, path, jobs("a"), out=out, on_step=lambda key, step: steps.append((key, step)))
    assert steps == [("a", step) for step in ("leased", "intent", "accepted", "ended", "saved")]


async def test_intent_is_on_disk_before_anything_is_sent(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    seen: list[tuple[list[str], int]] = []

    def look(_: str, step: Step) -> None:
        if step == "intent":
            seen.append((states(path), simulator.count("create")))

    await run(kling, path, jobs("a"), on_step=look)
    assert seen == [(["intent"], 0)]


async def test_accepted_is_on_disk_when_it_is_told(kling: KlingClient, path: Path) -> None:
    seen: list[str] = []
    await run(kling, path, jobs("a"), on_step=lambda _, step: seen.append(f"{step} {states(path)[0]}"))
    assert seen == ["leased planned", "intent intent", "accepted accepted", "ended succeeded"]


async def test_omni_jobs_run_beside_extensions(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    omni = OmniVideoRequest(
        model_name="kling-video-o1",
        prompt="<<<video_1>>> goes on",
        video_list=(ReferenceVideo(video_url="https://example.com/a.mp4"),),
    )
    outcomes = await run(kling, path, {**jobs("a"), "o": omni})
    assert [outcome.ok for outcome in outcomes.values()] == [True, True]
    assert {create.family for create in simulator.accepted} == {"video-extend", "omni-video"}
    assert all(outcome.ok for outcome in (await run(kling, path, {**jobs("a"), "o": omni})).values())


async def test_external_id_is_that_of_the_journal(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    outcome = (await run(kling, path, jobs("a")))["a"]
    assert outcome.task
    assert simulator.accepted[0].external_task_id == outcome.task.external_task_id
    assert ask(path, "SELECT external_id FROM jobs") == [(outcome.task.external_task_id,)]


async def test_slots_hold_for_batches_too(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.engine.slots = 2
    outcomes = await run(kling, path, jobs(*"abcdefgh"))
    assert all(outcome.ok for outcome in outcomes.values())
    assert simulator.engine.peak_in_flight == 2


async def test_repr_shows_the_journal_and_the_jobs_under_way(kling: KlingClient, path: Path) -> None:
    async with kling.batch(path) as batch, aclosing(_generator(batch)) as outcomes:
        assert repr(batch) == f"<Batch <Journal {path}, open>, 0 jobs under way>"
        await anext(outcomes)
        assert repr(batch).endswith("3 jobs under way>")


def _generator(batch: Batch, wanted: Mapping[str, VideoExtendRequest] = ABC) -> Any:
    return batch.run(wanted)


# --- reruns ----------------------------------------------------------------------------------------------------------


async def test_rerun_of_a_finished_batch_sends_nothing(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    first = await run(kling, path)
    before = simulator.engine.requests.total()
    again = await run(kling, path)
    assert simulator.engine.requests.total() == before
    assert {key: outcome.ok for key, outcome in again.items()} == {key: outcome.ok for key, outcome in first.items()}


async def test_rerun_gives_the_same_tasks(kling: KlingClient, path: Path) -> None:
    first, again = await run(kling, path), await run(kling, path)
    assert [again[key].task and again[key].task.id for key in ABC] == [  # type: ignore[union-attr]
        first[key].task and first[key].task.id  # type: ignore[union-attr]
        for key in ABC
    ]


async def test_new_jobs_join_old_ones(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    await run(kling, path, jobs("a", "b"))
    await run(kling, path, jobs("b", "c"))
    assert made(simulator) == {"a": 1, "b": 1, "c": 1}


async def test_row_43_intent_without_an_answer_is_asked_for(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    await run(kling, path, jobs("a"))
    ask(path, "UPDATE jobs SET state = 'intent', task = NULL")  # as a crash after the POST leaves it
    creates = simulator.count("create")
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert simulator.count("create") == creates


async def test_row_43_intent_that_never_left_is_sent(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    async with kling.batch(path) as batch:
        await batch._journal.plan(planned("a", simulator))
    ask(path, "UPDATE jobs SET state = 'intent'")
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert len(simulator.accepted) == 1


async def test_row_43_accepted_is_awaited(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    await run(kling, path, jobs("a"))
    ask(path, "UPDATE jobs SET state = 'accepted', task = json_set(task, '$.task_status', 'submitted')")
    creates = simulator.count("create")
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert simulator.count("create") == creates


async def test_journal_that_is_older_than_the_truth_adopts(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    await run(kling, path)
    ask(path, "UPDATE jobs SET state = 'planned', task = NULL")
    assert all(outcome.ok for outcome in (await run(kling, path)).values())
    assert made(simulator) == {"a": 1, "b": 1, "c": 1}


async def test_refused_job_says_so_and_is_tried_again(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    wanted = {"a": VideoExtendRequest(video_id="not-there-yet", prompt="a")}
    refused = (await run(kling, path, wanted))["a"]
    assert isinstance(refused.error, KlingError)
    assert (refused.error.created, refused.task, states(path)) == ("no", None, ["planned"])
    simulator.add_source(id="not-there-yet")
    assert (await run(kling, path, wanted))["a"].ok


async def test_one_refused_job_does_not_hinder_the_others(kling: KlingClient, path: Path) -> None:
    wanted = {"bad": VideoExtendRequest(video_id="not-there"), **ABC}
    outcomes = await run(kling, path, wanted)
    assert {key: outcome.ok for key, outcome in outcomes.items()} == {"bad": False, "a": True, "b": True, "c": True}


async def test_row_61_failed_job_is_told_again_and_not_made_again(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.fail_next(message="too dark")
    first = (await run(kling, path, jobs("a")))["a"]
    again = (await run(kling, path, jobs("a")))["a"]
    assert isinstance(first.error, TaskFailed)
    assert isinstance(again.error, TaskFailed)
    assert str(again.error) == str(first.error)
    assert len(simulator.accepted) == 1


async def test_row_61_failed_job_carries_its_task(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.fail_next()
    for outcome in ((await run(kling, path, jobs("a")))["a"], (await run(kling, path, jobs("a")))["a"]):
        assert outcome.task
        assert (outcome.task.status, outcome.error and outcome.error.created) == (TaskStatus.FAILED, "yes")


async def test_row_61_retry_failed_makes_it_anew_under_a_new_id(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.fail_next()
    await run(kling, path)
    assert all(outcome.ok for outcome in (await run(kling, path, retry_failed=True)).values())
    assert sorted(made(simulator).values()) == [1, 1, 2]
    [(again, _)] = made(simulator).most_common(1)
    ids = [create.external_task_id for create in simulator.accepted if create.fields["prompt"] == again]
    assert ids[1] == f"{ids[0]}-2"


async def test_row_61_what_fails_in_this_run_is_not_retried_by_it(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.fail_next(3)
    async with kling.batch(path, retry_failed=True) as batch:
        [outcome] = [outcome async for outcome in batch.run(jobs("a"))]
    assert (outcome.ok, len(simulator.accepted)) == (False, 1)


async def test_row_61_two_batches_do_not_both_retry(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.fail_next(5)
    await run(kling, path, jobs("a"))
    async with another(simulator) as other:
        await asyncio.gather(*(run(client, path, jobs("a"), retry_failed=True) for client in (kling, other)))
    assert len(simulator.accepted) == 2


async def test_timeout_detaches_and_a_rerun_goes_on(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    outcome = (await run(kling, path, jobs("a"), timeout=10))["a"]
    assert isinstance(outcome.error, WaitTimeout)
    assert outcome.task
    assert (outcome.task.id, outcome.error.created) == (simulator.accepted[0].task_id, "yes")
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert len(simulator.accepted) == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
async def test_timeout_that_is_none_is_refused(kling: KlingClient, path: Path, timeout: Any) -> None:
    with pytest.raises(RequestError, match="timeout"):
        kling.batch(path, timeout=timeout)


async def test_no_timeout_waits_for_ever(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.engine._task_seconds = 2_000.0
    assert (await run(kling, path, jobs("a"), timeout=None))["a"].ok


async def test_success_without_a_video_stays_an_error_until_there_is_one(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    def bare(envelope: Any) -> Any:
        for task in envelope["data"] if isinstance(envelope["data"], list) else [envelope["data"]]:
            task.pop("task_result", None)
        return envelope

    simulator.script(Fault.changed(bare, on="query", times=None))
    for _ in range(2):
        outcome = (await run(kling, path, jobs("a")))["a"]
        assert isinstance(outcome.error, NoVideo)
    simulator.clear_faults()
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert (states(path), len(simulator.accepted)) == (["succeeded"], 1)


async def test_create_in_doubt_is_told_as_unknown_and_settled_by_a_rerun(simulator: Simulator, path: Path) -> None:
    simulator.script(Fault.reset(on="create", after=True, times=None), Fault.reset(on="query", times=None))
    policy = RetryPolicy(settle_timeout=20)
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, retry=policy) as kling:
        outcome = (await run(kling, path, jobs("a")))["a"]
        assert isinstance(outcome.error, CreateUncertain)
        assert (outcome.error.created, states(path)) == ("unknown", ["intent"])
        simulator.clear_faults()
        assert (await run(kling, path, jobs("a")))["a"].ok
    assert len(simulator.accepted) == 1


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_same_key_for_another_request_is_refused(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    await run(kling, path, jobs("a"))
    with pytest.raises(JournalError, match="job 'a' stands for another request"):
        await run(kling, path, {**jobs("b"), "a": VideoExtendRequest(video_id=SOURCE, prompt="another")})
    assert len(simulator.accepted) == 1


BAD: list[tuple[Any, str]] = [
    ([("a", ABC["a"]), ("a", ABC["a"])], "'a' comes twice"),
    ({"": ABC["a"]}, "key"),
    ({7: ABC["a"]}, "key"),
    ({"\ud800": ABC["a"]}, "half of a surrogate pair"),
    ({"a": "a video's id"}, "job 'a': str is not allowed"),
    ({"a": None}, "job 'a': NoneType is not allowed"),
    ({"a": {"video_id": "v"}}, "job 'a': dict is not allowed"),
    ({"a": VideoExtendRequest(video_id="v", external_task_id="mine")}, "external_task_id must be left out"),
]


@pytest.mark.parametrize(("wanted", "told"), BAD, ids=[told for _, told in BAD])
async def test_bad_job_is_refused_before_anything_is_done(
    kling: KlingClient, simulator: Simulator, path: Path, wanted: Any, told: str
) -> None:
    async with kling.batch(path) as batch:
        with pytest.raises(RequestError, match=told):
            batch.run(wanted)
    assert (states(path), simulator.count("create")) == ([], 0)


async def test_folder_that_is_not_there_is_refused(kling: KlingClient, path: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no folder"):
        await run(kling, path, out=tmp_path / "nowhere")
    assert not path.exists()


async def test_batch_that_was_not_entered_says_so(kling: KlingClient, path: Path) -> None:
    with pytest.raises(JournalError, match="is closed"):
        await anext(_generator(kling.batch(path)))


async def test_row_58_no_journal_no_create(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    path.write_text("this is not a journal")
    with pytest.raises(JournalError):
        await run(kling, path)
    assert simulator.count("create") == 0


async def test_row_58_journal_that_fills_up_stops_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    async with kling.batch(path) as batch:
        await batch._journal._on_thread(lambda: batch._journal._run("PRAGMA max_page_count = 1"))
        with pytest.raises(JournalError, match="disk is full") as caught:
            [outcome async for outcome in batch.run(jobs(*map(str, range(300))))]
    assert (caught.value.created, simulator.count("create")) == ("no", 0)


Noting = Callable[..., Awaitable[None]]


def broken_at(monkeypatch: pytest.MonkeyPatch, state: str, error: type[JournalError] = JournalError) -> None:
    """A journal that cannot note this state."""
    note = journal_module.Journal.note

    async def broken(self: journal_module.Journal, key: str, noted: str, **values: Any) -> None:
        if noted == state:
            raise error("the disk is full")
        await note(self, key, noted, **values)

    monkeypatch.setattr(journal_module.Journal, "note", broken)


async def test_row_58_intent_that_cannot_be_noted_is_not_sent(
    kling: KlingClient, simulator: Simulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(monkeypatch, "intent")
    with pytest.raises(JournalError) as caught:
        await run(kling, path)
    assert (caught.value.created, simulator.count("create")) == ("no", 0)


async def test_row_58_intent_in_doubt_that_cannot_be_noted_stops_the_batch_too(
    kling: KlingClient, simulator: Simulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kling.batch(path) as batch:
        await batch._journal.plan(planned("a", simulator))
    ask(path, "UPDATE jobs SET state = 'intent'")
    broken_at(monkeypatch, "intent")
    with pytest.raises(JournalError) as caught:
        await run(kling, path, jobs("a"))
    assert (caught.value.created, simulator.count("create")) == ("unknown", 0)


@pytest.mark.parametrize("state", ["accepted", "succeeded"])
async def test_row_58_what_cannot_be_noted_was_created_all_the_same(
    kling: KlingClient, simulator: Simulator, path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    with monkeypatch.context() as patch:
        broken_at(patch, state)
        with pytest.raises(JournalError) as caught:
            await run(kling, path, jobs("a"))
    assert (caught.value.created, caught.value.task_id) == ("yes", simulator.accepted[0].task_id)
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert len(simulator.accepted) == 1


async def test_journal_error_stops_what_is_under_way(
    kling: KlingClient, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(monkeypatch, "succeeded")
    async with kling.batch(path) as batch:
        with pytest.raises(JournalError):
            [outcome async for outcome in batch.run(ABC)]
        assert repr(batch).endswith(" 0 jobs under way>")


@pytest.mark.parametrize("text", ["{", "[]", '{"task_status": "succeed"}', None])
async def test_task_that_was_damaged_in_the_journal_stops_the_batch(
    kling: KlingClient, simulator: Simulator, path: Path, text: str | None
) -> None:
    await run(kling, path, jobs("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE jobs SET task = ?", (text,))
    with pytest.raises(JournalError, match="job 'a' is succeeded, but its task in the journal is damaged"):
        await run(kling, path, jobs("a"))
    assert len(simulator.accepted) == 1


async def test_fault_of_the_hook_is_told(kling: KlingClient, path: Path) -> None:
    def faulty(_: str, __: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(kling, path, on_step=faulty)
    assert leases(path) == 0


# --- the account -----------------------------------------------------------------------------------------------------


async def test_row_17_empty_account_stops_all_creates(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.script(Fault.code(1102, on="create", times=None))
    outcomes = await run(kling, path, jobs(*map(str, range(100))))
    assert simulator.count("create") == 1
    assert all(isinstance(outcome.error, AccountError) for outcome in outcomes.values())


async def test_row_17_what_was_not_sent_says_so(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.script(Fault.code(1102, on="create", times=None))
    outcomes = await run(kling, path, jobs(*map(str, range(100))))
    errors = [outcome.error for outcome in outcomes.values() if outcome.error]
    assert {error.created for error in errors} == {"no"}
    told = [error for error in errors if error.message.startswith("not sent, since another create was refused: ")]
    assert len(told) == 99
    assert all(error.message.count("not sent") == 1 and error.attempts == 0 for error in told)


async def test_row_17_each_says_its_own_id(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.script(Fault.code(1102, on="create", times=None))
    outcomes = await run(kling, path, jobs(*map(str, range(20))))
    assert len({outcome.error.external_task_id for outcome in outcomes.values() if outcome.error}) == 20


async def test_row_17_paid_jobs_come_out_and_the_rest_in_a_rerun(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.script(Fault.none(on="create", times=2), Fault.code(1304, on="create", times=None))
    wanted = jobs(*map(str, range(10)))
    first = await run(kling, path, wanted)
    assert sum(outcome.ok for outcome in first.values()) == 2
    assert {type(outcome.error) for outcome in first.values() if outcome.error} == {AddressNotAllowed}
    simulator.clear_faults()
    assert all(outcome.ok for outcome in (await run(kling, path, wanted)).values())
    assert set(made(simulator).values()) == {1}


async def test_row_17_account_that_empties_midway_keeps_what_was_paid(simulator: Simulator, path: Path) -> None:
    policy = SlotPolicy(limit=2)
    simulator.engine._ledger.remaining = simulator.engine._ledger.total * 0 + 8  # four tasks
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, slots=policy) as kling:
        outcomes = await run(kling, path, jobs(*map(str, range(10))))
    assert sum(outcome.ok for outcome in outcomes.values()) == len(simulator.accepted) == 4
    assert simulator.engine.refused[1102] <= 2


async def test_row_17_who_comes_after_the_refusal_does_not_send(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    async with kling.batch(path) as batch:
        await batch._journal.plan(planned("b", simulator))
    ask(path, f"UPDATE jobs SET owner = 'elsewhere:1:x', leased_until = {wall() + 5}")  # noqa: S608
    simulator.script(Fault.code(1102, on="create"))
    outcomes = await run(kling, path, jobs("a", "b"))
    error = outcomes["b"].error
    assert isinstance(error, AccountError)
    assert (error.created, error.attempts, simulator.count("create")) == ("no", 0, 1)
    assert error.message.startswith("not sent, since another create was refused: ")


async def test_row_17_a_new_run_of_the_same_batch_tries_again(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.script(Fault.code(1102, on="create"))
    async with kling.batch(path) as batch:
        assert not any([outcome.ok async for outcome in batch.run(ABC)])
        assert all([outcome.ok async for outcome in batch.run(ABC)])


# --- films -----------------------------------------------------------------------------------------------------------


async def test_films_are_saved_by_their_keys(kling: KlingClient, path: Path, out: Path) -> None:
    outcomes = await run(kling, path, out=out)
    assert sorted(file.name for file in out.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]
    assert outcomes["a"].path == out / "a.mp4"
    assert (out / "a.mp4").read_bytes()[4:8] == b"ftyp"


async def test_rerun_with_the_films_sends_nothing(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path
) -> None:
    await run(kling, path, out=out)
    before = simulator.engine.requests.total()
    outcomes = await run(kling, path, out=out)
    assert simulator.engine.requests.total() == before
    assert outcomes["b"].path == out / "b.mp4"


async def test_row_31_film_that_could_not_be_saved_is_saved_by_a_rerun(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path
) -> None:
    simulator.script(Fault.html(404, on="file", times=None))
    outcome = (await run(kling, path, jobs("a"), out=out))["a"]
    assert isinstance(outcome.error, DownloadError)
    assert outcome.task
    assert (outcome.error.created, outcome.error.task_id, outcome.path) == ("yes", outcome.task.id, None)
    simulator.clear_faults()
    assert (await run(kling, path, jobs("a"), out=out))["a"].path == out / "a.mp4"
    assert len(simulator.accepted) == 1


async def test_film_that_was_deleted_is_fetched_again(kling: KlingClient, path: Path, out: Path) -> None:
    await run(kling, path, jobs("a"), out=out)
    (out / "a.mp4").unlink()
    assert (await run(kling, path, jobs("a"), out=out))["a"].ok
    assert (out / "a.mp4").exists()


async def test_films_may_be_asked_for_later(kling: KlingClient, simulator: Simulator, path: Path, out: Path) -> None:
    await run(kling, path)
    await run(kling, path, out=out)
    assert (len(list(out.iterdir())), len(simulator.accepted)) == (3, 3)


async def test_task_that_the_vendor_forgot_is_told(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path
) -> None:
    await run(kling, path, jobs("a"))
    simulator.script(Fault.code(1203, on="get", times=None))
    outcome = (await run(kling, path, jobs("a"), out=out))["a"]
    assert isinstance(outcome.error, NotFound)
    assert outcome.error.created == "yes"


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a\0b", "x" * 5_000, "..", "映画 1", "-rf", "con"], ids=ascii)
async def test_hostile_key_stays_in_the_folder(kling: KlingClient, path: Path, out: Path, key: str) -> None:
    outcome = (await run(kling, path, {key: VideoExtendRequest(video_id=SOURCE)}, out=out))[key]
    assert outcome.path
    assert list(out.iterdir()) == [outcome.path]
    assert sorted(file.name for file in out.parent.iterdir()) == ["films", "run.sqlite3"]


async def test_keys_that_differ_in_case_alone_have_two_films(kling: KlingClient, path: Path, out: Path) -> None:
    await run(kling, path, jobs("film", "Film", "FILM"), out=out)
    assert len({file.name.lower() for file in out.iterdir()}) == 3


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_no_signature_and_no_key_is_in_the_journal(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    def sign(envelope: Any) -> Any:
        for task in envelope["data"] if isinstance(envelope["data"], list) else [envelope["data"]]:
            for video in task.get("task_result", {}).get("videos", ()):
                video["url"] += "?sign=planted-secret-1"
                video["watermark_url"] = video["url"]
        return envelope

    simulator.script(Fault.changed(sign, on="query", times=None))
    signed = "https://example.com/a.mp4?sign=planted-secret-2"
    omni = OmniVideoRequest(
        model_name="kling-video-o1",
        prompt=f"<<<video_1>>> as in {signed}",
        video_list=(ReferenceVideo(video_url=signed),),
    )
    wanted: dict[str, VideoExtendRequest | OmniVideoRequest] = {
        **jobs("a", callback_url="https://example.com/hook?token=planted-secret-3"),
        "o": omni,
    }
    async with kling.batch(path) as batch:
        outcomes = [outcome async for outcome in batch.run(wanted)]
        files = [path, path.with_name(path.name + "-wal")]
        kept = b"".join(file.read_bytes() for file in files)
    assert all(outcome.ok for outcome in outcomes)
    assert b"example.com" in kept
    assert b"planted-secret" not in kept
    assert simulator.api_key.encode() not in kept


async def test_another_signature_is_another_request(kling: KlingClient, path: Path) -> None:
    def to(url: str) -> dict[str, VideoExtendRequest]:
        return {"a": VideoExtendRequest(video_id=SOURCE, callback_url=url)}

    await run(kling, path, to("https://example.com/?a"))
    assert (await run(kling, path, to("https://example.com/?a")))["a"].ok
    with pytest.raises(JournalError, match="another request"):
        await run(kling, path, to("https://example.com/?b"))


# --- leaving ---------------------------------------------------------------------------------------------------------


def first_ends_alone(simulator: Simulator) -> None:
    simulator.engine._task_seconds = lambda task: 60.0 if task.number == 0 else 600.0


def nothing_left(path: Path) -> None:
    """No lease, no thread, no file of SQLite's."""
    for thread in threading.enumerate():
        if "kling_async journal" in thread.name:
            thread.join(5)
            assert not thread.is_alive()
    assert not list(path.parent.glob("*.sqlite3-*"))
    assert leases(path) == 0


async def test_break_ends_the_rest_and_a_rerun_goes_on(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    async with kling.batch(path) as batch:
        async for _ in batch.run(ABC):
            break
    nothing_left(path)
    assert len(await run(kling, path)) == 3
    assert set(made(simulator).values()) == {1}


async def test_break_gives_the_leases_back_at_once(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    first_ends_alone(simulator)
    async with kling.batch(path) as batch:
        async with aclosing(_generator(batch)) as outcomes:
            await anext(outcomes)
        assert leases(path) == 0
        assert repr(batch).endswith(" 0 jobs under way>")


async def test_error_of_the_caller_ends_the_rest(kling: KlingClient, path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with kling.batch(path) as batch:
            async for _ in batch.run(ABC):
                raise ZeroDivisionError
    gc.collect()
    nothing_left(path)


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_cancelled_anywhere_it_leaves_nothing_behind(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path, turns: int
) -> None:
    before = asyncio.all_tasks()
    running = asyncio.create_task(run(kling, path, out=out))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    await kling.close()
    assert asyncio.all_tasks() == before
    if path.exists():
        nothing_left(path)
    assert all(outcome.ok for outcome in (await run(kling, path, out=out)).values())
    assert set(made(simulator).values()) == {1}


@pytest.mark.parametrize("seconds", [0.5, 10.0, 59.9, 62.5])
async def test_cancelled_at_any_time_it_goes_on(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path, seconds: float
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await run(kling, path, {**ABC, **jobs("d")}, out=out)
            await asyncio.Event().wait()
    nothing_left(path)
    assert len(await run(kling, path, {**ABC, **jobs("d")}, out=out)) == 4
    assert set(made(simulator).values()) == {1}


async def test_cancelled_again_while_it_leaves_it_leaves_nothing_behind(kling: KlingClient, path: Path) -> None:
    running = asyncio.create_task(run(kling, path))
    await asyncio.sleep(10)
    running.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
        running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await asyncio.sleep(0.1)
    nothing_left(path)


async def test_whoever_iterates_on_after_the_batch_is_told(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    first_ends_alone(simulator)
    async with kling.batch(path) as batch:
        outcomes = _generator(batch)
        await anext(outcomes)
    with pytest.raises(ClientClosed, match="a rerun goes on"):
        await anext(outcomes)


def test_batch_is_left_and_entered_in_two_loops(path: Path) -> None:
    kling = KlingClient.simulated()
    batch = kling.batch(path)

    async def begin() -> None:
        async with kling, batch:
            outcomes = _generator(batch, jobs("a"))
            asking = asyncio.ensure_future(anext(outcomes))
            await asyncio.sleep(0.1)
            asking.cancel()

    for _ in range(2):
        asyncio.run(begin())
    nothing_left(path)


async def test_client_that_closes_ends_the_jobs_with_the_truth(kling: KlingClient, path: Path) -> None:
    async with kling.batch(path) as batch:
        asyncio.get_running_loop().call_later(10, lambda: asyncio.ensure_future(kling.close()))
        outcomes = [outcome async for outcome in batch.run(ABC)]
    assert all(isinstance(outcome.error, ClientClosed) for outcome in outcomes)
    assert {outcome.error.created for outcome in outcomes if outcome.error} == {"yes"}
    assert all(outcome.task for outcome in outcomes)


# --- company ---------------------------------------------------------------------------------------------------------


async def test_row_59_two_batches_in_one_process_make_each_job_once(
    kling: KlingClient, simulator: Simulator, path: Path, out: Path
) -> None:
    async with another(simulator) as other:
        both = await asyncio.gather(*(run(client, path, jobs(*"abcdefgh"), out=out) for client in (kling, other)))
    assert made(simulator) == dict.fromkeys("abcdefgh", 1)
    assert [sum(outcome.ok for outcome in outcomes.values()) for outcomes in both] == [8, 8]


async def test_row_59_they_share_the_work(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    async with another(simulator) as other:
        mine, theirs = await asyncio.gather(run(kling, path, jobs("a", "b")), run(other, path, jobs("b", "c")))
    assert made(simulator) == {"a": 1, "b": 1, "c": 1}
    assert all(outcome.ok for outcome in [*mine.values(), *theirs.values()])


async def test_row_59_lease_is_kept_for_as_long_as_the_job_takes(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    simulator.engine._task_seconds = 100.0
    steps: list[Step] = []
    async with another(simulator) as other:
        mine = asyncio.create_task(run(kling, path, jobs("a")))
        await asyncio.sleep(5)
        assert (await run(other, path, jobs("a"), on_step=lambda _, step: steps.append(step)))["a"].ok
        assert mine.done()
        await mine
    assert (steps, len(simulator.accepted)) == (["leased"], 1)


async def test_row_59_whoever_slept_over_its_lease_looks_on(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    async with another(simulator) as other:
        mine = asyncio.create_task(run(kling, path, jobs("a")))
        await asyncio.sleep(5)
        ask(path, "UPDATE jobs SET leased_until = 0")  # as if this process had slept for long
        theirs = await run(other, path, jobs("a"))
        assert (await mine)["a"].ok
    assert theirs["a"].ok
    assert len(simulator.accepted) == 1


async def test_row_59_whoever_lost_its_lease_before_it_sent_does_not_send(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    def rob(_: str, step: Step) -> None:
        if step == "leased":
            ask(path, f"UPDATE jobs SET owner = 'elsewhere:1:x', leased_until = {wall() + 5}")  # noqa: S608

    robbed: list[Step] = []

    def once(key: str, step: Step) -> None:
        if not robbed:
            rob(key, step)
        robbed.append(step)

    assert (await run(kling, path, jobs("a"), on_step=once))["a"].ok
    assert robbed == ["leased", "leased", "intent", "accepted", "ended"]
    assert simulator.count("create") == 1


async def test_heart_that_misses_a_beat_beats_on(
    kling: KlingClient,
    simulator: Simulator,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulator.engine._task_seconds = 100.0
    beats: list[float] = []

    async def faint(_: journal_module.Journal) -> None:
        beats.append(asyncio.get_running_loop().time())
        raise JournalError("the disk is full")

    monkeypatch.setattr(journal_module.Journal, "renew", faint)
    assert (await run(kling, path, jobs("a")))["a"].ok
    assert len(beats) >= 9
    assert "could not be renewed: the disk is full" in caplog.text


TWO_PROCESSES = """
import asyncio, sys
from kling_async import ApiKey, KlingClient, PollPolicy, VideoExtendRequest
async def main():
    jobs = {str(n): VideoExtendRequest(video_id="original-video-id", prompt=str(n)) for n in range(20)}
    client = KlingClient(ApiKey("simulated-api-key"), base_url=sys.argv[1], polling=PollPolicy(interval=0.1))
    async with client as kling, kling.batch(sys.argv[2]) as batch:
        print(sum([outcome.ok async for outcome in batch.run(jobs)]))
asyncio.run(main())
"""


@pytest.mark.real_time
async def test_row_59_two_processes_make_each_job_once(path: Path) -> None:
    async def process() -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", TWO_PROCESSES, simulator.url, path, stdout=subprocess.PIPE
        )
        told, _ = await child.communicate()
        return told.strip()

    async with Simulator(task_seconds=0.2, submitted_seconds=0.05) as simulator:
        told = await asyncio.gather(process(), process())
    assert set(told) == {b"20"}
    assert made(simulator) == {str(n): 1 for n in range(20)}


def test_outcome_is_a_frozen_value() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Outcome("a").key = "b"  # type: ignore[misc]


async def test_tasks_of_an_earlier_run_hold_their_slots(simulator: Simulator, path: Path) -> None:
    simulator.engine.slots = 2
    settings: dict[str, Any] = {"base_url": simulator.url, "wall": wall, "slots": SlotPolicy(limit=2)}
    async with (
        KlingClient(ApiKey(simulator.api_key), **settings) as kling,
        kling.batch(path, timeout=1.0) as batch,
        aclosing(_generator(batch, jobs("a", "b", "c", "d"))) as outcomes,
    ):
        async for outcome in outcomes:  # two tasks are made, and left running
            if outcome.key == "b":
                break
    async with KlingClient(ApiKey(simulator.api_key), **settings) as kling:
        await run(kling, path, jobs("a", "b", "c", "d"))
    assert (len(simulator.accepted), simulator.refused[1303]) == (4, 0)


async def test_wrong_credentials_are_asked_with_once(simulator: Simulator, path: Path) -> None:
    async with KlingClient(ApiKey("wrong-api-key"), base_url=simulator.url, wall=wall) as kling:
        outcomes = await run(kling, path, jobs(*map(str, range(30))))
    assert {type(outcome.error) for outcome in outcomes.values()} == {AuthenticationError}
    assert simulator.count("create") == 1


@pytest.mark.parametrize("given", [["a"], [("a",)], [7]])
async def test_what_is_no_pair_of_key_and_request_is_refused(kling: KlingClient, path: Path, given: Any) -> None:
    with pytest.raises(RequestError, match=r"jobs: .*must be a mapping of requests by key"):
        kling.batch(path).run(given)


async def test_what_a_simulator_made_is_not_taken_for_done_elsewhere(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    await run(kling, path)
    async with Simulator(clock=wall) as elsewhere, another(elsewhere) as other:
        with pytest.raises(JournalError, match=f"job 'a' was begun at {simulator.url[7:]}; name another file"):
            await run(other, path)
        live = KlingClient(ApiKey("an-api-key"))
        with pytest.raises(JournalError, match="was begun at 127"):
            await live.batch(path).dry_run(ABC)
        assert elsewhere.accepted == []


async def test_what_the_vendor_made_is_not_taken_for_done_at_a_simulator(kling: KlingClient, path: Path) -> None:
    journal = journal_module.Journal(path, wall)
    await journal.open()
    await journal.plan([("a", VIDEO_EXTEND_PATH, noted(ABC["a"]))])
    await journal.close()
    with pytest.raises(JournalError, match="job 'a' was begun at the vendor's"):
        await run(kling, path)

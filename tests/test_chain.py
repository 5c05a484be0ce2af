"""Films of a given length, over real sockets: each step paid once, none in vain, and none lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import av
import pytest

from kling_async import (
    AccountError,
    ApiKey,
    Chain,
    CreateUncertain,
    InvalidRequest,
    JournalError,
    KlingClient,
    NoVideo,
    RequestError,
    RetryPolicy,
    Task,
    TaskFailed,
    Video,
    WaitTimeout,
)
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

SOURCE = Video("original-video-id", duration=Decimal(5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.sqlite3"


async def steps_of(chain: Chain) -> list[Task]:
    return [task async for task in chain]


def sources(simulator: Simulator) -> list[object]:
    """What each create extended, in their order."""
    return [create.fields["video_id"] for create in simulator.accepted]


def prompts(simulator: Simulator) -> list[object]:
    return [create.fields.get("prompt") for create in simulator.accepted]


@asynccontextmanager
async def another(simulator: Simulator, **options: Any) -> AsyncIterator[KlingClient]:
    """A client as another process would have it."""
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, **options) as client:
        yield client


# --- the usual course ------------------------------------------------------------------------------------------------


async def test_a_film_grows_to_its_length(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=60)
    said = chain.plan
    steps = await steps_of(chain)
    durations = [task.video.duration or Decimal(0) for task in steps]
    assert said.fewest <= len(steps) == len(simulator.accepted) <= said.most
    assert said.shortest <= durations[-1] <= said.longest
    assert durations == sorted(durations)
    assert durations[-2] < 60 <= durations[-1]
    assert sources(simulator) == [SOURCE.id, *(task.video.id for task in steps[:-1])]


async def test_nothing_is_sent_before_the_first_step(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=60)
    assert (chain.plan.fewest, chain.plan.most, chain.units, chain.video) == (11, 14, Decimal(0), SOURCE)
    assert simulator.engine.requests.total() == 0


async def test_the_plan_is_what_is_left(kling: KlingClient) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=20)
    async for task in chain:
        assert chain.video == task.video
        assert chain.plan.start == task.video.duration
    assert chain.plan.most == 0


async def test_a_bare_id_is_measured_by_the_first_step(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE.id, seconds=14)
    assert chain.plan.start is None
    steps = await steps_of(chain)
    assert 2 <= len(steps) == len(simulator.accepted) <= 3


async def test_a_task_stands_for_its_video(kling: KlingClient, simulator: Simulator) -> None:
    first = await kling.video_extend.run(SOURCE)
    chain = kling.video_extend.extend_to(first, seconds=13)
    assert chain.plan.start == first.video.duration
    [step] = await steps_of(chain)
    assert sources(simulator)[1] == first.video.id
    assert step.video == chain.video


async def test_a_film_that_is_long_enough_takes_no_step(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(attrs.evolve(SOURCE, duration=Decimal(60)), seconds=60)
    assert await steps_of(chain) == []
    assert simulator.engine.requests.total() == 0


async def test_up_to_the_bound_no_step_is_refused(kling: KlingClient, simulator: Simulator) -> None:
    source = simulator.add_source(duration=160)
    steps = await steps_of(kling.video_extend.extend_to(Video(source, duration=Decimal(160)), seconds=180))
    assert 176 < (steps[-1].video.duration or 0) <= 180
    assert not simulator.refused


async def test_units_are_added_up_exactly(kling: KlingClient) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=14, mode="pro")
    steps = await steps_of(chain)
    assert chain.units == len(steps) * Decimal("3.5")


# --- what each step asks for -----------------------------------------------------------------------------------------


async def test_one_prompt_serves_all_steps(kling: KlingClient, simulator: Simulator) -> None:
    await steps_of(kling.video_extend.extend_to(SOURCE, seconds=14, prompts="On and on"))
    assert set(prompts(simulator)) == {"On and on"}


async def test_each_step_has_its_prompt_and_the_last_one_serves_the_rest(
    kling: KlingClient, simulator: Simulator
) -> None:
    await steps_of(kling.video_extend.extend_to(SOURCE, seconds=25, prompts=["A storm", "It passes"]))
    assert prompts(simulator) == ["A storm", *["It passes"] * (len(simulator.accepted) - 1)]


async def test_without_a_prompt_none_is_sent(kling: KlingClient, simulator: Simulator) -> None:
    await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9))
    assert prompts(simulator) == [None]


async def test_every_step_has_the_model_mode_and_callback(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(
        SOURCE, seconds=14, model_name="kling-v1-6", mode="pro", callback_url="http://127.0.0.1:9/hook"
    )
    await steps_of(chain)
    for create in simulator.accepted:
        assert (create.fields["model_name"], create.fields["mode"]) == ("kling-v1-6", "pro")
        assert create.fields["callback_url"] == "http://127.0.0.1:9/hook"


# --- what is refused before anything is sent -------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"seconds": 0}, r"seconds: 0 \(int\)"),
    ({"seconds": Decimal("NaN")}, "seconds: nan"),
    ({"seconds": "60"}, r"seconds: '60' \(str\)"),
    ({"seconds": 180.5}, r"seconds: 180\.5 are too many; .* at most 180"),
    ({"prompts": []}, "prompts: list is not allowed; it must be a text, or a list of at least one"),
    ({"prompts": ["fine", 7]}, r"prompt: 7 \(int\)"),
    ({"prompts": "x" * 2501}, r"prompt: 2,501 characters"),
    ({"mode": "best"}, "mode: 'best'"),
    ({"key": "film-1"}, "key: names a chain in a journal; give the journal too"),
    ({"key": "", "journal": "film.sqlite3"}, "key: ''"),
    ({"timeout": -1}, "timeout: -1"),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_arguments_are_refused_at_once(given: dict[str, Any], told: str) -> None:
    kling = KlingClient(ApiKey("an-api-key"))
    with pytest.raises(RequestError, match=told):
        kling.video_extend.extend_to(SOURCE, **({"seconds": 60} | given))


@pytest.mark.parametrize("source", ["", None, 7])
def test_wrong_source_is_refused_at_once(source: Any) -> None:
    with pytest.raises(RequestError, match=r"source|video_id"):
        KlingClient(ApiKey("an-api-key")).video_extend.extend_to(source, seconds=60)


def test_a_film_without_room_for_a_step_is_refused_at_once() -> None:
    with pytest.raises(RequestError, match=r"has 177 s; with 4 s more it would pass the vendor's 180 s"):
        KlingClient(ApiKey("an-api-key")).video_extend.extend_to(Video("v", duration=Decimal(177)), seconds=180)


# --- bad weather -----------------------------------------------------------------------------------------------------


async def test_what_was_finished_before_a_failure_stays(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=25)
    seen: list[Task] = []
    with pytest.raises(TaskFailed, match="no luck"):
        async for task in chain:
            seen.append(task)
            if len(seen) == 2:
                simulator.fail_next(message="no luck")
    assert chain.video == seen[1].video
    assert chain.units == 4


async def test_walked_again_it_takes_the_failed_step_anew(kling: KlingClient, simulator: Simulator) -> None:
    simulator.fail_next()
    chain = kling.video_extend.extend_to(SOURCE, seconds=9)
    with pytest.raises(TaskFailed):
        await steps_of(chain)
    [task] = await steps_of(chain)
    assert sources(simulator) == [SOURCE.id, SOURCE.id]
    assert chain.video == task.video


async def test_a_step_that_was_still_running_is_awaited_again(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=9, timeout=40)
    with pytest.raises(WaitTimeout):
        await steps_of(chain)
    [task] = await steps_of(chain)
    assert [create.task_id for create in simulator.accepted] == [task.id]


async def test_a_step_in_doubt_is_settled_by_the_next_walk(simulator: Simulator) -> None:
    async with another(simulator, retry=RetryPolicy(settle_timeout=20)) as kling:
        chain = kling.video_extend.extend_to(SOURCE, seconds=9)
        simulator.script(Fault.reset(on="create", after=True), Fault.html(502, on="get", times=100))
        with pytest.raises(CreateUncertain):
            await steps_of(chain)
        simulator.clear_faults()
        [task] = await steps_of(chain)
    assert [create.task_id for create in simulator.accepted] == [task.id]


async def test_a_cancelled_step_is_found_by_the_next_walk(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=9)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await steps_of(chain)
    [task] = await steps_of(chain)
    assert [create.task_id for create in simulator.accepted] == [task.id]


async def test_left_early_it_goes_on_where_it_was(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=20)
    async for _ in chain:
        break
    first = chain.video
    rest = await steps_of(chain)
    assert sources(simulator) == [SOURCE.id, first.id, *(task.video.id for task in rest[:-1])]


async def test_two_walks_at_once_are_refused(kling: KlingClient, simulator: Simulator) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=9)
    first, second = await asyncio.gather(steps_of(chain), steps_of(chain), return_exceptions=True)
    assert isinstance(first, list)
    assert isinstance(second, RequestError)
    assert "a step is under way already" in str(second)
    assert len(simulator.accepted) == 1


async def test_a_film_of_which_nobody_tells_the_length_is_not_extended_again(
    kling: KlingClient, simulator: Simulator
) -> None:
    def silent(answer: dict[str, Any]) -> Any:
        tasks = answer["data"] if isinstance(answer["data"], list) else [answer["data"]]
        for task in tasks:
            for video in task.get("task_result", {}).get("videos", []):
                del video["duration"]
        return answer

    simulator.script(*(Fault.changed(silent, on=name, times=100) for name in ("get", "list")))
    chain = kling.video_extend.extend_to(SOURCE, seconds=60)
    steps: list[Task] = []
    with pytest.raises(NoVideo, match="did not tell how long the video of task") as caught:
        async for task in chain:
            steps.append(task)
    assert [task.id for task in steps] == [caught.value.task.id]
    with pytest.raises(NoVideo):
        await steps_of(chain)
    assert len(simulator.accepted) == 1


async def test_repr_tells_how_far_it_is(kling: KlingClient) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=9)
    assert repr(chain) == "<Chain 0 steps done, 1 step, from 5 s to between 9 and 10 s>"


# --- with a journal --------------------------------------------------------------------------------------------------


async def test_a_journal_goes_on_in_another_process(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    begun = kling.video_extend.extend_to(SOURCE, seconds=20, journal=path)
    async for _ in begun:
        break
    async with another(simulator) as other:
        chain = other.video_extend.extend_to(SOURCE, seconds=20, journal=path)
        steps = await steps_of(chain)
    assert steps[0].video.id == begun.video.id
    assert sources(simulator) == [SOURCE.id, *(task.video.id for task in steps[:-1])]
    assert chain.units == 2 * len(steps)


async def test_a_finished_chain_sends_no_create(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    first = await steps_of(kling.video_extend.extend_to(SOURCE, seconds=14, journal=path))
    again = await steps_of(kling.video_extend.extend_to(SOURCE, seconds=14, journal=path))
    assert [task.id for task in again] == [task.id for task in first]
    assert simulator.count("create") == len(first)


async def test_a_finished_chain_can_be_made_longer(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    first = await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9, journal=path))
    longer = await steps_of(kling.video_extend.extend_to(SOURCE, seconds=20, journal=path))
    assert longer[0].id == first[0].id
    assert len(simulator.accepted) == len(longer)


async def test_a_killed_create_is_settled_by_the_journal(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    simulator.script(Fault.slow(60, on="create"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9, journal=path))
    async with another(simulator) as other:
        [task] = await steps_of(other.video_extend.extend_to(SOURCE, seconds=9, journal=path))
    assert [create.task_id for create in simulator.accepted] == [task.id]


async def test_two_processes_on_one_chain_pay_each_step_once(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    async with another(simulator) as other:
        one, two = await asyncio.gather(
            *(steps_of(each.video_extend.extend_to(SOURCE, seconds=20, journal=path)) for each in (kling, other))
        )
    assert [task.id for task in one] == [task.id for task in two]
    assert len(simulator.accepted) == len(one)


async def test_another_story_under_the_same_name_is_refused(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9, journal=path, prompts="One"))
    with pytest.raises(JournalError, match="stands for another request"):
        await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9, journal=path, prompts="Another"))
    assert len(simulator.accepted) == 1


async def test_several_chains_share_a_journal_by_their_keys(
    kling: KlingClient, simulator: Simulator, path: Path
) -> None:
    chains = [
        kling.video_extend.extend_to(SOURCE, seconds=14, journal=path, key=key, prompts=key) for key in ("a", "b")
    ]
    walks = await asyncio.gather(*map(steps_of, chains))
    assert len(simulator.accepted) == sum(map(len, walks))
    assert set(prompts(simulator)) == {"a", "b"}


@pytest.mark.parametrize("anew", [True, False])
async def test_a_step_that_failed_before_is_paid_anew_only_where_that_is_asked_for(
    kling: KlingClient, simulator: Simulator, path: Path, anew: bool
) -> None:
    simulator.fail_next(message="no luck")
    with pytest.raises(TaskFailed):
        await steps_of(kling.video_extend.extend_to(SOURCE, seconds=9, journal=path))
    chain = kling.video_extend.extend_to(SOURCE, seconds=9, journal=path, retry_failed=anew)
    if anew:
        assert len(await steps_of(chain)) == 1
    else:
        with pytest.raises(TaskFailed, match="no luck"):
            await steps_of(chain)
    assert len(simulator.accepted) == 1 + anew


@pytest.mark.parametrize("code", [1102, 1201])
async def test_a_refusal_is_told_and_the_chain_stays_where_it_was(
    kling: KlingClient, simulator: Simulator, path: Path, code: int
) -> None:
    simulator.script(Fault.code(code, on="create"))
    chain = kling.video_extend.extend_to(SOURCE, seconds=9, journal=path)
    with pytest.raises((AccountError, InvalidRequest)) as caught:
        await steps_of(chain)
    assert caught.value.created == "no"
    assert len(await steps_of(chain)) == len(simulator.accepted) == 1


# --- a process that is killed ----------------------------------------------------------------------------------------

CHILD = """
import asyncio, os, signal, sys
from decimal import Decimal
from kling_async import ApiKey, KlingClient, PollPolicy, Video

async def main(url, journal, kill_at):
    client = KlingClient(ApiKey("simulated-api-key"), base_url=url, polling=PollPolicy(interval=0.05))
    async with client as kling:
        source = Video("original-video-id", duration=Decimal(5))
        steps = 0
        async for task in kling.video_extend.extend_to(source, seconds=30, journal=journal):
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        print(task.video.duration)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.real_time
async def test_a_killed_chain_goes_on(path: Path) -> None:
    async def child(url: str, *, kill_at: int) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, url, str(path), str(kill_at), stdout=asyncio.subprocess.PIPE, env=os.environ
        )
        told, _ = await process.communicate()
        return process.returncode or 0, told

    async with Simulator(task_seconds=0.05, submitted_seconds=0.01) as simulator:
        for kill_at in (1, 3):
            assert await child(simulator.url, kill_at=kill_at) == (-signal.SIGKILL, b"")
        code, told = await child(simulator.url, kill_at=0)
    assert code == 0
    assert Decimal(told.decode().strip()) >= 30
    assert 5 <= len(simulator.accepted) <= 7  # 25 s by steps of 4 to 5 s
    assert len(set(sources(simulator))) == len(simulator.accepted)  # no film was extended twice


# --- the film --------------------------------------------------------------------------------------------------------


async def test_the_film_plays_and_shows_each_step(kling: KlingClient, tmp_path: Path) -> None:
    chain = kling.video_extend.extend_to(SOURCE, seconds=60)
    steps = await steps_of(chain)
    film = await kling.download(steps[-1], tmp_path / "film.mp4")
    with av.open(str(film)) as container:
        keys = [frame.time for frame in container.decode(video=0) if frame.key_frame]
        length = (container.duration or 0) / av.time_base
    assert length == pytest.approx(float(steps[-1].video.duration or 0), abs=0.1)
    assert length >= 60
    starts = [float(task.parent_video.duration) for task in steps if task.parent_video and task.parent_video.duration]
    assert keys == pytest.approx([0.0, *starts], abs=0.1)  # each step begins with a picture of its own


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
async def test_ffprobe_finds_the_length_that_the_vendor_told(kling: KlingClient, tmp_path: Path) -> None:
    async for task in kling.video_extend.extend_to(SOURCE, seconds=60):
        last = task
    film = await kling.download(last, tmp_path / "film.mp4")
    show = ["-show_entries", "format=duration", "-of", "default=noprint_wrappers=1:nokey=1"]
    process = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "error", *show, str(film), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, complaints = await process.communicate()
    assert complaints == b""
    assert 60 <= float(told) == pytest.approx(float(last.video.duration or 0), abs=0.1)

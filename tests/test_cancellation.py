"""Cancelled at every turn of the loop, each public call leaves nothing behind, and the client goes on.

Between two turns of the loop a coroutine either waits, or is about to be woken: so cancelling after the first turn,
after the second, and so on until the call completes, cancels it at each of its awaits, and in each state of all that
it awaits.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import kling_async
from kling_async import ApiKey, KlingClient, PollPolicy, RetryPolicy, SlotPolicy, Task, VideoExtendRequest
from kling_async.rules.slots import Slots
from kling_async.runtime.line import Line
from kling_async.runtime.waiter import Waiter
from kling_async.simulator import Engine, Fault, Simulator
from kling_async.testing import VirtualLoop, wall

FILM = b"film" * 1000
LEAST_POINTS = 300


class CountingLoop(VirtualLoop):
    """Counts its turns once it has a victim, and cancels that after so many."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.left = turns
        self.turns = 0
        self.victim: asyncio.Task[object] | None = None
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc] # one turn; there is no public name for it
        if self.victim is not None and not self.victim.done():
            self.turns += 1
            if self.turns == self.left:
                self.victim.cancel()


@attrs.frozen
class Stage:
    """Where a scene plays."""

    kling: KlingClient
    simulator: Simulator
    folder: Path
    tasks: list[Task] = attrs.field(factory=list)

    @property
    def source(self) -> str:
        return self.simulator.sources[0]


Act = Callable[[Stage], Awaitable[object]]


async def nothing(_: Stage) -> None:
    pass


async def at_rest(stage: Stage) -> None:
    assert "0 waiting" in repr(stage.kling.video_extend)


@attrs.frozen
class Scene:
    """What is cancelled, what goes before, and what must hold after it.

    Attributes:
        creates: the most tasks that the act may make.
    """

    act: Act
    before: Act = nothing
    after: Act = at_rest
    creates: int = 0
    slots: SlotPolicy = attrs.field(factory=SlotPolicy)


def scripted(*faults: Fault) -> Act:
    async def script(stage: Stage) -> None:
        stage.simulator.script(*faults)

    return script


def created(count: int, *, slots: int | None = None) -> Act:
    """So many tasks stand before the act, at a vendor with so many slots."""

    async def create(stage: Stage) -> None:
        stage.simulator.engine.slots = slots
        for _ in range(count):
            stage.tasks.append(await stage.kling.video_extend.create(stage.source))

    return create


async def ended(stage: Stage) -> None:
    """A task has ended before the act."""
    await created(1)(stage)
    stage.tasks[0] = await stage.kling.video_extend.wait(stage.tasks[0])


async def listed(stage: Stage) -> None:
    async for _ in stage.kling.video_extend.list(page_size=2):
        pass


async def completed(stage: Stage) -> None:
    async for _ in stage.kling.video_extend.as_completed(stage.tasks):
        pass


async def changed(stage: Stage) -> None:
    async for _ in stage.kling.video_extend.events(stage.tasks):
        pass


def create(stage: Stage) -> Awaitable[object]:
    return stage.kling.video_extend.create(stage.source)


def run_many(stage: Stage) -> Awaitable[object]:
    return asyncio.gather(*(stage.kling.video_extend.run(stage.source) for _ in range(3)))


def download(stage: Stage) -> Awaitable[object]:
    return stage.kling.download(stage.tasks[0], stage.folder / "film.mp4")


async def no_half_film(stage: Stage) -> None:
    """What is there under the film's name is whole; what is beside it serves the next call, and goes with that."""
    for film in stage.folder.glob("*.mp4"):
        assert film.read_bytes() == FILM
    assert not [part for part in stage.folder.glob("*.part") if not part.with_name("film.mp4.part.json").exists()]
    await download(stage)
    assert {film.name: film.read_bytes() for film in stage.folder.glob("*")} == {"film.mp4": FILM}


async def close(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.kling.video_extend.wait(stage.tasks[0]))
    waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    await asyncio.sleep(3.0)
    await stage.kling.close()


async def closed(stage: Stage) -> None:
    await stage.kling.close()
    assert "SessionPool closed" in repr(stage.kling)


async def batch(stage: Stage) -> list[str]:
    journal, films = stage.folder / "run.sqlite3", stage.folder / "films"
    films.mkdir(exist_ok=True)
    async with stage.kling.batch(journal, out=films) as batch:
        jobs = {"one": VideoExtendRequest(video_id=stage.source)}
        return [outcome.key for job in [batch.run(jobs)] async for outcome in job if outcome.ok]


async def finished_by_a_rerun(stage: Stage) -> None:
    assert await batch(stage) == ["one"]
    assert [path.name for path in (stage.folder / "films").iterdir()] == ["one.mp4"]
    assert len(stage.simulator.accepted) == 1


LOST = Fault.reset(on="create", after=True)
NEVER_CAME = Fault.reset(on="create")

SCENES = {
    "create": Scene(create, creates=1),
    "create, answer lost": Scene(
        create, scripted(LOST, Fault.code(5000, on="get"), Fault.code(1201, on="get")), creates=1
    ),
    "create, request lost": Scene(create, scripted(NEVER_CAME), creates=1),
    "create, too fast": Scene(create, scripted(Fault.code(1302, on="create"), Fault.html(on="create")), creates=1),
    "create, in line": Scene(create, created(1, slots=1), creates=1, slots=SlotPolicy(limit=1)),
    "create, 1303": Scene(create, created(1, slots=1), creates=1),
    "create, limit read": Scene(create, creates=1, slots=SlotPolicy(read_packs=True)),
    "wait": Scene(lambda stage: stage.kling.video_extend.wait(stage.tasks[0]), created(1)),
    "wait_all": Scene(lambda stage: stage.kling.video_extend.wait_all(stage.tasks), created(6)),
    "as_completed": Scene(completed, created(2)),
    "events": Scene(changed, created(2)),
    "run": Scene(lambda stage: stage.kling.video_extend.run(stage.source), creates=1),
    "gather": Scene(run_many, created(0, slots=2), creates=3),
    "download": Scene(download, ended, after=no_half_film),
    "list": Scene(listed, created(5)),
    "get, with retries": Scene(
        lambda stage: stage.kling.video_extend.get(stage.tasks[0].id),
        lambda stage: asyncio.gather(created(1)(stage), scripted(Fault.code(5000, on="get", times=2))(stage)),
    ),
    "batch": Scene(batch, after=finished_by_a_rerun, creates=1),
    "close": Scene(close, created(1), after=closed),
}


async def play(scene: Scene, folder: Path) -> bool:
    """Whether the act was cancelled before its end; all that must hold after it was looked at."""
    engine = Engine(clock=wall, task_seconds=12.0, submitted_seconds=3.0, film=lambda _: FILM)
    async with (
        Simulator(engine) as simulator,
        KlingClient(
            ApiKey(simulator.api_key),
            base_url=simulator.url,
            wall=wall,
            draw=lambda: 0.5,
            retry=RetryPolicy(ask_after=(0.0, 1.0)),
            polling=PollPolicy(interval=5.0),
            slots=scene.slots,
        ) as kling,
    ):
        stage = Stage(kling, simulator, folder)
        await scene.before(stage)
        made = len(simulator.accepted)
        cancelled = await _cancelled(scene, stage)
        await asyncio.sleep(0.1)
        assert len(simulator.accepted) <= made + scene.creates
        _nothing_is_left(stage)
        await scene.after(stage)
        simulator.clear_faults()
        await kling.video_extend.create(stage.source, timeout=60.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return cancelled


async def _cancelled(scene: Scene, stage: Stage) -> bool:
    async def carry_out() -> None:
        await scene.act(stage)

    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    loop.victim = asyncio.create_task(carry_out(), name="victim")
    try:
        await loop.victim
    except asyncio.CancelledError:
        return True
    return False


def _nothing_is_left(stage: Stage) -> None:
    runtime = str(Path(kling_async.__file__).parent / "runtime")
    at_work = [task for task in asyncio.all_tasks() if _file_of(task).startswith(runtime)]
    # The scene of closing has somebody else wait all the while.
    assert not at_work or "1 waiting" in repr(stage.kling)
    pool = stage.kling._transport._pool
    for share, limit in (
        (pool.share("creates"), 100),
        (pool.share("reads"), 100),
        (pool.share("files"), 4),
        (pool.share("home"), 4),
    ):
        assert (share.gate._value, share.under_way) == (limit, set()) or at_work
    line = stage.kling.video_extend._line
    assert "0 sending, 0 in line" in repr(line)
    assert not line._turns
    assert line._timer is None
    assert line._tickets.keys() <= {create.task_id for create in stage.simulator.accepted}
    # A film that broke off may be gone on with; anything else would be forgotten.
    assert {note.with_suffix("") for note in stage.folder.rglob("*.part.json")} >= {*stage.folder.rglob("*.part")}


def _file_of(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return coroutine.cr_code.co_filename if inspect.iscoroutine(coroutine) else ""


def played(scene: Scene, turns: int, folder: Path) -> tuple[bool, CountingLoop]:
    """Whether the act was cancelled when it was after so many turns, and the loop."""
    folder.mkdir()
    loop = CountingLoop(turns)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play(scene, folder)), loop


def cancelled_everywhere(scene: Scene, folder: Path) -> int:
    """At how many points it was cancelled."""
    turns, complaints = 0, list[dict[str, Any]]()
    cancelled = True
    while cancelled:
        turns += 1
        cancelled, loop = played(scene, turns, folder / str(turns))
        complaints += loop.complaints
    gc.collect()
    assert complaints == []
    return turns - 1


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_cancelled_at_every_turn_it_leaves_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    assert cancelled_everywhere(scene, tmp_path) > 3


def test_there_are_points_enough(tmp_path: Path) -> None:
    counts = [played(scene, -1, tmp_path / name)[1].turns for name, scene in SCENES.items()]
    print(f"{sum(counts)} points")  # noqa: T201 - a figure that `pytest -s` shows
    assert sum(counts) >= LEAST_POINTS


# --- controls: what is left behind is found --------------------------------------------------------------------------


async def complain(_: Stage) -> None:
    async def fail() -> None:
        raise LookupError

    failing = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del failing


async def leave_a_task(_: Stage) -> None:
    left = asyncio.create_task(asyncio.sleep(1000.0))
    left.add_done_callback(lambda _: None)
    await asyncio.sleep(1.0)


@pytest.mark.parametrize("act", [complain, leave_a_task])
def test_act_that_leaves_something_is_found(act: Act, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        cancelled_everywhere(Scene(act), tmp_path)


def _keep(*_: object, **__: object) -> None:
    pass


CONTROLS = {
    "a slot": ("create, in line", Slots, "left"),
    "a turn": ("create, in line", Line, "left"),
    "a place in the pool": ("create", asyncio.Semaphore, "release"),
    "a poller": ("wait", Waiter, "unlisten"),
    "a half film": ("download", Path, "unlink"),
}


@pytest.mark.parametrize(("name", "kind", "method"), CONTROLS.values(), ids=CONTROLS.keys())
def test_client_that_leaves_something_is_found(
    name: str, kind: type, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, method, _keep)
    with pytest.raises(AssertionError):
        cancelled_everywhere(SCENES[name], tmp_path)

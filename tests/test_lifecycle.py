"""Whole programs under a strict interpreter (`-X dev -W error`): whatever they do, it has nothing to say.

What a client does in one process at close, in a second loop and after a fork is in test_pool.py and test_client.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kling_async import ConfigurationError, KlingClient

HEAD = """
import asyncio, gc, logging, os, signal, sys
from kling_async import ApiKey, ClientClosed, KlingClient, PollPolicy, SlotPolicy, VideoExtendRequest
from kling_async.simulator import Simulator

# What the client tells of paid tasks whose run was cancelled is no complaint; asyncio's errors still come through.
logging.getLogger("kling_async").addHandler(logging.NullHandler())

simulator = Simulator(task_seconds=0.1, submitted_seconds=0.05)
kling = KlingClient.simulated(simulator, polling=PollPolicy(interval=0.05), slots=SlotPolicy(limit=2))
slow = KlingClient.simulated(Simulator(task_seconds=60.0), slots=SlotPolicy(limit=2))
source = simulator.sources[0]

def run(kling=kling):
    return kling.video_extend.run("original-video-id")

async def in_full_swing():
    # Two have their slots and wait, the others stand in line.
    async with asyncio.timeout(30):
        while "<Slots 2 held, 0 sending" not in repr(slow.video_extend):
            await asyncio.sleep(0.01)
"""

PROGRAMS = {
    "runs side by side": """
        async def main():
            async with kling:
                await asyncio.gather(*(run() for _ in range(6)))
        asyncio.run(main())
    """,
    "two loops one after the other": """
        async def main():
            async with kling:
                await asyncio.gather(*(run() for _ in range(3)))
        asyncio.run(main())
        asyncio.run(main())
    """,
    "download and list": """
        async def main():
            async with kling:
                await kling.download(await run(), "film.mp4")
                async for _ in kling.video_extend.list(page_size=1):
                    break
        asyncio.run(main())
    """,
    "batch, twice": """
        async def main():
            async with kling, kling.batch("run.sqlite3", out=".") as batch:
                jobs = {str(number): VideoExtendRequest(video_id=source) for number in range(4)}
                async for outcome in batch.run(jobs):
                    assert outcome.ok, outcome
        asyncio.run(main())
        asyncio.run(main())
        assert len(simulator.accepted) == 4
    """,
    "batch that is left in the middle": """
        async def main():
            async with kling, kling.batch("run.sqlite3") as batch:
                async for outcome in batch.run({str(n): VideoExtendRequest(video_id=source) for n in range(2)}):
                    break
        asyncio.run(main())
    """,
    "closed under those who wait and those in line": """
        async def main():
            async with slow:
                runs = [asyncio.create_task(run(slow)) for _ in range(6)]
                await in_full_swing()
            for error in await asyncio.gather(*runs, return_exceptions=True):
                assert isinstance(error, ClientClosed), error
        asyncio.run(main())
    """,
    "tasks that nobody awaits at the end of the loop": """
        async def main():
            async with slow:
                runs.extend(asyncio.create_task(run(slow)) for _ in range(6))
                await in_full_swing()
        runs = []
        asyncio.run(main())
        for each in runs:
            each.cancelled() or each.exception()
    """,
    "iterations that are broken off": """
        async def main():
            async with kling:
                tasks = [await kling.video_extend.create(source) for _ in range(2)]
                async for _ in kling.video_extend.as_completed(tasks):
                    break
                async for _ in kling.video_extend.list().pages():
                    break
        asyncio.run(main())
    """,
    "cancelled from outside": """
        async def main():
            async with slow:
                await asyncio.gather(*(run(slow) for _ in range(6)))
        async def cancelling():
            running = asyncio.create_task(main())
            await in_full_swing()
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
        asyncio.run(cancelling())
    """,
    "interrupted by the keyboard": """
        async def interrupt():
            await in_full_swing()
            os.kill(os.getpid(), signal.SIGINT)
        async def main():
            async with slow:
                await asyncio.gather(interrupt(), *(run(slow) for _ in range(6)))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs in the background inherits none
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError
    """,
    "used after it was closed": """
        async def main():
            async with kling:
                await run()
            await kling.close()
            async with kling:
                await run()
        asyncio.run(main())
    """,
    "built and never used": """
        del kling
    """,
    "built outside and used in one call": """
        async def main():
            async with kling:
                return await kling.video_extend.list()
        assert asyncio.run(main()).tasks == ()
    """,
}


def said(program: str, folder: Path) -> str:
    """What a program says under a strict interpreter; that it goes through is asserted."""
    text = HEAD + textwrap.dedent(program) + "\ngc.collect()\nprint('through')\n"
    strict = [sys.executable, "-X", "dev", "-W", "error", "-c", text]
    without = {name: value for name, value in os.environ.items() if not name.startswith(("KLING_", "COV_", "PYTHON"))}
    done = subprocess.run(  # noqa: S603 - our own words
        strict, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=without
    )
    assert done.stdout.endswith("through\n"), done.stderr
    # How long a turn of the loop took says something about the machine alone.
    return "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("Executing <"))


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="there are no signals here")
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_program_has_nothing_to_say(program: str, tmp_path: Path) -> None:
    assert said(program, tmp_path) == ""


CONTROLS = {
    "a client left open": """
        async def main():
            async with simulator:
                ours = KlingClient(ApiKey(simulator.api_key), base_url=simulator.url)
                await ours.video_extend.list()
        asyncio.run(main())
    """,
    "a coroutine never awaited": """
        run()
    """,
    "an error never retrieved": """
        async def main():
            async with kling:
                task = asyncio.create_task(kling.video_extend.get("no-such-task"))
                await asyncio.wait([task])
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("program", CONTROLS.values(), ids=CONTROLS.keys())
def test_program_that_leaves_something_says_so(program: str, tmp_path: Path) -> None:
    assert said(program, tmp_path) != ""


def test_a_simulated_client_of_another_loop_says_so() -> None:
    """As by a fixture of one loop, for a test on another; it would wait for a simulator that cannot answer."""
    kling = KlingClient.simulated()
    with asyncio.Runner() as outer:
        outer.run(kling.__aenter__())
        with asyncio.Runner() as inner, pytest.raises(ConfigurationError, match="entered in another event loop"):
            inner.run(kling.video_extend.get("t-1"))
        outer.run(kling.close())


def test_a_simulated_client_answers_in_one_loop_after_the_other() -> None:
    kling = KlingClient.simulated()

    async def ask() -> int:
        async with kling:
            return len((await kling.video_extend.list()).tasks)

    assert [asyncio.run(ask()) for _ in range(2)] == [0, 0]


async def test_the_callbacks_of_a_simulated_client_are_signed() -> None:
    async with KlingClient.simulated() as kling:
        assert "signed" in repr(kling.callbacks)
        assert "unsigned" not in repr(kling.callbacks)

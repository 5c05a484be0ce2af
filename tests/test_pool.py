"""Sessions: one set for each loop, closed without a sound, and never more connections than allowed."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from faultserver import Act, FaultServer, envelope, task_record

from kling_async import ApiKey, ConfigurationError, KlingClient, RequestError, Video
from kling_async.policies import PoolLimits
from kling_async.runtime.pool import SessionPool
from kling_async.simulator import Fault, Simulator
from kling_async.testing import VirtualLoop, wall

EMPTY = envelope([])


def client(url: str, *, pool: PoolLimits = PoolLimits()) -> KlingClient:
    return KlingClient(ApiKey("simulated-api-key"), base_url=url, wall=wall, draw=lambda: 0.5, pool=pool)


def run(main: Callable[[], Awaitable[object]]) -> None:
    """`asyncio.run`, in a loop whose time jumps."""

    async def body() -> None:
        await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())


async def test_nothing_is_opened_before_the_first_call(kling: KlingClient) -> None:
    assert "SessionPool closed" in repr(kling)
    await kling.video_extend.list()
    assert "SessionPool open" in repr(kling)


async def test_one_loop_keeps_its_sessions(simulator: Simulator) -> None:
    pool = SessionPool(PoolLimits())
    assert pool.share("reads") is pool.share("reads")
    await pool.close()


async def test_connection_is_used_again(kling: KlingClient) -> None:
    async with FaultServer.of(Act(say=EMPTY, then="keep")) as server, client(server.url) as ours:
        for _ in range(5):
            await ours.video_extend.list()
        assert (len(server.received), server.connections) == (5, 1)


def test_two_runs_one_after_the_other_with_async_with() -> None:
    kling = client("http://set.later")

    async def main() -> None:
        async with FaultServer.of(Act(say=EMPTY)) as server:
            kling._transport.base_url = server.url
            async with kling:
                await kling.video_extend.list()

    run(main)
    run(main)


def test_two_runs_one_after_the_other_with_close() -> None:
    kling = client("http://set.later")

    async def main() -> None:
        async with FaultServer.of(Act(say=EMPTY, then="keep")) as server:
            kling._transport.base_url = server.url
            await kling.video_extend.list()
            await kling.close()

    run(main)
    run(main)


async def test_close_twice_is_close_once(kling: KlingClient) -> None:
    await kling.video_extend.list()
    await kling.close()
    await kling.close()
    assert "SessionPool closed" in repr(kling)


async def test_close_before_use_does_nothing(kling: KlingClient) -> None:
    await kling.close()
    assert "SessionPool closed" in repr(kling)


async def test_close_that_is_cancelled_closes_all_the_same() -> None:
    pool = SessionPool(PoolLimits())
    async with FaultServer.of(Act(say=EMPTY, then="keep")) as server:
        sessions = [pool.share(purpose).session for purpose in ("creates", "reads", "home", "files")]
        for session in sessions[:3]:  # the fourth goes to public addresses alone
            async with session.get(server.url) as answer:
                await answer.read()
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        assert all(session.closed for session in sessions)


# --- left open -------------------------------------------------------------------------------------------------------


def _left_open(holder: list[KlingClient]) -> Callable[[], Awaitable[object]]:
    async def main() -> None:
        async with FaultServer.of(Act(say=EMPTY, then="keep")) as server:
            kling = client(server.url)
            await kling.video_extend.list()
            holder.append(kling)

    return main


def test_client_left_open_warns_once_when_it_is_dropped() -> None:
    holder: list[KlingClient] = []
    run(_left_open(holder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        holder.clear()
        gc.collect()
    assert [(warning.category, "not closed" in str(warning.message)) for warning in caught] == [(ResourceWarning, True)]


def test_client_left_open_warns_once_when_another_loop_takes_it() -> None:
    holder: list[KlingClient] = []
    run(_left_open(holder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        async def main() -> None:
            async with FaultServer.of(Act(say=EMPTY)) as server:
                holder[0]._transport.base_url = server.url
                await holder[0].video_extend.list()
                await holder[0].close()

        run(main)
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]


def test_client_left_open_warns_once_when_another_loop_closes_it() -> None:
    holder: list[KlingClient] = []
    run(_left_open(holder))
    with pytest.warns(ResourceWarning, match="not closed"):
        run(holder[0].close)


async def test_client_dropped_in_a_running_loop_closes_its_connections() -> None:
    async with FaultServer.of(Act(say=EMPTY, then="silence")) as server:
        kling = client(server.url)
        await kling.video_extend.list()
        assert len(server._at_work) == 1
        with pytest.warns(ResourceWarning, match="not closed"):
            del kling  # nothing else holds it
        await asyncio.sleep(1.0)
        assert not server._at_work


_LEAK = """
import asyncio, gc
from kling_async import ApiKey, KlingClient
from kling_async.simulator import Simulator

async def main():
    async with Simulator() as simulator:
        kling = KlingClient(ApiKey(simulator.api_key), base_url=simulator.url)
        await asyncio.gather(*(kling.video_extend.list() for _ in range(5)))
        {end}
        return kling

kling = asyncio.run(main())
del kling
gc.collect()
"""


@pytest.mark.parametrize(("end", "warned"), [("pass", 1), ("await kling.close()", 0)])
def test_leak_is_all_that_a_strict_interpreter_finds(end: str, warned: int) -> None:
    strict = [sys.executable, "-X", "dev", "-W", "error", "-c", _LEAK.format(end=end)]
    done = subprocess.run(strict, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    assert done.stderr.count("ResourceWarning: a KlingClient was not closed") == warned
    assert done.stderr.count("Warning: ") == warned
    assert "Unclosed" not in done.stderr


# --- two loops, two processes ----------------------------------------------------------------------------------------


def _in_another_loop(main: Callable[[], Awaitable[object]]) -> BaseException | None:
    """What `main` raised in a loop of a thread of its own."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run(main)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return raised[0] if raised else None


async def test_second_live_loop_is_refused_and_the_first_goes_on(kling: KlingClient, simulator: Simulator) -> None:
    await kling.video_extend.list()

    async def read() -> None:
        await kling.video_extend.list()

    async def create() -> None:
        await kling.video_extend.create(simulator.sources[0])

    for call in (read, create, kling.close):
        error = _in_another_loop(call)
        assert isinstance(error, ConfigurationError)
        assert "running event loop" in error.message
    await kling.video_extend.list()
    assert not simulator.accepted


async def test_wait_in_a_second_live_loop_leaves_the_first_ones_alone(kling: KlingClient, simulator: Simulator) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    waiting = asyncio.create_task(kling.video_extend.wait(task))
    await asyncio.sleep(1.0)

    async def wait() -> None:
        await kling.video_extend.wait(task)

    assert isinstance(_in_another_loop(wait), ConfigurationError)
    assert (await waiting).id == task.id


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_forked_child_opens_its_own_and_the_parents_stay_usable() -> None:
    async with FaultServer.of(Act(say=EMPTY, then="keep")) as server, client(server.url) as kling:
        kling._transport.wall = lambda: 0.0
        await kling.video_extend.list()
        child = _forked(kling)
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert server.connections == 2
        await kling.video_extend.list()
        assert server.connections == 2  # on the one that was open before the fork
        assert len(server.received) == 3


def _forked(kling: KlingClient) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            warnings.simplefilter("error")

            async def main() -> None:
                await kling.video_extend.list()
                await kling.close()

            asyncio.run(main())
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_forked_child_that_drops_the_client_harms_nobody() -> None:
    async with FaultServer.of(Act(say=EMPTY, then="keep")) as server:
        kling = client(server.url)
        kling._transport.wall = lambda: 0.0
        await kling.video_extend.list()
        child = os.fork()
        if child == 0:
            warnings.simplefilter("error")
            sys.unraisablehook = lambda _: os._exit(2)
            del kling
            gc.collect()
            os._exit(0)
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await kling.video_extend.list()
        assert server.connections == 1
        await kling.close()


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
async def test_never_more_reads_at_once_than_allowed(limit: int) -> None:
    async with (
        FaultServer.of(Act(wait=1.0, say=EMPTY, then="keep")) as server,
        client(server.url, pool=PoolLimits(reads=limit)) as kling,
    ):
        await asyncio.gather(*(kling.video_extend.list() for _ in range(10)))
        assert (server.connections, len(server.received)) == (limit, 10)


async def test_creates_go_through_while_all_reads_are_busy(simulator: Simulator) -> None:
    simulator.script(Fault.slow(10.0, on="list", times=None))
    async with client(simulator.url, pool=PoolLimits(reads=2)) as kling:
        reads = [asyncio.ensure_future(_page(kling)) for _ in range(10)]
        await asyncio.sleep(1.0)
        begun = asyncio.get_running_loop().time()
        await kling.video_extend.create(simulator.sources[0])
        assert asyncio.get_running_loop().time() - begun < 0.1
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_cancelled_in_the_queue_leaves_its_place_to_the_next() -> None:
    slow = Act(wait=1.0, say=EMPTY, then="keep")
    async with FaultServer.of(slow) as server, client(server.url, pool=PoolLimits(reads=1)) as kling:
        reads = [asyncio.ensure_future(_page(kling)) for _ in range(6)]
        await asyncio.sleep(0.1)
        for read in reads[:5]:
            read.cancel()
        await reads[5]
        await _page(kling)


async def _page(kling: KlingClient) -> object:
    return await kling.video_extend.list()


async def test_files_session_sends_no_authorization(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()), then="keep")) as server, client(server.url) as kling:
        await kling.video_extend.get("t-1")
        await kling.download(Video("v-1", url=f"{server.url}/film.mp4"), tmp_path / "film.mp4")
        asked, fetched = server.received
        assert "authorization" in asked.headers  # the control
        assert "authorization" not in fetched.headers


async def test_shares_have_no_credentials_of_their_own() -> None:
    pool = SessionPool(PoolLimits())
    for purpose in ("creates", "reads", "files", "home"):
        assert "Authorization" not in pool.share(purpose).session.headers
    await pool.close()


async def test_download_from_elsewhere_without_tls_is_refused(kling: KlingClient) -> None:
    with pytest.raises(RequestError):
        await kling.download(Video("v-1", url="http://elsewhere.example/film.mp4"), "film.mp4")


async def test_what_is_late_when_its_session_closes_is_cancelled_once() -> None:
    pool = SessionPool(PoolLimits())
    share = pool.share("reads")
    with pytest.raises(TimeoutError), share.within(10.0):
        for scope in share.under_way:
            scope.expire()
            scope.expire()
        await asyncio.sleep(1.0)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    await pool.close()

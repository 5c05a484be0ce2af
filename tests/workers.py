"""Callbacks to several processes behind one socket: each task is awaited in one, and its callback lands in any.

    python tests/workers.py --workers 4 --tasks 200

The simulated vendor and each worker (uvicorn with an ASGI application) are processes of their own; the workers share
one listening socket and, unless it is left out, one file. The exit code is 0 when each task completed once, in the
worker that waited for it, within a second of its end, and handlers heard of each end once among all workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import attrs
import uvicorn
from posts import SECRET
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kling_async import ApiKey, CallbackStore, KlingClient, PollPolicy, Task
from kling_async.simulator import Simulator


@attrs.frozen
class Options:
    """What to run.

    Attributes:
        workers: processes.
        tasks: in all, at once.
        task_seconds: how long each takes.
        interval: of polling, in seconds; with a long one, only callbacks can end a wait in time.
        store: whether the workers share a file.
    """

    workers: int = 4
    tasks: int = 200
    task_seconds: float = 8.0
    interval: float = 600.0
    store: bool = True


@attrs.define
class Figures:
    """What was seen.

    Attributes:
        completed: how often each task completed.
        waited_in: the worker that waited for each task.
        landed_in: the workers in which handlers heard of each end.
        delays: seconds from a task's end at the vendor's until its wait ended.
    """

    completed: Counter[str] = attrs.field(factory=Counter)
    waited_in: dict[str, int] = attrs.field(factory=dict)
    landed_in: dict[str, list[int]] = attrs.field(factory=dict)
    delays: list[float] = attrs.field(factory=list)

    @property
    def elsewhere(self) -> int:
        """How many callbacks landed in another worker than that which waited."""
        return sum(self.landed_in.get(task, [])[:1] not in ([], [worker]) for task, worker in self.waited_in.items())

    def is_clean(self, options: Options, most_seconds: float = 1.0) -> bool:
        """Whether each task completed once, in time, and was told once."""
        each_once = set(self.completed.values()) == {1} and len(self.completed) == options.tasks
        told_once = [len(workers) for workers in self.landed_in.values()] == [1] * options.tasks
        return each_once and told_once and max(self.delays) < most_seconds

    def __str__(self) -> str:
        ranked = sorted(self.delays)
        return "\n".join(
            (
                f"tasks completed:        {len(self.completed)}, {self.completed.total()} times",
                f"in workers:             {dict(Counter(self.waited_in.values()).most_common())}",
                f"ends told to handlers:  {sum(map(len, self.landed_in.values()))}",
                f"landed in another one:  {self.elsewhere}",
                f"delay: half, longest:   {ranked[len(ranked) // 2]:.2f} s, {ranked[-1]:.2f} s",
            )
        )


# --- a worker --------------------------------------------------------------------------------------------------------


async def work(url: str, store: str, descriptor: int, interval: float) -> None:
    """Serves until SIGTERM, then prints which ends its handlers heard of."""
    listener = socket.socket(fileno=descriptor)
    callback_url = f"http://127.0.0.1:{listener.getsockname()[1]}/callback"
    heard: list[str] = []
    kling = KlingClient(
        ApiKey(Simulator.api_key),
        base_url=url,
        webhook_secrets=[SECRET],
        callback_store=CallbackStore(store) if store else None,
        polling=PollPolicy(interval=interval),
    )

    @kling.callbacks.on_task
    async def hear(task: Task) -> None:
        if task.status.ended:
            heard.append(task.id)

    async def run(_: Request) -> JSONResponse:
        task = await kling.video_extend.create("original-video-id", callback_url=callback_url)
        done = await kling.video_extend.wait(task)
        assert done.updated_at is not None
        delay = time.time() - done.updated_at.timestamp()
        return JSONResponse({"worker": os.getpid(), "task": done.id, "delay": delay})

    routes = [Route("/run", run, methods=["POST"]), Route("/callback", kling.callbacks.asgi)]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off"))
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises what ended it once more
    async with kling:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await serving
    sys.stdout.write(json.dumps({"worker": os.getpid(), "heard": heard}) + "\n")


# --- the parent ------------------------------------------------------------------------------------------------------


async def _start(*arguments: str, descriptor: int | None = None) -> tuple[asyncio.subprocess.Process, str]:
    """A process of ours, and its first line."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, pass_fds=() if descriptor is None else (descriptor,)
    )
    assert child.stdout is not None
    return child, (await child.stdout.readline()).decode()


async def _stop(child: asyncio.subprocess.Process) -> str:
    """The last line of a process of ours."""
    child.send_signal(signal.SIGTERM)
    output, _ = await child.communicate()
    return (output.decode().splitlines() or [""])[-1]


async def run(options: Options) -> Figures:
    """The figures of one run."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        seconds = str(options.task_seconds)
        vendor, line = await _start(
            *("-m", "kling_async.simulator", "--port", "0", "--task-seconds", seconds, "--webhook-secret", SECRET),
        )
        store = str(Path(folder) / "callbacks.sqlite3") if options.store else ""
        told = ("--worker", line.split()[4], store, str(listener.fileno()), "--interval", str(options.interval))
        started = [_start(__file__, *told, descriptor=listener.fileno()) for _ in range(options.workers)]
        workers = [worker for worker, _ in await asyncio.gather(*started)]
        port = listener.getsockname()[1]
        await asyncio.gather(*(_carry_out(port, figures) for _ in range(options.tasks)))
        await asyncio.sleep(1.0)  # late callbacks may still arrive
        for worker in workers:
            report = json.loads(await _stop(worker))
            for task in report["heard"]:
                figures.landed_in.setdefault(task, []).append(report["worker"])
        await _stop(vendor)
    return figures


async def _carry_out(port: int, figures: Figures) -> None:
    timeout = aiohttp.ClientTimeout(total=120.0)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"http://127.0.0.1:{port}/run") as response,
    ):
        told = await response.json()
    figures.completed[told["task"]] += 1
    figures.waited_in[told["task"]] = told["worker"]
    figures.delays.append(told["delay"])


def main() -> int:
    """The exit code: 0 when the figures are clean."""
    defaults = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=defaults.tasks, help="in all (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=defaults.interval, help="of polling (default: %(default)s s)")
    parser.add_argument("--without-store", action="store_true", help="each worker hears what itself receives")
    parser.add_argument("--worker", nargs=3, metavar=("URL", "STORE", "SOCKET"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        url, store, descriptor = given.worker
        asyncio.run(work(url, store, int(descriptor), given.interval))
        return 0
    options = Options(given.workers, given.tasks, interval=given.interval, store=not given.without_store)
    figures = asyncio.run(run(options))
    clean = figures.is_clean(options)
    sys.stdout.write(f"{figures}\n{'clean' if clean else 'NOT CLEAN'}\n")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""The command line: a thin edge around the client."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kling_async.client import KlingClient
from kling_async.errors import KlingError
from kling_async.policies import SlotPolicy
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.jobs import read_jobs
from kling_async.runtime.carry import Outcome, Request, Step
from kling_async.simulator import Simulator
from kling_async.simulator.__main__ import main as serve_simulator
from kling_async.version import VERSION

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., object])

_DEMO_SOURCE = "original-video-id"
_DEMO_PROMPTS = ("The scene continues with more action", "The camera pulls back and the sun sets")


def run(arguments: Sequence[str]) -> int:
    """The exit code: 0 when all went well, 1 for an error of the API or the network, 2 for wrong usage, 130 for Ctrl-C.

    Errors are told in one paragraph, never as a traceback.
    """
    try:
        code = main.main(args=list(arguments), prog_name="kling-async", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KlingError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except OSError as error:  # a file or folder that the user named
        click.echo(f"Error: {error.filename or 'the system'}: {error.strerror or error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    return code if isinstance(code, int) else 0


@click.group()
@click.version_option(VERSION)
def main() -> None:
    """Extend Kling videos from the shell."""


@main.command(short_help="Extend a clip twice, simulated: no account, no money.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("kling-demo.mp4"),
    show_default=True,
    help="Where to save the film.",
)
@click.option(
    "--task-seconds", type=click.FloatRange(min=0), default=3.0, show_default=True, help="How long a task takes."
)
def demo(out: Path, task_seconds: float) -> None:
    """Extend a clip twice against the embedded simulator: no account, no money, no network."""
    if not out.parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    if not os.access(out.parent, os.W_OK):
        raise click.BadParameter(f"the folder {out.parent.resolve()} is not writable", param_hint="--out")
    asyncio.run(_demo(_console(), out, task_seconds))


async def _demo(console: Console, out: Path, task_seconds: float) -> None:
    simulator = Simulator(task_seconds=task_seconds, submitted_seconds=task_seconds / 4)
    async with KlingClient.simulated(simulator) as kling:
        console.print(f"The simulated vendor listens on {simulator.url}; this costs nothing.")
        source = _DEMO_SOURCE
        for number, prompt in enumerate(_DEMO_PROMPTS, start=1):
            label = f"extension {number} of {len(_DEMO_PROMPTS)}: {prompt!r}"
            task = await _shown(console, label, partial(kling.video_extend.run, source, prompt=prompt))
            before = task.parent_video.duration if task.parent_video else None
            console.print(f"  task {task.id} {task.status}: {before} s became {task.video.duration} s")
            source = task.video.id
        saved = await _shown(console, "downloading", partial(kling.download, task, out))
    console.print(f"A film of {task.video.duration} s is in [bold]{saved.resolve()}[/]: open it in any player.")


def _console() -> Console:
    # Lines are never cut where the output is a file or a pipe: paths must stay whole there.
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


async def _shown(console: Console, label: str, work: Callable[[], Awaitable[_T]]) -> _T:
    """The work's result, with a line that moves while it runs, or plain lines where the output is no terminal."""
    if not console.is_terminal:
        console.print(f"{label} ...")
        return await work()
    columns = (SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        line = progress.add_task(label, total=1)
        result = await work()
        progress.update(line, completed=1)
        return result


@main.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the simulated vendor for any Kling client.",
)
@click.pass_context
def simulate(context: click.Context) -> int:
    """Run the simulated vendor until it is interrupted; `kling-async simulate --help` lists its options."""
    return serve_simulator(context.args, prog=context.command_path)


def _postgres_option(help: str) -> Callable[[_Command], _Command]:
    return click.option("--postgres", metavar="URL", envvar="KLING_POSTGRES", show_envvar=True, help=help)


@main.command(short_help="Extend many videos, once each, over crashes and reruns.")
@click.argument("jobs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Remembers the jobs.")
@_postgres_option("Remembers the jobs instead; workers carry them out.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the films; made if missing.")
@click.option("--omni", is_flag=True, help="The jobs are Omni-Video requests.")
@click.option("--slots", type=click.IntRange(min=1), help="Tasks in flight at most. Left out: learnt.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait for each task. Left out: for ever.")
@click.option("--retry-failed", is_flag=True, help="Make (and pay) failed tasks anew.")
def batch(
    *,
    jobs: Path,
    journal: Path | None,
    postgres: str | None,
    out: Path | None,
    omni: bool,
    slots: int | None,
    timeout: float | None,
    retry_failed: bool,
) -> int:
    """Carry out each job of a file once: JSON lines, or CSV with a head.

    \b
    Each line has a key of yours and the fields of a request:
      {"key": "film-1", "video_id": "...", "prompt": "The scene continues"}

    Run it again with the same journal to go on where it was. Exit code 0: every job is done; 1: some are not.
    """  # noqa: D301 - click reads the backspace
    form: Literal["jsonl", "csv"] = "csv" if jobs.suffix.lower() == ".csv" else "jsonl"
    try:
        text = jobs.read_text("utf-8")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{jobs} is not UTF-8", param_hint="JOBS") from None
    wanted: Sequence[tuple[str, Request]] = (
        read_jobs(text, form, OmniVideoRequest) if omni else read_jobs(text, form, VideoExtendRequest)
    )
    if postgres is not None:
        for name, value in (("journal", journal), ("out", out), ("slots", slots), ("timeout", timeout)):
            if value is not None:
                raise click.BadOptionUsage(name, f"--{name} does not go with --postgres, whose workers have their own")
        try:
            return asyncio.run(_postgres_batch(_console(), postgres, wanted, retry_failed=retry_failed))
        except KeyboardInterrupt:
            click.echo("Nothing is lost: the workers go on; run it again to hear of the rest.", err=True)
            raise
    if journal is None:
        raise click.UsageError("one of --journal and --postgres is needed")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    client = KlingClient(slots=SlotPolicy(limit=slots))
    options = _BatchOptions(journal, out, timeout, retry_failed)
    try:
        return asyncio.run(_batch(_console(), client, wanted, options))
    except KeyboardInterrupt:
        click.echo("Nothing is lost: run it again with the same journal to go on.", err=True)
        raise


@attrs.frozen
class _BatchOptions:
    journal: Path
    out: Path | None
    timeout: float | None
    retry_failed: bool


async def _batch(
    console: Console, client: KlingClient, jobs: Sequence[tuple[str, Request]], options: _BatchOptions
) -> int:
    console.print(f"{len(jobs)} jobs for {client.base_url}, remembered in {options.journal}", markup=False)
    done, board = 0, _Board(console, len(jobs))
    async with client as kling:
        batch = kling.batch(
            options.journal,
            out=options.out,
            timeout=options.timeout,
            retry_failed=options.retry_failed,
            on_step=board.reached,
        )
        with board.progress:
            async with batch:
                async for outcome in batch.run(jobs):
                    done += outcome.ok
                    board.over(outcome.key)
                    console.print(_line(outcome), markup=False)
    console.print(f"{done} of {len(jobs)} jobs are done" + ("." if done == len(jobs) else "; run it again to go on."))
    return 0 if done == len(jobs) else 1


async def _postgres_batch(
    console: Console, url: str, jobs: Sequence[tuple[str, Request]], *, retry_failed: bool
) -> int:
    commands = _distributed()
    board = _Board(console, len(jobs))

    def over(outcome: Outcome) -> None:
        board.over(outcome.key)
        console.print(_line(outcome), markup=False)

    with board.progress:
        tell = partial(console.print, markup=False)
        done = await commands.watch_batch(url, jobs, retry_failed=retry_failed, tell=tell, over=over, moved=board.moved)
    console.print(f"{done} of {len(jobs)} jobs are done" + ("." if done == len(jobs) else "; run it again to go on."))
    return 0 if done == len(jobs) else 1


@main.command(short_help="Carry out the jobs of batches in PostgreSQL, on any number of hosts.")
@_postgres_option("Where batches put their jobs.")
@click.option("--limit", type=click.IntRange(min=1), help="Tasks in flight at most, for all workers together.")
@click.option("--change-limit", is_flag=True, help="Let all workers go by --limit from now on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the films; made if missing.")
def worker(*, postgres: str | None, limit: int | None, change_limit: bool, out: Path | None) -> int:
    """Carry out jobs until SIGTERM or Ctrl-C, after which other workers go on with what is under way."""
    if postgres is None:
        raise click.UsageError("--postgres is needed")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    tell = partial(_console().print, markup=False)
    work = _distributed().run_worker(postgres, limit=limit, change_limit=change_limit, out=out, tell=tell)
    return int(asyncio.run(work))


def _distributed() -> ModuleType:
    try:
        from kling_async.distributed import commands  # noqa: PLC0415 - an extra of its own
    except ImportError:
        raise click.ClickException("this needs more: pip install 'kling_async[distributed]'") from None
    return commands


class _Board:
    """How many jobs run and wait, as a line that moves; nothing where the output is no terminal."""

    def __init__(self, console: Console, jobs: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._line = self.progress.add_task("", total=jobs)
        self._jobs = jobs
        self._running: set[str] = set()
        self._over: set[str] = set()
        self._show()

    def reached(self, key: str, step: Step) -> None:
        """A job has gone a step further."""
        if step == "accepted":
            self._running.add(key)
            self._show()

    def moved(self, states: Counter[str]) -> None:
        """Jobs that others carry out have gone further."""
        self._running = {str(number) for number in range(states["accepted"])}
        self._show()

    def over(self, key: str) -> None:
        """A job has its outcome."""
        self._running.discard(key)
        self._over.add(key)
        self._show()

    def _show(self) -> None:
        waiting = self._jobs - len(self._over) - len(self._running)
        told = f"{len(self._running)} running, {waiting} waiting"
        self.progress.update(self._line, completed=len(self._over), description=told)


def _line(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.key}: {outcome.error}"
    video = outcome.task.video if outcome.task else None
    told = f"{outcome.key}: video {video.id}, {video.duration} s" if video else outcome.key
    return told if outcome.path is None else f"{told}, {outcome.path}"

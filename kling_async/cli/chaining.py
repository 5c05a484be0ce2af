"""`chain`: a film that grows to a length, one extension behind the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

import click

from kling_async import spec
from kling_async.cli.board import Board
from kling_async.cli.exits import DONE
from kling_async.cli.finding import EXTENSION
from kling_async.cli.interrupt import carried
from kling_async.cli.options import Target, bounded, length, prompt_of, saving, slotted, telling
from kling_async.cli.session import Session
from kling_async.cli.texts import number
from kling_async.client import KlingClient
from kling_async.models import Task, Video
from kling_async.runtime.carry import Outcome
from kling_async.runtime.chain import Chain
from kling_async.runtime.fetch import Progress

_JOURNAL = Path("kling-chains.sqlite3")


@click.command(short_help="Extend a video again and again, up to 180 s.")
@click.argument("video_id", metavar="VIDEO")
@click.option(
    "--seconds",
    type=click.IntRange(min=1, max=spec.TOTAL_MAX_SECONDS),
    required=True,
    help="How long the film shall be at least.",
)
@click.option("--source-seconds", type=length, help="How long it is now, if you know.")
@click.option(
    "--prompt", "prompts", metavar="TEXT", multiple=True, help="One for all steps, or several: one for each in turn."
)
@click.option("--prompt-file", metavar="FILE", help="The prompts in a file, one a line; -: standard input.")
@click.option("--model", type=click.Choice(spec.MODELS), help=f"Left out: the vendor takes {spec.DEFAULT_MODEL}.")
@click.option("--mode", type=click.Choice(spec.MODES), help=f"Left out: the vendor takes {spec.DEFAULT_MODE}.")
@click.option("--callback-url", metavar="URL", help="Where the vendor posts each change of status.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_JOURNAL,
    show_default=True,
    help="Remembers the steps, so that none is paid twice.",
)
@click.option("--key", help="Names this chain in the journal. Left out: the video's id.")
@click.option("--retry-failed", is_flag=True, help="Make (and pay) a failed step anew.")
@click.option("--dry-run", is_flag=True, help="Say how many steps it takes, and send nothing.")
@saving
@bounded
@slotted
@telling
@click.pass_obj
def chain(
    session: Session,
    *,
    video_id: str,
    seconds: int,
    source_seconds: Decimal | None,
    prompts: Sequence[str],
    prompt_file: str | None,
    model: str | None,
    mode: str | None,
    callback_url: str | None,
    journal: Path,
    key: str | None,
    retry_failed: bool,
    dry_run: bool,
    out: Target | None,
    timeout: float | None,
    slots: int | None,
) -> int:
    """Extend a video step by step until it is so long. Each step adds 4 to 5 s, and costs money.

    Run it again to go on where it was: what the journal has done is not done, and not paid, again.

    \b
    Examples:
      kling-async chain VIDEO --seconds 60 --prompt "The scene continues" --out film.mp4
      kling-async chain VIDEO --seconds 60 --source-seconds 5 --dry-run
      kling-async chain VIDEO --seconds 180 --prompt-file scenes.txt --key second-try
    """  # noqa: D301 - click reads the backspace
    given = _prompts(prompts, prompt_file)

    async def work() -> int:
        async with session.client(slots=slots) as kling:
            film = kling.video_extend.extend_to(
                Video(video_id, duration=source_seconds),
                seconds=seconds,
                prompts=given,
                model_name=model,
                mode=mode,
                callback_url=callback_url,
                journal=journal,
                key=key,
                retry_failed=retry_failed,
                timeout=timeout,
            )
            if dry_run:
                session.screen.result(f"{film.plan}.")
                return DONE
            session.goes_on = session.same()
            return await walked(session, kling, film, out, session.board(kind=EXTENSION))

    return carried(work())


def _prompts(prompts: Sequence[str], file: str | None) -> Sequence[str] | None:
    if len(prompts) > 1 and file is None:
        return prompts
    text = prompt_of(prompts[0] if prompts else None, file)
    if text is None or file is None:
        return None if text is None else [text]
    return [line for line in text.splitlines() if line.strip()]


async def walked(session: Session, kling: KlingClient, chain: Chain, out: Target | None, board: Board) -> int:
    """Walks a chain to its end, and saves the film; the exit code."""
    session.screen.note(f"{chain.plan}.")
    names = (f"step {place}" for place in itertools.count(1))
    with board.shown():
        name = next(names)
        board.moved(name, "running")
        async for task in chain:
            is_last = not chain.plan.most
            path = await _saved(kling, task, out, partial(board.arrived, name)) if is_last else None
            board.over(name, task)
            session.outcome(Outcome(name, task, path=path), EXTENSION)
            if not is_last:
                name = next(names)
                board.moved(name, f"running, from {number(chain.video.duration)} s")
    session.screen.note(f"A film of {number(chain.video.duration)} s, for {number(chain.units)} units.")
    return DONE


async def _saved(kling: KlingClient, task: Task, out: Target | None, progress: Progress) -> Path | None:
    return None if out is None else await kling.download(task, out.path(task), progress=progress)

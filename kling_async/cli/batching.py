"""`batch`: many jobs out of a file, once each, over crashes and reruns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

import attrs
import click

from kling_async.cli import records, tables
from kling_async.cli.exits import DONE, NOT_DONE
from kling_async.cli.finding import EXTENSION, OMNI
from kling_async.cli.hosts import distributed, shared
from kling_async.cli.interrupt import carried
from kling_async.cli.options import made_by, seconds, slotted, telling, text_of
from kling_async.cli.session import Session
from kling_async.cli.texts import number
from kling_async.client import KlingClient
from kling_async.models import Task, units_of
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.forecast import Forecast
from kling_async.rules.jobs import read_jobs
from kling_async.runtime.batch import Batch
from kling_async.runtime.carry import Outcome, Request, Step

Jobs = Sequence[tuple[str, Request]]

# A job in line is not under way yet: what is shown begins with its task.
_SHOWN: dict[Step, str] = {"accepted": "running", "ended": "downloading"}


@attrs.frozen
class _Wishes:
    journal: Path | None
    postgres: str | None
    out: Path | None
    timeout: float | None
    retry_failed: bool
    slots: int | None


@click.command(short_help="Extend many videos, once each, over crashes and reruns.")
@click.argument("jobs", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Remembers the jobs.")
@shared("Remembers the jobs instead; workers carry them out.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the films; made if missing.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), help="Left out: by the name of the file.")
@made_by("The jobs are Omni-Video requests.")
@slotted
@click.option("--timeout", type=seconds, help="Seconds to wait for each task. Left out: for ever.")
@click.option("--dry-run", is_flag=True, help="Say what would be done for each job, and send nothing.")
@click.option("--retry-failed", is_flag=True, help="Make (and pay) failed tasks anew.")
@telling
@click.pass_obj
def batch(
    session: Session,
    *,
    jobs: str,
    journal: Path | None,
    postgres: str | None,
    out: Path | None,
    form: Literal["jsonl", "csv"] | None,
    omni: bool,
    slots: int | None,
    timeout: float | None,
    dry_run: bool,
    retry_failed: bool,
) -> int:
    """Carry out each job of a file once: JSON lines, or CSV with a head; -: standard input.

    \b
    Each line has a key of yours and the fields of a request:
      {"key": "film-1", "video_id": "...", "prompt": "The scene continues"}

    Run it again with the same journal to go on where it was. Exit code 0: every job is done; 1: some are not.

    \b
    Examples:
      kling-async batch jobs.jsonl --journal run.sqlite3 --out films
      kling-async batch jobs.csv --journal run.sqlite3 --dry-run
      make-jobs | kling-async batch - --journal run.sqlite3 --json
      kling-async batch jobs.jsonl --postgres postgresql://kling@db.example/kling
    """  # noqa: D301 - click reads the backspace
    wishes = _Wishes(journal, postgres, out, timeout, retry_failed, slots)
    _check(wishes)
    wanted, kind = _read(jobs, form, omni=omni), OMNI if omni else EXTENSION
    if not wanted:
        raise click.BadParameter("there is no job in it", param_hint="JOBS")
    if dry_run:
        return carried(_foretold(session, wanted, wishes))
    if postgres is not None:
        return carried(_watched(session, wanted, wishes, postgres, kind))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    return carried(_carried(session, wanted, wishes, kind))


def _check(wishes: _Wishes) -> None:
    if wishes.postgres is None:
        if wishes.journal is None:
            raise click.UsageError("one of --journal and --postgres is needed")
        return
    for name in ("journal", "out", "slots", "timeout"):
        if getattr(wishes, name) is not None:
            raise click.UsageError(f"--{name} does not go with --postgres, whose workers have their own")


def _read(file: str, form: Literal["jsonl", "csv"] | None, *, omni: bool) -> Jobs:
    form = form or ("csv" if file.lower().endswith(".csv") else "jsonl")
    text = text_of(file, "JOBS")
    return read_jobs(text, form, OmniVideoRequest) if omni else read_jobs(text, form, VideoExtendRequest)


def _opened(kling: KlingClient, wishes: _Wishes, on_step: Callable[[str, Step], None] | None = None) -> Batch:
    journal = cast("Path", wishes.journal)  # `_check` has seen to it
    return kling.batch(
        journal, out=wishes.out, timeout=wishes.timeout, retry_failed=wishes.retry_failed, on_step=on_step
    )


async def _forecasts(session: Session, jobs: Jobs, wishes: _Wishes) -> list[Forecast]:
    if wishes.postgres is not None:
        told: list[Forecast] = await distributed().foreseen(wishes.postgres, jobs, retry_failed=wishes.retry_failed)
        return told
    async with session.client() as kling:
        return await _opened(kling, wishes).dry_run(jobs)


async def _foretold(session: Session, jobs: Jobs, wishes: _Wishes) -> int:
    told = await _forecasts(session, jobs, wishes)
    if session.json:
        for one in told:
            session.screen.record(records.of_forecast(one))
    else:
        tables.forecasts(session.screen, told)
    counts = ", ".join(f"{count} {does}" for does, count in Counter(one.does for one in told).items())
    paid = sum(one.may_pay for one in told)
    session.screen.note(f"{counts}: {paid} of {len(told)} jobs may be paid. Nothing was sent.")
    return DONE


async def _carried(session: Session, jobs: Jobs, wishes: _Wishes, kind: str) -> int:
    def reached(key: str, step: Step) -> None:
        if step in _SHOWN:
            board.moved(key, _SHOWN[step])

    async with session.client(slots=wishes.slots) as kling:
        session.goes_on = session.same()
        session.screen.note(f"{len(jobs)} jobs for {kling.base_url}, remembered in {wishes.journal}")
        board, done = session.board(kind=kind, jobs=len(jobs), quiet=True), 0
        with board.shown():
            async with _opened(kling, wishes, reached) as batch:
                async for outcome in batch.run(jobs):
                    done += outcome.ok
                    board.over(outcome.key, outcome.task)
                    session.outcome(outcome, kind)
        return _told(session, done, len(jobs), batch.units)


async def _watched(session: Session, jobs: Jobs, wishes: _Wishes, url: str, kind: str) -> int:
    """The same, carried out by workers elsewhere."""
    commands = distributed()
    board, tasks = session.board(kind=kind, jobs=len(jobs), quiet=True), list[Task]()

    def over(outcome: Outcome) -> None:
        board.over(outcome.key, outcome.task)
        session.outcome(outcome, kind)
        tasks.extend(filter(None, [outcome.task]))

    def moved(states: Counter[str]) -> None:
        board.elsewhere = states["accepted"]

    session.goes_on = session.same()
    with board.shown():
        done: int = await commands.watch_batch(
            url, jobs, retry_failed=wishes.retry_failed, tell=session.screen.note, over=over, moved=moved
        )
    return _told(session, done, len(jobs), units_of(tasks))


def _told(session: Session, done: int, jobs: int, units: Decimal) -> int:
    told = f"{done} of {jobs} jobs are done, for {number(units)} units"
    session.screen.note(f"{told}." if done == jobs else f"{told}; run it again to go on.")
    return DONE if done == jobs else NOT_DONE

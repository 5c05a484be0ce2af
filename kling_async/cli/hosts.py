"""`worker`, and what `batch --postgres` needs: batches on many machines, by the extra `distributed`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import click

from kling_async.cli.interrupt import carried
from kling_async.cli.options import connected
from kling_async.cli.session import Session, whereabouts

_F = TypeVar("_F", bound=Callable[..., object])


def shared(help: str, *, required: bool = False) -> Callable[[_F], _F]:
    """Adds `--postgres`, where many machines share their jobs."""
    return click.option(
        "--postgres", metavar="URL", envvar="KLING_POSTGRES", show_envvar=True, required=required, help=help
    )


def distributed() -> ModuleType:
    """The commands of the extra.

    Raises:
        click.UsageError: it is not installed.
    """
    try:
        from kling_async.distributed import commands  # noqa: PLC0415 - an extra of its own
    except ImportError:
        raise click.UsageError("--postgres needs more: pip install 'kling_async[distributed]'") from None
    return commands


@click.command(short_help="Carry out batches from PostgreSQL, on any number of hosts.")
@shared("Where batches put their jobs.", required=True)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), help="Tasks in flight at most, for all workers together."
)
@click.option("--change-limit", is_flag=True, help="Let all workers go by --limit from now on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the films; made if missing.")
@connected
@click.pass_obj
def worker(session: Session, *, postgres: str, limit: int | None, change_limit: bool, out: Path | None) -> int:
    """Carry out jobs until SIGTERM or Ctrl-C, after which other workers go on with what is under way.

    \b
    Examples:
      kling-async worker --postgres postgresql://kling@db.example/kling --limit 20 --out films
      kling-async batch jobs.jsonl --postgres postgresql://kling@db.example/kling    # elsewhere
    """  # noqa: D301 - click reads the backspace
    commands = distributed()
    if change_limit and limit is None:
        raise click.UsageError("--change-limit needs --limit")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    kling = commands.client_for(postgres, base_url=session.base_url)
    if told := whereabouts(kling.base_url, os.environ):
        session.screen.note(told)
    note = session.screen.note
    return int(
        carried(commands.run_worker(postgres, kling, limit=limit, change_limit=change_limit, out=out, tell=note))
    )

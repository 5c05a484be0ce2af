"""`list`, `show` and `costs`: what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from kling_async import spec
from kling_async.cli import records, tables
from kling_async.cli.finding import EXTENSION, OMNI, Found, found, resource_of
from kling_async.cli.interrupt import carried
from kling_async.cli.options import made_by, telling, time
from kling_async.cli.session import Session
from kling_async.models import ResourcePack, Task, TaskStatus
from kling_async.resources import TaskResource


@click.command("list", short_help="The account's tasks, newest first.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=spec.PAGE_SIZE_DEFAULT,
    show_default=True,
    help="At most.",
)
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--status", type=click.Choice([status.value for status in TaskStatus]), help="Only those.")
@click.option("--since", type=time, help="Only those created since: 30m, 12h, 7d, or a date.")
@made_by("Omni-Video tasks instead of extensions.")
@telling
@click.pass_obj
def list_(
    session: Session, *, limit: int, everything: bool, status: str | None, since: datetime | None, omni: bool
) -> None:
    """The account's tasks, newest first: a table, or lines cut by tabs where no terminal is.

    \b
    Examples:
      kling-async list --status processing
      kling-async list --since 7d --all --json | jq -r .id
    """  # noqa: D301 - click reads the backspace
    kind = OMNI if omni else EXTENSION
    most = None if everything else limit
    tasks = carried(_listed(session, kind, most, status, since))
    if session.json:
        for task in tasks:
            session.screen.record(records.of_task(task, kind))
    elif not tasks:
        session.screen.note("No tasks.")
    else:
        tables.tasks(session.screen, tasks)


async def _listed(
    session: Session, kind: str, most: int | None, status: str | None, since: datetime | None
) -> list[Task]:
    chosen = list[Task]()
    async with session.client() as kling:
        # Whoever filters looks through many; a page of 500 costs one request as well as one of 30 does.
        size = spec.PAGE_SIZE_MAX if most is None or status or since else min(most, spec.PAGE_SIZE_MAX)
        async for task in _newer(session, resource_of(kling, kind), size, since):
            if status is None or task.status == status:
                chosen.append(task)
            if len(chosen) == most:
                break
    return chosen


async def _newer(session: Session, resource: TaskResource, size: int, since: datetime | None) -> AsyncIterator[Task]:
    """The tasks created since then. That newer ones come first is seen, not promised: a page decides, not a task."""
    async for page in resource.list(page_size=size).pages():
        if page.unreadable:
            session.screen.note(f"Page {page.number} of the list has records that are no tasks: {page.unreadable}.")
        newer = [task for task in page.tasks if since is None or (task.created_at or since) >= since]
        for task in newer:
            yield task
        if not newer:
            return


@click.command(short_help="Everything about some tasks.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@made_by("They are Omni-Video tasks. Left out: either.")
@telling
@click.pass_obj
def show(session: Session, *, ids: Sequence[str], omni: bool) -> None:
    """Everything about tasks, by the vendor's ids or your own; with the signed URLs of their films.

    \b
    Examples:
      kling-async show 842250903629086785
      kling-async show order-4711 --json | jq -r '.videos[0].url'
    """  # noqa: D301
    for number, one in enumerate(carried(_shown(session, ids, omni=omni))):
        if session.json:
            session.screen.record(records.of_task(one.task, one.kind))
        else:
            if number:
                session.screen.result("")
            tables.task(session.screen, records.of_task(one.task, one.kind))


async def _shown(session: Session, ids: Sequence[str], *, omni: bool) -> list[Found]:
    async with session.client() as kling:
        return await asyncio.gather(*(found(kling, one, omni=omni) for one in dict.fromkeys(ids)))


@click.command(short_help="What the account's resource packs have left.")
@click.option("--since", type=time, default="30d", show_default=True, help="Packs of use since: 12h, 7d, or a date.")
@click.option("--pack", metavar="NAME", help="Only the pack of this name.")
@telling
@click.pass_obj
def costs(session: Session, *, since: datetime, pack: str | None) -> None:
    """What the account's resource packs have left. Free; the figures lag by up to 12 hours.

    \b
    Examples:
      kling-async costs
      kling-async costs --json | jq -r 'select(.status == "online") | .remaining_quantity'
    """  # noqa: D301
    packs = carried(_packs(session, since, pack))
    if session.json:
        for one in packs:
            session.screen.record(records.of_pack(one))
    elif not packs:
        session.screen.note("No resource packs.")
    else:
        tables.packs(session.screen, packs)


async def _packs(session: Session, since: datetime, name: str | None) -> Sequence[ResourcePack]:
    now = datetime.now(UTC)
    async with session.client() as kling:
        return await kling.account.costs(since, max(now, since + timedelta(seconds=1)), resource_pack_name=name)

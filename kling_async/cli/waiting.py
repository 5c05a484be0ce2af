"""`wait` and `download`: what was begun elsewhere, or before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from kling_async.cli.finding import EXTENSION, OMNI, found
from kling_async.cli.following import Followers, Wishes
from kling_async.cli.interrupt import carried
from kling_async.cli.options import HERE, Target, bounded, made_by, path, saving, telling
from kling_async.cli.session import Session


@click.command(short_help="Wait for tasks, and save their films.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@saving
@made_by("They are Omni-Video tasks. Left out: either.")
@bounded
@telling
@click.pass_obj
def wait(session: Session, *, ids: Sequence[str], out: Target | None, omni: bool, timeout: float | None) -> int:
    """Wait for tasks, by the vendor's ids or your own, whoever made them. Ctrl-C leaves them as they are.

    \b
    Examples:
      kling-async wait 842250903629086785 --out film.mp4
      kling-async wait order-1 order-2 --out films/ --timeout 3600 --json
    """  # noqa: D301 - click reads the backspace
    return _followed(session, ids, Wishes(omni=omni, out=out, timeout=timeout))


@click.command(short_help="Save the films of tasks that have ended.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--out", type=path, default=HERE, help="A file, or a folder (with / at its end, it is made). Left out: here."
)
@made_by("They are Omni-Video tasks. Left out: either.")
@telling
@click.pass_obj
def download(session: Session, *, ids: Sequence[str], out: Target, omni: bool) -> int:
    """Save the films of tasks that have ended; what broke off before goes on where it was.

    In a folder, each is named by your own id or the vendor's. A file that stands there is replaced.

    \b
    Examples:
      kling-async download 842250903629086785 --out film.mp4
      kling-async list --status succeed --json | jq -r .id | xargs kling-async download --out films/
    """  # noqa: D301
    return _followed(session, ids, Wishes(waits=False, omni=omni, out=out))


def _followed(session: Session, ids: Sequence[str], wishes: Wishes) -> int:
    wanted = list(dict.fromkeys(ids))
    if wishes.out is not None and len(wanted) > 1 and not wishes.out.folder:
        raise click.UsageError(f"--out: {wishes.out} is a file, for {len(wanted)} films; name a folder, such as films/")

    async def work() -> int:
        async with session.client() as kling:
            board = session.board(
                kind=OMNI if wishes.omni else EXTENSION, jobs=len(wanted) if len(wanted) > 1 else None
            )
            followers = Followers(session, kling, board, wishes)
            session.goes_on = followers.again
            return await followers.follow({one: partial(found, kling, one, omni=wishes.omni) for one in wanted})

    return carried(work())

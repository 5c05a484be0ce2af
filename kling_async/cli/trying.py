"""`demo` and `simulate`: the vendor on this machine; no account, no money."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click

from kling_async import spec
from kling_async.cli.board import Board
from kling_async.cli.chaining import walked
from kling_async.cli.interrupt import carried
from kling_async.cli.options import Target, path, telling
from kling_async.cli.session import Session
from kling_async.client import KlingClient
from kling_async.models import Video
from kling_async.policies import PollPolicy
from kling_async.simulator import Simulator
from kling_async.simulator.__main__ import main as serve_simulator

_SOURCE = Video("original-video-id", duration=Decimal(5))
_PROMPTS = (
    "The scene continues with more action",
    "The camera pulls back and the sun sets",
    "Rain begins; the street lights come on",
    "A tram passes, and for a moment hides everything",
    "The rain stops; the clouds open over the roofs",
    "The camera rises above the town, towards the sea",
)
_POLL_SECONDS = 0.1  # the simulator's tasks take a fraction of a second


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the simulated vendor for any Kling client.",
)
@click.pass_context
def simulate(context: click.Context) -> int:
    """Run the simulated vendor until it is interrupted; `kling-async simulate --help` lists its options."""
    return serve_simulator(context.args, prog=context.command_path)


@click.command(short_help="See a film grow to a minute, simulated: no account, no money.")
@click.option("--out", type=path, default="kling-demo.mp4", show_default=True, help="Where to save the film.")
@click.option(
    "--seconds",
    type=click.IntRange(min=spec.EXTENSION_MIN_SECONDS, max=spec.TOTAL_MAX_SECONDS),
    default=60,
    show_default=True,
    help="How long the film shall be.",
)
@click.option(
    "--task-seconds", type=click.FloatRange(min=0), default=0.6, show_default=True, help="How long a task takes."
)
@telling
@click.pass_obj
def demo(session: Session, *, out: Target, seconds: int, task_seconds: float) -> int:
    """See a clip of 5 s grow to a film of a minute, against the embedded simulator: no account, no money, no network.

    \b
    Examples:
      kling-async demo
      kling-async demo --seconds 20 --task-seconds 2 --out short.mp4
    """  # noqa: D301 - click reads the backspace
    return carried(_shown(session, out, seconds, task_seconds))


async def _shown(session: Session, out: Target, seconds: int, task_seconds: float) -> int:
    simulator = Simulator(task_seconds=task_seconds, submitted_seconds=task_seconds / 4)
    polling = PollPolicy(interval=_POLL_SECONDS)
    async with KlingClient.simulated(simulator, polling=polling) as kling:
        session.screen.note(f"Simulator at {simulator.url}, built in: no account, no money, no real films.")
        chain = kling.video_extend.extend_to(_SOURCE, seconds=seconds, prompts=_PROMPTS)
        code = await walked(session, kling, chain, out, Board(session.screen))
    film = Path(out.given).resolve()  # noqa: ASYNC240 - nothing else runs by now
    session.screen.note(f"It is in {film}: open it in any player.")
    return code

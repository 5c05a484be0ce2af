"""`demo` and `simulate`: the vendor on this machine; no account, no money."""

from __future__ import annotations

from pathlib import Path

import click

from kling_async.cli.board import Board
from kling_async.cli.exits import DONE
from kling_async.cli.finding import EXTENSION
from kling_async.cli.options import Place, Target, connected
from kling_async.cli.session import Session
from kling_async.client import KlingClient
from kling_async.policies import PollPolicy
from kling_async.simulator import Simulator
from kling_async.simulator.__main__ import main as serve_simulator


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the simulated vendor for any Kling client.",
)
@click.pass_context
def simulate(context: click.Context) -> int:
    """Run the simulated vendor until it is interrupted; `kling-async simulate --help` lists its options."""
    return serve_simulator(context.args, prog=context.command_path)


@click.command(short_help="A film of 60 s out of one of 5 s, simulated: no account, no money.")
@click.option("--out", type=Place(), default="kling-demo.mp4", show_default=True, help="Where to save the film.")
def demo(out: Target) -> None:
    """."""

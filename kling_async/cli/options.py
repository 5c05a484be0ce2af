"""The options that several commands have, and what their values may be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path
from typing import TypeVar

import attrs
import click

from kling_async.cli.session import Session
from kling_async.models import Task
from kling_async.policies import DEFAULT_WAIT_SECONDS
from kling_async.rules.names import file_name

_F = TypeVar("_F", bound=Callable[..., object])

_SPAN = re.compile(r"([0-9]{1,9})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def seconds(given: object) -> float | None:
    """A number of seconds, `None` for the word `none`: no bound."""
    if given == "none":
        return None
    try:
        number = float(str(given))
    except ValueError:
        number = -1.0
    if not (isfinite(number) and number >= 0):
        raise click.BadParameter(f"{given!r} is no number of seconds; for no bound write none")
    return number


def length(given: object) -> Decimal:
    """A film's length in seconds, exact."""
    try:
        number = Decimal(str(given))
    except InvalidOperation:
        number = Decimal(0)
    if not (number.is_finite() and number > 0):
        raise click.BadParameter(f"{given!r} is no length in seconds")
    return number


def time(given: object) -> datetime:
    """An aware time, or how long ago it was; one without a zone is this machine's."""
    text = str(given)
    try:
        if span := _SPAN.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "write 30m, 12h, 7d, 2026-11-27 or 2026-11-27T14:30"
        raise click.BadParameter(f"{text!r} is no time; {allowed}") from None


@attrs.frozen
class Target:
    """Where films go to.

    Attributes:
        given: as it was typed.
        folder: whether it is a folder, for films under names of their own.
    """

    given: str
    folder: bool

    def __str__(self) -> str:
        return self.given

    def path(self, task: Task) -> Path:
        """Where the film of a task goes to; its folder is there then."""
        if not self.folder:
            return Path(self.given)
        Path(self.given).mkdir(parents=True, exist_ok=True)
        return Path(self.given) / file_name(task.external_task_id or task.id)


HERE = Target(".", folder=True)


def path(given: object) -> Target:
    """A file or a folder, where something can be saved."""
    text = str(given)
    folder = text.endswith(("/", os.sep)) or Path(text).is_dir()
    existing = Path(text) if Path(text).is_dir() else Path(text).parent
    if not folder and not existing.is_dir():
        raise click.BadParameter(f"there is no folder {existing}")
    if existing.is_dir() and not os.access(existing, os.W_OK):
        raise click.BadParameter(f"the folder {existing.resolve()} is not writable")
    return Target(text, folder)


def _sets(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    def callback(context: click.Context, _: click.Parameter, value: object) -> None:
        if value:  # on a command it does not undo what was said before it
            setattr(context.ensure_object(Session), name, value)

    return callback


def connected(command: _F) -> _F:
    """Adds the options of every command that talks to the vendor."""
    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_sets("debug"), help="Show the log, and tracebacks."
    )(command)
    return click.option(
        "--base-url", metavar="URL", expose_value=False, callback=_sets("base_url"),
        help="The API's address. Left out: KLING_BASE_URL, or the live service.",
    )(command)  # fmt: skip


def telling(command: _F) -> _F:
    """Adds the options of every command that gives data."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_sets("json"), help="One JSON object a line."
    )(connected(command))


def made_by(omni: str) -> Callable[[_F], _F]:
    """Adds `--omni`."""
    return click.option("--omni", is_flag=True, help=omni)


def bounded(command: _F) -> _F:
    """Adds `--timeout`."""
    return click.option(
        "--timeout", type=seconds, default=DEFAULT_WAIT_SECONDS, show_default=f"{DEFAULT_WAIT_SECONDS:g}",
        help="Seconds to wait for a task; none: for ever.",
    )(command)  # fmt: skip


def saving(command: _F) -> _F:
    """Adds `--out`."""
    return click.option("--out", type=path, help="Save the film: a file, or a folder (with / at its end, it is made).")(
        command
    )


def slotted(command: _F) -> _F:
    """Adds `--slots`."""
    return click.option(
        "--slots", metavar="N", type=click.IntRange(min=1), help="Tasks in flight at most. Left out: learnt."
    )(command)


def prompted(command: _F) -> _F:
    """Adds `--prompt` and `--prompt-file`, from which `prompt_of` takes the prompt."""
    command = click.option("--prompt-file", metavar="FILE", help="A file with the prompt; -: standard input.")(command)
    return click.option("--prompt", metavar="TEXT", help="What should happen, as it stands; -: standard input.")(
        command
    )


def prompt_of(prompt: str | None, file: str | None) -> str | None:
    """The prompt that the two options give, `None` for none.

    Raises:
        click.UsageError: both are given, or there is nothing in the file.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("--prompt and --prompt-file are two ways to say one thing; give one of them")
    if file is None and prompt != "-":
        return prompt
    read = text_of(file or "-", "--prompt-file" if file else "--prompt").rstrip("\r\n")
    if not read.strip():
        raise click.UsageError("the prompt is empty")
    return read


def text_of(file: str, option: str) -> str:
    """What a file holds, `-` for standard input.

    Raises:
        click.BadParameter: there is no such file, or it is not UTF-8.
    """
    try:
        if file == "-" and sys.stdin.isatty():
            click.echo("Reading from the terminal, up to Ctrl-D ...", err=True)
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint=option) from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{file} is not UTF-8", param_hint=option) from None

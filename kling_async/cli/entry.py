"""The commands, and what becomes of their errors: an exit code and a line, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from kling_async.cli import exits
from kling_async.cli.batching import batch
from kling_async.cli.chaining import chain
from kling_async.cli.hosts import worker
from kling_async.cli.looking import costs, list_, show
from kling_async.cli.making import extend, omni
from kling_async.cli.screen import Told
from kling_async.cli.session import PROGRAM, Connect, Session
from kling_async.cli.trying import demo, simulate
from kling_async.cli.waiting import download, wait
from kling_async.client import KlingClient
from kling_async.errors import KlingError
from kling_async.version import VERSION

_log = logging.getLogger("kling_async")


def run(arguments: Sequence[str], *, connect: Connect = KlingClient) -> int:
    """The exit code, of those in `exits.EXITS`.

    Args:
        arguments: without the program's name.
        connect: makes the client.
    """
    session = Session(arguments, connect)
    with _logged(session):
        try:
            code = main.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
        except SystemExit as leave:  # of completion, and of the simulator's own options
            code = leave.code
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = _interrupted(session)
        except BrokenPipeError:  # whoever read has seen enough, as `head` has
            code = _unheard()
        except (KlingError, OSError) as error:
            code = _told(session, error)
        except Exception as error:
            code = _unexpected(session, error)
    return code if isinstance(code, int) else exits.DONE


@contextmanager
def _logged(session: Session) -> Iterator[None]:
    handler, before = Told(session.screen), (_log.propagate, _log.level)
    _log.addHandler(handler)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.propagate, level = before
        _log.setLevel(level)


def _told(session: Session, error: KlingError | OSError) -> int:
    if isinstance(error, KlingError):
        session.error(error)
        session.tell_how_to_go_on(error)
        return exits.exit_of(error).code
    # A file or folder that the user named.
    session.screen.error(f"{error.filename or 'the system'}: {error.strerror or error}")
    return exits.NOT_DONE


def _interrupted(session: Session) -> int:
    if session.goes_on is None:
        session.screen.note("Interrupted.")
    else:
        session.screen.note("Detached; nothing is lost. To go on:")
        session.screen.note(f"  {session.goes_on()}")
    return exits.INTERRUPTED


def _unheard() -> int:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - what is left to write must not fail again
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return exits.NOT_DONE


def _unexpected(session: Session, error: Exception) -> int:
    if session.debug:
        traceback.print_exception(error)
    session.screen.error(
        f"unexpected: {type(error).__name__} in kling_async {VERSION}. Please report it, with what --debug shows."
    )
    return exits.NOT_DONE


class _Commands(click.Group):
    """Shows the commands in the order in which they are met, and the exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        del ctx
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_dl(exits.table())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Extend Kling videos from the shell.

    Credentials come from KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY. Results go to standard output,
    everything else to standard error. To begin without an account: kling-async demo
    """


for _command in (extend, chain, omni, batch, worker, wait, download, list_, show, costs, demo, simulate):
    main.add_command(_command)

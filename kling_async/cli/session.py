"""What the commands of one run share: the client, the screen, and the command that goes on after Ctrl-C."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import click

from kling_async.cli import records
from kling_async.cli.board import ONE_TO_SEVERAL_MINUTES, Board
from kling_async.cli.exits import DONE, exit_of
from kling_async.cli.finding import EXTENSION
from kling_async.cli.screen import Screen
from kling_async.cli.texts import ended
from kling_async.client import KlingClient
from kling_async.errors import CreateUncertain, DownloadError, JournalError, KlingError, MalformedResponse
from kling_async.events import OnEvent
from kling_async.models import NoVideo, TaskFailed, WaitTimeout
from kling_async.policies import SlotPolicy
from kling_async.rules.addresses import is_here
from kling_async.runtime.carry import Outcome
from kling_async.simulator import Simulator

PROGRAM = "kling-async"

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]*@")


class Connect(Protocol):
    """What makes the client of a run."""

    def __call__(self, *, base_url: str | None, slots: SlotPolicy, on_event: OnEvent | None) -> KlingClient:
        """The client."""


class Session:
    """One run of the command line.

    Args:
        arguments: as they were given.
        connect: makes the client.

    Attributes:
        debug: whether an unexpected error shows its traceback.
        json: whether results are objects.
        goes_on: tells the command that goes on from here, once there is something to go on with.
    """

    def __init__(self, arguments: Sequence[str], connect: Connect = KlingClient) -> None:
        self.arguments = list(arguments)
        self.screen = Screen()
        self.debug = False
        self.json = False
        self.base_url: str | None = None
        self.goes_on: Callable[[], str] | None = None
        self._connect = connect
        self._simulated = False

    def client(self, *, slots: int | None = None, on_event: OnEvent | None = None) -> KlingClient:
        """The client, and who it talks to where that is not the live service."""
        if self.debug:
            logging.getLogger("kling_async").setLevel(logging.INFO)
        kling = self._connect(base_url=self.base_url, slots=SlotPolicy(limit=slots), on_event=on_event)
        if told := whereabouts(kling.base_url, os.environ):
            self.screen.note(told)
        self._simulated = bool(told)
        return kling

    def again(self, command: str, words: Iterable[str], options: Mapping[str, object]) -> str:
        """A command as it would be typed: options that are `None` or false are left out."""
        typed = [PROGRAM, command, *words]
        for flag, value in {**options, "--json": self.json, "--base-url": self.base_url}.items():
            if value is True:
                typed.append(flag)
            elif value is not None and value is not False:
                typed += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(typed)

    def same(self, *more: str) -> Callable[[], str]:
        """Tells this very command, with one option more if it has not been given."""
        is_given = any(word.partition("=")[0] in more[:1] for word in self.arguments)
        place = self.arguments.index(click.get_current_context().info_name or "") + 1
        added = () if is_given else more
        typed = shlex.join([PROGRAM, *self.arguments[:place], *added, *self.arguments[place:]])
        again = "... (the same lines) | " if "-" in self.arguments else ""
        shown = again + _PASSWORD.sub(r"\1:***@", typed)
        return lambda: shown

    def board(self, *, kind: str, jobs: int | None = None, quiet: bool = False) -> Board:
        """What shows things under way; see `Board`."""
        usual = ONE_TO_SEVERAL_MINUTES if kind == EXTENSION and not self._simulated else ""
        return Board(self.screen, usual=usual, jobs=jobs, quiet=quiet)

    def outcome(self, outcome: Outcome, kind: str | None) -> int:
        """Tells what became of something, and the exit code for it."""
        if self.json:
            self.screen.record(records.of_outcome(outcome, kind))
        if outcome.error is not None:
            self.error(outcome.error, about=outcome.key)
            return exit_of(outcome.error).code
        if not self.json:
            self.screen.good(ended(outcome))
        return DONE

    def error(self, error: KlingError, *, about: str = "") -> None:
        """Tells what went wrong, and what to do next in a shell."""
        told = str(error).removesuffix(error.advice)
        name = f"{about}: " if about and about not in told else ""
        self.screen.error(f"{name}{told}{advice(error)}")

    def tell_how_to_go_on(self, error: KlingError) -> None:
        """Tells the command that goes on, where that may mend the error."""
        if self.goes_on is not None and not exit_of(error).is_final:
            self.screen.note(f"To go on: {self.goes_on()}")


_ADVICE: Mapping[type[KlingError], str] = {
    WaitTimeout: "Nothing is lost: wait again.",
    CreateUncertain: "Never create it again under another id: with the same one, nothing is made twice.",
    NoVideo: "Wait for it: `kling-async wait`; if it has ended, `kling-async show --json` tells what the vendor sent.",
    TaskFailed: "Read the vendor's reason; `extend`, or --retry-failed (`batch`, `chain`), makes (and pays) it anew.",
    JournalError: "Look at the file or database that the message names; another one begins afresh, and pays again.",
    MalformedResponse: "Check that --base-url or KLING_BASE_URL names the vendor's API; a gateway may be in trouble.",
    DownloadError: "See to the cause, then `kling-async download` goes on where it can; films are kept for 30 days.",
}


def advice(error: KlingError) -> str:
    """What to do next, in the words of a shell."""
    return next((told for kind, told in _ADVICE.items() if isinstance(error, kind)), error.advice)


def whereabouts(url: str, environment: Mapping[str, str]) -> str:
    """Who is talked to, where that is not the live service; else empty."""
    key = environment.get("KLING_API_KEY") or environment.get("KLING_ACCESS_KEY")
    simulated = key in {Simulator.api_key, Simulator.access_key}
    if is_here(url):
        if simulated:
            return f"Simulator at {url}: no money, no real films."
        return f"{url} is an address of this machine, not the live service."
    return f"The key is the simulator's: {url} is one, or will refuse it." if simulated else ""

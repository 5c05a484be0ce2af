"""What is under way, as a picture that moves where somebody looks, and as plain lines where nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kling_async.cli.screen import Screen
from kling_async.cli.texts import clock, megabytes, plain
from kling_async.models import Task
from kling_async.rules.rhythm import Rhythm

_MOST_ROWS = 8
_BAR_FROM = 80  # columns: a narrower terminal has room for the words alone
ONE_TO_SEVERAL_MINUTES = "an extension takes one to several minutes"
"""Observed; what is said while nothing was learnt."""


@attrs.define
class _Row:
    state: str
    since: float
    there: int | None = None
    total: int | None = None


class Board:
    """What is under way: each with its state, how long it has taken, and how long that usually takes.

    Args:
        jobs: how many there are in all, for a bar over them; `None` for a single one.
        usual: what to say while it is not known how long tasks take; empty for nothing.
        quiet: whether nothing is told where nobody looks.
        now: seconds, for what has passed.

    Attributes:
        elsewhere: how many more are under way, carried out by others.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        jobs: int | None = None,
        usual: str = "",
        quiet: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._screen = screen
        self._jobs = jobs
        self._unlearnt = usual
        self._quiet = quiet
        self._now = now
        self._began = now()
        self._rhythm = Rhythm(1.0)
        self._rows: dict[str, _Row] = {}
        self._over = 0
        self.elsewhere = 0
        self._spinner = Spinner("dots", style="cyan")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows it."""
        with self._screen.moving(self):
            yield

    def learn(self, task: Task) -> None:
        """Takes in how long an ended task took."""
        if task.status.ended:
            self._rhythm.learn(task)

    def moved(self, key: str, state: str, *, age: float = 0.0) -> None:
        """It is in another state now, and is so old, in seconds."""
        row = self._rows.get(key)
        if row is None or row.state != state:
            if self._screen.front is None and not self._quiet:
                self._screen.note(f"{key}: {state}")
            since = self._now() - age if row is None or age else row.since
            self._rows[key] = _Row(state, since)

    def arrived(self, key: str, there: int, total: int | None) -> None:
        """So many bytes of its film are there."""
        self.moved(key, "downloading")
        self._rows[key].there, self._rows[key].total = there, total

    def renamed(self, key: str, name: str) -> None:
        """It is called otherwise from now on."""
        self._rows = {name if one == key else one: row for one, row in self._rows.items()}

    def over(self, key: str, task: Task | None) -> None:
        """It has come to its end, whichever, with the task as it is then."""
        self._over += 1
        self._rows.pop(key, None)
        if task is not None:
            self.learn(task)

    # --- the picture -------------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture as it is now, made for the width that there is."""
        if self._jobs is not None:
            yield self._head(options.max_width)
        rows = list(self._rows.items())
        yield self._table(rows[:_MOST_ROWS], options.max_width)
        if len(rows) > _MOST_ROWS:
            yield Text(f"  and {len(rows) - _MOST_ROWS} more", style="dim")
        if told := self.expected():
            yield Text(f"  {told}", style="dim", no_wrap=True, overflow="ellipsis")

    def expected(self) -> str:
        """How long a task usually takes, as far as it is known."""
        if (usual := self._rhythm.usual) is None:
            return self._unlearnt
        return f"of the last tasks, most took {clock(usual[0])} to {clock(usual[1])}"

    def _head(self, width: int) -> Table:
        under_way = len(self._rows) + self.elsewhere
        waiting = (self._jobs or 0) - self._over - under_way
        told = f"{self._over} of {self._jobs} ended, {under_way} under way"
        told += f", {waiting} waiting" if waiting > 0 else ""
        head = Table.grid(padding=(0, 1))
        head.add_row(self._bar(self._over, self._jobs, width), told, clock(self._now() - self._began))
        return head

    def _table(self, rows: list[tuple[str, _Row]], width: int) -> Table:
        table = Table.grid(padding=(0, 1))
        for _ in range(2):
            table.add_column()
        table.add_column(no_wrap=True, overflow="ellipsis")
        for key, row in rows:
            age = self._now() - row.since
            told = row.state if row.there is None else f"{row.state} {megabytes(row.there, row.total)}"
            table.add_row(self._spinner, self._progress(row, age, width), plain(key), told, clock(age))
        return table

    def _progress(self, row: _Row, age: float, width: int) -> ProgressBar | str:
        if row.there is not None:
            return self._bar(row.there, row.total, width)
        usual = self._rhythm.usual
        return self._bar(age, usual[1] if usual is not None and age < usual[1] else None, width)

    def _bar(self, done: float, whole: float | None, width: int) -> ProgressBar | str:
        """A bar of its part, or one that only shows that it goes on."""
        if width < _BAR_FROM:
            return ""
        return ProgressBar(
            total=whole,
            completed=done,
            width=20,
            pulse=whole is None,
            complete_style="cyan",
            finished_style="green",
            pulse_style="cyan",
            animation_time=self._now(),
        )

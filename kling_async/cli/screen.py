"""Where things go: results to standard output, everything else to standard error, what moves to whichever is seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from kling_async.cli import records
from kling_async.cli.texts import plain

_REFRESHES_PER_SECOND = 8.0


class Screen:
    """The terminal, or the pipe or file in its place: there, lines stay whole and plain."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, markup=False, emoji=False)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._moves = False

    @property
    def front(self) -> Console | None:
        """Where somebody looks; `None` where nobody does, or where it is somebody else who writes there."""
        return self.out if self.out.is_terminal else None

    def result(self, text: str | Text) -> None:
        """One line for who asked."""
        _print(self.out, text)

    def record(self, members: records.Members) -> None:
        """One line for a script."""
        _print(self.out, records.line(members))

    def cells(self, *cells: object) -> None:
        """One line for who cuts it at its tabs."""
        click.echo("\t".join(map(plain, cells)), file=self.out.file)

    def show(self, table: RenderableType) -> None:
        """Something that takes the terminal's width."""
        self.out.print(table)

    def good(self, text: str) -> None:
        """One line for who asked, of something that went well."""
        self.result(Text.assemble(("✓ ", "green"), plain(text)) if self.out.is_terminal else text)

    def note(self, text: str) -> None:
        """One line beside the results, kept whole: it may be a command to copy."""
        _print(self._beside, text)

    def error(self, text: str) -> None:
        """What went wrong, and what to do next."""
        _print(self._beside, Text.assemble(("Error: ", "bold red"), plain(text)), whole=False)

    @property
    def _beside(self) -> Console:
        front = self.front
        # Two consoles on one terminal: what moves there must know of the line.
        return front if self._moves and self.err.is_terminal and front is not None else self.err

    @contextmanager
    def moving(self, picture: RenderableType) -> Iterator[None]:
        """Keeps a picture below the lines, where somebody looks."""
        if (front := self.front) is None:
            yield
            return
        with Live(
            picture,
            console=front,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            self._moves = True
            try:
                yield
            finally:
                self._moves = False


def _print(console: Console, text: str | Text, *, whole: bool = True) -> None:
    shown = text if isinstance(text, Text) else Text(plain(text))
    if console.is_terminal:
        console.print(shown, soft_wrap=whole)
    else:
        click.echo(shown.plain, file=console.file)


class Told(logging.Handler):
    """Shows what the package logs, in the place of Python's own last resort."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """A line for a record."""
        self._screen.note(f"{record.levelname.lower()}: {record.getMessage()}")

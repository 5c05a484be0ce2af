"""Tables as wide as the terminal allows; lines cut by tabs where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import attrs
from rich import box
from rich.table import Table
from rich.text import Text

from kling_async.cli.screen import Screen
from kling_async.cli.texts import COLOURS, clock, iso, local, number, plain
from kling_async.models import ResourcePack, Task
from kling_async.requests import OmniVideoRequest
from kling_async.rules.forecast import Forecast
from kling_async.rules.rhythm import lasted
from kling_async.runtime.carry import Request

_T = TypeVar("_T")


@attrs.frozen
class _Column(Generic[_T]):
    """One column.

    Attributes:
        show: what stands in it.
        pipe: what stands in it where a script reads; `None`: the same.
        width: of the terminal from which on there is room for it, in letters.
    """

    name: str
    show: Callable[[_T], str]
    pipe: Callable[[_T], str] | None = None
    width: int = 0
    is_number: bool = False


_TASK: Final[Sequence[_Column[Task]]] = (
    _Column("id", lambda task: task.id),
    _Column("status", lambda task: task.status.value),
    _Column("created", lambda task: local(task.created_at), pipe=lambda task: iso(task.created_at) or ""),
    _Column("took", lambda task: clock(lasted(task)) if task.status.ended else "", width=65, is_number=True),
    _Column("seconds", lambda task: number(task.videos[0].duration) if task.videos else "", width=75, is_number=True),
    _Column("units", lambda task: number(task.final_unit_deduction), width=75, is_number=True),
    _Column("video", lambda task: task.videos[0].id if task.videos else "", width=115),
    _Column("your id", lambda task: task.external_task_id or "", width=160),
)
_PACK: Final[Sequence[_Column[ResourcePack]]] = (
    _Column("pack", lambda pack: pack.name),
    _Column("status", lambda pack: pack.status),
    _Column("left", lambda pack: number(pack.remaining_quantity), is_number=True),
    _Column("of", lambda pack: number(pack.total_quantity), is_number=True),
    _Column("ends", lambda pack: local(pack.invalid_time), pipe=lambda pack: iso(pack.invalid_time) or "", width=75),
    _Column("type", lambda pack: pack.type, width=100),
    _Column("id", lambda pack: pack.id, width=130),
)

_FORECAST: Final[Sequence[_Column[Forecast]]] = (
    _Column("job", lambda one: one.key),
    _Column("does", lambda one: one.does),
    _Column("of", lambda one: _source(one.request)),
    _Column("model", lambda one: one.request.model_name or "", width=90),
    _Column("mode", lambda one: one.request.mode or "", width=90),
    _Column("task", lambda one: one.task.id if one.task else "", width=120),
)


def tasks(screen: Screen, rows: Sequence[Task]) -> None:
    """The tasks, one a line."""
    _show(screen, _TASK, rows, lambda task: COLOURS[task.status])


def packs(screen: Screen, rows: Sequence[ResourcePack]) -> None:
    """The packs, one a line."""
    _show(screen, _PACK, rows, lambda pack: "green" if pack.status == "online" else "yellow")


def forecasts(screen: Screen, rows: Sequence[Forecast]) -> None:
    """What would be done for each job, one a line."""
    _show(screen, _FORECAST, rows, lambda one: "yellow" if one.may_pay else "green")


def _source(request: Request) -> str:
    if isinstance(request, OmniVideoRequest):
        return ", ".join(video.video_url.partition("?")[0] for video in request.video_list)
    return request.video_id


def task(screen: Screen, members: Mapping[str, object]) -> None:
    """Everything about a task, one fact a line."""
    for name, value in _facts("", members):
        screen.result(Text.assemble((f"{name:<23}", "dim"), plain(value)))


def _facts(prefix: str, value: object) -> list[tuple[str, object]]:
    """The facts in a record, each under the names that lead to it; none for what is not known."""
    if isinstance(value, Mapping):
        return [fact for name, inner in value.items() for fact in _facts(f"{prefix} {name}".strip(), inner)]
    if isinstance(value, list):
        return [fact for place, inner in enumerate(value, 1) for fact in _facts(f"{prefix[:-1]} {place}", inner)]
    return [] if value in {None, ""} else [(prefix.replace("_", " "), value)]


def _show(screen: Screen, columns: Sequence[_Column[_T]], rows: Sequence[_T], colour: Callable[[_T], str]) -> None:
    if not screen.out.is_terminal:
        for row in rows:
            screen.cells(*((column.pipe or column.show)(row) for column in columns))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1))
    chosen = [column for column in columns if screen.out.width >= column.width]
    for column in chosen:
        table.add_column(column.name, justify="right" if column.is_number else "left", overflow="fold")
    for row in rows:
        cells = (Text(plain(column.show(row))) for column in chosen)
        table.add_row(*(_styled(cell, column.name, colour(row)) for cell, column in zip(cells, chosen, strict=True)))
    screen.show(table)


def _styled(cell: Text, name: str, colour: str) -> Text:
    if name in {"status", "does"}:
        cell.stylize(colour)
    return cell

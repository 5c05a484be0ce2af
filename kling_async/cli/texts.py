"""How facts read in a shell: times, sizes, tasks. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from kling_async.models import Task, TaskStatus
from kling_async.runtime.carry import Outcome

COLOURS = {
    TaskStatus.SUBMITTED: "yellow",
    TaskStatus.PROCESSING: "cyan",
    TaskStatus.SUCCEED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.UNKNOWN: "magenta",
}


def plain(text: object) -> str:
    """The text without what could move a terminal's cursor, or break a line in two."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def clock(seconds: float) -> str:
    """Minutes and seconds, hours too where there are any: `1:05`, `2:00:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(there: int, total: int | None) -> str:
    """How much of a film there is: `1.2 of 8.0 MB`."""
    return f"{there / 1e6:.1f} MB" if total is None else f"{there / 1e6:.1f} of {total / 1e6:.1f} MB"


def number(value: Decimal | None) -> str:
    """An exact number, or nothing."""
    return "" if value is None else f"{value:f}"


def local(time: datetime | None) -> str:
    """A time as this machine's clock shows it, or nothing."""
    return "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M}"


def iso(time: datetime | None) -> str | None:
    """A time as scripts read it: ISO 8601, UTC, to the millisecond."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ended(outcome: Outcome) -> str:
    """What became of something, as one line."""
    if outcome.error is not None:
        return f"{outcome.key}: {outcome.error}"
    told = f"{outcome.key}: {_result(outcome.task)}" if outcome.task else outcome.key
    return told if outcome.path is None else f"{told}, {outcome.path}"


def _result(task: Task) -> str:
    if not task.videos:
        return task.status.value
    video, cost = task.videos[0], task.final_unit_deduction
    facts = [f"video {video.id}", video.duration is not None and f"{video.duration:f} s"]
    facts.append(cost is not None and f"{cost:f} units")
    return ", ".join(fact for fact in facts if fact)

"""Jobs out of a file: JSON lines, or CSV with a head; each line a key and the fields of a request."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from kling_async.checks import refusal
from kling_async.errors import RequestError
from kling_async.requests import OmniVideoRequest, VideoExtendRequest

_R = TypeVar("_R", VideoExtendRequest, OmniVideoRequest)

KEY = "key"


def read_jobs(text: str, form: Literal["jsonl", "csv"], kind: type[_R]) -> list[tuple[str, _R]]:
    """The jobs of a file, in its order. Empty lines are passed over, and so are empty cells of a CSV.

    Raises:
        RequestError: names the line, and what is wrong there; no job is returned then.
    """
    text = text.removeprefix("\ufeff")  # which some editors put in front
    lines = _json_lines(text) if form == "jsonl" else _csv_lines(text)
    jobs: list[tuple[str, _R]] = []
    seen: dict[str, int] = {}
    for number, members in lines:
        try:
            jobs.append(_job(members, kind))
        except RequestError as error:
            raise RequestError(f"line {number}: {error.message}") from None
        key = jobs[-1][0]
        if key in seen:
            raise RequestError(f"line {number}: key {key!r} stands in line {seen[key]} already")
        seen[key] = number
    return jobs


def _job(members: Mapping[str, object], kind: type[_R]) -> tuple[str, _R]:
    key = members.get(KEY, "")
    if not isinstance(key, str):
        raise refusal(KEY, key, "a text that names the job for good")
    if not key:
        raise RequestError(f"{KEY}: is missing; it must be a text that names the job for good")
    return key, kind.from_dict({name: value for name, value in members.items() if name != KEY})


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            members = json.loads(line)
        except (ValueError, RecursionError):
            raise RequestError(
                f"line {number}: is no JSON (CSV is read from a file named .csv, or by --format csv)"
            ) from None
        if not isinstance(members, dict):
            raise RequestError(f'line {number}: must be a JSON object such as {{"key": "a", "video_id": "..."}}')
        yield number, members


def _csv_lines(text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_head(reader.fieldnames or ())
        for row in reader:
            if None in row:
                raise RequestError(f"line {reader.line_num}: has more cells than the head has names")
            yield reader.line_num, {name: cell for name, cell in row.items() if cell}
    except csv.Error as error:
        raise RequestError(f"line {reader.reader.line_num}: is no CSV: {error}") from None


def _check_head(names: Sequence[str]) -> None:
    if names and KEY not in names:
        raise RequestError(f"line 1: the head has no {KEY!r}; its names stand between commas")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise RequestError(f"line 1: the head has {name!r} twice")

"""Which of the vendor's calls a method and a path mean."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from attrs import frozen

from kling_async.spec import ACCOUNT_COSTS_PATH, OMNI_VIDEO_PATH, VIDEO_EXTEND_PATH

EXTEND: Final = "video-extend"
OMNI: Final = "omni-video"
FAMILIES: Final = {VIDEO_EXTEND_PATH: EXTEND, OMNI_VIDEO_PATH: OMNI}
FILES_PATH: Final = "/files/"
FILE_SUFFIX: Final = ".mp4"  # observed: result URLs end so

NAMES: Final = ("create", "get", "list", "costs", "file", "unknown")


@frozen
class Route:
    """A call by its name (one of `NAMES`), its family of tasks, and the id that its path holds."""

    name: str
    family: str = ""
    id: str = ""


UNKNOWN: Final = Route("unknown")
_ON_FAMILY: Final = {"POST": "create", "GET": "list"}


def find(method: str, path: str) -> Route:
    """The route of a call, `UNKNOWN` for what the vendor does not have. The path is as sent, still quoted."""
    if path == ACCOUNT_COSTS_PATH:
        return Route("costs") if method == "GET" else UNKNOWN
    if path in FAMILIES:
        name = _ON_FAMILY.get(method, UNKNOWN.name)
        return Route(name, FAMILIES[path]) if name != UNKNOWN.name else UNKNOWN
    # Split before unquoting: an external id may hold a slash.
    base, _, last = path.rpartition("/")
    if base in FAMILIES and last and method == "GET":
        return Route("get", FAMILIES[base], unquote(last))
    if path == FILES_PATH + last and last.endswith(FILE_SUFFIX) and method in {"GET", "HEAD"}:
        return Route("file", id=unquote(last.removesuffix(FILE_SUFFIX)))
    return UNKNOWN

"""The laws of the house over its imports: arrows run down, no cycles, and each library has one room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

import kling_async

PACKAGE = "kling_async"
HOUSE = Path(kling_async.__file__).parent

# From the roof down: a module may import from its own floor and from those below.
FLOORS = (
    {"cli", "__main__", "testing", "pytest_plugin"},
    {"distributed"},
    {""},  # the public names
    {"client"},
    {"films"},
    {"extensions", "omni", "account"},
    {"resources"},
    {"runtime"},
    {"rules"},
    {"requests", "policies", "credentials", "models", "events", "otel"},
    {"checks"},
    {"errors"},
    {"spec", "version"},
)
TOWER = "simulator"  # stands by itself, on the ground alone
ROOF = {"cli", "__main__", "testing", "pytest_plugin"}

# Libraries and the only rooms that may use them, a folder or a module.
ROOMS = {
    "jwt": ("credentials",),
    "backoff": ("rules.retry",),
    "cattrs": ("rules.wire",),
    "orjson": ("rules.wire.texts",),
    "aiohttp": ("runtime", TOWER),
    "sqlite3": ("runtime.journal", "runtime.callback_store"),
    "standardwebhooks": ("rules.signatures",),
    "opentelemetry": ("otel",),
    "click": ("cli", "__main__"),
    "rich": ("cli", "__main__"),
    "pgqueuer": ("distributed.engine",),
    "asyncpg": ("distributed",),
    "pytest": ("pytest_plugin",),
}
NOT_IN_RULES = {"runtime", "aiohttp", "sqlite3", "asyncio", "time", "random", "os", "socket", "threading"}
MOST_LINES = 400


@attrs.frozen
class Import:
    """One import as it stands: who, what (in the package: without its name), and within which function."""

    by: str
    of: str
    line: int
    inside: str = ""

    @property
    def own(self) -> bool:
        return self.of == PACKAGE or self.of.startswith(f"{PACKAGE}.")

    @property
    def room(self) -> str:
        """The module within the package, or the library's name."""
        return self.of.removeprefix(PACKAGE).removeprefix(".") if self.own else self.of.partition(".")[0]


def modules(house: Path) -> dict[str, Path]:
    def name(path: Path) -> str:
        return ".".join(path.relative_to(house).with_suffix("").parts).removesuffix("__init__").removesuffix(".")

    return {name(path): path for path in sorted(house.rglob("*.py"))}


@cache
def imports(house: Path) -> list[Import]:
    """All imports of a package but those for type checkers."""
    known = modules(house)
    found: list[Import] = []
    for module, path in known.items():
        for node, inside in _walk(ast.parse(path.read_text("utf-8")), ""):
            found += [Import(module, of, node.lineno, inside) for of in _names(node, known)]
    return found


def _walk(node: ast.AST, inside: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _walk(other, inside)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, child.name)
        else:
            yield from _walk(child, inside)


def _names(node: ast.Import | ast.ImportFrom, known: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    base = node.module or ""
    inner = base.removeprefix(PACKAGE).removeprefix(".")
    # `from kling_async import spec` is an import of that module, not of the public names.
    return [
        f"{base}.{alias.name}"
        if ".".join(filter(None, (inner, alias.name))) in known and base.startswith(PACKAGE)
        else base
        for alias in node.names
    ]


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room.partition(".")[0] in rooms)


def within(room: str, rooms: tuple[str, ...]) -> bool:
    return any(room == one or room.startswith(f"{one}.") for one in rooms)


def breaches(house: Path) -> list[str]:
    """Every import that breaks a law, as a line of text."""
    return [f"{one.by} imports {one.of}: {why}" for one in imports(house) for why in _judged(one)] + [
        f"cycle: {' -> '.join(cycle)}" for cycle in cycles(house)
    ]


def _judged(one: Import) -> Iterator[str]:
    if not one.own:
        if one.room in ROOMS and not within(one.by, ROOMS[one.room]):
            yield f"{one.room} belongs in {' and '.join(ROOMS[one.room])}"
    elif within(one.by, (TOWER,)):
        if one.room != "spec" and not within(one.room, (TOWER,)):
            yield "the simulator shares nothing but spec"
    elif within(one.room, (TOWER,)):
        lazy = one.by == "client" and one.inside == "simulated"
        if not lazy and one.by.partition(".")[0] not in ROOF:
            yield "the simulator is reached by simulated() alone"
    elif floor(one.by) > floor(one.room):
        yield "arrows run down"
    if within(one.by, ("rules",)) and one.room.partition(".")[0] in NOT_IN_RULES:
        yield "rules have no clock, no socket and no chance"


def cycles(house: Path) -> list[list[str]]:
    graph: dict[str, set[str]] = {}
    for one in imports(house):
        if one.own and not one.inside:
            graph.setdefault(one.by, set()).add(one.room)
    found: list[list[str]] = []
    over: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in over:
            for other in sorted(graph.get(module, ())):
                visit(other, [*path, module])
            over.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def too_long(house: Path) -> list[str]:
    return [name for name, path in modules(house).items() if len(path.read_text("utf-8").splitlines()) > MOST_LINES]


def import_map(house: Path) -> str:
    """What imports what, a line a room from the roof down. Installed, the pytest plugin stands beside the house."""
    rooms = {module.partition(".")[0] for module in modules(house)} - {"", "pytest_plugin"}
    return "\n".join(
        f"{room:<12} -> {' '.join(sorted(_own_imports(house, room))) or 'nothing of ours'}"
        for room in sorted(rooms, key=lambda room: (len(FLOORS) if room == TOWER else floor(room), room))
    )


def _own_imports(house: Path, room: str) -> set[str]:
    return {one.room.partition(".")[0] for one in imports(house) if one.own and within(one.by, (room,))} - {room, ""}


# The laws.


def test_no_import_breaks_a_law() -> None:
    assert breaches(HOUSE) == []


def test_every_module_has_its_floor() -> None:
    for module in modules(HOUSE):
        assert within(module, (TOWER,)) or floor(module) >= 0


def test_no_file_is_too_long() -> None:
    assert too_long(HOUSE) == []


@pytest.mark.parametrize(
    "library", ["jwt", "backoff", "cattrs", "orjson", "aiohttp", "standardwebhooks", "opentelemetry"]
)
def test_each_library_is_used_in_its_room(library: str) -> None:
    assert {one.room for one in imports(HOUSE) if within(one.by, ROOMS[library])} & {library}


# The control: a house with each breach in turn.

SOUND = {
    "__init__": "from kling_async.client import KlingClient",
    "client": "def simulated():\n    from kling_async.simulator import Simulator",
    "errors": (
        "from typing import TYPE_CHECKING\nfrom kling_async.spec import CODES\n"
        "if TYPE_CHECKING:\n    from kling_async.models import Task"
    ),
    "models": "from kling_async import spec\nfrom kling_async.errors import KlingError",
    "spec": "import typing",
    "rules/__init__": "",
    "rules/retry": "import backoff\nfrom kling_async.models import Task",
    "runtime/__init__": "",
    "runtime/pool": "import aiohttp, asyncio\nfrom kling_async.rules import retry",
    "simulator/__init__": "from kling_async.simulator.server import Simulator",
    "simulator/server": "import aiohttp\nfrom kling_async import spec",
    "cli": "import click\nfrom kling_async import KlingClient\nfrom kling_async.simulator import Simulator",
}
BREACHES = [
    ("spec", "from kling_async import errors", "spec imports kling_async.errors: arrows run down"),
    ("errors", "from kling_async.models import Task", "cycle: errors -> models -> errors"),
    (
        "rules/retry",
        "from kling_async.runtime.pool import Pool",
        "rules.retry imports kling_async.runtime.pool: arrows",
    ),
    ("rules/retry", "import asyncio", "rules.retry imports asyncio: rules have no clock"),
    ("rules/retry", "from time import monotonic", "rules.retry imports time: rules have no clock"),
    ("rules/retry", "import random", "rules.retry imports random: rules have no clock"),
    ("rules/retry", "import sqlite3", "rules.retry imports sqlite3: rules have no clock"),
    ("rules/retry", "import aiohttp", "rules.retry imports aiohttp: aiohttp belongs in runtime and simulator"),
    ("models", "from cattrs import Converter", "models imports cattrs: cattrs belongs in rules.wire"),
    ("models", "def late():\n    import jwt", "models imports jwt: jwt belongs in credentials"),
    ("runtime/pool", "import backoff", "runtime.pool imports backoff: backoff belongs in rules.retry"),
    ("models", "import standardwebhooks", "models imports standardwebhooks: standardwebhooks belongs in rules.sig"),
    ("client", "from opentelemetry import trace", "client imports opentelemetry: opentelemetry belongs in otel"),
    ("client", "import aiohttp.web", "client imports aiohttp.web: aiohttp belongs"),
    ("client", "from kling_async.simulator import Simulator", "client imports kling_async.simulator: the simulator is"),
    ("client", "def other():\n    import kling_async.simulator", "client imports kling_async.simulator: the simulator"),
    (
        "runtime/pool",
        "def simulated():\n    import kling_async.simulator",
        "runtime.pool imports kling_async.simulator",
    ),
    (
        "simulator/server",
        "from kling_async.errors import KlingError",
        "simulator.server imports kling_async.errors: the",
    ),
    ("simulator/server", "import kling_async", "simulator.server imports kling_async: the simulator shares"),
    ("client", "from kling_async.cli import main", "client imports kling_async.cli: arrows run down"),
]


def build(house: Path, rooms: dict[str, str]) -> Path:
    for name, text in rooms.items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / f"{name}.py").write_text(text, "utf-8")
    return house


def test_a_sound_house_has_no_breach(tmp_path: Path) -> None:
    assert breaches(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("room", "text", "breach"), BREACHES)
def test_a_breach_is_noticed(tmp_path: Path, room: str, text: str, breach: str) -> None:
    house = build(tmp_path, SOUND | {room: f"{SOUND[room]}\n{text}"})
    assert any(found.startswith(breach) for found in breaches(house)), breaches(house)


def test_a_long_file_is_noticed(tmp_path: Path) -> None:
    house = build(tmp_path, {"short": "\n" * MOST_LINES, "long": "\n" * (MOST_LINES + 1)})
    assert too_long(house) == ["long"]


def test_a_module_without_a_floor_is_noticed() -> None:
    with pytest.raises(StopIteration):
        floor("attic")

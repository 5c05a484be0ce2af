"""What is tested is what is installed, and what it installs is what it uses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, distribution, packages_distributions, requires
from pathlib import Path

import pytest
from test_house import HOUSE, imports, modules

import kling_async

EXTRAS = ("cli", "distributed", "otel", "speedups")
TOOLS = ("test", "lint")  # extras for whoever works on the package
# Rooms that need an extra: all others must be importable without it.
NEEDS = {"cli": ("cli",), "distributed": ("distributed",), "otel": ("otel",)}
# We go by the tables of this one, which its next major version may change.
BOUNDED = {"pgqueuer"}


def place(installed: Distribution) -> Path:
    """Where the package of an installation lies: an editable one points to a checkout."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return Path(__file__).parent.parent / "kling_async"
    return Path(str(installed.locate_file("kling_async")))


def test_what_is_tested_is_what_is_installed() -> None:
    assert Path(kling_async.__file__).parent == place(distribution("kling_async"))


# --- dependencies ----------------------------------------------------------------------------------------------------


def declared(extra: str = "") -> set[str]:
    """The distributions that the core needs, or an extra adds, by their plain names."""
    found: set[str] = set()
    for line in requires("kling_async") or []:
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if (named.group(1) if named else "") == extra:
            found.add(plain(re.split(r"[\s\[<>=!~]", requirement.strip())[0]))
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


distributions = cache(packages_distributions)  # it reads the lists of files of all that is installed


def owners(library: str) -> set[str]:
    """The distributions that bring a library along: several share a namespace such as `opentelemetry`."""
    return {plain(owner) for owner in distributions()[library]}


def used() -> set[str]:
    """The libraries that the package imports, wherever."""
    theirs = [one for one in imports(HOUSE) if not one.own and one.by != "pytest_plugin"]  # which pytest itself loads
    return {one.room for one in theirs} - sys.stdlib_module_names


def test_every_library_that_is_used_is_declared() -> None:
    known = declared().union(*(declared(extra) for extra in EXTRAS))
    assert [library for library in used() if not owners(library) & known] == []


def test_every_dependency_is_used() -> None:
    brought = {owner for library in used() for owner in owners(library)}
    assert declared().union(*(declared(extra) for extra in EXTRAS)) <= brought


def test_the_core_and_the_extras_share_nothing() -> None:
    for extra in EXTRAS:
        assert declared(extra)
        assert not declared(extra) & declared()


def test_every_extra_is_one_of_these() -> None:
    extras = distribution("kling_async").metadata.get_all("Provides-Extra") or []
    assert set(extras) == {*EXTRAS, *TOOLS}


def test_no_dependency_has_an_upper_bound() -> None:
    """But those that have a reason, which is named beside them."""
    bounded = [line for line in requires("kling_async") or [] if re.search(r"<|~=|==", line.partition(";")[0])]
    assert {re.split(r"[\s\[<>=!~]", line)[0] for line in bounded} == BOUNDED


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # importing one of these fails as if it were not there
for name in sys.argv[2].split(","):
    __import__(name)
"""


def imported(blocked: set[str], rooms: list[str]) -> str:
    """What Python says to importing these rooms without those libraries; nothing where it can."""
    names = ",".join(f"kling_async.{room}".removesuffix(".") for room in rooms)
    command = [sys.executable, "-W", "error", "-c", WITHOUT, ",".join(sorted(blocked)), names]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr  # noqa: S603


def libraries(extra: str) -> set[str]:
    return {library for library in distributions() if owners(library) & declared(extra)}


@pytest.mark.parametrize("extra", EXTRAS)
def test_all_but_its_own_rooms_are_importable_without_an_extra(extra: str) -> None:
    rooms = [room for room in modules(HOUSE) if room.partition(".")[0] not in NEEDS.get(extra, ())]
    assert imported(libraries(extra), rooms) == ""


def test_a_room_that_needs_an_extra_would_be_noticed() -> None:
    assert "ModuleNotFoundError" in imported(libraries("cli"), ["cli"])

"""The samples that type checkers read leave nothing public out; CI runs the checkers on them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

import kling_async
from kling_async import distributed, simulator, testing

SAMPLES = sorted((Path(__file__).parent / "typing").glob("*.py"))
# What a simulator is made of: users meet it through `Simulator`.
NOT_FOR_USERS = {"Engine"}
# Public for the parts of the package, and no part of what users are told to call.
WITHIN = {"failure_wait", "start", "stop", "spoil", "strikes", "open", "close", "add", "news", "jump", "wall", "time"}
WITHIN |= {"kind", "carrier", "proxy_for", "run_in_executor", "shutdown_default_executor"}


def used(texts: Iterable[str]) -> set[str]:
    """Every name that is imported, and every attribute that is looked up."""
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    names = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def calls(module: ModuleType) -> set[str]:
    """The public names of a module, and the methods of its classes that it defines itself."""
    names = set(module.__all__) - NOT_FOR_USERS
    kinds = [kind for name in names if inspect.isclass(kind := getattr(module, name))]
    return (
        names
        | {
            name
            for kind in kinds
            if not issubclass(kind, Exception)
            for name, method in inspect.getmembers(kind, callable)
            if not name.startswith("_") and (getattr(method, "__module__", None) or "").startswith("kling_async")
        }
        - WITHIN
    )


@pytest.mark.parametrize("module", [kling_async, distributed, simulator, testing], ids=lambda module: module.__name__)
def test_every_public_call_is_in_a_sample(module: ModuleType) -> None:
    assert calls(module) - used(path.read_text("utf-8") for path in SAMPLES) == set()


def test_a_call_that_is_in_no_sample_is_noticed() -> None:
    assert {"KlingClient", "download_all", "from_dict"} <= calls(kling_async) - used(["from kling_async import Task"])

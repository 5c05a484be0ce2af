"""README is true: its examples run, its tables are those of the code."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from test_house import HOUSE, import_map
from test_plugin import run

import kling_async
from kling_async import APIError, KlingClient, KlingError, PollPolicy, errors, spec
from kling_async.simulator import Simulator

README = Path(__file__).parent.parent / "README.md"
# Those for web frameworks are run in their frameworks, by tests of their own.
MARKED = r"(?:<!-- (web: \w+|pytest|postgres: \w+) -->\n)?^```python\n(.*?)^```"
BLOCKS = re.findall(MARKED, README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
EXAMPLES = [block for mark, block in BLOCKS if not mark]
TESTS = [block for mark, block in BLOCKS if mark == "pytest"]
BATCH, WORKER = (next(block for mark, block in BLOCKS if mark == f"postgres: {name}") for name in ("batch", "worker"))


def title(example: str) -> str:
    calls = re.findall(r"kling\.(\w+(?:\.\w+)?)\(", example)
    return calls[0] if calls else "example"


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
async def test_example_runs(
    example: str, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KLING_BASE_URL", simulator.url)
    monkeypatch.setenv("KLING_API_KEY", simulator.api_key)
    monkeypatch.chdir(tmp_path)
    await main_of(example)()
    answered = simulator.engine.refused.total() + len(simulator.accepted) + simulator.count("costs")
    assert answered or "simulated" in example, "the example did not talk to the simulator"


@pytest.mark.parametrize("example", TESTS, ids=lambda example: re.findall(r"test_\w+", example)[0])
def test_example_of_a_test_passes(example: str, tmp_path: Path) -> None:
    assert "1 passed" in (told := run(tmp_path, example)), told


def main_of(example: str, **instead: object) -> Callable[[], Awaitable[None]]:
    """The example's `main`; some of its names may mean something else."""
    body, start = example.rstrip().rsplit("\n", 1)
    assert start == "asyncio.run(main())"
    names: dict[str, object] = {}
    exec(compile(body, "README.md", "exec"), names)  # noqa: S102 - our own README
    names.update(instead)
    return cast("Callable[[], Awaitable[None]]", names["main"])


@pytest.mark.real_time
async def test_examples_of_many_machines_run_together(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = partial(KlingClient, polling=PollPolicy(interval=0.05))  # it would look once in five seconds
    async with Simulator(task_seconds=0.1, submitted_seconds=0.05) as simulator:
        monkeypatch.setenv("KLING_BASE_URL", simulator.url)
        monkeypatch.setenv("KLING_API_KEY", simulator.api_key)
        monkeypatch.setenv("KLING_POSTGRES", url)
        monkeypatch.chdir(tmp_path)
        working = asyncio.ensure_future(main_of(WORKER, KlingClient=quick)())
        await main_of(BATCH)()
        working.cancel()
        await asyncio.wait({working})
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines[:20]) == sorted(f"film-{n} {tmp_path / 'films' / f'film-{n}.mp4'}" for n in range(20))
    assert [line.split()[0] for line in lines[20:]] == [f"film-{n}" for n in range(20)]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9
    assert len(TESTS) >= 2


def section(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n+((?:[|`].*\n|[^<\n#].*\n)+)", README.read_text("utf-8"))
    return found.group(1).strip() if found else ""


def vendor_codes() -> str:
    rows = ["| HTTP | code | meaning | class | worth retrying | what to do |", "|---|---|---|---|---|---|"]
    for code, http, meaning in spec.VENDOR_CODES:
        if code == spec.SUCCESS:
            continue
        kind = errors.error_for(code)
        again = "yes" if kind.transient else "once, done for you" if code in spec.TOKEN_TIME_CODES else "no"
        rows.append(f"| {http} | {code} | {meaning} | `{kind.__name__}` | {again} | {kind.advice} |")
    unknown = errors.UnknownCode
    rows.append(f"| any | others | not documented | `{unknown.__name__}` | from 5000 on | {unknown.advice} |")
    return "\n".join(rows)


def first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def other_errors() -> str:
    rows = ["| class | when | what to do |", "|---|---|---|"]
    for name in kling_async.__all__:
        kind = getattr(kling_async, name)
        if (
            isinstance(kind, type)
            and issubclass(kind, KlingError)
            and not issubclass(kind, APIError)
            and kind is not KlingError
        ):
            rows.append(f"| `{name}` | {first_line(kind)} | {kind.advice} |")
    return "\n".join(rows)


def test_vendor_code_table_is_that_of_the_code() -> None:
    assert section("vendor codes") == vendor_codes()


def test_other_errors_table_is_that_of_the_code() -> None:
    assert section("other errors") == other_errors()


def test_the_map_of_imports_is_that_of_the_code() -> None:
    assert section("imports").strip("`\n") == import_map(HOUSE)


def test_what_is_named_as_a_test_is_one() -> None:
    named = set(re.findall(r"`(?:tests/)?(\w+\.py)`", README.read_text("utf-8").partition("**When not")[0]))
    assert len(named) >= 15
    assert [name for name in sorted(named) if not (README.parent / "tests" / name).is_file()] == []


def test_a_changed_table_would_be_noticed() -> None:
    assert section("vendor codes").replace("429", "428") != vendor_codes()


def test_the_keys_of_the_simulator_are_its_own() -> None:
    exported = re.findall(r"KLING_API_KEY=(\S+)", README.read_text("utf-8"))
    assert exported
    assert set(exported) == {Simulator.api_key}

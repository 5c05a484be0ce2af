"""What importing costs, by whole processes: `kling_async` beside aiohttp alone, and pytest with the plugin unused.

    python benchmarks/imports.py --rounds 20
    python benchmarks/imports.py --instructions

Each program is a process of its own, by turns with the others; CPU times, the least of the rounds, since what else runs
on the machine only adds. Where it runs too much for that, valgrind counts instructions, the same each time. pytest runs
one empty test, once with this package installed and once with it hidden.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

# Other plugins are hidden from both: they cost far more, and would drown what is looked for.
PYTEST = """
import importlib.metadata, sys
every = importlib.metadata.distributions
importlib.metadata.distributions = lambda **_: (one for one in every() if one.metadata["Name"] in {seen})
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "test_nothing.py"]))
"""
PROGRAMS = {
    "python": "pass",
    "import aiohttp": "import aiohttp",
    "import aiohttp, aiohttp.web": "import aiohttp, aiohttp.web",
    "import kling_async": "import kling_async",
    "pytest without it": PYTEST.format(seen=["pytest"]),
    "pytest with it": PYTEST.format(seen=["pytest", "kling_async"]),
}
VALGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def cpu_milliseconds(program: str, folder: str) -> float:
    """What a process that runs this spends, user and system together."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, program
    return 1000 * (usage.ru_utime + usage.ru_stime)


def million_instructions(program: str, folder: str) -> float:
    """How many instructions a process that runs this carries out, in millions."""
    command = [*VALGRIND, sys.executable, "-c", program]
    settings = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=True)  # noqa: S603
    [count] = re.findall(r"Collected : (\d+)", done.stderr)
    return int(count) / 1e6


def least(spent: Callable[[str, str], float], *, rounds: int) -> dict[str, float]:
    """The least that each program spent in so many rounds; one before them fills the caches."""
    seen: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): ...\n", "utf-8")
        for _ in range(rounds + 1):
            for name, program in PROGRAMS.items():
                seen[name].append(spent(program, folder))
    return {name: min(figures[1:]) for name, figures in seen.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="default %(default)s")
    parser.add_argument("--instructions", action="store_true", help="count them, in one round; takes minutes")
    options = parser.parse_args()
    if options.instructions:
        unit, figures = "million instructions", least(million_instructions, rounds=1)
    else:
        unit, figures = "ms", least(cpu_milliseconds, rounds=options.rounds)
    for name, spent in figures.items():
        print(f"{name:30} {spent:8.1f} {unit}")
    own, theirs = (figures[name] - figures["python"] for name in ("import kling_async", "import aiohttp"))
    print(f"import kling_async / import aiohttp: {own / theirs:.2f}")
    with_it, without = figures["pytest with it"], figures["pytest without it"]
    print(f"pytest with the plugin unused: {with_it - without:+.1f} {unit}, {with_it / without - 1:+.1%}")


if __name__ == "__main__":
    main()

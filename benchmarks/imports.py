"""What importing costs, by whole processes: `kling_async` beside aiohttp alone, and pytest with the plugin unused.

    python benchmarks/imports.py --rounds 20

Each program is a process of its own, by turns with the others; CPU times, medians over the rounds. pytest runs one
empty test, once with this package installed and once with it hidden.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
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


def cpu_seconds(program: str, folder: str) -> float:
    """What a process that runs this spends, user and system together."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, program
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="default %(default)s")
    rounds = parser.parse_args().rounds
    seen: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): ...\n", "utf-8")
        for number in range(rounds + 1):
            for name, program in PROGRAMS.items():
                spent = cpu_seconds(program, folder)
                if number:  # the first round fills caches
                    seen[name].append(spent)
    middle = {name: 1000 * median(times) for name, times in seen.items()}
    for name, spent in middle.items():
        print(f"{name:30} {spent:7.1f} ms")
    own = middle["import kling_async"] - middle["python"]
    theirs = middle["import aiohttp"] - middle["python"]
    print(f"import kling_async / import aiohttp: {own / theirs:.2f}")
    unused = [
        1000 * (one - other) for one, other in zip(seen["pytest with it"], seen["pytest without it"], strict=True)
    ]
    print(f"the plugin, unused: {median(unused):+.1f} ms")


if __name__ == "__main__":
    main()

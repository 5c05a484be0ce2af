"""`python -m kling_async`, and the entry point of `kling-async`: says what to install where the extra is missing."""

from __future__ import annotations

import io
import sys


def main() -> int:
    """The exit code of the command line."""
    try:
        from kling_async.cli import run  # noqa: PLC0415 - the package works without click and rich
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in {"click", "rich"}:
            raise
        sys.stderr.write(f"kling-async needs {missing}: pip install 'kling_async[cli]'\n")
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A letter that the terminal does not know must not end a wait for what is paid.
            stream.reconfigure(errors="backslashreplace")
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m kling_async.simulator`: the simulated vendor on a port, until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from kling_async.simulator import callbacks
from kling_async.simulator.server import Simulator
from kling_async.spec import WEBHOOK_SECRET_MIN_BYTES, WEBHOOK_SECRET_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PORT: Final = 8765

_EXAMPLES: Final = """\
examples:
  {prog} --port 8765
  {prog} --slots 2 --task-seconds 120
  {prog} --webhook-secret whsec_c2ltdWxhdGVkLXdlYmhvb2stc2VjcmV0LW9mLTMyLWI=
"""


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m kling_async.simulator") -> int:
    """The exit code: 0 after SIGINT or SIGTERM, 1 when the port is not to be had.

    Args:
        argv: the options, `None` for those of the process.
        prog: what the help calls the command.
    """
    options = _parser(prog).parse_args(argv)
    try:
        with _callbacks_told():
            asyncio.run(_serve(options))
    except OSError as error:
        sys.stderr.write(f"{prog}: cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run the simulated Kling API until interrupted.",
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument("--slots", type=_count, help="tasks in flight at most (default: any number)")
    parser.add_argument("--units", type=_count, help="what the resource pack holds (default: plenty)")
    parser.add_argument(
        "--task-seconds", type=_seconds, default=10.0, help="how long a task takes (default: %(default)s)"
    )
    parser.add_argument(
        "--submitted-seconds", type=_seconds, default=1.0, help="how much of that it waits (default: %(default)s)"
    )
    parser.add_argument("--lenient", action="store_true", help="take negative_prompt and cfg_scale, and ignore them")
    parser.add_argument(
        "--webhook-secret",
        type=_secret,
        help="signs callbacks: whsec_ and base64 of at least 16 bytes (default: unsigned)",
    )
    return parser


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: there Ctrl-C is the only way, and asyncio.run's own
            loop.add_signal_handler(number, stop.set)
    async with Simulator(
        host=options.host,
        port=options.port,
        lenient=options.lenient,
        slots=options.slots,
        units=options.units,
        task_seconds=options.task_seconds,
        submitted_seconds=options.submitted_seconds,
        webhook_secret=options.webhook_secret,
    ) as simulator:
        sys.stdout.write(_announcement(simulator))
        sys.stdout.flush()  # whoever started us through a pipe waits for these lines
        await stop.wait()


@contextmanager
def _callbacks_told() -> Iterator[None]:
    """Callbacks that did not arrive are told on standard error: nothing else shows them."""
    logger, handler = callbacks.logger, logging.StreamHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or else it would be told twice where the package's own log is shown
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _announcement(simulator: Simulator) -> str:
    settings = {"KLING_BASE_URL": simulator.url, "KLING_API_KEY": simulator.api_key}
    if simulator.webhook_secrets:
        settings["KLING_WEBHOOK_SECRET"] = simulator.webhook_secrets[0]
    lines = [
        f"Simulated Kling API on {simulator.url} (Ctrl-C ends it)",
        f"  access key  {simulator.access_key}",
        f"  secret key  {simulator.secret_key}",
        f"  API key     {simulator.api_key}",
        f"  callbacks   signed with {simulator.webhook_secrets[0]}"
        if simulator.webhook_secrets
        else "  callbacks   not signed; --webhook-secret signs them",
        "Source videos that stand ready:",
        *(f"  {source}" for source in simulator.sources),
        "To use it:",
        "export " + " ".join(f"{name}={value}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _secret(text: str) -> str:
    try:
        callbacks.key_of(text)
    except ValueError:
        least = f"{WEBHOOK_SECRET_PREFIX} and base64 of at least {WEBHOOK_SECRET_MIN_BYTES} bytes"
        raise argparse.ArgumentTypeError(f"it must be {least}") from None
    return text


def _port(text: str) -> int:
    return _bounded(_count(text), 65_535)


def _count(text: str) -> int:
    return _bounded(int(text), 10**9)


def _bounded(number: int, most: int) -> int:
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and {most}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 10**9:  # NaN fails this too
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())

"""The command line: a thin edge around the client."""

from kling_async.cli.entry import run

__all__ = ["run"]

"""Who runs: every client that is compared, by the name under which it stands in the tables."""

from __future__ import annotations

from clients import Client, Naive, Ours, Raw, Tuned
from control import installed

CLIENTS: dict[str, type[Client]] = {"raw": Raw, "tuned": Tuned, "naive": Naive, "ours": Ours}


def missing(client: type[Client]) -> list[str]:
    """What pip must install before this client can play."""
    return [package for package, module in client.NEEDS.items() if not installed(module)]

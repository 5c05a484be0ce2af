"""Who runs: every client that is compared, by the name under which it stands in the tables."""

from __future__ import annotations

import sdks
from clients import Client, Heard, Naive, Ours, Raw, Traced, Tuned
from control import installed

CLIENTS: dict[str, type[Client]] = {
    "raw": Raw,
    "tuned": Tuned,
    "ours": Ours,
    "ours + hook": Heard,
    "ours + otel": Traced,
    "naive": Naive,
    "aiohttp + pydantic": sdks.PydanticAiohttp,
    "httpx + pydantic": sdks.PydanticHttpx,
    "openai": sdks.OpenAI,
    "openai[aiohttp]": sdks.OpenAIAiohttp,
    "runwayml": sdks.Runway,
    "runwayml[aiohttp]": sdks.RunwayAiohttp,
    "lumaai": sdks.Luma,
    "replicate": sdks.Replicate,
}


def missing(client: type[Client]) -> list[str]:
    """What pip must install before this client can play."""
    return [package for package, module in client.NEEDS.items() if not installed(module)]

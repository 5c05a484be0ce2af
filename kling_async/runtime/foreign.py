"""What exceptions of the HTTP library mean, in words of ours."""

from __future__ import annotations

import os

import aiohttp

from kling_async.rules.wire import scrubbed

_CAUSES_MAX = 20  # of one error; no chain that anybody builds is longer, unless it bites its tail


def is_final(error: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status in {401, 403, 407}
    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL)


def bare(error: Exception) -> Exception:
    """The error and its causes without their frames, which hold what was on the wire."""
    link: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if link is not None:
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
    return error


def told(error: Exception, budget: float) -> str:
    """What happened, in words of ours with the library's behind them."""
    if isinstance(error, TimeoutError):
        return f"no answer within {budget:.1f} s"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.os_error.errno
        reason = os.strerror(number) if number is not None and number > 0 else str(error.os_error)
        proxy = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        return f"cannot connect to {proxy}{error.host}:{error.port}: {reason}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refuses to connect: it answered {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {scrubbed(str(error))[:200]}"
    return f"the connection broke: {type(error).__name__}: {scrubbed(str(error))[:200]}"

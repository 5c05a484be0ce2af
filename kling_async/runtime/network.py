"""How connections are made, where the defaults do not do: proxies, certificates, and aiohttp parts of your own."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs

from kling_async.checks import refusal, web_parts
from kling_async.credentials import Secret, Unpicklable
from kling_async.errors import ConfigurationError


def _proxy(url: str | None) -> str | None:
    return url if url is None else _checked("proxy", Secret(url))


def _checked(name: str, url: Secret) -> Secret:
    if not _is_origin(url):
        # The URL itself stays unsaid: it may hold a password.
        raise ConfigurationError(f"{name}: must be the URL of a proxy, such as http://user:password@proxy.example:3128")
    return url


def _is_origin(url: str) -> bool:
    parts = web_parts(url)
    return parts is not None and parts.path in {"", "/"} and not parts.query and not parts.fragment


def _trusted(given: ssl.SSLContext | str | os.PathLike[str] | None) -> ssl.SSLContext | None:
    if given is None or isinstance(given, ssl.SSLContext):
        return given
    try:
        path = os.fspath(given)
    except TypeError:
        raise refusal("tls", given, "an SSLContext, or the path of a PEM file", error=ConfigurationError) from None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one too
        raise ConfigurationError(f"tls: {path} cannot be read as certificates: {error.strerror}") from None


def _all_traced(given: Sequence[aiohttp.TraceConfig]) -> tuple[aiohttp.TraceConfig, ...]:
    configs: object = given
    if not isinstance(configs, Sequence) or not all(isinstance(one, aiohttp.TraceConfig) for one in configs):
        raise refusal("trace_configs", given, "a list of aiohttp.TraceConfig", error=ConfigurationError)
    return tuple(given)


def _flag(_: object, field: attrs.Attribute[bool], value: object) -> None:
    if not isinstance(value, bool):
        raise refusal(field.name, value, "True or False", error=ConfigurationError)


def _usable(_: object, __: object, session: aiohttp.ClientSession | None) -> None:
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        raise refusal("session", session, "an aiohttp.ClientSession", error=ConfigurationError)
    if session.auth is not None:
        raise ConfigurationError("session: has an `auth` of its own; calls bring their own Authorization")


@attrs.frozen(kw_only=True)
class Network(Unpicklable):
    """How connections are made.

    Attributes:
        proxy: the URL of an HTTP proxy for calls to the API, such as `http://user:password@proxy.example:3128`; default
            `None`: none. Its password is shown nowhere.
        trust_env: takes that proxy from `HTTPS_PROXY` (`HTTP_PROXY` for an http `base_url`) and `NO_PROXY`, as they are
            when the client is built, unless `proxy` is given; default false: the environment is not looked at.
        proxy_files: fetches films through `proxy`, too; default false: straight from their hosts. A proxy looks names
            up itself, so with it nobody here can see to it that they lead to public addresses alone.
        tls: whom to trust, with the API and with the hosts of films: the path of a PEM file whose certificates count in
            place of the system's, or an `ssl.SSLContext`; default `None`: whom the system trusts.
        trace_configs: aiohttp's hooks, for all requests. They are shown everything, the Authorization header and signed
            URLs included.
        session: a session of yours, for the calls to the API; default `None`: the client opens its own. It is never
            closed by us, and no file host is asked with it. Its proxy, certificates, cookies and hooks are its own, its
            redirects, timeouts and middlewares are not used; its connections are shared by creates, reads and whatever
            else you do with it, so nothing is set aside for creates. It serves one event loop, as sessions do.

    Raises:
        ConfigurationError: what is no proxy, no certificates, no TraceConfig, no session; or a session beside a proxy
            that it would not use.
    """

    proxy: str | None = attrs.field(default=None, converter=_proxy)
    trust_env: bool = attrs.field(default=False, validator=_flag)
    proxy_files: bool = attrs.field(default=False, validator=_flag)
    tls: ssl.SSLContext | None = attrs.field(default=None, converter=_trusted)
    trace_configs: tuple[aiohttp.TraceConfig, ...] = attrs.field(default=(), converter=_all_traced, repr=False)
    session: aiohttp.ClientSession | None = attrs.field(default=None, validator=_usable, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.proxy_files and self.proxy is None:
            raise ConfigurationError("proxy_files: needs `proxy`; one of the environment serves the API alone")
        if self.session is not None and (self.trust_env or (self.proxy is not None and not self.proxy_files)):
            raise ConfigurationError("session: brings its own proxy; `proxy` and `trust_env` would not be used")

    def proxy_for(self, url: str) -> str | None:
        """The proxy for calls to this URL, `None` for none.

        Raises:
            ConfigurationError: the environment names one that is none.
        """
        if self.proxy is not None or not self.trust_env:
            return self.proxy
        parts = urlsplit(url)
        found = Secret(getproxies().get(parts.scheme, ""))
        if not found or proxy_bypass(parts.hostname or ""):
            return None
        return _checked(f"{parts.scheme.upper()}_PROXY", found)

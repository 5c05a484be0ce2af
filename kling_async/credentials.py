"""Who asks: an API key, or an access key pair whose token is signed here. Shown nowhere, pickled never."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import NoReturn

import attrs
import jwt

from kling_async import spec
from kling_async.errors import ConfigurationError

_log = logging.getLogger("kling_async")

_RENEW_BEFORE_SECONDS = 60.0
_SECRET_LEAST = 12  # characters; what is shorter is no real key, and could be a part of any word
_SKEW_WORTH_A_WORD_SECONDS = 5.0


class Secret(str):
    """A text that does not show itself in a repr, and so not in a traceback with locals either."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


def _secret(key: str) -> str:
    # Not for what is no text: the validator refuses that, and a None must not become the key "None".
    return Secret(key) if issubclass(type(key), str) else key


def _key(_: object, field: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        # The value itself stays unsaid: it is, or nearly is, a secret.
        raise ConfigurationError(
            f"{field.name}: must be a text of printable ASCII without blanks or line ends, as the console shows it"
        )


class Unpicklable:
    """What holds a secret, and is not pickled."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not pickled: give each process its credentials by its environment")


@attrs.frozen(repr=False)
class ApiKey(Unpicklable):
    """A static API key, sent as it is.

    Raises:
        ConfigurationError: the key is empty or holds blanks, line ends or letters that no key has.

    Source: document-api, "Authentication".
    """

    key: str = attrs.field(validator=_key, converter=_secret)

    def __repr__(self) -> str:
        return "ApiKey(<secret>)"


@attrs.frozen(repr=False)
class AccessKey(Unpicklable):
    """An access key and its secret key: each request carries a token (JWT, HS256) signed with them.

    Raises:
        ConfigurationError: a key is empty or holds blanks, line ends or letters that no key has.

    Source: document-api, "Authentication".
    """

    access_key: str = attrs.field(validator=_key)
    secret_key: str = attrs.field(validator=_key, converter=_secret)

    def __repr__(self) -> str:
        return f"AccessKey('…{self.access_key[-4:]}', <secret>)"


Credentials = ApiKey | AccessKey


def credentials_from(environment: Mapping[str, str]) -> Credentials:
    """The credentials that the environment names: `KLING_API_KEY`, or `KLING_ACCESS_KEY` and `KLING_SECRET_KEY`.

    Raises:
        ConfigurationError: neither is set, or only half of the pair.
    """
    # Line ends are stripped: `export KLING_API_KEY="$(cat file)"` and .env files bring them along.
    given = {name: value.strip() for name in _VARIABLES if (value := environment.get(name, ""))}
    api_key, access_key, secret_key = (given.get(name, "") for name in _VARIABLES)
    if api_key:
        return ApiKey(api_key)
    if access_key and secret_key:
        return AccessKey(access_key, secret_key)
    if access_key or secret_key:
        missing = "KLING_SECRET_KEY" if access_key else "KLING_ACCESS_KEY"
        raise ConfigurationError(f"{missing} is not set; an access key pair needs both")
    raise ConfigurationError(
        "no credentials: set KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY, in the environment, "
        "or pass ApiKey(...) or AccessKey(...)"
    )


_VARIABLES = ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY")


class Signer:
    """The Authorization header for now: one token reused until shortly before it ends.

    Signing takes no await, so however many requests find the token spent, the first signs and the rest reuse.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._header: Secret | None = None
        self._needles = self._secrets()
        self._good_from = self._good_until = 0.0
        self._skew = 0.0  # the server's clock minus ours, in seconds
        self._told = False
        self.signings = 0

    def __repr__(self) -> str:
        return f"<Signer {self.credentials!r}, {self.signings} signings, clock {self._skew:+.0f} s off>"

    def header(self, now: float) -> Secret:
        """The header's value for a request at `now` (Unix seconds)."""
        if self._header is None or not self._good_from <= now < self._good_until:
            self._header = self._sign(now)
            self._needles = self._secrets()
        return self._header

    def _sign(self, now: float) -> Secret:
        credentials = self.credentials
        self.signings += 1
        if isinstance(credentials, ApiKey):
            self._good_from, self._good_until = float("-inf"), float("inf")
            return Secret(f"Bearer {credentials.key}")
        there = int(now + self._skew)
        claims = {
            "iss": credentials.access_key,
            "exp": there + spec.JWT_LIFETIME_SECONDS,
            "nbf": there - spec.JWT_NOT_BEFORE_SECONDS,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the key is short: its length is the vendor's choice
            token = jwt.encode(claims, str(credentials.secret_key), algorithm=spec.JWT_ALGORITHM)
        # A wall clock set back leaves a token "from the future": sign anew then, too.
        self._good_from = now - _RENEW_BEFORE_SECONDS
        self._good_until = now + spec.JWT_LIFETIME_SECONDS - _RENEW_BEFORE_SECONDS
        return Secret(f"Bearer {token}")

    def unsaid(self, answer: bytes) -> bytes:
        """The answer without our keys and token, should it echo them.

        Before anything reads it: what is cut out of it later could hold half a key.
        """
        for secret in self._needles:
            if secret in answer:
                answer = answer.replace(secret, b"<secret>")
        return answer

    def _secrets(self) -> list[bytes]:
        """What must not be said again: the key, and the token of now."""
        credentials = self.credentials
        own = credentials.key if isinstance(credentials, ApiKey) else credentials.secret_key
        token = "" if self._header is None else self._header.removeprefix("Bearer ")
        return [secret.encode() for secret in dict.fromkeys((own, token)) if len(secret) >= _SECRET_LEAST]

    def refused(self, header: str, *, server_time: float | None, now: float) -> bool:
        """Whether a request refused for its token's time (1003, 1004) should be sent once more.

        Learns the server's clock from the answer's `Date` (`server_time`, Unix seconds, `None` when it had none).
        Of many requests refused with one token, only the first makes a new one.
        """
        if isinstance(self.credentials, ApiKey):
            return False
        if header == self._header:
            self._header = None
            if server_time is not None:
                self._learn(server_time - now)
        return True

    def _learn(self, skew: float) -> None:
        self._skew = skew
        if abs(skew) > _SKEW_WORTH_A_WORD_SECONDS and not self._told:
            self._told = True
            _log.warning("this machine's clock is %.0f s off the vendor's; tokens follow the vendor's", -skew)

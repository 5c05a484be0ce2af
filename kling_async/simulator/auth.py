"""Who is calling: the vendor's check of the Authorization header, with the standard library alone.

Source: document-api, "Authentication" and "Error codes" 1000 to 1004; what else is taken was seen on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math

from attrs import Factory, define, field

from kling_async.simulator.wire import (
    AUTH_EMPTY,
    AUTH_EXPIRED,
    AUTH_FAILED,
    AUTH_INVALID,
    AUTH_NOT_YET,
    JSON,
    Refused,
    parse,
)
from kling_async.spec import JWT_ALGORITHM


@define
class Keys:
    """The keys of the account: each secret key by its access key, and the static API keys."""

    secrets: dict[str, str] = field(default=Factory(dict), repr=lambda found: repr(sorted(found)))
    api_keys: set[str] = field(default=Factory(set), repr=False)

    def check(self, header: str | None, now: float) -> None:
        """Nothing, when the header proves one of these keys at the Unix time `now`.

        Raises:
            Refused: with one of 1000 to 1004.
        """
        token = _bearer(header)
        if not self._is_api_key(token):
            claims = self._signed_claims(token)
            _check_times(claims, now)

    def _is_api_key(self, token: str) -> bool:
        # Summed, since any() would stop at the first match and tell by its time which one it was.
        return sum(_same(token, key) for key in self.api_keys) > 0

    def _signed_claims(self, token: str) -> dict[str, JSON]:
        """The claims of a well-formed token that one of the secret keys signed."""
        head, claims, signature, signed = _take_apart(token)
        if head.get("alg") != JWT_ALGORITHM:
            raise Refused(AUTH_INVALID, f"Authorization is invalid: alg must be {JWT_ALGORITHM}")
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or "exp" not in claims:
            raise Refused(AUTH_INVALID, "Authorization is invalid: iss and exp are required")
        secret = self.secrets.get(issuer)
        # An unknown key is compared too, with a secret that nobody has: it takes as long as a known one.
        expected = hmac.digest(_bytes(secret or ""), signed, hashlib.sha256)
        if not hmac.compare_digest(expected, signature) or secret is None:
            raise Refused(AUTH_FAILED, "Authentication failed: unknown access key or wrong signature")
        return claims


def _bearer(header: str | None) -> str:
    if header is None or not header.strip():
        raise Refused(AUTH_EMPTY, "Authorization is empty")
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(AUTH_INVALID, "Authorization is invalid: Bearer and a token are expected")
    return token.strip()


def _take_apart(token: str) -> tuple[dict[str, JSON], dict[str, JSON], bytes, bytes]:
    """Head, claims, signature, and the bytes that were signed."""
    try:
        head, claims, signature = token.split(".")
        signed = f"{head}.{claims}".encode("ascii")
        return _object(head), _object(claims), _decode(signature), signed
    except ValueError as error:
        raise Refused(AUTH_INVALID, "Authorization is invalid: not an API key and not a token") from error


def _object(part: str) -> dict[str, JSON]:
    value = parse(_decode(part).decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 -- bad input like all the rest of it
    return value


def _decode(part: str) -> bytes:
    bare = part.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def _check_times(claims: dict[str, JSON], now: float) -> None:
    # Both are read before either is judged: a token with a senseless time is malformed, not early or late.
    not_before, expires = _time(claims.get("nbf", 0)), _time(claims["exp"])
    if not_before > now:
        raise Refused(AUTH_NOT_YET, "Authorization is not yet valid: nbf is in the future")
    if expires <= now:
        raise Refused(AUTH_EXPIRED, "Authorization has expired: exp has passed")


def _time(value: JSON) -> int | float:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise Refused(AUTH_INVALID, "Authorization is invalid: nbf and exp are numbers of seconds")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    # Header bytes that are no UTF-8 arrive as lone surrogates; they must not break the comparison.
    return text.encode("utf-8", "surrogatepass")

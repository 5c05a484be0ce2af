"""Checks of what users give us: one clear error that names the field, the kind of value, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

from kling_async import spec
from kling_async.errors import ConfigurationError, KlingError, RequestError

Check = Callable[[object, "attrs.Attribute[Any]", Any], None]
"""What attrs calls with (instance, field, value). `Any` since a check stands before the type is known."""

optional = attrs.validators.optional


def refusal(field: str, value: object, allowed: str, *, error: type[KlingError] = RequestError) -> KlingError:
    """The error that says what was given for a field and what is allowed there.

    Only numbers and short texts are shown: a longer one may be a prompt, an unexpected object may hold a secret.
    """
    kind = type(value).__name__
    given = f"{shown} ({kind})" if (shown := _shown(value)) else kind
    return error(f"{field}: {given} is not allowed; it must be {allowed}")


def _shown(value: object) -> str:
    if not isinstance(value, bool | int | float | str):
        return ""
    try:
        shown = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return ""
    return shown if len(shown) <= 60 else ""


def text(allowed: str, *, most: int | None = None) -> Check:
    """Passes any text of at most `most` characters (`None`: of any length)."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str):
            raise refusal(field.name, value, allowed)
        if most is not None and len(value) > most:
            raise RequestError(f"{field.name}: {len(value):,} characters are too many; at most {most:,} are allowed")
        try:
            value.encode()
        except UnicodeEncodeError:
            # json would write it and the vendor would refuse it, or worse, read something else.
            raise RequestError(f"{field.name}: holds half of a surrogate pair, which is no character") from None

    return check


def identifier(field: str, value: object, allowed: str) -> str:
    """The id itself, if it can stand in a URL: no text around it, nothing that a path would read as a step."""
    if not isinstance(value, str):
        raise refusal(field, value, allowed)
    if not value or value in {".", ".."} or value != value.strip() or not value.isprintable():
        raise refusal(field, value, f"{allowed}, without blanks around it")
    return value


def id_text(allowed: str) -> Check:
    """`identifier` as a check of a field."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        identifier(field.name, value, allowed)

    return check


def one_of(choices: Collection[str]) -> Check:
    """Passes one of the words listed."""
    allowed = "one of " + ", ".join(choices)

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in choices:
            raise refusal(field.name, value, allowed)

    return check


def flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Passes true and false alone."""
    if not isinstance(value, bool):
        raise refusal(field.name, value, "True or False")


def web_address(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Passes an absolute http or https URL."""
    if web_parts(value) is None:
        raise refusal(field.name, value, "an absolute http or https URL")


def web_parts(value: object) -> SplitResult | None:
    """The parts of an absolute http or https URL, `None` for anything else."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def base_address(url: str) -> str:
    """The API's address, without a slash at its end."""
    parts = web_parts(url)
    if parts is None or parts.query or parts.fragment or parts.username or parts.password:
        raise ConfigurationError(
            f"base_url: must be an http or https URL without user, query and fragment, such as {spec.BASE_URL}"
        )
    url = url.rstrip("/")
    if url.endswith("/v1"):
        raise ConfigurationError(f"base_url: ends in /v1, which the calls bring along; it must be like {spec.BASE_URL}")
    return url


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def whole(
    field: str, value: object, *, least: int, most: int | None = None, error: type[KlingError] = RequestError
) -> int:
    """The number itself, if it is a whole one within the bounds."""
    bounds = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(field, value, bounds, error=error)
    if value < least or (most is not None and value > most):
        raise refusal(field, value, bounds, error=error)
    return value


def seconds(field: str, value: object, *, zero: bool = False, error: type[KlingError] = RequestError) -> float:
    """The number of seconds itself, if it is finite and positive (`zero=True`: or nought)."""
    allowed = f"a finite number of seconds, {'not negative' if zero else 'more than 0'}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal(field, value, allowed, error=error)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise refusal(field, value, allowed, error=error)
    return number


def policy_seconds(*, zero: bool = False) -> Check:
    """`seconds` as a check of a policy's field."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        seconds(field.name, value, zero=zero, error=ConfigurationError)

    return check


def policy_whole(*, least: int, most: int | None = None) -> Check:
    """`whole` as a check of a policy's field."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        whole(field.name, value, least=least, most=most, error=ConfigurationError)

    return check


def rising_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Passes a tuple of seconds, none smaller than the one before; at least one."""
    allowed = "a tuple of seconds in rising order, at least one"
    if not isinstance(value, tuple) or not value:
        raise refusal(field.name, value, allowed, error=ConfigurationError)
    numbers = [seconds(field.name, number, zero=True, error=ConfigurationError) for number in value]
    if numbers != sorted(numbers):
        raise refusal(field.name, value, allowed, error=ConfigurationError)

"""Whether a callback is the vendor's: the Standard Webhooks scheme. Pure: `now` is passed in.

The library signs; the rest of its check is done here. It reads the machine's own clock, takes times with fractions and
signatures with letters that no base64 has, and lets foreign exceptions out where headers are forged.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import attrs
from standardwebhooks import Webhook

from kling_async import spec
from kling_async.credentials import Secret
from kling_async.errors import ConfigurationError, WebhookError
from kling_async.models import Task
from kling_async.rules.wire.callbacks import read_callback

# The signed text is `id.timestamp.body`: with a full stop in the id it could be read in two ways.
_ID = re.compile(r"[!-\-/-~]{1,255}")
# Two are sent while a secret rotates; others may be of versions that are not known here. A header that came twice,
# which HTTP joins with a comma, is none.
_ONE = r"[!-+\--~]{1,16},[!-+\--~]{1,256}"
_SIGNATURES = re.compile(f"{_ONE}(?: {_ONE}){{0,9}}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")


@attrs.frozen
class Callback:
    """A callback that the vendor signed.

    Attributes:
        id: of the delivery; a repeated one has the same.
        sent_at: Unix seconds.
        task: what it tells of.
    """

    id: str
    sent_at: int
    task: Task


class Verifier:
    """Verifies callbacks with any of several secrets, as while one of them rotates.

    Args:
        secrets: as the vendor's console shows them: `whsec_` and base64. With none, nothing passes.
        same: whether two texts are equal, in a time that does not tell where they differ.

    Raises:
        ConfigurationError: a secret that cannot be one; it is not shown.

    Source: document-api, "Callbacks": two secrets are valid for 7 days while one rotates.
    """

    def __init__(self, secrets: Iterable[str], *, same: Callable[[str, str], bool] = hmac.compare_digest) -> None:
        self._same = same
        self._signers: tuple[Webhook, ...] = ()  # for a repr of one that is never finished
        self._signers = tuple(Webhook(secret) for secret in hidden(secrets))

    def __repr__(self) -> str:
        return f"<Verifier {len(self._signers)} secrets>"

    @property
    def has_secret(self) -> bool:
        """Whether anything can pass."""
        return bool(self._signers)

    def verify(self, body: bytes, headers: Mapping[str, str], now: float) -> Callback:
        """The callback, if the vendor signed this very body within 5 minutes of `now` (Unix seconds).

        Args:
            body: as it came, byte for byte.
            headers: with names in any case.
            now: Unix seconds.

        Raises:
            WebhookError: it is not the vendor's, or cannot be read. Nothing else is raised, whatever comes in.
        """
        try:
            return self._verified(body, headers, now)
        except WebhookError:
            raise
        except Exception:  # none is known; but a library's that is not ours must not come out either
            raise WebhookError("the callback cannot be read") from None

    def _verified(self, body: bytes, headers: Mapping[str, str], now: float) -> Callback:
        if not self.has_secret:
            raise WebhookError("no webhook secret is set, so nothing can be verified")
        whole = as_bytes(body)
        given = picked(headers, (spec.WEBHOOK_ID, spec.WEBHOOK_TIMESTAMP, spec.WEBHOOK_SIGNATURE))
        if len(given) < 3:
            raise WebhookError("the callback is not signed: a header of the signature is missing")
        delivery, timestamp, signatures = given.values()
        sent_at = _sent_at(delivery, timestamp, now)
        # Not raised there: a traceback with locals must not show the right signature to who reads the log.
        if not self._is_right(delivery, sent_at, whole, signatures):
            raise WebhookError("no signature of a callback is right: forged, changed on the way, or another secret")
        return Callback(delivery, sent_at, read_callback(whole))

    def _is_right(self, delivery: str, sent_at: int, body: bytes, signatures: str) -> bool:
        if not _SIGNATURES.fullmatch(signatures):
            raise WebhookError("the signature of a callback is malformed")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise WebhookError("the body of a callback is no UTF-8") from None
        at = datetime.fromtimestamp(sent_at, UTC)
        expected = [signer.sign(delivery, at, text) for signer in self._signers]
        # All are compared, whichever matches: the time tells nothing of the secrets.
        matches = [self._same(one, other) for one in expected for other in signatures.split(" ")]
        return any(matches)


def _sent_at(delivery: str, timestamp: str, now: float) -> int:
    if not _ID.fullmatch(delivery):
        raise WebhookError("the id of a callback is malformed")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookError("the time of a callback is malformed")
    sent_at = int(timestamp)
    if not abs(now - sent_at) <= spec.WEBHOOK_TOLERANCE_SECONDS:
        way = "in the past" if sent_at < now else "in the future"
        raise WebhookError(f"the callback was sent more than {spec.WEBHOOK_TOLERANCE_SECONDS} s {way}")
    return sent_at


def as_bytes(body: object) -> bytes:
    """The body, if it is bytes of some kind.

    Raises:
        WebhookError: it is something else, such as a text.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise WebhookError(f"the body is {type(body).__name__}; it must be the bytes as they came")
    return bytes(body)


def picked(headers: object, names: Iterable[str]) -> dict[str, str]:
    """Those of the headers that have these names, in this order; what came several times is joined, as HTTP means it.

    Raises:
        WebhookError: it is no mapping that can be read, or a value of one of them is no text.
    """
    if not isinstance(headers, Mapping):
        raise WebhookError(f"the headers are {type(headers).__name__}; they must be a mapping of texts")
    try:
        pairs = list(headers.items())
    except Exception:  # of whoever wrote the mapping
        raise WebhookError("the headers cannot be read") from None
    found: dict[str, list[str]] = {name: [] for name in names}
    for name, value in pairs:
        values = found.get(name.lower()) if isinstance(name, str) else None
        if values is None:
            continue
        if not isinstance(value, str):
            raise WebhookError(f"a header of the callback is {type(value).__name__}; it must be a text")
        values.append(value)
    return {name: ", ".join(values) for name, values in found.items() if values}


def hidden(secrets: object) -> tuple[Secret, ...]:
    """The secrets as texts that do not show themselves: no traceback with locals tells them from here on.

    Raises:
        ConfigurationError: a secret that cannot be one; it is not shown.
    """
    if isinstance(secrets, str | bytes) or not isinstance(secrets, Iterable):
        kind = type(secrets).__name__
        del secrets
        raise ConfigurationError(f"webhook_secrets: is one {kind}; it must be a list of secrets")
    texts = [Secret(secret) if isinstance(secret, str) else Secret() for secret in secrets]
    del secrets
    for place, text in enumerate(texts):
        if not _is_secret(text):
            raise ConfigurationError(
                f"webhook_secrets[{place}]: is no secret; it must be as the console shows it: "
                f"{spec.WEBHOOK_SECRET_PREFIX} and base64 of at least {spec.WEBHOOK_SECRET_MIN_BYTES} bytes"
            )
    return tuple(texts)


def _is_secret(text: str) -> bool:
    letters = text.removeprefix(spec.WEBHOOK_SECRET_PREFIX)
    try:
        # The padding may be left out; the library adds it, too.
        key = base64.b64decode(letters.rstrip("=") + "=" * (-len(letters.rstrip("=")) % 4), validate=True)
    except ValueError:
        return False
    return len(key) >= spec.WEBHOOK_SECRET_MIN_BYTES

"""What can go wrong, told so that a caller can act on it.

One root, `KlingError`. Every error says what failed, whether a paid task may exist (`created`), the ids that are
known, and what to do next; none shows a secret. A class exists only where a caller would act differently.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from kling_async.spec import VENDOR_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable

Created = Literal["no", "unknown", "yes"]
"""Whether a task exists that this call made or was about: `"unknown"` means that one may, and may cost money."""


class KlingError(Exception):
    """The root of all errors of this package.

    Attributes:
        created: whether a (paid) task exists: `"no"`, `"unknown"` or `"yes"`. Reads create nothing: `"no"`.
        task_id: the vendor's id of the task, `None` when it is not known.
        external_task_id: the id that the create carried, `None` when there was none or it is not known.
        request_id: the vendor's id of the failed exchange, `None` when no envelope arrived. Quote it to support.
        host: the host that was asked, `None` when nothing was sent.
        attempts: how many requests were sent for this call, 0 when nothing was sent.
    """

    advice: ClassVar[str] = "Read the message."
    _tells_created: ClassVar[bool] = True  # whether the answer to that is news in the text

    def __init__(
        self,
        message: str,
        *,
        created: Created = "no",
        task_id: str | None = None,
        external_task_id: str | None = None,
        request_id: str | None = None,
        host: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.created: Created = created
        self.task_id = task_id
        self.external_task_id = external_task_id
        self.request_id = request_id
        self.host = host
        self.attempts = attempts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self._facts() if value)
        return f"{self.message} ({facts}). {self.advice}" if facts else f"{self.message}. {self.advice}"

    @property
    def in_brief(self) -> str:
        """What failed, and the vendor's id of the exchange, without the rest: for a log line in which it is a part."""
        return self.message if self.request_id is None else f"{self.message}, request id: {self.request_id}"

    def _facts(self) -> Iterable[tuple[str, object]]:
        yield "created", self.created if self._tells_created else None
        yield "task id", self.task_id
        yield "external id", self.external_task_id
        yield "request id", self.request_id
        yield "host", self.host
        yield "requests sent", self.attempts

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (pools, task queues); the default would call __init__ without its keywords.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[KlingError], args: tuple[object, ...]) -> KlingError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigurationError(KlingError):
    """The client cannot work as it was set up: credentials, URL, a policy's number, or the loop it is used from."""

    advice = "Mend the settings that the message names."
    _tells_created = False


class RequestError(KlingError, ValueError):
    """Refused before anything was sent: the message names the field, what was given and what is allowed."""

    advice = "Mend the argument; nothing was sent."
    _tells_created = False


class APIError(KlingError):
    """The vendor answered with an error code; each kind below serves some of the codes.

    Attributes:
        code: the vendor's code, the one thing to decide by (HTTP 429 also means an empty wallet).
        http_status: the HTTP status that came with it.

    Source: document-api, "Error codes".
    """

    codes: ClassVar[tuple[int, ...]] = ()
    transient: ClassVar[bool] = False
    refuses_all: ClassVar[bool] = False  # whether any other create would be refused too, whatever it asks for
    kinds: ClassVar[dict[int, type[APIError]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for code in cls.__dict__.get("codes", ()):
            if code in cls.kinds:
                raise TypeError(f"vendor code {code} belongs to {cls.kinds[code].__name__} already")
            cls.kinds[code] = cls

    def __init__(
        self,
        message: str,
        *,
        code: int,
        http_status: int,
        created: Created = "no",
        task_id: str | None = None,
        external_task_id: str | None = None,
        request_id: str | None = None,
        host: str | None = None,
        attempts: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message,
            created=created,
            task_id=task_id,
            external_task_id=external_task_id,
            request_id=request_id,
            host=host,
            attempts=attempts,
        )
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after

    def _facts(self) -> Iterable[tuple[str, object]]:
        yield "code", self.code
        yield "HTTP", self.http_status
        yield from super()._facts()

    @property
    def worth_retrying(self) -> bool:
        """Whether the same request may succeed later, unchanged."""
        return self.transient

    def to_others(self) -> Self:
        """The same refusal, as those hear it whose creates were not sent because of it."""
        own = copy.copy(self)
        own.created, own.task_id, own.external_task_id, own.attempts = "no", None, None, 0
        own.message = f"not sent, since another create was refused: {self.message}"
        return own

    @property
    def proves_not_created(self) -> bool:
        """Whether this answer to a create proves that no task was made: the vendor refused it by a known code."""
        return 1000 <= self.code <= 1304


class AuthenticationError(APIError):
    """The vendor does not accept the credentials.

    A token refused for its time alone (1003, 1004) is signed anew by the server's clock, once, before you see this.
    """

    codes = (1000, 1001, 1002, 1003, 1004)
    refuses_all = True
    advice = "Check the key, its kind (API key or access key pair), and that it belongs to this host's region."


class AccountError(APIError):
    """The account cannot pay or may not do this: no retry helps."""

    codes = (1100, 1101, 1102, 1103)
    refuses_all = True
    advice = "Look at the account, its balance, its resource pack and its permissions in the vendor's console."


class InvalidRequest(APIError):
    """The vendor refuses the parameters."""

    codes = (1200, 1201, 1202)
    advice = "Mend the request as the vendor's message says."


class NotFound(APIError):
    """The vendor does not know what was asked for: a task id, or a model.

    A query for one task that is answered 1201 ends here too, since its only parameter is the id.
    """

    codes = (1203,)
    advice = "Check the id (a video's id is not its task's) and that it belongs to this account."


class ContentRejected(APIError):
    """The platform's or the content policy forbids the prompt or the video."""

    codes = (1300, 1301)
    advice = "Change the prompt or the video; the same one will be refused again."


class RateLimited(APIError):
    """Too many requests at once."""

    codes = (1302,)
    transient = True
    advice = "Send fewer requests at a time and try again later."


class ConcurrencyLimited(APIError):
    """As many tasks are in flight as the account's resource pack allows; no task was made."""

    codes = (1303,)
    transient = True
    advice = "Wait until a task of the account has ended, then create again."


class AddressNotAllowed(APIError):
    """This machine's IP address is not on the account's allow list."""

    codes = (1304,)
    refuses_all = True
    advice = "Add the address in the vendor's console, or call from an allowed one."


class ServerError(APIError):
    """The vendor's own trouble: an internal error, maintenance, or a backlog."""

    codes = (5000, 5001, 5002)
    transient = True
    advice = "Try again later; the vendor's status page may tell more."


class UnknownCode(APIError):
    """A code that no document lists yet."""

    advice = "Read the vendor's message, and quote the request id to its support."

    @property
    def worth_retrying(self) -> bool:
        """Codes from 5000 on are the vendor's own trouble, also those to come (assumed)."""
        return self.code >= 5000

    @property
    def proves_not_created(self) -> bool:
        """Nothing: what an unlisted code means for a create is not known."""
        return False


class TransportError(KlingError):
    """No answer arrived: the connection could not be made, broke, or stayed silent.

    Attributes:
        sent: whether any of the request may have reached the server.
        worth_retrying: false where trying again cannot help (a certificate that is not valid).
    """

    advice = "Check the network and the host; it was tried for as long as time allowed."

    def __init__(
        self,
        message: str,
        *,
        sent: bool,
        worth_retrying: bool = True,
        host: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, host=host, attempts=attempts)
        self.sent = sent
        self.worth_retrying = worth_retrying


class MalformedResponse(KlingError):
    """An answer arrived that is not the vendor's: HTML, a fragment, a redirect, or a record without its id.

    Attributes:
        http_status: the HTTP status that came with it.
        worth_retrying: false for answers that will not change (a redirect, an HTML 404).
    """

    advice = "Check that base_url names the vendor's API; a gateway in between may be in trouble."

    def __init__(
        self,
        message: str,
        *,
        http_status: int,
        worth_retrying: bool = True,
        retry_after: float | None = None,
        request_id: str | None = None,
        host: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, request_id=request_id, host=host, attempts=attempts)
        self.http_status = http_status
        self.worth_retrying = worth_retrying
        self.retry_after = retry_after

    def _facts(self) -> Iterable[tuple[str, object]]:
        yield "HTTP", self.http_status
        yield from super()._facts()


class CreateUncertain(KlingError):
    """The answer to a create was lost: the task may exist, and may cost money.

    `external_task_id` names it for good: `get(external_task_id)` finds the task if it was made.
    """

    advice = "Ask `get(external_task_id)` before anything else; never create again under another id."

    def __init__(self, message: str, *, external_task_id: str, host: str | None = None, attempts: int = 0) -> None:
        super().__init__(message, created="unknown", external_task_id=external_task_id, host=host, attempts=attempts)


class ClientClosed(KlingError):
    """The client was closed while somebody waited; the tasks go on at the vendor's."""

    advice = "Keep the client open for as long as somebody waits; a later `wait` goes on."


class DownloadError(KlingError):
    """A result file could not be fetched or written: the message names the path, `task` results are unharmed."""

    advice = "See to the cause, then call download again, which goes on where it can; films are kept for 30 days."


class JournalError(KlingError):
    """A batch's journal cannot be used or written: what it should have noted first was not sent."""

    advice = "Look at the file or database that the message names; it is never repaired or begun afresh on its own."
    _tells_created = False


class WebhookError(KlingError):
    """A callback is not the vendor's: malformed, forged, changed on the way, too old, or signed with another secret."""

    advice = "Answer 401. If it was the vendor's, check the webhook secret and this machine's clock."
    _tells_created = False


def error_for(code: int) -> type[APIError]:
    """The class that serves a vendor code: `UnknownCode` where no document lists it."""
    return APIError.kinds.get(code, UnknownCode)


def meaning_of(code: int) -> str:
    """The vendor's short meaning of a code, empty for codes that no document lists."""
    return next((row.meaning for row in VENDOR_CODES if row.code == code), "")

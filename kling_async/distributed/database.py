"""A PostgreSQL database whose outages are waited out: connections, calls that are repeated, and what is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from kling_async.errors import ConfigurationError, JournalError

_T = TypeVar("_T")
_log = logging.getLogger("kling_async")

_CONNECTIONS = 4
_CALL_SECONDS = 10.0
_PING_SECONDS = 5.0
_PAUSE_FIRST_SECONDS = 0.1
_PAUSE_MAX_SECONDS = 2.0
_LEAVE_SECONDS = 5.0

# The server lets go of a host that was cut off, and of what it holds, long before the kernel's two hours are over.
_SESSION = {
    "application_name": "kling_async",
    "idle_in_transaction_session_timeout": "30000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# What ends by itself: the server restarts, a cut wire, too many connections, two transactions in each other's way.
_PASSING = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


class Database:
    """Connections to one database, and the ear for one of its channels.

    Args:
        url: as libpq reads it, `postgresql://user:password@host/database`.
        channel: what `NOTIFY` on it says is told to everybody in `ears`; `None` listens to nothing.

    Attributes:
        shown: the URL without its password.
        ears: called with each payload, and with an empty one when something may have been missed.

    Raises:
        ConfigurationError: it is no URL of a PostgreSQL database.
    """

    def __init__(self, url: str, *, channel: str | None = None) -> None:
        self.shown = without_password(url)
        self.ears: list[Callable[[str], None]] = []
        self._url = url
        self._channel = channel
        self._seats = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[asyncpg.Connection] = []
        self._listening: asyncio.Task[None] | None = None
        self._hears = asyncio.Event()
        self._hurried = False

    def __repr__(self) -> str:
        return f"<Database {self.shown}>"

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            JournalError: there is no such database, or it does not let us in.
            ConfigurationError: the URL cannot be read.
        """
        # Made anew: what somebody waited for belongs to the loop of then.
        self._hurried, self._seats, self._hears = False, asyncio.Semaphore(_CONNECTIONS), asyncio.Event()
        try:
            self._idle.append(await self._connect())
        except (*_PASSING, asyncpg.PostgresError) as error:
            raise JournalError(f"{self.shown}: {error or type(error).__name__}") from error
        if self._channel is not None:
            self._listening = asyncio.create_task(self._listen(self._channel), name="kling_async ear at PostgreSQL")
            try:
                await self._hears.wait()
            except BaseException:  # a cancellation: whoever did not get in does not leave by `async with`
                await self.__aexit__(None, None, None)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hurried = True
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})
        idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(*_PASSING, asyncpg.InterfaceError):
                await connection.close(timeout=_LEAVE_SECONDS)

    def hurry(self) -> None:
        """From now on an outage is an error, and not waited out: this process is about to end."""
        self._hurried = True

    # --- calls ---------------------------------------------------------------------------------------------------

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """The rows of one statement, repeated until the database has answered.

        It must bear that: where an answer was lost, the statement may have been carried out already.
        """
        return await self.lasting(lambda connection: connection.fetch(statement, *values))

    async def transact(self, work: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """The result of some work in one transaction, repeated as a whole until the database has answered."""

        async def transacted(connection: asyncpg.Connection) -> _T:
            async with connection.transaction():
                return await work(connection)

        return await self.lasting(transacted)

    async def lasting(self, work: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """The work's result, on a connection; outages are waited out, for as long as they last.

        Raises:
            JournalError: the database refuses the work, or is out while this process is about to end.
        """
        pause = _PAUSE_FIRST_SECONDS
        while True:
            try:
                async with self._connection() as connection:
                    return await work(connection)
            except _PASSING as error:
                if self._hurried:
                    raise JournalError(f"{self.shown}: {error or type(error).__name__}") from error
                if pause == _PAUSE_FIRST_SECONDS:
                    _log.warning("%s does not answer (%s); trying again", self.shown, error or type(error).__name__)
            except asyncpg.PostgresError as error:
                raise Refused(f"{self.shown}: {error}", cause=error) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._seats:
            connection = self._idle.pop() if self._idle else await self._connect()
            sound = False
            try:
                yield connection
                sound = True
            except asyncpg.PostgresError:
                sound = True  # an answer like any other
                raise
            except asyncpg.InterfaceError as error:
                if not connection.is_closed():
                    raise
                raise ConnectionError(str(error)) from error
            finally:
                is_sound = sound and not connection.is_closed() and not connection.is_in_transaction()
                if is_sound and not self._hurried:
                    self._idle.append(connection)
                else:  # cut off or cancelled: what is still on the wire is not waited for
                    connection.terminate()

    async def _connect(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                self._url, timeout=_CALL_SECONDS, command_timeout=_CALL_SECONDS, server_settings=_SESSION
            )
        except (ValueError, asyncpg.InterfaceError) as error:
            raise unreadable(error) from None

    # --- listening -----------------------------------------------------------------------------------------------

    async def _listen(self, channel: str) -> None:
        pause = _PAUSE_FIRST_SECONDS
        while True:
            with suppress(*_PASSING, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with self._ear(channel) as (connection, ended):
                    self._tell("")  # while nobody listened, something may have been missed
                    self._hears.set()
                    pause = _PAUSE_FIRST_SECONDS
                    await self._until_deaf(connection, ended)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX_SECONDS)

    @asynccontextmanager
    async def _ear(self, channel: str) -> AsyncIterator[tuple[asyncpg.Connection, asyncio.Event]]:
        connection, ended = await self._connect(), asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(channel, lambda *told: self._tell(told[3]))
            yield connection, ended
        finally:
            connection.terminate()

    async def _until_deaf(self, connection: asyncpg.Connection, ended: asyncio.Event) -> None:
        """Returns when the connection was lost; one that was cut off tells nothing, and is asked for a sign of life."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_SECONDS):
                    await ended.wait()
                    return
            await connection.execute("SELECT 1")

    def _tell(self, payload: str) -> None:
        for ear in self.ears:
            ear(payload)


class Refused(JournalError):
    """The database answered that it will not; `cause` is what it said."""

    def __init__(self, message: str, *, cause: asyncpg.PostgresError) -> None:
        super().__init__(message)
        self.cause = cause


def unreadable(error: Exception) -> Exception:
    """What is told where a connection was not even tried, without the message, which may quote the URL."""
    if isinstance(error, OSError):  # a certificate that is not valid is a wrong value to Python, but not a wrong URL
        return error
    return ConfigurationError("postgres: the URL cannot be read; it must be postgresql://user:password@host/database")


def without_password(url: object) -> str:
    """The URL as it may be shown.

    Raises:
        ConfigurationError: it is no URL of a PostgreSQL database. What was given is not shown.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"postgresql", "postgres"}:
        raise ConfigurationError("postgres: it must be a URL such as postgresql://user:password@host/database")
    given, at, hosts = parts.netloc.rpartition("@")
    user = given.partition(":")[0]
    kept = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in {"host", "port"}], safe="/")
    return f"{parts.scheme}://{user}{at}{hosts}{parts.path}{'?' if kept else ''}{kept}"

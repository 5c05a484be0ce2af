"""A PostgreSQL database whose outages are waited out, and what is heard of it meanwhile."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from postgres import PASSWORD, Postgres

from kling_async import APIError, ConfigurationError, JournalError, KlingError, TaskFailed, TaskStatus, errors
from kling_async.distributed import database as module
from kling_async.distributed.database import Database, Refused, unreadable, without_password
from kling_async.distributed.records import read_told, told
from kling_async.models import Task, WaitTimeout

pytestmark = pytest.mark.real_time


class Wire:
    """Passes bytes on between a client and PostgreSQL, until it is cut: then nothing comes through, without a word."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(one, other))
            self._tasks.add(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
        finally:
            writer.close()


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.02)


# The URL.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://kling:{PASSWORD}@host:5432/films", "postgresql://kling@host:5432/films"),
        (f"postgres://host/films?password={PASSWORD}&user=kling", "postgres://host/films"),
        (f"postgresql:///films?host=/run/postgresql&password={PASSWORD}", "postgresql:///films?host=/run/postgresql"),
        (f"postgresql://kling:{PASSWORD}@one,two:5433/films", "postgresql://kling@one,two:5433/films"),
        (f"postgresql://kling:p@{PASSWORD}@host/films#{PASSWORD}", "postgresql://kling@host/films"),
    ],
)
def test_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert repr(Database(url)) == f"<Database {shown}>"


@pytest.mark.parametrize(
    "url", [f"mysql://kling:{PASSWORD}@host/films", "films.sqlite3", "", None, f"postgresql://[{PASSWORD}"]
)
def test_what_is_no_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgres: it must be a URL such as") as caught:
        Database(url)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url", [f"postgresql://kling:{PASSWORD}@host:port/films", "postgresql://host/films?sslmode=maybe"]
)
async def test_url_that_cannot_be_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgres: the URL cannot be read") as caught:
        async with Database(url):
            pass
    assert PASSWORD not in str(caught.value)


def test_certificate_that_is_not_valid_is_no_matter_of_the_url() -> None:
    error = ssl.SSLCertVerificationError("self-signed certificate")
    assert isinstance(error, ValueError)
    assert unreadable(error) is error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace(PASSWORD, "wrong"), "password authentication failed"),
        (lambda url: f"{url}-none", 'database ".*-none" does not exist'),
        (lambda _: "postgresql://kling@127.0.0.1:1/films", "Connect call failed"),
    ],
)
async def test_database_that_is_not_there_is_told_at_once(url: str, change: Callable[[str], str], message: str) -> None:
    with pytest.raises(JournalError, match=message) as caught:
        async with Database(change(url)):
            pass
    assert PASSWORD not in str(caught.value)


# Calls.


async def test_rows_come(url: str) -> None:
    async with Database(url) as database:
        assert [tuple(row) for row in await database.fetch("SELECT $1::int, 'two'", 1)] == [(1, "two")]


async def test_more_calls_than_connections_stand_in_line(url: str) -> None:
    async with Database(url) as database:
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.01)") for _ in range(20)))
        [row] = await database.fetch("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    assert row["count"] == 4


async def test_refusal_is_an_error_with_its_cause(url: str) -> None:
    async with Database(url) as database:
        with pytest.raises(Refused, match="does not exist") as caught:
            await database.fetch("SELECT * FROM nothing")
        assert isinstance(caught.value.cause, asyncpg.UndefinedTableError)
        assert await database.fetch("SELECT 1")


async def test_fault_of_ours_is_no_outage(url: str) -> None:
    async with Database(url) as database:
        with pytest.raises(asyncpg.InterfaceError):
            await database.fetch("SELECT $1::int", 1, 2)


async def test_connection_that_was_killed_is_replaced(url: str) -> None:
    async with Database(url) as database, Database(url) as other:
        await database.fetch("SELECT 1")
        await other.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        await asyncio.sleep(0.1)
        assert await database.fetch("SELECT 1")


async def test_transaction_is_repeated_as_a_whole(url: str) -> None:
    times = 0

    async with Database(url) as database:
        await database.fetch("CREATE TABLE counted (number int)")

        async def work(connection: asyncpg.Connection) -> str:
            nonlocal times
            times += 1
            await connection.execute("INSERT INTO counted VALUES ($1)", times)
            if times == 1:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return "done"

        assert await database.transact(work) == "done"
        assert [row["number"] for row in await database.fetch("SELECT * FROM counted")] == [2]


async def test_cancelled_call_leaves_a_sound_connection_behind(url: str) -> None:
    async with Database(url) as database:
        sleeping = asyncio.create_task(database.fetch("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.1)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await database.fetch("SELECT 1")


async def test_outage_is_waited_out(postgres: Postgres, url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Database(url) as database:
        await asyncio.to_thread(postgres.stop)
        fetching = asyncio.create_task(database.fetch("SELECT 1"))
        await asyncio.sleep(0.5)
        assert not fetching.done()
        await asyncio.to_thread(postgres.start)
        assert await fetching
    assert caplog.text.count("does not answer") == 1
    assert PASSWORD not in caplog.text


async def test_in_a_hurry_an_outage_is_an_error(postgres: Postgres, url: str) -> None:
    async with Database(url) as database:
        await asyncio.to_thread(postgres.stop)
        try:
            database.hurry()
            with pytest.raises(JournalError):
                await database.fetch("SELECT 1")
        finally:
            await asyncio.to_thread(postgres.start)


async def test_cut_wire_is_noticed_by_its_silence(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CALL_SECONDS", 0.3)
    wire = Wire(postgres.port)
    async with wire.listening() as port, Database(url.replace(str(postgres.port), str(port))) as database:
        await database.fetch("SELECT 1")
        wire.cut()
        fetching = asyncio.create_task(database.fetch("SELECT 1"))
        await asyncio.sleep(1.0)
        assert not fetching.done()
        wire.mend()
        assert await fetching


async def test_connection_used_after_the_end_is_not_kept(url: str) -> None:
    async with Database(url) as database:
        sleeping = asyncio.create_task(database.fetch("SELECT pg_sleep(0.3)"))
        await asyncio.sleep(0.1)
    await sleeping
    assert database._idle == []


# Listening.


async def test_what_is_notified_is_heard(url: str) -> None:
    heard: list[str] = []
    async with Database(url, channel="news") as database:
        database.ears.append(heard.append)
        await database.fetch("SELECT pg_notify('news', 'one'), pg_notify('other', 'two'), pg_notify('news', 'three')")
        await until(lambda: heard == ["one", "three"])


async def test_after_an_outage_everybody_is_told_that_something_may_have_been_missed(
    postgres: Postgres, url: str
) -> None:
    heard: list[str] = []
    async with Database(url, channel="news") as database:
        database.ears.append(heard.append)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await until(lambda: heard == [""])
        await database.fetch("SELECT pg_notify('news', 'one')")
        await until(lambda: heard == ["", "one"])


async def test_cut_ear_is_noticed_by_its_silence(postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALL_SECONDS", 0.3)
    monkeypatch.setattr(module, "_PING_SECONDS", 0.2)
    heard: list[str] = []
    wire = Wire(postgres.port)
    address = url.replace(str(postgres.port), "{}")
    async with (
        wire.listening() as port,
        Database(address.format(port), channel="news") as database,
        Database(url) as other,
    ):
        database.ears.append(heard.append)
        await asyncio.sleep(0.5)  # a sign of life or two
        wire.cut()
        await other.fetch("SELECT pg_notify('news', 'one')")
        await asyncio.sleep(1.0)
        assert heard == []
        wire.mend()
        await until(lambda: "" in heard)


async def test_cancelled_while_it_connects_it_leaves_nothing_behind(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Database, "_listen", deaf)
    database = Database(url, channel="news")
    entering = asyncio.create_task(database.__aenter__())
    await asyncio.sleep(0.3)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert database._idle == []


# Errors as texts.


TASK = Task(id="1", status=TaskStatus.FAILED)


def test_every_kind_of_error_comes_back() -> None:
    error = errors.ServerError("busy", code=5000, http_status=500, created="unknown", attempts=3, request_id="r")
    back = read_told(told(error), None)
    assert isinstance(back, errors.ServerError)
    assert (str(back), back.retry_after, back.created) == (str(error), None, "unknown")


def test_error_about_a_task_comes_back_with_it() -> None:
    back = read_told(told(TaskFailed("failed", task=TASK)), TASK)
    assert isinstance(back, TaskFailed)
    assert back.task is TASK
    late = read_told(told(WaitTimeout("late", pending=(TASK,))), TASK)
    assert isinstance(late, WaitTimeout)
    assert late.pending == (TASK,)


def test_error_of_a_newer_version_is_one_all_the_same() -> None:
    record = json.loads(told(APIError("odd", code=1, http_status=400)))
    back = read_told(json.dumps({**record, "kind": "Unheard"}), None)
    assert type(back) is KlingError
    assert back.message == "odd"

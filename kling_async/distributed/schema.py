"""What stands in PostgreSQL: a schema of its own, `kling_async`, with a version; a newer one is refused."""

from __future__ import annotations

import uuid

import asyncpg

from kling_async.distributed.database import Database
from kling_async.distributed.engine import ENGINE_VERSION, install_engine, upgrade_engine
from kling_async.errors import JournalError

_VERSION = 1
_LOCK = 0x6B6C6E67  # "klng"; of two that come first, one waits for the other

_SCHEMA = """
CREATE TABLE kling_async.jobs (
    id text PRIMARY KEY,
    key text NOT NULL,
    path text NOT NULL,
    request text NOT NULL,
    whole text,
    run text,
    anew integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 1,
    external_id text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'intent', 'accepted', 'succeeded', 'failed')),
    task text,
    file text,
    over boolean NOT NULL DEFAULT false,
    error text,
    path_saved text
);
CREATE TABLE kling_async.callbacks (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery text NOT NULL UNIQUE,
    body bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX callbacks_by_age ON kling_async.callbacks (added_at);
-- In one call, so that a caller who is cut off holds no lock; one after the other, so that places are seen in order.
CREATE FUNCTION kling_async.add_callback(wanted text, body bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    added boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(1802268259);
    INSERT INTO kling_async.callbacks (delivery, body) VALUES (wanted, body) ON CONFLICT (delivery) DO NOTHING;
    added := FOUND;
    IF added THEN
        PERFORM pg_notify('kling_async_callbacks', '');
    END IF;
    RETURN added;
END $$;
CREATE TABLE kling_async.about (
    version integer NOT NULL,
    id text NOT NULL,
    engine text NOT NULL,
    slots integer
);
"""


async def install(database: Database) -> str:
    """The id of the journal in this database, which is set up at the first use.

    Raises:
        JournalError: it has another version, or may not be set up.
    """
    if (version := await database.transact(_install)) != _VERSION:
        raise JournalError(f"{database.shown} has version {version}, this package reads version {_VERSION}")
    [(journal, engine)] = await database.fetch("SELECT id, engine FROM kling_async.about")
    if _numbers(engine) < _numbers(ENGINE_VERSION):
        await database.lasting(upgrade_engine)
        await database.fetch("UPDATE kling_async.about SET engine = $1", ENGINE_VERSION)
    return str(journal)


async def _install(connection: asyncpg.Connection) -> int:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if await connection.fetchval("SELECT to_regclass('kling_async.about')") is None:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS kling_async")
        await connection.execute(install_engine())
        await connection.execute(_SCHEMA)
        await connection.execute(
            "INSERT INTO kling_async.about (version, id, engine) VALUES ($1, $2, $3)",
            _VERSION, uuid.uuid4().hex, ENGINE_VERSION,
        )  # fmt: skip
    return int(await connection.fetchval("SELECT version FROM kling_async.about"))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:3] if part.isdecimal()]

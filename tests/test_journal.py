"""The journal: what it promises on disk, what it refuses, and whose a job is."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from kling_async import JournalError, RequestError
from kling_async.runtime import journal as module
from kling_async.runtime import owners
from kling_async.runtime.journal import LEASE_SECONDS, Entry, Journal, LeaseLost

JOBS = [("a", "/path", '{"video_id": "v"}'), ("b", "/path", '{"video_id": "w"}')]


class Wall:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite3"


@asynccontextmanager
async def opened(path: Path, wall: Wall | None = None) -> AsyncIterator[Journal]:
    journal = Journal(path, wall or Wall())
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


async def planned(path: Path, wall: Wall | None = None) -> list[Entry]:
    async with opened(path, wall) as journal:
        return await journal.plan(JOBS)


async def refusal(path: Path) -> str:
    """Why the journal does not open."""
    journal = Journal(path, Wall())
    with pytest.raises(JournalError) as caught:
        await journal.open()
    assert repr(journal).endswith("closed>")
    return caught.value.message


def ask(path: Path, question: str) -> Any:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(question).fetchone()


# --- a new file, and the same again ----------------------------------------------------------------------------------


async def test_new_file_is_a_journal_of_this_version(path: Path) -> None:
    async with opened(path):
        pass
    assert ask(path, "PRAGMA application_id") == (0x6B6C6E67,)
    assert ask(path, "PRAGMA user_version") == (1,)


async def test_nothing_else_is_left_beside_it(path: Path) -> None:
    await planned(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("fullfsync", 1)])
async def test_what_is_written_goes_through_to_the_disk(path: Path, pragma: str, value: object) -> None:
    async with opened(path) as journal:
        assert await journal._on_thread(lambda: journal._run(f"PRAGMA {pragma}")) == [(value,)]


async def test_jobs_are_planned_in_their_order(path: Path) -> None:
    entries = await planned(path)
    assert [(entry.key, entry.request, entry.state, entry.attempt) for entry in entries] == [
        ("a", '{"video_id": "v"}', "planned", 1),
        ("b", '{"video_id": "w"}', "planned", 1),
    ]


async def test_opened_again_it_knows_what_it_knew(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        await journal.lease("a")
        await journal.note("a", "accepted", task='{"task_id": "1"}')
    async with opened(path) as journal:
        entry = await journal.entry("a")
    assert (entry.state, entry.task, entry.file) == ("accepted", '{"task_id": "1"}', None)


async def test_none_leaves_what_was_noted(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        await journal.lease("a")
        await journal.note("a", "succeeded", task="{}")
        await journal.note("a", "succeeded", file="a.mp4")
        entry = await journal.entry("a")
    assert (entry.task, entry.file) == ("{}", "a.mp4")


async def test_one_journal_can_be_opened_again_when_it_was_closed(path: Path) -> None:
    journal = Journal(path, Wall())
    for _ in range(2):
        await journal.open()
        await journal.close()
    assert not list(path.parent.glob("*-wal"))


async def test_it_is_not_opened_twice_at_once(path: Path) -> None:
    async with opened(path) as journal:
        with pytest.raises(JournalError, match="open already"):
            await journal.open()
        assert await journal.plan([]) == []


async def test_closing_twice_does_nothing(path: Path) -> None:
    async with opened(path) as journal:
        await asyncio.gather(journal.close(), journal.close())
        await journal.close()


async def test_closed_it_says_so(path: Path) -> None:
    async with opened(path) as journal:
        pass
    with pytest.raises(JournalError, match="is closed"):
        await journal.plan(JOBS)


async def test_who_comes_while_it_closes_is_told(path: Path) -> None:
    async with opened(path) as journal:
        closing_down = asyncio.create_task(journal.close())
        await asyncio.sleep(0)
        with pytest.raises(JournalError, match="is closed"):
            await journal.plan(JOBS)
        await closing_down


async def test_no_thread_outlives_it(path: Path) -> None:
    async with opened(path):
        threads = [thread for thread in threading.enumerate() if "kling_async journal" in thread.name]
    for thread in threads:
        thread.join(5)
    assert [thread.is_alive() for thread in threads] == [False]


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_at_opening_it_leaves_no_thread(path: Path, turns: int) -> None:
    opening = asyncio.create_task(Journal(path, Wall()).open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    for thread in threading.enumerate():
        if "kling_async journal" in thread.name:
            thread.join(5)
            assert not thread.is_alive()


async def test_cancelled_caller_does_not_undo_the_work(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        held = threading.Event()
        blocking = asyncio.create_task(journal._on_thread(held.wait))
        leasing = asyncio.create_task(journal.lease("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leasing.cancel()
        held.set()
        await asyncio.wait([leasing, blocking])
        await journal.entry("a")
        assert ask(path, "SELECT owner FROM jobs WHERE key = 'a'") == (journal.owner,)


async def test_repr_shows_state_and_place(path: Path) -> None:
    async with opened(path) as journal:
        assert repr(journal) == f"<Journal {path}, open>"
    assert repr(journal) == f"<Journal {path}, closed>"


@pytest.mark.parametrize("name", ["run?mode=memory", "run#1", "per%20cent", "film é", ":memory:", "file:x"])
async def test_no_name_means_anything_to_sqlite(tmp_path: Path, name: str) -> None:
    await planned(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_memory_is_a_file_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await planned(Path(":memory:"))
    assert (tmp_path / ":memory:").exists()


async def test_path_means_the_same_when_the_folder_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal("run.sqlite3", Wall())
    monkeypatch.chdir("/")
    await journal.open()
    await journal.close()
    assert (tmp_path / "run.sqlite3").exists()


def test_null_character_is_no_part_of_a_name() -> None:
    with pytest.raises(RequestError, match="null character"):
        Journal("run\0.sqlite3", Wall())


async def test_file_system_without_links_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(_: Path, __: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    await planned(path)
    assert list(path.parent.iterdir()) == [path]


async def test_system_that_cannot_open_folders_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = path.with_name("new")
    new.touch()
    monkeypatch.setattr("kling_async.runtime.journal.os.name", "nt")
    module._appear(new, path)
    assert path.exists()


async def test_who_comes_second_takes_the_file_of_the_first(path: Path) -> None:
    async with opened(path):
        first = path.read_bytes()
        Journal(path, Wall())._make()
        assert path.read_bytes() == first


async def test_many_at_once_make_one_journal(path: Path) -> None:
    journals = [Journal(path, Wall()) for _ in range(8)]
    await asyncio.gather(*(journal.open() for journal in journals))
    ids = {(await journal.plan(JOBS))[0].external_id for journal in journals}
    await asyncio.gather(*(journal.close() for journal in journals))
    assert len(ids) == 1


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_newer_version_is_refused(path: Path) -> None:
    await planned(path)
    ask(path, "PRAGMA user_version = 2")
    assert "has version 2, this package reads version 1" in await refusal(path)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE jobs (key)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
async def test_database_of_another_program_is_refused(path: Path, statement: str) -> None:
    ask(path, statement)
    assert "database of another program" in await refusal(path)


async def test_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    ask(path, "CREATE TABLE theirs (key)")
    before = path.read_bytes()
    await refusal(path)
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


@pytest.mark.parametrize("content", [b"", b"\n", b'{"key": "a"}\n', b"key,video_id\n" * 500, os.urandom(8192)], ids=len)
async def test_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    await refusal(path)
    assert path.read_bytes() == content


async def large(path: Path) -> bytes:
    """The bytes of a journal of many pages."""
    async with opened(path) as journal:
        await journal.plan((f"key {n}", "/path", "x" * 200) for n in range(300))
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 100, 4096, 8192, 20_000, -4096, -1])
async def test_file_that_was_cut_is_refused_and_left_as_it_is(path: Path, kept: int) -> None:
    whole = await large(path)
    cut = whole[:kept] if kept >= 0 else whole[: len(whole) + kept]
    path.write_bytes(cut)
    await refusal(path)
    assert path.read_bytes() == cut


@pytest.mark.parametrize("page", range(8))
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"text"])
async def test_page_that_was_overwritten_is_refused(path: Path, page: int, filling: bytes) -> None:
    whole = bytearray(await large(path))
    whole[page * 4096 : (page + 1) * 4096] = (filling * 4096)[:4096]
    path.write_bytes(whole)
    await refusal(path)


async def test_page_that_the_log_still_has_may_be_cut(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan((f"key {n}", "/path", "x" * 200) for n in range(300))
        copy, log = path.with_name("copy"), path.with_name("run.sqlite3-wal")
        copy.write_bytes(
            path.read_bytes() + b"the beginning of a page"
        )  # as a crash leaves it while the log is read in
        copy.with_name("copy-wal").write_bytes(log.read_bytes())
    assert len(await planned(copy)) == 2


async def test_whole_one_would_have_been_taken(path: Path) -> None:
    path.write_bytes(await large(path))
    assert len(await planned(path)) == 2


@pytest.mark.parametrize("statement", ["DELETE FROM journal", "INSERT INTO journal VALUES ('x')", "DROP TABLE journal"])
async def test_journal_that_lost_its_id_is_refused(path: Path, statement: str) -> None:
    await planned(path)
    ask(path, statement)
    await refusal(path)


async def test_folder_is_refused(tmp_path: Path) -> None:
    assert "unable to open" in await refusal(tmp_path)


async def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'nowhere'} for run.sqlite3" in await refusal(
        tmp_path / "nowhere" / "run.sqlite3"
    )


async def test_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert "No such file" in await refusal(tmp_path / "link")


async def test_link_to_a_journal_is_that_journal(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run.sqlite3")
    entries = await planned(tmp_path / "run.sqlite3")
    assert [entry.external_id for entry in await planned(tmp_path / "link")] == [entry.external_id for entry in entries]


AS_NOBODY = """
import asyncio, os, sys
from kling_async import JournalError
from kling_async.runtime.journal import Journal
async def main():
    journal = Journal(sys.argv[1], lambda: 0.0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        await journal.open()
    except JournalError as error:
        print(error.message)
asyncio.run(main())
"""


def told_to_nobody(path: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", AS_NOBODY, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


@pytest.fixture
def shown() -> Iterator[Path]:
    """A folder that others may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.real_time
async def test_file_that_may_only_be_read_is_refused(shown: Path) -> None:
    path = shown / "run.sqlite3"
    await planned(path)
    path.chmod(0o444)
    assert "readonly" in told_to_nobody(path)


def test_folder_that_may_only_be_read_is_refused(shown: Path) -> None:
    shown.chmod(0o555)
    assert "unable to open" in told_to_nobody(shown / "run.sqlite3")


def test_folder_that_may_not_be_looked_into_is_refused(shown: Path) -> None:
    shown.chmod(0o000)
    assert "Permission denied" in told_to_nobody(shown / "run.sqlite3")


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.01)


@pytest.mark.usefixtures("_impatient")
async def test_locked_for_good_is_refused(path: Path) -> None:
    await planned(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in await refusal(path)


@pytest.mark.usefixtures("_impatient")
async def test_what_a_lock_keeps_from_being_written_is_an_error(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        await journal.lease("a")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked"):
                await journal.note("a", "intent")
        await journal.note("a", "intent")


async def test_lock_of_a_moment_is_waited_out(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.05, lambda: other.execute("COMMIT"))
            timer.start()
            assert await journal.lease("a") is not None
            timer.join()


async def test_full_disk_is_an_error_of_the_write(path: Path) -> None:
    async with opened(path) as journal:
        await journal._on_thread(lambda: journal._run("PRAGMA max_page_count = 1"))
        with pytest.raises(JournalError, match="disk is full"):
            await journal.plan((f"key {n}", "/path", "x" * 200) for n in range(300))
        assert ask(path, "SELECT count(*) FROM jobs") == (0,)


FULL_DISK = """
import asyncio, resource, signal, sys
from kling_async import JournalError
from kling_async.runtime.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    journal = Journal(sys.argv[1], lambda: 0.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        await journal.open()
        await journal.plan((f"key {n}", "/path", "x" * 200) for n in range(300))
        print("planned")
    except JournalError as error:
        print("refused", error.message)
    finally:
        await journal.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("room", [0, 4096, 40_000])
def test_disk_that_is_really_full_is_an_error(path: Path, room: int) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(path), str(room)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("refused")  # noqa: S603
    assert not list(path.parent.glob(".*"))


def test_disk_with_room_would_have_done(path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(path), str(resource.RLIM_INFINITY)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "planned\n"  # noqa: S603


# --- older than the truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "cut", "overwritten"])
async def test_what_was_lost_with_the_log_leaves_the_ids_as_they_were(path: Path, damage: str) -> None:
    entries = await planned(path)
    async with opened(path) as journal:
        await journal.lease("a")
        await journal.note("a", "intent")
        copy, log = path.with_name("copy"), path.with_name("run.sqlite3-wal")
        shutil.copy(path, copy)
        kept = {"gone": b"", "cut": log.read_bytes()[:-100], "overwritten": os.urandom(log.stat().st_size)}[damage]
    copy.with_name("copy-wal").write_bytes(kept)
    assert [entry.external_id for entry in await planned(copy)] == [entry.external_id for entry in entries]


# --- keys and requests -----------------------------------------------------------------------------------------------


async def test_key_that_stands_for_another_request_is_refused(path: Path) -> None:
    await planned(path)
    async with opened(path) as journal:
        with pytest.raises(JournalError, match="job 'a' stands for another request"):
            await journal.plan([("new", "/path", "{}"), ("a", "/path", '{"video_id": "other"}')])
        assert ask(path, "SELECT count(*) FROM jobs") == (2,)


async def test_same_request_of_another_kind_is_another_request(path: Path) -> None:
    await planned(path)
    async with opened(path) as journal:
        with pytest.raises(JournalError, match="stands for another request"):
            await journal.plan([("a", "/other", '{"video_id": "v"}')])


@pytest.mark.parametrize("key", ["a\0b", "'; DROP TABLE jobs; --", "é" * 10_000, "\U0001f600", " ", "\n"], ids=ascii)
async def test_key_is_any_text(path: Path, key: str) -> None:
    async with opened(path) as journal:
        await journal.plan([(key, "/path", "{}")])
        entry = await journal.lease(key)
    assert entry is not None
    assert entry.key == key


# --- external ids ----------------------------------------------------------------------------------------------------


async def test_same_key_in_the_same_journal_has_the_same_id(path: Path) -> None:
    assert [entry.external_id for entry in await planned(path)] == [entry.external_id for entry in await planned(path)]


async def test_two_keys_have_two_ids(path: Path) -> None:
    one, other = await planned(path)
    assert one.external_id != other.external_id


async def test_same_key_in_another_journal_has_another_id(tmp_path: Path) -> None:
    one, other = await planned(tmp_path / "one"), await planned(tmp_path / "other")
    assert one[0].external_id != other[0].external_id


async def test_id_tells_nothing_of_the_key(path: Path) -> None:
    async with opened(path) as journal:
        [entry] = await journal.plan([("a customer's name", "/path", "{}")])
    assert re.fullmatch(r"kling-async-[0-9a-f]{32}", entry.external_id)


async def failed(journal: Journal) -> str:
    """The id of a job that has failed."""
    [entry, _] = await journal.plan(JOBS)
    await journal.lease("a")
    await journal.note("a", "failed", task="{}", file="a.mp4")
    return entry.external_id


async def test_next_attempt_has_a_number_behind_the_id(path: Path) -> None:
    async with opened(path) as journal:
        first = await failed(journal)
        assert (await journal.next_attempt("a")).external_id == f"{first}-2"
        await journal.note("a", "failed", task="{}")
        assert (await journal.next_attempt("a")).external_id == f"{first}-3"


async def test_next_attempt_begins_with_nothing(path: Path) -> None:
    async with opened(path) as journal:
        await failed(journal)
        entry = await journal.next_attempt("a")
    assert (entry.state, entry.attempt, entry.task, entry.file) == ("planned", 2, None, None)


async def test_only_a_failed_job_has_a_next_attempt(path: Path) -> None:
    async with opened(path) as journal:
        await journal.plan(JOBS)
        await journal.lease("a")
        await journal.note("a", "accepted", task="{}")
        assert (await journal.next_attempt("a")).attempt == 1


# --- leases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def two(path: Path, wall: Wall) -> AsyncIterator[tuple[Journal, Journal]]:
    async with opened(path, wall) as one, opened(path, wall) as other:
        await one.plan(JOBS)
        yield one, other


Two = tuple[Journal, Journal]


async def test_lease_is_taken_once(two: Two) -> None:
    one, other = two
    assert await one.lease("a") is not None
    assert await other.lease("a") is None


async def test_lease_is_of_one_job(two: Two) -> None:
    one, other = two
    await one.lease("a")
    assert await other.lease("b") is not None


async def test_own_lease_is_taken_again(two: Two) -> None:
    one, _ = two
    await one.lease("a")
    assert await one.lease("a") is not None


async def test_freed_lease_is_to_be_had(two: Two) -> None:
    one, other = two
    await one.lease("a")
    await one.free("a")
    assert await other.lease("a") is not None


async def test_nobody_frees_the_lease_of_another(two: Two) -> None:
    one, other = two
    await one.lease("a")
    await other.free("a")
    assert await other.lease("a") is None


async def test_closing_frees_all(two: Two) -> None:
    one, other = two
    await one.lease("a")
    await one.lease("b")
    await one.close()
    assert await other.lease("a") is not None
    assert await other.lease("b") is not None


async def test_lease_that_ran_out_is_to_be_had(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS
    assert await other.lease("a") is not None


async def test_lease_holds_until_then(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS - 0.001
    assert await other.lease("a") is None


async def test_renewed_lease_holds_on(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS - 1
    await one.renew()
    wall.now += LEASE_SECONDS - 1
    assert await other.lease("a") is None


async def test_note_renews_the_lease(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS - 1
    await one.note("a", "intent")
    wall.now += LEASE_SECONDS - 1
    assert await other.lease("a") is None


async def test_renewing_takes_nothing_back(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS
    await other.lease("a")
    await one.renew()
    assert await one.lease("a") is None


async def test_whoever_lost_the_lease_writes_nothing(two: Two, wall: Wall) -> None:
    one, other = two
    await one.lease("a")
    wall.now += LEASE_SECONDS
    await other.lease("a")
    with pytest.raises(LeaseLost, match="job 'a' was taken over"):
        await one.note("a", "succeeded", task="{}")
    assert (await other.entry("a")).state == "planned"


async def test_whoever_lost_the_lease_makes_no_next_attempt(two: Two, wall: Wall) -> None:
    one, other = two
    await failed(one)
    wall.now += LEASE_SECONDS
    await other.lease("a")
    assert (await one.next_attempt("a")).attempt == 1


async def test_lease_taken_between_the_look_and_the_hand_is_not_taken_again(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr(module, "is_dead", lambda _: True)
    await one.lease("a")

    def stolen(owner: str) -> bool:
        ask(one.path, "UPDATE jobs SET owner = 'somebody:1:x'")
        return True

    monkeypatch.setattr(module, "is_dead", stolen)
    assert await other.lease("a") is None


async def owned_by(journal: Journal, owner: str) -> None:
    await journal.lease("a")
    ask(journal.path, f"UPDATE jobs SET owner = '{owner}' WHERE key = 'a'")  # noqa: S608


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


async def test_dead_owner_on_this_machine_is_followed_at_once(two: Two) -> None:
    one, other = two
    await owned_by(one, f"{owners.machine()}:{dead_process()}:x")
    assert await other.lease("a") is not None


async def test_living_owner_on_this_machine_is_respected(two: Two) -> None:
    one, other = two
    await owned_by(one, f"{owners.machine()}:{os.getppid()}:x")
    assert await other.lease("a") is None


async def test_owner_whom_we_may_not_signal_is_respected(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_allowed(_: int, __: int) -> None:
        raise PermissionError

    one, other = two
    await owned_by(one, f"{owners.machine()}:1:x")
    monkeypatch.setattr(os, "kill", not_allowed)
    assert await other.lease("a") is None


async def test_owner_on_another_machine_is_respected(two: Two) -> None:
    one, other = two
    await owned_by(one, f"elsewhere/1:{dead_process()}:x")
    assert await other.lease("a") is None


def test_machine_without_proc_is_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(_: str) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "stat", no_proc)
    assert owners.machine().endswith("/0")

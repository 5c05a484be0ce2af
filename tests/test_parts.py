"""A film that is not whole yet: what is kept of it, what is believed of that, and who may touch it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fileserver import film

from kling_async.rules.fetching import Kept
from kling_async.runtime.parts import Part, Unwritable

MIB = 1024 * 1024
SIZE = 3 * MIB + 17
KEPT = Kept(0, '"tag"', SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.mp4"


def names(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


async def left(path: Path, size: int, *, kept: Kept = KEPT, keep: bool = True, video: str = "v") -> None:
    """The first bytes of a film, as a call that failed has left them."""
    part = Part(path, video)
    await part.open()
    await part.begin(kept)
    part.add(film(0, size))
    await part.flush()
    await part.leave(keep=keep)


async def found(path: Path, video: str = "v") -> Kept:
    part = Part(path, video)
    try:
        return await part.open()
    finally:
        await part.leave(keep=True)


async def test_film_is_there_when_it_is_finished_and_not_before(path: Path) -> None:
    part = Part(path, "v")
    assert await part.open() == Kept()
    await part.begin(KEPT)
    for place in range(0, SIZE, 1000):
        part.add(film(place, min(place + 1000, SIZE)))
    await part.flush()
    assert names(path) == ["film.mp4.part", "film.mp4.part.json"]
    await part.finish()
    await part.leave(keep=True)
    assert names(path) == ["film.mp4"]
    assert path.read_bytes() == film(0, SIZE)


async def test_what_is_left_is_gone_on_from(path: Path) -> None:
    await left(path, 2_000_000)
    part = Part(path, "v")
    kept = await part.open()
    assert kept == Kept(2_000_000, '"tag"', SIZE)
    await part.begin(kept)
    part.add(film(2_000_000, SIZE))
    await part.flush()
    await part.finish()
    await part.leave(keep=False)
    assert path.read_bytes() == film(0, SIZE)
    assert names(path) == ["film.mp4"]


async def test_what_is_not_to_be_kept_is_removed(path: Path) -> None:
    await left(path, 1000, keep=False)
    assert names(path) == []


async def test_without_a_validator_there_is_no_note(path: Path) -> None:
    await left(path, 1000)
    await left(path, 1000, kept=Kept(0, None, SIZE))
    assert names(path) == ["film.mp4.part"]
    assert await found(path) == Kept()


async def test_length_may_be_unknown(path: Path) -> None:
    await left(path, 1000, kept=Kept(0, '"tag"', None))
    assert await found(path) == Kept(1000, '"tag"', None)


async def test_last_byte_is_never_believed(path: Path) -> None:
    await left(path, SIZE)
    kept = await found(path)
    assert kept.size == SIZE - 1
    part = Part(path, "v")
    await part.open()
    await part.begin(kept)
    part.add(film(SIZE - 1, SIZE))
    await part.flush()
    await part.finish()
    await part.leave(keep=False)
    assert path.read_bytes() == film(0, SIZE)


async def test_another_film_begins_anew(path: Path) -> None:
    await left(path, 1000)
    assert await found(path, "other") == Kept()


async def test_bytes_behind_the_note_are_not_believed(path: Path) -> None:
    await left(path, 1000)
    with path.with_name("film.mp4.part").open("ab") as more:
        more.write(b"what a kill left unnoted")
    kept = await found(path)
    assert kept.size == 1000
    part = Part(path, "v")
    await part.open()
    await part.begin(kept)
    part.add(film(1000, 1010))
    await part.flush()
    await part.leave(keep=True)
    assert path.with_name("film.mp4.part").read_bytes() == film(0, 1010)


def damage(place: int) -> Callable[[Path], None]:
    """What a crash of the machine does to bytes that were not on the disk yet."""

    def zeros(part: Path) -> None:
        with part.open("r+b") as file:
            file.seek(place)
            file.write(b"\0" * 100)

    return zeros


def noted(**members: object) -> Callable[[Path], None]:
    def write(part: Path) -> None:
        note = part.with_name("film.mp4.part.json")
        note.write_text(json.dumps({**json.loads(note.read_bytes()), **members}), "utf-8")

    return write


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first bytes": damage(0),
    "bytes in the middle": damage(1_500_000),
    "last bytes": damage(2_000_000 - 100),
    "too short": lambda part: os.truncate(part, 1_999_999),
    "gone": lambda part: part.unlink(),
    "note gone": lambda part: part.with_name("film.mp4.part.json").unlink(),
    "note empty": lambda part: part.with_name("film.mp4.part.json").write_bytes(b""),
    "note torn": lambda part: os.truncate(part.with_name("film.mp4.part.json"), 20),
    "note no text": lambda part: part.with_name("film.mp4.part.json").write_bytes(b"\xff\xfe"),
    "note of something else": lambda part: part.with_name("film.mp4.part.json").write_text("[1, 2]"),
    "no bytes": noted(bytes=0),
    "bytes below": noted(bytes=-1),
    "bytes beyond": noted(bytes=SIZE + 1),
    "bytes as text": noted(bytes="2000000"),
    "no validator": noted(validator=None),
    "length as text": noted(total="9"),
    "another sum": noted(sum=1),
    "sum as text": noted(sum="1"),
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
async def test_what_is_damaged_is_not_believed(path: Path, harm: Callable[[Path], object]) -> None:
    await left(path, 2_000_000)
    assert (await found(path)).size == 2_000_000  # the control
    harm(path.with_name("film.mp4.part"))
    assert await found(path) == Kept()


async def test_note_holds_no_url_and_no_id(path: Path) -> None:
    await left(path, 1000, video="video-4711")
    note = path.with_name("film.mp4.part.json").read_text("utf-8")
    assert json.loads(note).keys() == {"film", "validator", "total", "bytes", "sum"}
    assert "4711" not in note


async def test_note_is_kept_up_while_it_is_written(path: Path) -> None:
    part = Part(path, "v")
    await part.open()
    await part.begin(KEPT)
    for place in range(0, 3 * MIB, MIB):
        part.add(film(place, place + MIB))
        await part.flush()
        assert json.loads(path.with_name("film.mp4.part.json").read_bytes())["bytes"] == place + MIB
    await part.leave(keep=False)


# --- what the disk and others do -------------------------------------------------------------------------------------


async def test_folder_that_is_missing_is_told(path: Path) -> None:
    part = Part(path.parent / "missing" / "film.mp4", "v")
    with pytest.raises(Unwritable, match="No such file"):
        await part.open()
    await part.leave(keep=False)


async def test_another_process_at_the_same_film_is_told(path: Path) -> None:
    with path.with_name("film.mp4.part").open("a+b") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)  # a lock is the file's that was opened: another process would have the like
        part = Part(path, "v")
        with pytest.raises(Unwritable, match="another process is downloading it"):
            await part.open()
        await part.leave(keep=False)
    assert names(path) == ["film.mp4.part"]  # theirs
    assert await found(path) == Kept()  # the control: the lock was it


async def test_lock_is_let_go_of(path: Path) -> None:
    for _ in range(2):
        await left(path, 1000)


async def test_film_that_another_process_has_finished_is_not_touched(path: Path) -> None:
    await left(path, 1000)
    part = Part(path, "v")
    kept = await part.open()
    path.with_name("film.mp4.part").rename(path)
    path.with_name("film.mp4.part").write_bytes(b"the next one's")
    with pytest.raises(Unwritable, match="another process has replaced"):
        await part.begin(kept)
    await part.leave(keep=True)
    assert path.read_bytes() == film(0, 1000)


async def test_disk_that_takes_no_more_is_told_sooner_or_later(path: Path) -> None:
    path.with_name("film.mp4.part").symlink_to("/dev/full")
    part = Part(path, "v")
    await part.open()
    await part.begin(KEPT)
    part.add(film(0, 100_000))
    with pytest.raises(Unwritable, match="No space left"):
        await part.room()
    with pytest.raises(Unwritable, match="No space left"):
        part.add(film(0, 100_000))
    await part.leave(keep=False)
    assert names(path) == []


async def test_part_that_cannot_be_renamed_is_told(path: Path) -> None:
    part = Part(path, "v")
    await part.open()
    await part.begin(KEPT)
    part.add(b"film")
    await part.flush()
    path.mkdir()
    with pytest.raises(Unwritable, match="Is a directory"):
        await part.finish()
    await part.leave(keep=False)


async def test_leaving_is_carried_through_though_cancelled(path: Path) -> None:
    part = Part(path, "v")
    await part.open()
    await part.begin(KEPT)
    leaving = asyncio.create_task(part.leave(keep=False))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert names(path) == []


async def test_reading_need_not_wait_until_much_waits_to_be_written(path: Path) -> None:
    part = Part(path, "v")
    await part.open()
    await part.begin(KEPT)
    was_full = []
    for size in (MIB, MIB - 1, 1):  # the first is being written from there on
        part.add(b"x" * size)
        was_full.append(part.is_full)
    await part.room()
    assert [*was_full, part.is_full] == [False, False, True, False]
    await part.leave(keep=False)

"""A film that is not whole yet, on disk: `<name>.part`, and `<name>.part.json` with what a later call must know of it.

The note names no URL, since whoever has a signed one has the film. It is not synced; a checksum of the bytes that it
speaks for tells after a crash of the machine whether they are all there.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar
from zlib import crc32

import attrs

from kling_async.rules.fetching import Kept

_BLOCK_BYTES = 1024 * 1024  # waits in memory at most while a thread writes; and the most that a kill makes come again
_NOTE_BYTES = 1024

_T = TypeVar("_T")


class Unwritable(Exception):
    """The disk, or another process, does not let a film be written."""


class Part:
    """One part: opened, begun as often as an answer comes, added to, and finished or left.

    Its work is done by a thread of its own, one step after the other. A cancellation need not wait for a step: what is
    to be done on leaving is done behind it.

    Args:
        target: where the film will be.
        video_id: whose film it is.
    """

    def __init__(self, target: Path, video_id: str) -> None:
        self._file = _File(target, sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest())
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kling_async film")
        self._writing: asyncio.Future[None] | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    async def open(self) -> Kept:
        """What is there of this film. From here on it is ours alone.

        Raises:
            Unwritable: it cannot be opened, or another process is at it.
        """
        return await self._result(self._begun(self._file.open))

    async def begin(self, kept: Kept) -> None:
        """Goes on behind the first `kept.size` bytes; what lies behind them is dropped.

        Raises:
            Unwritable: the disk does not let us, or another process has finished the film.
        """
        await self._result(self._begun(lambda: self._file.begin(kept)))

    @property
    def is_full(self) -> bool:
        """Whether as much waits to be written as may; `room` makes some."""
        return self._waiting_bytes >= _BLOCK_BYTES

    def add(self, chunk: bytes) -> None:
        """Takes more bytes, and writes them soon: reading goes on while the thread writes.

        Raises:
            Unwritable: some before them could not be written.
        """
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        if self._writing is None:
            self._write()
        elif self._writing.done():
            _settled(self._writing)
            self._write()

    async def room(self) -> None:
        """Waits until the thread has caught up.

        Raises:
            Unwritable: it could not write.
        """
        if self._writing is not None:
            await self._result(self._writing)
        self._write()

    async def flush(self) -> None:
        """Waits until all that was added is written.

        Raises:
            Unwritable: it cannot be.
        """
        await self.room()
        await self.room()

    async def finish(self) -> None:
        """Syncs the film and gives it its name, in one step: under that name it is whole, or not there.

        Raises:
            Unwritable: the disk does not let us.
        """
        await self._result(self._begun(self._file.finish))

    async def leave(self, *, keep: bool) -> None:
        """Lets go of it; what is there stays for a later call, or is removed. Waits for that even when cancelled."""
        step, cancelled = self._begun(lambda: self._file.leave(keep=keep)), None
        while not step.done():
            try:
                await asyncio.wait([step])
            except asyncio.CancelledError as error:
                cancelled = error
        self._thread.shutdown(wait=False)
        if cancelled is not None:
            raise cancelled

    def _write(self) -> None:
        chunks, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._writing = self._begun(lambda: self._file.write(chunks))

    def _begun(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        step = asyncio.get_running_loop().run_in_executor(self._thread, work)
        step.add_done_callback(_heed)
        return step

    async def _result(self, step: asyncio.Future[_T]) -> _T:
        await asyncio.wait([step])  # which leaves the step alone when it is cancelled itself
        return _settled(step)


def _settled(step: asyncio.Future[_T]) -> _T:
    try:
        return step.result()
    except OSError as error:
        raise Unwritable(error.strerror or type(error).__name__) from None


def _heed(step: asyncio.Future[_T]) -> None:
    """Looks at the error, which nobody else may: who began the step may be gone."""
    _ = step.cancelled() or step.exception()


@attrs.define
class _File:
    """The same without waiting, for a thread."""

    target: Path
    film: str
    _part: IO[bytes] = attrs.field(init=False)
    _is_open: bool = attrs.field(default=False, init=False)
    _note: IO[bytes] | None = attrs.field(default=None, init=False)
    _kept: Kept = attrs.field(factory=Kept, init=False)
    _sum: int = attrs.field(default=0, init=False)
    _noted: int = attrs.field(default=0, init=False)

    @property
    def part_path(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def note_path(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    def open(self) -> Kept:
        """What is there."""
        part = self.part_path.open("a+b")  # what is written goes to the end, wherever that is
        try:
            _lock(part)
        except OSError:
            part.close()
            raise
        self._part, self._is_open = part, True
        self._kept, self._sum = self._remembered(part)
        return self._kept

    def _remembered(self, part: IO[bytes]) -> tuple[Kept, int]:
        """What the note speaks for, if the bytes prove it, and their checksum.

        The last byte of a film is not believed: a host that sends it once more says by that that it is this film.
        """
        note = _note_of(self.note_path)
        if note is None or note.film != self.film or note.bytes > os.fstat(part.fileno()).st_size:
            return Kept(), 0
        believed = note.bytes - 1 if note.bytes == note.total else note.bytes
        part.seek(0)
        found = _sum_of(part, believed)
        if crc32(part.read(note.bytes - believed), found) != note.sum:
            return Kept(), 0
        return Kept(believed, note.validator, note.total), found

    def begin(self, kept: Kept) -> None:
        """Goes on there."""
        number = self._part.fileno()
        if not os.path.samestat(os.fstat(number), self.part_path.stat()):
            raise OSError(None, "another process has replaced what was here")
        self._sum = self._sum if kept.size else 0
        self._kept = kept
        self._remember()  # before the bytes are gone that an older note speaks for
        if os.fstat(number).st_size > kept.size:
            self._part.truncate(kept.size)

    def write(self, chunks: list[bytes]) -> None:
        """Appends them."""
        found = self._sum
        for chunk in chunks:
            self._part.write(chunk)
            found = crc32(chunk, found)
        self._part.flush()
        self._sum = found
        self._kept = attrs.evolve(self._kept, size=self._kept.size + sum(map(len, chunks)))
        if self._kept.size - self._noted >= _BLOCK_BYTES:
            self._remember()

    def _remember(self) -> None:
        """Notes what is there; nothing where nothing could prove a rest to be of the same film."""
        self._noted = self._kept.size
        if self._kept.validator is None:
            self._forget()
            return
        if self._note is None:
            self._note = os.fdopen(os.open(self.note_path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        note = _Note(self.film, self._kept.validator, self._kept.total, self._kept.size, self._sum)
        text = json.dumps(attrs.asdict(note)).encode().ljust(_NOTE_BYTES)
        # In one piece over the old one: a kill finds either of them whole.
        self._note.seek(0)
        self._note.write(text)
        self._note.truncate(len(text))

    def _forget(self) -> None:
        if self._note is not None:
            self._note.close()
            self._note = None
        self.note_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Syncs and renames."""
        os.fsync(self._part.fileno())
        self._part.close()
        self.part_path.replace(self.target)
        self._is_open = False
        self._forget()

    def leave(self, *, keep: bool) -> None:
        """Closes what is open."""
        if not self._is_open:
            return
        with suppress(OSError):
            if keep:
                self._remember()
        with suppress(OSError):  # what could not be written cannot be written now either
            self._part.close()
        if keep and self._note is not None:
            self._note.close()
        if not keep:
            with suppress(OSError):
                self.part_path.unlink(missing_ok=True)
            with suppress(OSError):
                self._forget()


@attrs.frozen
class _Note:
    """What is on disk of a film, and what proves that."""

    film: str
    validator: str
    total: int | None
    bytes: int
    sum: int


def _note_of(path: Path) -> _Note | None:
    """The note there; `None` where there is none, or none that we wrote."""
    try:
        told: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    match told:
        case {
            "film": str(film),
            "validator": str(validator),
            "total": int() | None as total,
            "bytes": int(size),
            "sum": int(found),
        } if size > 0 and (total is None or size <= total):
            return _Note(film, validator, total, size, found)
    return None


def _lock(file: IO[bytes]) -> None:
    """Keeps other processes away, where the system and the disk know how to; a kill opens the lock."""
    taken = False
    with suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415 - not on every system

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True
    if taken:
        raise OSError(None, "another process is downloading it")


def _sum_of(file: IO[bytes], size: int) -> int:
    found = 0
    while size > 0 and (block := file.read(min(size, _BLOCK_BYTES))):
        found = crc32(block, found)
        size -= len(block)
    return found

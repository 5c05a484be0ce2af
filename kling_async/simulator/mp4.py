"""An MP4 file around coded pictures, its index in front so that it plays while it loads.

Source: clause numbers are those of ISO/IEC 14496-12 (boxes) and 14496-15 (H.264 inside them).
"""

from __future__ import annotations

from itertools import groupby
from struct import pack
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# The usual unit of video: 24, 25, 30 and 60 pictures a second are all whole numbers of it.
TICKS_PER_SECOND: Final = 90_000

# The matrix of a picture that is neither turned nor scaled: 8.2.2.
_UNITY: Final = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_72_DPI: Final = 72 << 16
_UNDETERMINED: Final = 0x55C4  # the language "und", five bits a letter: 8.4.2


class Sample(NamedTuple):
    """One coded picture and how long it is shown.

    Args:
        data: the picture's NAL units, each behind its length in four bytes.
        ticks: how long it is shown, in 1/90000 s.
        key: whether a player may start here.
    """

    data: bytes
    ticks: int
    key: bool


class Track(NamedTuple):
    """What a player must know before the first picture: size in pixels and both parameter sets."""

    width: int
    height: int
    sequence: bytes
    picture: bytes


def movie(samples: Sequence[Sample], *, track: Track) -> bytes:
    """The whole file. The same samples give the same bytes: no dates are written."""
    kind = _box(b"ftyp", b"isom", pack(">I", 512), b"isomiso2avc1mp41")
    data = _box(b"mdat", *(sample.data for sample in samples))
    # The index says where the data start, which is after the index: so its size is measured with a stand-in.
    start = len(kind) + len(_index(samples, track=track, start=0)) + 8
    return kind + _index(samples, track=track, start=start) + data


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return pack(">I4s", 8 + len(content), name) + content


def _full(name: bytes, *parts: bytes, flags: int = 0) -> bytes:
    """A box that carries a version, always 0 here, and flags: 4.2."""
    return _box(name, pack(">I", flags), *parts)


def _table(name: bytes, layout: str, rows: Sequence[tuple[int, ...]]) -> bytes:
    return _full(name, pack(">I", len(rows)), *(pack(layout, *row) for row in rows))


def _index(samples: Sequence[Sample], *, track: Track, start: int) -> bytes:
    ticks = sum(sample.ticks for sample in samples)
    # One time scale for film, track and media: no duration is rounded between them.
    header = _full(
        b"mvhd",
        pack(">4I", 0, 0, TICKS_PER_SECOND, ticks),
        pack(">IH10x", 0x10000, 0x100),  # normal speed, full volume
        _UNITY,
        pack(">24xI", 2),  # the next free track number
    )
    return _box(b"moov", header, _trak(samples, track=track, ticks=ticks, start=start))


def _trak(samples: Sequence[Sample], *, track: Track, ticks: int, start: int) -> bytes:
    shown = pack(">2I", track.width << 16, track.height << 16)
    # Flags: the track is enabled and part of the film. Players skip a track without them.
    header = _full(b"tkhd", pack(">5I", 0, 0, 1, 0, ticks), bytes(16), _UNITY, shown, flags=3)
    media = _full(b"mdhd", pack(">4I2H", 0, 0, TICKS_PER_SECOND, ticks, _UNDETERMINED, 0))
    handler = _full(b"hdlr", pack(">I4s12x", 0, b"vide"), b"VideoHandler\0")
    here = _full(b"dref", pack(">I", 1), _full(b"url ", flags=1))  # the data are in this very file: 8.7.2
    tables = _stbl(samples, track=track, start=start)
    info = _box(b"minf", _full(b"vmhd", bytes(8), flags=1), _box(b"dinf", here), tables)
    return _box(b"trak", header, _box(b"mdia", media, handler, info))


def _stbl(samples: Sequence[Sample], *, track: Track, start: int) -> bytes:
    """When each sample is shown, where players may start, and where its bytes are: 8.5 to 8.7."""
    runs = [(len(list(run)), ticks) for ticks, run in groupby(sample.ticks for sample in samples)]
    keys = [(number,) for number, sample in enumerate(samples, 1) if sample.key]
    sizes = [(len(sample.data),) for sample in samples]
    return _box(
        b"stbl",
        _full(b"stsd", pack(">I", 1), _avc1(track)),
        _table(b"stts", ">2I", runs),
        _table(b"stss", ">I", keys),
        _table(b"stsc", ">3I", [(1, len(samples), 1)]),
        _full(b"stsz", pack(">2I", 0, len(sizes)), *(pack(">I", *size) for size in sizes)),
        _table(b"stco", ">I", [(start,)]),
    )


def _avc1(track: Track) -> bytes:
    """The sample entry: 12.1.3, and 5.4.2 of 14496-15."""
    return _box(
        b"avc1",
        pack(">6xH16x", 1),  # the first entry of dref
        pack(">2H3IH", track.width, track.height, _72_DPI, _72_DPI, 0, 1),
        pack(">32xHh", 24, -1),  # no name; 24 bits of colour, no table of them
        _configuration(track),
        _box(b"colr", b"nclx", pack(">3HB", 1, 1, 1, 0)),  # BT.709 in limited range
        _box(b"pasp", pack(">2I", 1, 1)),
    )


def _configuration(track: Track) -> bytes:
    """What a decoder is set up with: 14496-15, 5.3.3. Profile and level are repeated from the sequence."""
    lead = b"\1" + track.sequence[1:4] + b"\xff\xe1"  # lengths have four bytes; one sequence
    sequence = pack(">H", len(track.sequence)) + track.sequence
    return _box(b"avcC", lead, sequence, b"\1", pack(">H", len(track.picture)), track.picture)

"""Result films of the simulator: real MP4s in which a person sees where each extension begins.

Each segment has a background of its own, says what it is in large letters, and has its part of a timeline
with a mark wherever an extension begins. The standard library is enough; equal segments give equal bytes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from kling_async.simulator import h264, mp4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

SHORTEST_SECONDS: Final = 0.001
LONGEST_SECONDS: Final = 600  # of the whole film; the vendor stops at 180
MOST_SEGMENTS: Final = 100  # "EXTENSION 99" is the longest label that leaves a margin

_FRAME: Final = mp4.TICKS_PER_SECOND // 10

# Palette: two colours of the whole film, then three shades of each hue. The first hue is the source's alone.
_INK, _PANEL, _SHADES = range(3)
_INK_COLOUR: Final = 0xF8FAFC
_PANEL_COLOUR: Final = 0x0F172A
_HUES: Final = (0x475569, 0x0F766E, 0x6D28D9, 0xB45309, 0x1D4ED8, 0xBE185D, 0x15803D, 0xB91C1C)
_BACKGROUND, _AHEAD, _PLAYED = range(3)

# Places, in cells of 2x2 pixels. On multiples of eight an area fills whole macroblocks, at one byte each.
_LABEL_TOP: Final = 40
_CLOCK_TOP: Final = 84
_PANEL_TOP: Final = 128
_LINE_LEFT: Final = 16
_LINE_TOP: Final = 152
_LINE_WIDTH: Final = h264.CELLS_WIDE - 2 * _LINE_LEFT

_GLYPHS: Final = (
    (
        "SOURCEXTNI",
        " ####  ###  #   # ####   #### ##### #   # ##### #   # ##### ",
        "#     #   # #   # #   # #     #      # #    #   ##  #   #   ",
        "#     #   # #   # #   # #     #       #     #   # # #   #   ",
        " ###  #   # #   # ####  #     ####    #     #   # # #   #   ",
        "    # #   # #   # # #   #     #       #     #   # # #   #   ",
        "    # #   # #   # #  #  #     #      # #    #   #  ##   #   ",
        "####   ###   ###  #   #  #### ##### #   #   #   #   # ##### ",
    ),
    (
        "0123456789:/ ",
        " ###    #    ###   ###     #  #####  ###  #####  ###   ###            #       ",
        "#   #  ##   #   # #   #   ##  #     #         # #   # #   #   #       #       ",
        "#   #   #       #     #  # #  ####  #        #  #   # #   #          #        ",
        "#   #   #      #    ##  #  #      # ####    #    ###   ####         #         ",
        "#   #   #     #       # #####     # #   #   #   #   #     #        #          ",
        "#   #   #    #    #   #    #  #   # #   #   #   #   #     #   #   #           ",
        " ###   ###  #####  ###     #   ###   ###    #    ###   ###        #           ",
    ),
)


class _Frame(NamedTuple):
    cells: bytes
    ticks: int
    key: bool


def film(segments: Sequence[float | Decimal]) -> bytes:
    """A complete MP4 with an H.264 track of 640x360 pixels at 10 pictures a second.

    Args:
        segments: the seconds of each part: the source clip first, then each extension. 1 to 100 parts of at
            least 0.001 seconds, together at most 600 seconds.

    Raises:
        ValueError: there is no segment or too many, one is too short, or the film too long.
    """
    cuts = _cuts([float(seconds) for seconds in segments])
    encoder = h264.Encoder(_colours())
    samples = [
        mp4.Sample(encoder.key(cells) if key else encoder.next(cells), ticks, key)
        for cells, ticks, key in _frames(cuts)
    ]
    track = mp4.Track(h264.WIDTH, h264.HEIGHT, h264.sequence_parameters(), h264.picture_parameters())
    return mp4.movie(samples, track=track)


def _cuts(segments: list[float]) -> list[int]:
    """Where each segment begins and the last one ends, in ticks."""
    if not 1 <= len(segments) <= MOST_SEGMENTS:
        raise ValueError(f"a film has 1 to {MOST_SEGMENTS} segments, not {len(segments)}")
    for seconds in segments:
        if not seconds >= SHORTEST_SECONDS:  # in this form it refuses NaN too
            raise ValueError(f"a segment lasts at least {SHORTEST_SECONDS} seconds, not {seconds}")
    if not sum(segments) <= LONGEST_SECONDS:
        raise ValueError(f"a film lasts at most {LONGEST_SECONDS} seconds, not {sum(segments)}")
    # The sums are rounded, not the segments: forty roundings would add up.
    return [round(seconds * mp4.TICKS_PER_SECOND) for seconds in accumulate(segments, initial=0.0)]


def _frames(cuts: list[int]) -> Iterator[_Frame]:
    played, ahead = _timeline(cuts, shade=_PLAYED), _timeline(cuts, shade=_AHEAD)
    for number, (begin, end) in enumerate(pairwise(cuts)):
        canvas = _scene(number, cuts=cuts)
        for start, stop in pairwise(_starts(begin, end)):
            done = _across(start, cuts=cuts)
            line = played[:done] + bytes([_INK]) * 2 + ahead[done + 2 :]
            _draw(canvas, [line] * 8, left=_LINE_LEFT, top=_LINE_TOP)
            clock = f"{_minutes(start)} / {_minutes(cuts[-1])}"
            _write(canvas, clock, top=_CLOCK_TOP, doublings=1, paper=_shade(number, _BACKGROUND))
            yield _Frame(bytes(canvas), stop - start, start == begin)


def _starts(begin: int, end: int) -> list[int]:
    """When each picture of a segment appears, and the segment's end: the last picture takes what is left."""
    return [*(begin + _FRAME * n for n in range(max(round((end - begin) / _FRAME), 1))), end]


def _minutes(ticks: int) -> str:
    minutes, seconds = divmod(ticks // mp4.TICKS_PER_SECOND, 60)
    return f"{minutes}:{seconds:02}"


def _scene(number: int, *, cuts: list[int]) -> bytearray:
    """What stays still through a segment: background, label and the marks above the timeline."""
    paper = _shade(number, _BACKGROUND)
    canvas = bytearray([paper]) * (h264.CELLS_WIDE * h264.CELLS_HIGH)
    panel = bytes([_PANEL]) * h264.CELLS_WIDE
    _draw(canvas, [panel] * (h264.CELLS_HIGH - _PANEL_TOP), left=0, top=_PANEL_TOP)
    label = f"EXTENSION {number}" if number else "SOURCE"
    _write(canvas, label, top=_LABEL_TOP, doublings=2, paper=paper)
    for cut in cuts[1:-1]:
        left = _LINE_LEFT + _across(cut, cuts=cuts)
        _draw(canvas, [bytes([_INK]) * 2] * 4, left=left, top=_LINE_TOP - 8)
    return canvas


def _timeline(cuts: list[int], *, shade: int) -> bytes:
    """One row of cells over the whole film, each segment in its hue, a gap before each extension."""
    line = b""
    for number, begin in enumerate(cuts[:-1]):
        line = line[: _across(begin, cuts=cuts)] + (bytes([_PANEL]) if number else b"")
        line = line.ljust(_LINE_WIDTH, bytes([_shade(number, shade)]))
    return line


def _across(ticks: int, *, cuts: list[int]) -> int:
    """How many cells of the timeline lie before a moment; the playhead, two cells, still fits behind them."""
    return ticks * (_LINE_WIDTH - 2) // cuts[-1]


def _shade(number: int, shade: int) -> int:
    hue = 1 + (number - 1) % (len(_HUES) - 1) if number else 0
    return _SHADES + 3 * hue + shade


def _draw(canvas: bytearray, rows: Sequence[bytes], *, left: int, top: int) -> None:
    for row, cells in enumerate(rows, top):
        at = row * h264.CELLS_WIDE + left
        canvas[at : at + len(cells)] = cells


def _write(canvas: bytearray, text: str, *, top: int, doublings: int, paper: int) -> None:
    """Text in the middle of the film; each doubling makes it twice as large and rounder."""
    colours = bytes.maketrans(b" #", bytes([paper, _INK]))
    rows = ["".join(row) for row in zip(*(_glyph(letter, doublings) for letter in text), strict=True)]
    cells = [row.encode().translate(colours) for row in rows]
    _draw(canvas, cells, left=(h264.CELLS_WIDE - len(cells[0])) // 2, top=top)


@lru_cache
def _glyph(letter: str, doublings: int) -> tuple[str, ...]:
    names, *rows = next(glyphs for glyphs in _GLYPHS if letter in glyphs[0])
    at = names.index(letter) * 6
    picture = tuple(row[at : at + 6] for row in rows)
    for _ in range(doublings):
        picture = _doubled(picture)
    return picture


def _doubled(picture: tuple[str, ...]) -> tuple[str, ...]:
    """The same picture at twice the size with its stairs smoothed: the EPX rule of Eric Johnston."""
    blank = " " * len(picture[0])
    rows: list[str] = []
    for above, row, below in zip([blank, *picture], picture, [*picture[1:], blank], strict=False):
        around = list(zip(above, " " + row, row, row[1:] + " ", below, strict=False))
        rows.append("".join(_half(up, left, dot, right, down) for up, left, dot, right, down in around))
        rows.append("".join(_half(down, left, dot, right, up) for up, left, dot, right, down in around))
    return tuple(rows)


def _half(near: str, left: str, dot: str, right: str, far: str) -> str:
    """The two cells of a dot on its side towards `near`; a corner joins two equal dots that meet there."""
    first = near if near == left != far and near != right else dot
    second = near if near == right != far and near != left else dot
    return first + second


@lru_cache
def _colours() -> tuple[tuple[int, int, int], ...]:
    """The palette in the order of its indices."""
    colours = [_INK_COLOUR, _PANEL_COLOUR]
    for hue in _HUES:
        colours += [hue, _mixed(hue, _PANEL_COLOUR, 0.5), _mixed(hue, _INK_COLOUR, 0.45)]
    return tuple(_bt709(colour) for colour in colours)


def _mixed(colour: int, other: int, share: float) -> int:
    pairs = zip(colour.to_bytes(3, "big"), other.to_bytes(3, "big"), strict=True)
    return int.from_bytes(bytes(round(a + (b - a) * share) for a, b in pairs), "big")


def _bt709(colour: int) -> tuple[int, int, int]:
    """Y, Cb and Cr in limited range: ITU-R BT.709, 3.2 to 3.5."""
    red, green, blue = (part / 255 for part in colour.to_bytes(3, "big"))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (blue - luma) / 1.8556),
        round(128 + 224 * (red - luma) / 1.5748),
    )

"""An H.264 stream of flat drawings, decoded to exactly the colours that were drawn.

A drawing is a raster of cells. One cell is one index into a palette and covers 2x2 pixels, which is one
chroma sample: so nothing is lost to subsampling, and a macroblock of 16x16 pixels is 8x8 cells. Drawings of
few colours need only three of the standard's tools: samples written out (I_PCM), a neighbour's edge continued
(Intra_16x16) and "as in the last picture" (P_Skip). Every player knows the profile, Constrained Baseline.

Source: clause and table numbers are those of ITU-T H.264.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH: Final = 640
HEIGHT: Final = 360
CELLS_WIDE: Final = WIDTH // 2
CELLS_HIGH: Final = 184  # 180 seen; the rest fills the last row of macroblocks and is cropped

_PROFILE: Final = 66
_CONSTRAINTS: Final = 0xC0  # constraint_set0 and set1 make Baseline "Constrained": A.2.1.1
_LEVEL: Final = 30  # 920 macroblocks ten times a second, with room to spare: table A-1

_SIDE: Final = 8
_COLUMNS: Final = CELLS_WIDE // _SIDE
_BAND: Final = CELLS_WIDE * _SIDE


def ue(value: int) -> str:
    """The bits of a number in unsigned Exp-Golomb code: 9.1."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


# mb_type, intra_chroma_pred_mode and mb_qp_delta of a macroblock that continues its neighbour: 7.3.5.
# The second of each pair is for P slices, which number the same types five higher: tables 7-11 and 7-13.
_DOWNWARD: Final = (f"{ue(1)}{ue(2)}1", f"{ue(6)}{ue(2)}1")
_RIGHTWARD: Final = (f"{ue(2)}{ue(1)}1", f"{ue(7)}{ue(1)}1")
_PCM: Final = (ue(25), ue(30))

# coeff_token for "no coefficients": table 9-5. An I_PCM neighbour counts as 16 coefficients, our others as
# none, so nC (9.2.1) is either 0 or at least 8, and the columns between never occur.
_NO_COEFFICIENTS: Final = ("1", "000011")


def nal(header: int, payload: bytes) -> bytes:
    """One NAL unit, its payload free of start codes: 7.3.1."""
    return bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def sequence_parameters() -> bytes:
    """The sequence parameter set, 7.3.2.1.1: size, colours, and that no picture is reordered."""
    order = ue(0) * 2 + ue(2) + ue(1) + "0"  # shown as decoded: no picture has to say when; one reference
    size = ue(_COLUMNS - 1) + ue(CELLS_HIGH // _SIDE - 1) + "11"
    seen = "1" + ue(0) * 3 + ue(CELLS_HIGH - HEIGHT // 2)  # the cropping is counted in rows of chroma
    bits = order + size + seen + "1" + _usability()
    return nal(0x67, bytes([_PROFILE, _CONSTRAINTS, _LEVEL]) + _closed(bits))


def _usability() -> str:
    """Without it players guess the colour matrix, and some hold pictures back to sort them: E.1.1."""
    colours = "110101" + "00000001" * 3  # limited range, and BT.709 in primaries, transfer and matrix
    restriction = "11" + ue(0) * 4 + ue(0) + ue(1)  # none reordered, one kept
    return "00" + colours + "00000" + restriction


def picture_parameters() -> bytes:
    """The picture parameter set, 7.3.2.2: CAVLC, and slices may switch the deblocking filter off."""
    bits = ue(0) * 2 + "00" + ue(0) * 3 + "000" + ue(0) * 3 + "100"
    return nal(0x68, _closed(bits))


def _closed(bits: str) -> bytes:
    """Bits with the stop bit and the zeros that fill the byte: 7.3.2.11."""
    return _whole(bits + "1")


def _whole(bits: str) -> bytes:
    size = -(-len(bits) // 8)
    return int(bits.ljust(size * 8, "0") or "0", 2).to_bytes(size, "big")


def _tile(cells: bytes, at: int) -> bytes:
    return b"".join([cells[row : row + _SIDE] for row in range(at, at + _BAND, CELLS_WIDE)])


@lru_cache(maxsize=1024)
def _continued(column: bytes) -> bytes:
    """The macroblock that a column of eight cells becomes when it is drawn out to the right."""
    return bytes(cell for cell in column for _ in range(_SIDE))


class Encoder:
    """Pictures in, coded pictures out, in the order of showing.

    Args:
        colours: Y, Cb and Cr of each palette index; none may be 0, which older editions forbid in I_PCM.
    """

    def __init__(self, colours: Sequence[tuple[int, int, int]]) -> None:
        self._tables = [bytes(plane).ljust(256, b"\1") for plane in zip(*colours, strict=True)]
        self._samples: dict[bytes, bytes] = {}
        self._last = b""
        self._count = 0  # pictures since the last key picture
        self._keys = 0

    def key(self, cells: bytes) -> bytes:
        """A picture that can be decoded without any other."""
        self._count = 0
        # 7.3.3, ending with "no deblocking": it would blur the edges that the drawing wants sharp.
        # Two key pictures in a row must differ in idr_pic_id, the one that counts here: 7.4.3.
        header = ue(0) + ue(7) + ue(0) + "0000" + ue(self._keys % 2) + "00" + ue(0) + ue(1)
        self._keys += 1
        return self._coded(0x65, header=header, cells=cells, last=b"")

    def next(self, cells: bytes) -> bytes:
        """A picture coded as the difference from the one before it."""
        self._count += 1
        header = ue(0) + ue(5) + ue(0) + f"{self._count % 16:04b}" + "000" + ue(0) + ue(1)
        return self._coded(0x41, header=header, cells=cells, last=self._last)

    def _coded(self, kind: int, *, header: str, cells: bytes, last: bytes) -> bytes:
        self._last = cells
        unit = nal(kind, _Slice(cells, last=last, header=header, samples=self._written_out).coded())
        return len(unit).to_bytes(4, "big") + unit

    def _written_out(self, tile: bytes) -> bytes:
        """The 384 samples of a macroblock: 256 of luma, 64 of each chroma: 7.3.5."""
        if tile not in self._samples:
            luma, blue, red = (tile.translate(table) for table in self._tables)
            wide = bytes(sample for sample in luma for _ in range(2))
            rows = (wide[at : at + 16] * 2 for at in range(0, len(wide), 16))
            self._samples[tile] = b"".join(rows) + blue + red
        return self._samples[tile]


class _Slice:
    """One picture on its way into bits: 7.3.4. Without a last picture it is a key picture."""

    def __init__(self, cells: bytes, *, last: bytes, header: str, samples: Callable[[bytes], bytes]) -> None:
        self._cells = cells
        self._last = last
        self._samples = samples
        self._parts: list[bytes] = []
        self._bits = [header]
        self._skipped = 0
        self._above = bytearray(_COLUMNS)  # 1 where the macroblock overhead is I_PCM

    def coded(self) -> bytes:
        """The header, the macroblocks and the stop bit."""
        for band in range(0, len(self._cells), _BAND):
            if self._last[band : band + _BAND] == self._cells[band : band + _BAND]:
                self._skipped += _COLUMNS
                self._above = bytearray(_COLUMNS)
            else:
                self._row(band)
        if self._skipped:
            self._put(ue(self._skipped))
        return b"".join([*self._parts, _closed("".join(self._bits))])

    def _row(self, band: int) -> None:
        left = 0
        for column in range(_COLUMNS):
            at = band + column * _SIDE
            tile = _tile(self._cells, at)
            if self._last and tile == _tile(self._last, at):
                self._skipped += 1
                left = 0
            else:
                left = self._macroblock(tile, at=at, column=column, left=left)
            self._above[column] = left

    def _macroblock(self, tile: bytes, *, at: int, column: int, left: int) -> int:
        """Whether it had to be I_PCM, which its neighbours to the right and below must know."""
        inter = int(bool(self._last))
        if inter:
            self._put(ue(self._skipped))
            self._skipped = 0
        # The first row has nothing above: the slice of cells is empty there, and no tile equals it.
        if tile == self._cells[max(at - CELLS_WIDE, 0) : max(at - CELLS_WIDE + _SIDE, 0)] * _SIDE:
            mode = _DOWNWARD
        elif column and tile == _continued(self._cells[at - 1 : at + _BAND - CELLS_WIDE : CELLS_WIDE]):
            mode = _RIGHTWARD
        else:
            self._pcm(tile, inter=inter)
            return 1
        self._put(mode[inter] + _NO_COEFFICIENTS[left | self._above[column]])
        return 0

    def _pcm(self, tile: bytes, *, inter: int) -> None:
        self._put(_PCM[inter])
        self._parts.append(_whole("".join(self._bits)))
        self._parts.append(self._samples(tile))
        self._bits = []

    def _put(self, bits: str) -> None:
        self._bits.append(bits)

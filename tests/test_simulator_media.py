from __future__ import annotations

import io
import math
import random
import struct
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import av
import pytest

from kling_async.simulator import h264, media, mp4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEGMENTS = [5.0, 4.6, 4.533]
STARTS = [0.0, 5.0, 9.6]
Planes = tuple[bytes, bytes, bytes]


class Shown(NamedTuple):
    seconds: float
    key: bool
    planes: Planes


@pytest.fixture(autouse=True)
def _warnings_heard() -> Iterator[None]:
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    yield
    av.logging.set_level(before)


def decoded(data: bytes) -> list[Shown]:
    """Every picture, from a decoder that conceals nothing; its complaints are failures too."""
    with av.logging.Capture() as complaints, av.open(io.BytesIO(data), "r") as container:
        codec = container.streams.video[0].codec_context
        codec.options = {"err_detect": "explode"}
        codec.thread_count = 1  # complaints of other threads would not be heard
        shown = [Shown(frame.time, bool(frame.key_frame), planes(frame)) for frame in container.decode(video=0)]
    assert not complaints
    return shown


def planes(frame: av.VideoFrame) -> Planes:
    luma, blue, red = (
        b"".join(
            bytes(plane)[at : at + plane.width] for at in range(0, plane.line_size * plane.height, plane.line_size)
        )
        for plane in frame.planes
    )
    return luma, blue, red


def drawn(cells: bytes, colours: Sequence[tuple[int, int, int]]) -> Planes:
    """The planes that the cells stand for, without any knowledge of macroblocks."""
    seen = cells[: h264.CELLS_WIDE * h264.HEIGHT // 2]
    luma, blue, red = (seen.translate(bytes(plane).ljust(256, b"\0")) for plane in zip(*colours, strict=True))
    wide = bytearray(2 * len(luma))
    wide[::2] = wide[1::2] = luma
    rows = (bytes(wide[at : at + h264.WIDTH]) * 2 for at in range(0, len(wide), h264.WIDTH))
    return b"".join(rows), blue, red


def filmed(pictures: Sequence[bytes], colours: Sequence[tuple[int, int, int]]) -> bytes:
    encoder = h264.Encoder(colours)
    units = [encoder.key(pictures[0]), *(encoder.next(cells) for cells in pictures[1:])]
    samples = [mp4.Sample(unit, 9000, number == 0) for number, unit in enumerate(units)]
    track = mp4.Track(h264.WIDTH, h264.HEIGHT, h264.sequence_parameters(), h264.picture_parameters())
    return mp4.movie(samples, track=track)


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        size, name = struct.unpack(">I4s", data[:8])
        found.append((name.decode(), data[8:size]))
        data = data[size:]
    return found


def box(data: bytes, path: str) -> bytes:
    for name in path.split("/"):
        data = dict(boxes(data))[name]
    return data


@pytest.fixture(scope="module")
def data() -> bytes:
    return media.film(SEGMENTS)


@pytest.fixture(scope="module")
def shown(data: bytes) -> list[Shown]:
    return decoded(data)


def background(picture: Shown) -> tuple[int, int, int]:
    luma, blue, red = picture.planes
    return luma[0], blue[0], red[0]


def row(picture: Shown, number: int) -> bytes:
    return picture.planes[0][number * h264.WIDTH : (number + 1) * h264.WIDTH]


def label(picture: Shown) -> list[str]:
    """The large letters as a person sees them, one mark for each dot of the font."""
    ink = media._colours()[media._INK][0]
    top = 2 * media._LABEL_TOP + 4
    rows = [row(picture, top + 8 * number)[4::8] for number in range(7)]
    dots = ["".join("#" if dot == ink else " " for dot in cells) for cells in rows]
    margin = min(line.index("#") for line in dots)
    return [line[margin:].rstrip() for line in dots]


# What a person sees.


def test_the_decoder_returns_exactly_the_pictures_that_were_drawn(shown: list[Shown]) -> None:
    frames = list(media._frames(media._cuts(SEGMENTS)))
    assert [picture.planes for picture in shown] == [drawn(frame.cells, media._colours()) for frame in frames]


def test_each_segment_begins_with_a_key_picture_at_its_moment_and_nothing_else_does(
    shown: list[Shown],
) -> None:
    assert [picture.seconds for picture in shown if picture.key] == pytest.approx(STARTS, abs=1e-5)


def test_each_background_differs_from_the_one_before() -> None:
    keys = [picture for picture in decoded(media.film([0.1] * 46)) if picture.key]
    assert len(keys) == 46
    assert all(background(one) != background(other) for one, other in pairwise(keys))


def test_the_background_stays_within_a_segment(shown: list[Shown]) -> None:
    first, *rest = [picture for picture in shown if picture.seconds < STARTS[1]]
    assert all(background(picture) == background(first) for picture in rest)


def test_the_source_says_so(shown: list[Shown]) -> None:
    assert label(shown[0]) == [
        " ####  ###  #   # ####   #### #####",
        "#     #   # #   # #   # #     #",
        "#     #   # #   # #   # #     #",
        " ###  #   # #   # ####  #     ####",
        "    # #   # #   # # #   #     #",
        "    # #   # #   # #  #  #     #",
        "####   ###   ###  #   #  #### #####",
    ]


def test_extensions_are_numbered(shown: list[Shown]) -> None:
    labels = [label(picture) for picture in shown if picture.key]
    assert labels[1] != labels[2]
    assert [dots[:54].rstrip() for dots in labels[1]] == [dots[:54].rstrip() for dots in labels[2]]


def test_the_longest_label_has_a_margin() -> None:
    scene = media._scene(media.MOST_SEGMENTS - 1, cuts=[0, 1])
    first, last = media._LABEL_TOP * h264.CELLS_WIDE, (media._LABEL_TOP + 28) * h264.CELLS_WIDE
    rows = [scene[at : at + h264.CELLS_WIDE] for at in range(first, last, h264.CELLS_WIDE)]
    assert all(media._INK not in cells[:16] + cells[-16:] for cells in rows)
    assert all(media._INK in cells for cells in rows)


def test_the_clock_changes_once_a_second(shown: list[Shown]) -> None:
    at = 2 * media._CLOCK_TOP * h264.WIDTH
    clocks = [picture.planes[0][at : at + 28 * h264.WIDTH] for picture in shown[:50]]
    assert [number for number in range(1, 50) if clocks[number] != clocks[number - 1]] == [10, 20, 30, 40]


def test_the_playhead_moves_with_every_picture(shown: list[Shown]) -> None:
    ink = media._colours()[media._INK][0]
    places = [row(picture, 2 * media._LINE_TOP).index(ink) for picture in shown]
    assert places[0] == 2 * media._LINE_LEFT
    assert all(one < other for one, other in pairwise(places))
    assert places[-1] < h264.WIDTH - 2 * media._LINE_LEFT


def test_the_playhead_stands_under_the_mark_when_an_extension_begins(shown: list[Shown]) -> None:
    ink = media._colours()[media._INK][0]
    marks = row(shown[0], 2 * media._LINE_TOP - 16)
    starts = [picture for picture in shown if picture.key][1:]
    assert [at for at in range(1, len(marks)) if marks[at - 1] != ink == marks[at]] == [
        row(picture, 2 * media._LINE_TOP).index(ink) for picture in starts
    ]


# Timing.


@pytest.mark.parametrize(
    "segments",
    [
        [1, 2],
        [Decimal("5.041"), Decimal("4.6")],
        [0.001],
        [0.04, 0.149, 0.151],
        [5.0, *[1.0333333] * 5],
    ],
)
def test_each_segment_lasts_what_was_asked(segments: list[float]) -> None:
    data = media.film(segments)
    keys = [picture.seconds for picture in decoded(data) if picture.key]
    with av.open(io.BytesIO(data), "r") as container:
        assert container.duration == pytest.approx(1e6 * float(sum(segments)), abs=1000)
    ends = [float(sum(segments[:number])) for number in range(len(segments))]
    assert keys == pytest.approx(ends, abs=0.00001)


def test_ten_pictures_a_second(shown: list[Shown]) -> None:
    assert len(shown) == 50 + 46 + 45
    steps = {round(other.seconds - one.seconds, 6) for one, other in pairwise(shown)}
    assert steps == {0.1}


def test_forty_extensions_do_not_add_up_their_roundings() -> None:
    end = media._cuts([5.0] + [4.333333] * 40)[-1]
    assert end == round((5.0 + 40 * 4.333333) * mp4.TICKS_PER_SECOND)
    assert end != sum(round(seconds * mp4.TICKS_PER_SECOND) for seconds in [5.0] + [4.333333] * 40)


# The file.


def test_the_index_comes_before_the_data(data: bytes) -> None:
    assert [name for name, _ in boxes(data)] == ["ftyp", "moov", "mdat"]


def test_every_duration_in_the_index_is_the_same(data: bytes) -> None:
    index = box(data, "moov")
    times = box(index, "trak/mdia/minf/stbl/stts")[8:]
    durations = {
        *struct.unpack(">I", box(index, "mvhd")[16:20]),
        *struct.unpack(">I", box(index, "trak/tkhd")[20:24]),
        *struct.unpack(">I", box(index, "trak/mdia/mdhd")[16:20]),
        sum(count * ticks for count, ticks in struct.iter_unpack(">2I", times)),
    }
    assert durations == {round(sum(SEGMENTS) * mp4.TICKS_PER_SECOND)}


def test_the_sizes_in_the_index_cover_the_data(data: bytes) -> None:
    tables = box(data, "moov/trak/mdia/minf/stbl")
    (start,) = struct.unpack(">I", box(tables, "stco")[8:])
    sizes = [size for (size,) in struct.iter_unpack(">I", box(tables, "stsz")[12:])]
    assert data[start - 4 : start] == b"mdat"
    assert start + sum(sizes) == len(data)


def test_players_learn_size_profile_and_colours(data: bytes) -> None:
    with av.open(io.BytesIO(data), "r") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.width, codec.height, codec.pix_fmt) == (640, 360, "yuv420p")
        assert (codec.name, codec.profile) == ("h264", "Constrained Baseline")
        assert (codec.color_primaries, codec.colorspace, codec.color_range) == (1, 1, 1)


def test_a_player_can_start_at_an_extension(data: bytes, shown: list[Shown]) -> None:
    with av.open(io.BytesIO(data), "r") as container:
        container.seek(10_000_000)
        first = next(iter(container.decode(video=0)))
        assert first.time == pytest.approx(STARTS[2])
        assert planes(first) == shown[50 + 46].planes


def test_equal_segments_give_equal_bytes(data: bytes) -> None:
    assert media.film([Decimal("5.0"), 4.6, 4.533]) == data


def test_files_are_small(data: bytes) -> None:
    assert len(data) < 300_000
    assert len(media.film([5.0, *[4.0] * 43, 3.0])) < 5_000_000


# What is refused.


@pytest.mark.parametrize("seconds", [0, -1.0, 0.0009, math.nan, -math.inf, Decimal(0)])
def test_a_segment_must_last(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"a segment lasts at least 0\.001 seconds"):
        media.film([5.0, seconds])


@pytest.mark.parametrize("count", [0, media.MOST_SEGMENTS + 1])
def test_a_film_needs_segments_but_not_too_many(count: int) -> None:
    with pytest.raises(ValueError, match=f"a film has 1 to 100 segments, not {count}"):
        media.film([1.0] * count)


@pytest.mark.parametrize("seconds", [600.1, math.inf])
def test_a_film_must_end(seconds: float) -> None:
    with pytest.raises(ValueError, match="a film lasts at most 600 seconds"):
        media.film([seconds])


# The stream, with drawings that films do not happen to contain.


@pytest.mark.parametrize("seed", range(4))
def test_any_drawing_comes_back(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - drawings, not secrets
    colours = [(dice.randint(1, 255), dice.randint(1, 255), dice.randint(1, 255)) for _ in range(6)]
    canvas = bytearray(h264.CELLS_WIDE * h264.CELLS_HIGH)
    pictures = []
    for _ in range(20):  # longer than frame_num counts
        for _ in range(12):
            left, top = dice.randrange(h264.CELLS_WIDE), dice.randrange(h264.CELLS_HIGH)
            wide = min(dice.choice([1, 8, 80]), h264.CELLS_WIDE - left)
            high = min(dice.choice([1, 8, 60]), h264.CELLS_HIGH - top)
            media._draw(canvas, [bytes([dice.randrange(6)]) * wide] * high, left=left, top=top)
        pictures.append(bytes(canvas))
    shown = decoded(filmed(pictures, colours))
    assert [picture.planes for picture in shown] == [drawn(cells, colours) for cells in pictures]


def test_a_picture_of_noise_comes_back() -> None:
    dice = random.Random(0)  # noqa: S311 - a drawing, not a secret
    colours = [(1, 1, 1), (255, 255, 255), (1, 255, 1)]
    noise = bytes(dice.choices(range(3), k=h264.CELLS_WIDE * h264.CELLS_HIGH))
    (picture,) = decoded(filmed([noise], colours))
    assert picture.planes == drawn(noise, colours)


@pytest.mark.parametrize(
    ("value", "bits"), [(0, "1"), (1, "010"), (2, "011"), (3, "00100"), (8, "0001001"), (919, "0000000001110011000")]
)
def test_exponential_golomb_codes(value: int, bits: str) -> None:
    assert h264.ue(value) == bits


@pytest.mark.parametrize(
    ("payload", "escaped"),
    [
        (b"\0\0\0", b"\0\0\3\0"),
        (b"\0\0\1", b"\0\0\3\1"),
        (b"\0\0\2", b"\0\0\3\2"),
        (b"\0\0\3", b"\0\0\3\3"),
        (b"\0\0\4", b"\0\0\4"),
        (b"\0\1\0\1", b"\0\1\0\1"),
        (b"\0\0\0\0\0\1", b"\0\0\3\0\0\3\0\1"),
    ],
)
def test_no_payload_looks_like_a_start_code(payload: bytes, escaped: bytes) -> None:
    assert h264.nal(0x65, payload) == b"\x65" + escaped


# Controls: the tests above can fail.


def test_control_a_wrong_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "_NO_COEFFICIENTS", ("1", "1"))  # as if I_PCM neighbours did not count
    with pytest.raises((AssertionError, av.InvalidDataError)):
        decoded(media.film([0.1]))


def test_control_damage_on_the_way_is_noticed(data: bytes) -> None:
    at = data.index(b"mdat") + 4 + 420  # behind the first macroblock, whose samples could be anything
    with pytest.raises((AssertionError, av.InvalidDataError)):
        decoded(data[:at] + bytes(64) + data[at + 64 :])


def test_control_one_cell_is_noticed() -> None:
    colours = [(16, 128, 128), (17, 128, 128)]
    blank = bytes(h264.CELLS_WIDE * h264.CELLS_HIGH)
    (picture,) = decoded(filmed([blank[:5000] + b"\1" + blank[5001:]], colours))
    assert picture.planes != drawn(blank, colours)

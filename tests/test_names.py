"""File names out of keys: plain where they can be, one each, and never a way out of the folder."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulator_desk import odd_text

from kling_async.rules.names import file_name, folded, safe_name

HOSTILE = [
    "../x",
    "/etc/passwd",
    "a\0b",
    "x" * 10_000,
    "..",
    ".",
    "-rf",
    "C:\\x",
    "\udcff",
    "con",
    "a/b",
    "~",
    " ",
    "…",
]
ALLOWED = set("abcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.mark.parametrize("key", ["film-1", "a", "2026_07.take-2", "con-1", "x" * 80])
def test_plain_key_is_its_own_name(key: str) -> None:
    assert file_name(key) == f"{key}.mp4"


@pytest.mark.parametrize("key", ["Film-1", "film 1", "film/1", "film-1-", ".film-1"])
def test_what_is_plain_of_a_key_stays_readable(key: str) -> None:
    assert file_name(key).startswith("film-1-")


def test_key_without_anything_plain_is_a_digest() -> None:
    assert len(file_name("映画")) == len("123456789012.mp4")


def test_suffix_may_be_another() -> None:
    assert file_name("a", suffix=".webm") == "a.webm"


@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_hostile_key_is_one_plain_name(key: str) -> None:
    name = file_name(key)
    assert set(name) <= ALLOWED
    assert len(name) <= 100
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize("key", ["con", "nul", "com1", "lpt9", "aux.txt"])
def test_no_name_is_a_device_on_windows(key: str) -> None:
    assert file_name(key) != f"{key}.mp4"


@given(odd_text | st.sampled_from(HOSTILE))
def test_name_is_one_step_on_every_system(key: str) -> None:
    name = file_name(key)
    assert PurePosixPath(name).name == name == PureWindowsPath(name).name


@given(st.lists(odd_text | st.text("aAbB-. ", max_size=4), unique=True, max_size=20))
@example(["Film", "film", "FILM"])
@example(["a b", "a-b", "a/b"])
def test_no_two_keys_share_a_name(keys: list[str]) -> None:
    assert len({file_name(key).lower() for key in keys}) == len(keys)


@given(odd_text)
def test_no_key_can_be_made_to_take_the_name_of_another(key: str) -> None:
    name = file_name(key).removesuffix(".mp4")
    assert name == key or file_name(name) != file_name(key)


@given(odd_text)
def test_name_is_always_the_same(key: str) -> None:
    assert file_name(key) == file_name(key)


# --- names that users make -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted", ["Film 1.mp4", "映画.mp4", "a-0123456789ab.mp4", "film", "ä" * 90, "a.b.c", "(1).mov"]
)
def test_name_that_every_system_takes_is_taken(wanted: str) -> None:
    assert safe_name(wanted) == wanted


@pytest.mark.parametrize(
    ("wanted", "begins", "ends"),
    [
        ("../../etc/passwd", "etc-passwd-", ""),
        ("order/4711.mp4", "order-4711-", ".mp4"),
        ("C:\\x.MP4", "c-x-", ".MP4"),
        ("con.mp4", "con-", ".mp4"),
        (".hidden.mp4", "hidden-", ".mp4"),
        ("film.mp4 ", "film.mp4-", ""),
        ("film.mp4\n", "film.mp4-", ""),
        ("film.mp4.part", "film.mp4.part-", ""),
        ("film.mp4.part.json", "film.mp4.part-", ".json"),
        ("..", "", ""),
        ("é" * 101, "", ""),
    ],
)
def test_name_that_some_system_would_not_take_is_made_plain(wanted: str, begins: str, ends: str) -> None:
    made = safe_name(wanted)
    assert made != wanted
    assert made.startswith(begins)
    assert made.endswith(ends)


@given(st.one_of(odd_text, st.text()))
@example("a.part")
@example("A.PART.JSON")
def test_no_name_leaves_the_folder(wanted: str) -> None:
    made = safe_name(wanted)
    assert PurePosixPath("/out", made).parent == PurePosixPath("/out")
    assert PureWindowsPath("C:/out", made).parent == PureWindowsPath("C:/out")
    assert made not in {"", ".", ".."}
    assert "\0" not in made
    assert len(made.encode()) <= 200
    assert not made.lower().endswith((".part", ".part.json"))


@pytest.mark.parametrize(("one", "other"), [("A.mp4", "a.MP4"), ("\u00e9", "e\u0301"), ("STRASSE", "straße")])
def test_names_of_one_file_are_folded_alike(one: str, other: str) -> None:
    assert folded(one) == folded(other)

"""Jobs out of files: JSON lines and CSV; every error names its line."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_desk import odd_text

from kling_async import OmniVideoRequest, RequestError, VideoExtendRequest
from kling_async.rules.jobs import read_jobs


def lines(text: str) -> list[tuple[str, VideoExtendRequest]]:
    return read_jobs(text, "jsonl", VideoExtendRequest)


def table(text: str) -> list[tuple[str, VideoExtendRequest]]:
    return read_jobs(text, "csv", VideoExtendRequest)


def test_json_lines_are_jobs_in_their_order() -> None:
    jobs = lines('{"key": "b", "video_id": "v", "prompt": "p"}\n{"key": "a", "video_id": "v", "mode": "pro"}\n')
    assert jobs == [
        ("b", VideoExtendRequest(video_id="v", prompt="p")),
        ("a", VideoExtendRequest(video_id="v", mode="pro")),
    ]


def test_csv_is_jobs_in_its_order() -> None:
    jobs = table("key,video_id,prompt,mode\nb,v,p,\na,v,,pro\n")
    assert jobs == [
        ("b", VideoExtendRequest(video_id="v", prompt="p")),
        ("a", VideoExtendRequest(video_id="v", mode="pro")),
    ]


def test_omni_jobs_are_read_too() -> None:
    text = '{"key": "a", "model_name": "kling-video-o1", "prompt": "on", "video_list": [{"video_url": "https://x.org/a.mp4"}]}'
    [(key, request)] = read_jobs(text, "jsonl", OmniVideoRequest)
    assert (key, request.prompt) == ("a", "on")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_empty_text_is_no_job(form: Literal["jsonl", "csv"]) -> None:
    assert read_jobs("", form, VideoExtendRequest) == []


@pytest.mark.parametrize("text", ['\n\n{"key": "a", "video_id": "v"}\r\n \n', '\ufeff{"key": "a", "video_id": "v"}'])
def test_empty_lines_and_a_byte_order_mark_are_passed_over(text: str) -> None:
    assert [key for key, _ in lines(text)] == ["a"]


@pytest.mark.parametrize("text", ["\ufeffkey,video_id\r\na,v\r\n", "key,video_id\n\na,v\n\n"])
def test_csv_of_other_programs_is_read(text: str) -> None:
    assert [key for key, _ in table(text)] == ["a"]


def test_csv_cell_may_hold_lines_and_commas() -> None:
    [(_, request)] = table('key,video_id,prompt\na,v,"one, two\nthree ""four"""\n')
    assert request.prompt == 'one, two\nthree "four"'


def test_a_line_break_of_unicode_is_none_of_json_lines() -> None:
    [(_, request)] = lines('{"key": "a", "video_id": "v", "prompt": "one\u2028two\x85"}')
    assert request.prompt == "one\u2028two\x85"


GOOD = '{"key": "a", "video_id": "v"}\n'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2: is no JSON"),
        ("[" * 100_000, "line 2: is no JSON"),
        ("1" * 5_000, "line 2: is no JSON"),
        ("[1]", "line 2: must be a JSON object"),
        ('{"video_id": "v"}', "line 2: key: is missing"),
        ('{"key": "", "video_id": "v"}', "line 2: key: is missing"),
        ('{"key": 7, "video_id": "v"}', "line 2: key: 7 (int) is not allowed; it must be a text"),
        ('{"key": "b"}', "line 2: video_id"),
        ('{"key": "b", "video_id": "v", "cfg_scale": 1}', "line 2: cfg_scale"),
        ('{"key": "b", "video_id": 5}', "line 2: video_id"),
        ('{"key": "a", "video_id": "w"}', "line 2: key 'a' stands in line 1 already"),
    ],
    ids=lambda value: value[:40],
)
def test_bad_json_line_is_named(line: str, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        lines(GOOD + line)
    assert caught.value.message.startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,v\nb,w\n", "line 1: the head has no 'key'; its names stand between commas"),
        ("key,video_id\na,v,surplus\n", "line 2: has more cells than the head"),
        ("key,video_id\na\n", "line 2: video_id"),
        ('key,video_id\na,"v" w\n', "line 2: is no CSV"),
        ('key,video_id\na,"v\n', "line 2: is no CSV"),
        ("key,video_id\na,v\na,v\n", "line 3: key 'a' stands in line 2 already"),
        ('key,video_id,prompt\na,v,"two\nlines"\na,v,\n', "line 4: key 'a' stands in line 3 already"),
    ],
)
def test_bad_csv_line_is_named(text: str, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        table(text)
    assert caught.value.message.startswith(told)


def test_name_that_stands_twice_in_a_head_is_refused() -> None:
    with pytest.raises(RequestError, match="line 1: the head has 'prompt' twice"):
        table("key,video_id,prompt,prompt\na,v,one,two\n")


@given(odd_text, st.sampled_from(["jsonl", "csv"]))
def test_any_text_is_jobs_or_a_refusal(text: str, form: Literal["jsonl", "csv"]) -> None:
    with suppress(RequestError):
        assert read_jobs(text, form, VideoExtendRequest) == []  # what odd text cannot spell


jobs_of_any_words = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    max_size=5,
)


@given(jobs_of_any_words)
def test_json_lines_give_back_what_was_written(prompts: dict[str, str]) -> None:
    text = "\n".join(json.dumps({"key": key, "video_id": "v", "prompt": said}) for key, said in prompts.items())
    assert {key: request.prompt for key, request in lines(text)} == prompts


@given(jobs_of_any_words)
def test_csv_gives_back_what_was_written(prompts: dict[str, str]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
        [("key", "video_id", "prompt"), *((k, "v", p) for k, p in prompts.items())]
    )
    assert {key: request.prompt for key, request in table(file.getvalue())} == prompts

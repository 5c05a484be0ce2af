"""JSON by orjson and by the standard library: the same is read and written, whichever is installed."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.errors import MalformedResponse
from kling_async.rules.wire import page_call, read_envelope, read_tasks, texts
from kling_async.rules.wire.answers import Response

QUICK_READ, PLAIN_READ = texts.reader(orjson.loads), texts.reader(None)
QUICK_WRITE, PLAIN_WRITE = texts.writer(orjson.dumps), texts.writer(None)

WHOLE = st.integers(-(2**63), 2**64 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WRITTEN = st.dictionaries(st.text(), st.none() | st.booleans() | WHOLE | st.text() | st.lists(st.text()), max_size=5)


def told(read: object, text: bytes) -> object:
    """What is read, or that it is refused."""
    assert callable(read)
    try:
        return read(text)
    except (ValueError, RecursionError):
        return "refused"


@given(VALUES)
def test_both_read_the_same(value: object) -> None:
    for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")):
        assert told(QUICK_READ, text) == told(PLAIN_READ, text)


@given(st.binary(max_size=40))
def test_both_refuse_the_same(text: bytes) -> None:
    assert repr(told(QUICK_READ, text)) == repr(told(PLAIN_READ, text))


@pytest.mark.parametrize(
    "text", [b"NaN", b'"\\ud800"', b"\xef\xbb\xbf1", b"1e400", b"[" * 2000 + b"]" * 2000, b"{", b""]
)
def test_what_only_the_standard_library_takes_is_taken_by_both(text: bytes) -> None:
    quick, plain = told(QUICK_READ, text), told(PLAIN_READ, text)
    assert quick == plain or (isinstance(quick, float) and isinstance(plain, float) and math.isnan(quick + plain))


@given(WRITTEN)
def test_both_write_the_same_bytes(value: object) -> None:
    assert QUICK_WRITE(value) == PLAIN_WRITE(value)


def test_numbers_of_more_than_64_bits_are_written_by_both() -> None:
    assert (
        QUICK_WRITE({"element_id": 10**30})
        == PLAIN_WRITE({"element_id": 10**30})
        == b'{"element_id":1' + b"0" * 30 + b"}"
    )


def test_an_id_of_more_than_64_bits_is_refused_rather_than_changed() -> None:
    body = b'{"code":0,"data":[{"task_id":%d,"task_status":"succeed"},{"task_id":7,"task_status":"failed"}]}' % (10**30)
    envelope = read_envelope(page_call("/x", 1, 2), Response(200, {}, body))
    tasks, unreadable = read_tasks(envelope)
    assert ([task.id for task in tasks], unreadable) == (["7"], 1)


def test_a_code_of_more_than_64_bits_is_no_answer_of_the_vendors() -> None:
    with pytest.raises(MalformedResponse, match="code"):
        read_envelope(page_call("/x", 1, 2), Response(200, {}, b'{"code":%d}' % (10**30)))


def test_without_orjson_the_standard_library_serves() -> None:
    code = (
        "import sys; sys.modules['orjson'] = None\n"
        "from kling_async.rules.wire import texts\n"
        "import json\n"
        "assert texts.loads is json.loads\n"
        "assert texts.dumps({'a': 'é'}) == b'{\"a\":\"\\xc3\\xa9\"}'\n"
        "print('served')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert shown.stdout == "served\n"

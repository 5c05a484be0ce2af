"""Result files as a file host serves them: whole, or from where a download broke off (RFC 9110, 13 and 14)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

# 18 digits are more than any file has bytes, and fewer than int() refuses.
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")

UNSATISFIABLE: Final = 416


@frozen
class File:
    """A file's bytes and the ETag that proves them unchanged."""

    content: bytes = field(repr=False)
    etag: str

    @classmethod
    def of(cls, content: bytes) -> File:
        """The file with these bytes."""
        return cls(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@frozen
class Part:
    """What is sent of a file: status, headers and bytes. Status 416 when no byte of it was asked for."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


def serve(file: File, *, method: str, headers: Mapping[str, str]) -> Part:
    """The whole file, or the part that `Range` asks for unless `If-Range` says that the file has changed.

    What is no single range of bytes is ignored, as RFC 9110 allows. The content of a HEAD is empty.
    """
    size = len(file.content)
    common = {"Content-Type": "video/mp4", "Accept-Ranges": "bytes", "ETag": file.etag}
    if method == "HEAD":
        return Part(200, {**common, "Content-Length": str(size)}, b"")
    asked = _RANGE.fullmatch(headers.get("range", "").strip())
    if asked is None or headers.get("if-range", file.etag) != file.etag:
        return Part(200, {**common, "Content-Length": str(size)}, file.content)
    start, end = _bounds(asked, size)
    if start >= end:
        return Part(UNSATISFIABLE, {"Content-Range": f"bytes */{size}"}, b"")
    content = file.content[start:end]
    span = {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Content-Length": str(len(content))}
    return Part(206, {**common, **span}, content)


def _bounds(asked: re.Match[str], size: int) -> tuple[int, int]:
    """First byte and the one behind the last; the first is not before the other when there is nothing to send."""
    first, last, tail = asked.groups()
    if tail is not None:
        return max(0, size - int(tail)), size
    return int(first), size if last is None else min(size, int(last) + 1)

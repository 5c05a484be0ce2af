"""JSON <-> objects: by orjson where it is installed (extra `speedups`), else by the standard library.

Both read and write the same, but for whole numbers of more than 64 bits, which orjson reads as floats: an id like that
(the vendor's have 18 digits) is then refused as unreadable, and never taken for another.
"""

from __future__ import annotations

import json
from collections.abc import Callable

try:
    import orjson
except ImportError:  # pragma: no cover - the tests run with it installed, and read by both
    _fast_loads: Callable[[bytes], object] | None = None
    _fast_dumps: Callable[[object], bytes] | None = None
else:
    _fast_loads, _fast_dumps = orjson.loads, orjson.dumps

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def reader(fast: Callable[[bytes], object] | None) -> Callable[[bytes], object]:
    """Bytes -> objects. `fast` may refuse what the standard library takes (NaN, half surrogate pairs, a BOM)."""
    if fast is None:
        return json.loads

    def read(text: bytes) -> object:
        try:
            return fast(text)
        except ValueError:
            return json.loads(text)

    return read


def writer(fast: Callable[[object], bytes] | None) -> Callable[[object], bytes]:
    """Objects -> bytes, compact. `fast` may refuse what the standard library takes (numbers of more than 64 bits)."""
    if fast is None:
        return lambda value: _encode(value).encode()

    def write(value: object) -> bytes:
        try:
            return fast(value)
        except TypeError:
            return _encode(value).encode()

    return write


loads = reader(_fast_loads)
"""The object that a JSON text holds. Raises ValueError or RecursionError."""

dumps = writer(_fast_dumps)
"""The compact JSON text of an object, as UTF-8."""

"""File names out of keys: readable, and never a path out of the folder."""

from __future__ import annotations

import re
from hashlib import sha256
from unicodedata import normalize

_MOST = 80
_DEVICE = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"  # on Windows
# What ends like a digest could be another key's name.
_TAKEN = re.compile(rf"(.*-)?[0-9a-f]{{12}}|{_DEVICE}", re.DOTALL)
# What no file system misreads, and what no part of a download is called.
_USABLE = re.compile(r'[^\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')
_UNUSABLE = re.compile(rf"[.\s].*|.*[.\s]|{_DEVICE}|.*\.part(\.json)?", re.DOTALL | re.IGNORECASE)
_MOST_BYTES = 200
_SUFFIX = re.compile(r"\.(?!part\Z)[A-Za-z0-9]{1,8}\Z", re.IGNORECASE)


def file_name(key: str, suffix: str = ".mp4") -> str:
    """A file name for a key: the key itself where it is a plain word, else what is plain of it and a digest.

    Two keys never share a name, also where the file system ignores the case of letters.
    """
    plain = _plain(key)
    return key + suffix if plain == key and not _TAKEN.fullmatch(key) else _digested(key, suffix)


def safe_name(wanted: str) -> str:
    """A file name as it is wanted, where every system takes that; else what is plain of it and a digest."""
    if _USABLE.fullmatch(wanted) and not _UNUSABLE.fullmatch(wanted) and len(wanted.encode()) <= _MOST_BYTES:
        return wanted
    found = _SUFFIX.search(wanted)
    suffix = found[0] if found else ""
    return _digested(wanted.removesuffix(suffix), suffix)


def folded(name: str) -> str:
    """What is equal for two names that some file system takes for the same."""
    return normalize("NFC", name).casefold()


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", key.lower())[:_MOST].strip(".-")


def _digested(key: str, suffix: str) -> str:
    plain, digest = _plain(key), sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain}-{digest}{suffix}" if plain else f"{digest}{suffix}"

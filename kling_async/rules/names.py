"""File names out of keys: readable, and never a path out of the folder."""

from __future__ import annotations

import re
from hashlib import sha256

_MOST = 80
# What ends like a digest could be another key's name; what stands in the second list is a device on Windows.
_TAKEN = re.compile(r"(.*-)?[0-9a-f]{12}|(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.DOTALL)


def file_name(key: str, suffix: str = ".mp4") -> str:
    """A file name for a key: the key itself where it is a plain word, else what is plain of it and a digest.

    Two keys never share a name, also where the file system ignores the case of letters.
    """
    plain = re.sub(r"[^a-z0-9._-]+", "-", key.lower())[:_MOST].strip(".-")
    if plain == key and not _TAKEN.fullmatch(key):
        return key + suffix
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain}-{digest}{suffix}" if plain else f"{digest}{suffix}"

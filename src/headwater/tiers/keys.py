"""Which keys there may be, and the file names that they become.

A key's segments become folders and its last one a file, all spelt so that no file system can take
two keys for one: everything but lower-case letters, digits, ``-``, ``_`` and inner dots is
percent-encoded (some file systems fold case, some fold accents), what is longer than a name may be
goes on in the next folder after a ``~``, and only files end in ``.value``, so that ``a`` and
``a/b`` can both be there.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from headwater.errors import UnsupportedValue

MAX_KEY_BYTES = 512

SUFFIX = ".value"
_JOIN = "~"
# A name may have 255 bytes in most file systems, and 143 in some encrypted ones.
_NAME_BYTES = 120
# A dot is harmless where it neither begins a name nor ends one nor meets another.
_QUOTED = re.compile(r"(?<![a-z0-9])\.|\.(?![a-z0-9])|\.(?=value$)|[^a-z0-9_.-]")


def check_key(key: str) -> None:
    """Raises :class:`UnsupportedValue` unless ``key`` is a text of 1 to 512 bytes in UTF-8 with
    segments between slashes, none of them empty, ``.`` or ``..``, and without NUL.
    """
    if not isinstance(key, str):
        raise UnsupportedValue(f"a key must be a text, not {type(key).__name__}")
    if not storable(key):
        raise UnsupportedValue(f"the key {key!r} holds NUL or a lone surrogate")
    if not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise UnsupportedValue(f"the key {key!r:.80} must have 1 to {MAX_KEY_BYTES} bytes")
    if {"", ".", ".."}.intersection(key.split("/")):
        raise UnsupportedValue(f"the key {key!r} has an empty segment, '.' or '..' between slashes")


def storable(text: str) -> bool:
    """Whether every storage can hold the text: UTF-8 without NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def path_of(key: str) -> str:
    """The relative path of a key's file, with ``/`` between its parts."""
    return "/".join(name for segment in key.split("/") for name in _names(segment)) + SUFFIX


def folder_of(prefix: str) -> str:
    """The folder below which all keys with this prefix are; empty for the top."""
    *folders, _ = prefix.split("/")
    return "/".join(name for segment in folders for name in _names(segment))


def key_of(path: str) -> str | None:
    """The key of a relative path; None for a file that is no key's."""
    if not path.endswith(SUFFIX):
        return None
    try:
        joined = path.removesuffix(SUFFIX).replace(f"{_JOIN}/", "")
        key = "/".join(unquote(segment, errors="strict") for segment in joined.split("/"))
        return key if path_of(key) == path else None
    except UnicodeError:
        return None


def _names(segment: str) -> list[str]:
    quoted = _QUOTED.sub(_quote, segment)
    parts = [quoted[i : i + _NAME_BYTES] for i in range(0, len(quoted), _NAME_BYTES)] or [""]
    return [part + _JOIN for part in parts[:-1]] + parts[-1:]


def _quote(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02x}" for byte in match[0].encode())
